//! Waiting for a condition, never for an amount of time.

use std::thread;
use std::time::{Duration, Instant};

/// A condition that did not come true before its deadline.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no {what} within {within:?}; a loaded machine needs a longer deadline")]
#[non_exhaustive]
pub struct Late {
    /// What was waited for.
    pub what: &'static str,
    /// How long.
    pub within: Duration,
}

/// Waits until `condition` holds.
pub fn wait_until(
    what: &'static str,
    within: Duration,
    mut condition: impl FnMut() -> bool,
) -> Result<(), Late> {
    wait_for(what, within, || condition().then_some(()))
}

/// Waits until `probe` has a value.
pub fn wait_for<T>(
    what: &'static str,
    within: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Result<T, Late> {
    try_wait_for(what, within, || Ok(probe()))
}

/// Waits until `probe` has a value, and gives up at its first error.
///
/// The probe runs once more after the deadline, so that a process that was not scheduled for a
/// while is not reported as late.
pub fn try_wait_for<T, E: From<Late>>(
    what: &'static str,
    within: Duration,
    mut probe: impl FnMut() -> Result<Option<T>, E>,
) -> Result<T, E> {
    let deadline = Instant::now() + within;
    let mut pause = FIRST_PAUSE;
    loop {
        let last = Instant::now() >= deadline;
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if last {
            return Err(Late { what, within }.into());
        }
        thread::sleep(pause.min(deadline.saturating_duration_since(Instant::now())));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

const FIRST_PAUSE: Duration = Duration::from_micros(500);
const LONGEST_PAUSE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_holds_is_not_waited_for() {
        let mut asked = 0;
        wait_until("answer", Duration::ZERO, || {
            asked += 1;
            true
        })
        .unwrap();
        assert_eq!(asked, 1);
    }

    #[test]
    fn the_deadline_is_kept_and_named() {
        let began = Instant::now();
        let late = wait_until("miracle", Duration::from_millis(30), || false).unwrap_err();
        assert!(began.elapsed() >= Duration::from_millis(30));
        assert!(late.to_string().starts_with("no miracle within 30ms"), "{late}");
    }

    #[test]
    fn the_first_error_of_a_probe_ends_the_wait() {
        #[derive(Debug, PartialEq)]
        enum Outcome {
            Broken,
            Late,
        }
        impl From<Late> for Outcome {
            fn from(_: Late) -> Self {
                Self::Late
            }
        }
        let broken: Result<(), _> =
            try_wait_for("value", Duration::from_secs(60), || Err(Outcome::Broken));
        assert_eq!(broken, Err(Outcome::Broken));
        let late: Result<(), Outcome> = try_wait_for("value", Duration::ZERO, || Ok(None));
        assert_eq!(late, Err(Outcome::Late));
    }
}
