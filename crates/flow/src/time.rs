//! The two clocks, and how one is told in terms of the other.

use std::time::Duration;

use flow_bpf::Clock;
use flow_model::{connections::TickClock, ledger::Now};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

fn read(clock: ClockId) -> Duration {
    let time = clock_gettime(clock);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// CLOCK_MONOTONIC.
pub(crate) fn monotonic() -> Duration {
    read(ClockId::Monotonic)
}

/// CLOCK_REALTIME since 1970.
pub(crate) fn wall() -> Duration {
    read(ClockId::Realtime)
}

/// Both, for the ledger.
pub(crate) fn now() -> Now {
    Now { wall_ns: nanos(wall()), monotonic_ns: nanos(monotonic()) }
}

/// Whole nanoseconds, which 64 bits hold for five centuries.
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// What the kernel's clocks said, as plain numbers.
pub(crate) fn tick_clock(clock: &Clock) -> TickClock {
    TickClock {
        tick: clock.last_tick(),
        monotonic_ns: nanos(clock.monotonic()),
        tick_ns: nanos(clock.tick()),
    }
}

/// CLOCK_MONOTONIC at a tick of a flow.
pub(crate) const fn at_tick(clock: &TickClock, tick: u32) -> Duration {
    Duration::from_nanos(clock.monotonic_ns(tick))
}

/// Turns monotonic times into wall-clock times as of one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct WallClock {
    monotonic: Duration,
    wall: Duration,
}

impl WallClock {
    /// Relates the clocks now.
    pub(crate) fn read() -> Self {
        Self { monotonic: monotonic(), wall: wall() }
    }

    /// The wall-clock time of a monotonic one, in UTC.
    pub(crate) fn at(&self, monotonic: Duration) -> Timestamp {
        let wall = if monotonic <= self.monotonic {
            self.wall.saturating_sub(self.monotonic - monotonic)
        } else {
            self.wall.saturating_add(monotonic - self.monotonic)
        };
        timestamp(wall)
    }
}

/// UTC with all nine digits of the fraction, so that every stamp has one width.
pub(crate) fn rfc3339(time: Timestamp) -> String {
    format!("{time:.9}")
}

/// A time since 1970 in UTC; the nearest that can be told if it is beyond the year 9999.
pub(crate) fn timestamp(since_1970: Duration) -> Timestamp {
    i128::try_from(since_1970.as_nanos())
        .ok()
        .and_then(|ns| Timestamp::from_nanosecond(ns).ok())
        .unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_monotonic_time_is_told_by_its_distance_from_the_pair() {
        let clock =
            WallClock { monotonic: Duration::from_secs(50), wall: Duration::from_secs(1000) };
        for (monotonic, expected) in [
            (Duration::from_secs(50), "1970-01-01T00:16:40.000000000Z"),
            (Duration::from_nanos(49_999_999_999), "1970-01-01T00:16:39.999999999Z"),
            (Duration::from_secs(51), "1970-01-01T00:16:41.000000000Z"),
        ] {
            assert_eq!(rfc3339(clock.at(monotonic)), expected);
        }
    }

    #[test]
    fn times_beyond_the_calendar_are_the_nearest_that_can_be_told() {
        assert_eq!(timestamp(Duration::MAX), Timestamp::MAX);
        let clock = WallClock { monotonic: Duration::from_secs(50), wall: Duration::ZERO };
        assert_eq!(clock.at(Duration::ZERO), Timestamp::UNIX_EPOCH);
    }

    #[test]
    fn ticks_are_told_on_both_sides_of_the_pair() {
        let clock = TickClock { tick: 5, monotonic_ns: 1_000_000_000, tick_ns: 4_000_000 };
        assert_eq!(at_tick(&clock, u32::MAX), Duration::from_millis(976));
        assert_eq!(at_tick(&clock, 7), Duration::from_millis(1008));
    }
}
