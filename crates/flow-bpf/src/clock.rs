//! From flow ticks to times.

use std::time::Duration;

/// `jiffies` and CLOCK_MONOTONIC, read by the kernel in one run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockPair {
    /// The kernel's tick counter.
    pub jiffies: u64,
    /// CLOCK_MONOTONIC.
    pub monotonic: Duration,
}

/// Turns the 32-bit ticks of flows into CLOCK_MONOTONIC, one tick exact.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    pair: ClockPair,
    tick: Duration,
}

impl Clock {
    pub(crate) fn new(pair: ClockPair) -> Self {
        Self { pair, tick: tick() }
    }

    /// Length of a tick: the resolution of every time made from one.
    pub const fn tick(&self) -> Duration {
        self.tick
    }

    /// The tick at that moment.
    #[expect(clippy::cast_possible_truncation, reason = "ticks are the low 32 bits")]
    pub const fn last_tick(&self) -> u32 {
        self.pair.jiffies as u32
    }

    /// When the pair was read.
    pub const fn monotonic(&self) -> Duration {
        self.pair.monotonic
    }

    /// The time of a tick that lies within half the counter's range before the pair, or
    /// just behind it.
    pub fn at(&self, tick: u32) -> Duration {
        #[expect(clippy::cast_possible_truncation, reason = "ticks are the low 32 bits")]
        let now = self.pair.jiffies as u32;
        let ago = now.wrapping_sub(tick).cast_signed();
        let span = self.tick.saturating_mul(ago.unsigned_abs());
        if ago >= 0 {
            self.pair.monotonic.saturating_sub(span)
        } else {
            self.pair.monotonic.saturating_add(span)
        }
    }
}

/// The kernel's coarse clocks advance once a tick, and say so.
fn tick() -> Duration {
    let resolution = rustix::time::clock_getres(rustix::time::ClockId::MonotonicCoarse);
    Duration::new(
        u64::try_from(resolution.tv_sec).unwrap_or_default(),
        u32::try_from(resolution.tv_nsec).unwrap_or_default(),
    )
}

#[cfg(test)]
mod tests {
    use super::{Clock, ClockPair};
    use std::time::Duration;

    fn clock(jiffies: u64) -> Clock {
        Clock {
            pair: ClockPair { jiffies, monotonic: Duration::from_secs(1000) },
            tick: Duration::from_millis(4),
        }
    }

    #[test]
    fn a_tick_before_the_counter_wrapped_lies_before_the_pair() {
        let at = clock(0x1_0000_0005).at(u32::MAX);
        assert_eq!(at, Duration::from_secs(1000) - Duration::from_millis(24));
    }

    #[test]
    fn a_tick_after_the_pair_lies_behind_it() {
        assert_eq!(clock(7).at(9), Duration::from_secs(1000) + Duration::from_millis(8));
    }
}
