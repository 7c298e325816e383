//! When to send the next piece, and when to stop.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::tally::Account;

/// What both sides of a generator share.
#[derive(Debug)]
pub(super) struct Course {
    stop: AtomicBool,
    client_done: AtomicBool,
    deadline: Instant,
    pub(super) client: Account,
    pub(super) server: Account,
    pub(super) connections: Account,
}

impl Course {
    pub(super) fn new(lifetime: Duration) -> Self {
        let now = Instant::now();
        Self {
            stop: AtomicBool::new(false),
            client_done: AtomicBool::new(false),
            // A lifetime beyond what the clock can hold is as good as for ever.
            deadline: now.checked_add(lifetime).unwrap_or(now + LONGEST_LIFE),
            client: Account::default(),
            server: Account::default(),
            connections: Account::default(),
        }
    }

    /// Asks both sides to come to an end.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether the client should send no more.
    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire) || Instant::now() >= self.deadline
    }

    /// The client sends no more, whatever the reason.
    pub(super) fn finish_client(&self) {
        self.client_done.store(true, Ordering::Release);
    }

    pub(super) fn is_client_done(&self) -> bool {
        self.client_done.load(Ordering::Acquire)
    }
}

/// Spreads pieces evenly over time.
#[derive(Debug)]
pub(super) struct Pacer {
    began: Instant,
    rate: Option<u64>,
    used: u64,
}

impl Pacer {
    pub(super) fn new(rate: Option<u64>) -> Self {
        Self { began: Instant::now(), rate, used: 0 }
    }

    /// Waits until `amount` more may go; `false` when the course is over before.
    pub(super) fn admit(&mut self, amount: u64, course: &Course) -> bool {
        while !course.is_over() {
            let wait = self.until_due().saturating_sub(self.began.elapsed());
            if wait.is_zero() {
                self.used += amount;
                return true;
            }
            thread::sleep(wait.min(POLL));
        }
        false
    }

    /// From the beginning to the moment the next piece may go.
    fn until_due(&self) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let nanos = u128::from(self.used) * 1_000_000_000 / u128::from(rate.max(1));
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }
}

/// Longest time for which a side does not look whether it should stop.
pub(super) const POLL: Duration = Duration::from_millis(20);

/// Time for the last bytes to arrive once no more are sent.
pub(super) const GRACE: Duration = Duration::from_secs(3);

const LONGEST_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_spread_by_their_amount() {
        let mut pacer = Pacer::new(Some(1000));
        let course = Course::new(Duration::from_secs(60));
        assert!(pacer.admit(500, &course));
        assert_eq!(pacer.until_due(), Duration::from_millis(500));
        assert!(Pacer { used: 500, ..Pacer::new(None) }.until_due().is_zero());
    }

    #[test]
    fn a_rate_of_nothing_is_not_divided_by() {
        let pacer = Pacer { used: u64::MAX, ..Pacer::new(Some(0)) };
        assert_eq!(pacer.until_due(), Duration::from_nanos(u64::MAX));
    }

    #[test]
    fn nothing_goes_after_the_end() {
        let course = Course::new(Duration::from_secs(60));
        course.stop();
        assert!(!Pacer::new(None).admit(1, &course));
        assert!(!Pacer::new(None).admit(1, &Course::new(Duration::ZERO)));
    }

    #[test]
    fn the_longest_lifetime_does_not_overflow() {
        assert!(!Course::new(Duration::MAX).is_over());
    }
}
