//! Whether something keeps this host's clock right, how fast it runs, and when it is set.

use std::io;
use std::time::Duration;

use super::HostError;

mod watch;

pub use watch::ClockWatch;

/// What the kernel's clock discipline knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockState {
    /// Whether a time daemon says that the clock is synchronised.
    pub synchronised: bool,
    /// Bound that the daemon claims; it grows by itself while the daemon is silent.
    pub max_error: Duration,
    /// Error that the daemon estimates.
    pub estimated_error: Duration,
    /// Leap seconds between TAI and UTC; zero means that nobody told the kernel.
    pub tai_offset_seconds: i32,
    /// How much faster than nominal the clock is told to run, in parts per thousand million.
    ///
    /// That is `tick` and `freq` together, rounded towards zero. What the kernel adds to work off
    /// an offset, by its own loop (`ADJ_OFFSET`) or by adjtime(3), shows in neither.
    pub rate_ppb: i64,
    /// Leap second that is still to come.
    pub leap: Leap,
}

impl ClockState {
    fn new(outcome: i32, timex: &libc::timex) -> Self {
        Self {
            synchronised: outcome != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
            max_error: microseconds(timex.maxerror),
            estimated_error: microseconds(timex.esterror),
            tai_offset_seconds: timex.tai,
            rate_ppb: rate_ppb(timex.tick, timex.freq),
            leap: Leap::new(outcome, timex.status),
        }
    }
}

/// A leap second at the end of the current UTC day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Leap {
    /// None is announced.
    None,
    /// The day has 86,401 seconds; told until the inserted one is over.
    Insertion,
    /// The day has 86,399 seconds.
    Deletion,
}

impl Leap {
    /// A daemon may leave its announcement standing after the leap, which only the state tells.
    /// While the clock is not synchronised the state is hidden, but the kernel leaps all the same.
    const fn new(outcome: i32, status: i32) -> Self {
        let over = outcome == libc::TIME_WAIT;
        if !over && status & libc::STA_INS != 0 {
            Self::Insertion
        } else if !over && status & libc::STA_DEL != 0 {
            Self::Deletion
        } else {
            Self::None
        }
    }
}

/// Reads the state of the clock without changing it.
pub fn clock_state() -> Result<ClockState, HostError> {
    // SAFETY: `timex` is made of plain numbers, for all of which zero is a value; zero modes make
    // the call below read-only.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local of the type that the call fills.
    let outcome = unsafe { libc::adjtimex(&raw mut timex) };
    if outcome < 0 {
        let source = io::Error::last_os_error();
        return Err(HostError::Call { action: "reading the clock discipline", source });
    }
    Ok(ClockState::new(outcome, &timex))
}

fn microseconds(value: libc::c_long) -> Duration {
    Duration::from_micros(u64::try_from(value).unwrap_or(0))
}

/// `tick` is in microseconds per user-space tick, `freq` in 2^-16 parts per million.
fn rate_ppb(tick: i64, freq: i64) -> i64 {
    let by_tick = tick.saturating_sub(NOMINAL_TICK_US).saturating_mul(PPB / NOMINAL_TICK_US);
    by_tick.saturating_add(freq.saturating_mul(1000) / (1 << 16))
}

/// User space is told of 100 ticks per second on every architecture that we build for.
const NOMINAL_TICK_US: i64 = 10_000;

const PPB: i64 = 1_000_000_000;

#[cfg(test)]
mod tests;
