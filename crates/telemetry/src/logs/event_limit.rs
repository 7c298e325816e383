//! Repeated events: one line a minute, with the number of those left out.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one event of a kind pass in each window and counts the rest.
///
/// ```
/// use std::time::{Duration, Instant};
/// use telemetry::logs::EventLimit;
///
/// let limit = EventLimit::default();
/// let start = Instant::now();
/// assert_eq!(limit.admit("drain.overrun", "slow", start), Some(0));
/// assert_eq!(limit.admit("drain.overrun", "slow", start), None);
/// let later = start + Duration::from_secs(61);
/// assert_eq!(limit.admit("drain.overrun", "slow", later), Some(1));
/// ```
#[derive(Debug)]
pub struct EventLimit {
    window: Duration,
    seen: Mutex<HashMap<(&'static str, &'static str), Seen>>,
}

#[derive(Debug)]
struct Seen {
    passed: Instant,
    suppressed: u64,
}

impl EventLimit {
    /// A limit of one event of a kind in each `window`.
    pub fn new(window: Duration) -> Self {
        Self { window, seen: Mutex::default() }
    }

    /// Whether the event may be logged at `now`: if so, how many like it were left out since
    /// the last one. Event and reason come from closed sets, so the table stays small.
    pub fn admit(&self, event: &'static str, reason: &'static str, now: Instant) -> Option<u64> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = Seen { passed: now, suppressed: 0 };
        let Some(last) = seen.get_mut(&(event, reason)) else {
            seen.insert((event, reason), fresh);
            return Some(0);
        };
        if now.saturating_duration_since(last.passed) < self.window {
            last.suppressed += 1;
            return None;
        }
        Some(std::mem::replace(last, fresh).suppressed)
    }
}

impl Default for EventLimit {
    fn default() -> Self {
        Self::new(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::EventLimit;

    #[test]
    fn each_reason_has_its_own_minute() {
        let limit = EventLimit::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(limit.admit("e", "a", at(0)), Some(0));
        assert_eq!(limit.admit("e", "b", at(1)), Some(0));
        assert_eq!(limit.admit("e", "a", at(2)), None);
        assert_eq!(limit.admit("e", "a", at(59)), None);
        assert_eq!(limit.admit("e", "a", at(60)), Some(2));
        assert_eq!(limit.admit("e", "a", at(120)), Some(0));
    }
}
