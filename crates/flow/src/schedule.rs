//! When the next drain is due, and why. Time is an argument.

use std::time::{Duration, Instant};

use crate::tally::Cause;

/// Drains that were, and what calls for the next.
#[derive(Debug)]
pub(crate) struct Schedule {
    last: Instant,
    early: Option<Cause>,
}

/// A drain that should happen now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    /// The interval has passed.
    Regular,
    /// Ahead of its time.
    Early(Cause),
}

/// No two early drains within this time.
pub(crate) const EARLY_SPACING: Duration = Duration::from_millis(200);
/// No two drains that readers asked for within this time.
const FRESH_SPACING: Duration = Duration::from_secs(1);

impl Schedule {
    /// Nothing is drained yet; the first interval starts now.
    pub(crate) const fn new(now: Instant) -> Self {
        Self { last: now, early: None }
    }

    /// Calls for a drain ahead of its time.
    pub(crate) const fn hasten(&mut self, cause: Cause) {
        self.early = Some(cause);
    }

    /// A drain begins.
    pub(crate) const fn begin(&mut self, now: Instant) {
        self.last = now;
        self.early = None;
    }

    /// Whether a drain that begins now begins a whole interval too late.
    pub(crate) fn is_late(&self, interval: Duration, now: Instant) -> bool {
        self.since(now) >= interval.saturating_mul(2)
    }

    /// The drain that is due; `asked` tells that a reader waits for one.
    pub(crate) fn due(&self, interval: Duration, asked: bool, now: Instant) -> Option<Due> {
        let since = self.since(now);
        if since >= interval {
            return Some(Due::Regular);
        }
        let hastened = self.early.filter(|_| since >= EARLY_SPACING);
        let fresh = (asked && since >= FRESH_SPACING).then_some(Cause::Fresh);
        hastened.or(fresh).map(Due::Early)
    }

    /// Time until a drain can be due as things stand.
    pub(crate) fn wait(&self, interval: Duration, asked: bool, now: Instant) -> Duration {
        let mut period = interval;
        if self.early.is_some() {
            period = period.min(EARLY_SPACING);
        }
        if asked {
            period = period.min(FRESH_SPACING);
        }
        period.saturating_sub(self.since(now))
    }

    fn since(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(25);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn a_regular_drain_is_due_after_the_interval_and_not_before() {
        let start = Instant::now();
        let schedule = Schedule::new(start);
        assert_eq!(schedule.due(INTERVAL, false, start + ms(24_999)), None);
        assert_eq!(schedule.due(INTERVAL, false, start + INTERVAL), Some(Due::Regular));
    }

    #[test]
    fn a_filling_table_hastens_a_drain_but_not_two_within_the_spacing() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.hasten(Cause::Fill);
        assert_eq!(schedule.due(INTERVAL, false, start + ms(199)), None);
        let first = start + ms(200);
        assert_eq!(schedule.due(INTERVAL, false, first), Some(Due::Early(Cause::Fill)));
        schedule.begin(first);
        assert_eq!(schedule.due(INTERVAL, false, first + ms(300)), None, "once called, once done");
        schedule.hasten(Cause::Fill);
        assert_eq!(schedule.due(INTERVAL, false, first + ms(100)), None);
    }

    #[test]
    fn a_reader_waits_at_most_a_second() {
        let start = Instant::now();
        let schedule = Schedule::new(start);
        assert_eq!(schedule.due(INTERVAL, true, start + ms(999)), None);
        assert_eq!(schedule.due(INTERVAL, true, start + ms(1000)), Some(Due::Early(Cause::Fresh)));
        assert_eq!(schedule.wait(INTERVAL, true, start + ms(400)), ms(600));
    }

    #[test]
    fn the_interval_wins_over_every_other_reason() {
        let start = Instant::now();
        let mut schedule = Schedule::new(start);
        schedule.hasten(Cause::Fill);
        assert_eq!(schedule.due(ms(200), true, start + ms(200)), Some(Due::Regular));
    }

    #[test]
    fn waiting_ends_exactly_when_a_drain_is_due() {
        let start = Instant::now();
        for (cause, asked) in
            [(None, false), (Some(Cause::Fill), false), (None, true), (Some(Cause::Fill), true)]
        {
            let mut schedule = Schedule::new(start);
            cause.into_iter().for_each(|cause| schedule.hasten(cause));
            let now = start + ms(3);
            let due = now + schedule.wait(INTERVAL, asked, now);
            assert!(schedule.due(INTERVAL, asked, due).is_some(), "{cause:?} {asked}");
            assert_eq!(schedule.due(INTERVAL, asked, due.checked_sub(ms(1)).unwrap()), None);
        }
    }

    #[test]
    fn a_drain_is_late_when_the_next_one_should_have_begun() {
        let start = Instant::now();
        let schedule = Schedule::new(start);
        assert!(!schedule.is_late(INTERVAL, start + 2 * INTERVAL - ms(1)));
        assert!(schedule.is_late(INTERVAL, start + 2 * INTERVAL));
    }

    #[test]
    fn a_clock_read_before_the_last_drain_is_taken_for_that_moment() {
        let start = Instant::now();
        let schedule = Schedule::new(start + ms(10));
        assert_eq!(schedule.wait(INTERVAL, false, start), INTERVAL);
    }
}
