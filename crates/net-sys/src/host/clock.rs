//! Whether something keeps this host's clock right.

use std::io;
use std::time::Duration;

use super::HostError;

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
}

/// Reads the state of the clock without changing it.
pub fn clock_state() -> Result<ClockState, HostError> {
    // SAFETY: `timex` is made of plain numbers, for all of which zero is a value; zero modes make
    // the call below read-only.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a live local of the type that the call fills.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    if state < 0 {
        let source = io::Error::last_os_error();
        return Err(HostError::Call { action: "reading the clock discipline", source });
    }
    Ok(ClockState {
        synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        max_error: microseconds(timex.maxerror),
        estimated_error: microseconds(timex.esterror),
        tai_offset_seconds: timex.tai,
    })
}

fn microseconds(value: libc::c_long) -> Duration {
    Duration::from_micros(u64::try_from(value).unwrap_or(0))
}
