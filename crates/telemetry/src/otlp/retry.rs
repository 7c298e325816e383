//! Which failures are tried again, and when.

use std::time::{Duration, Instant};

/// An attempt that did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// Closed set, for logs.
    pub(super) reason: &'static str,
    /// Whether the same request may succeed later.
    pub(super) transient: bool,
    /// How long the receiver asked to wait.
    pub(super) after: Option<Duration>,
}

impl Failure {
    pub(super) const fn transient(reason: &'static str) -> Self {
        Self { reason, transient: true, after: None }
    }

    pub(super) const fn permanent(reason: &'static str) -> Self {
        Self { reason, transient: false, after: None }
    }
}

/// Pauses that double, up to a total time for the whole push.
#[derive(Debug)]
pub(super) struct Backoff {
    end: Instant,
    pause: Duration,
}

impl Backoff {
    pub(super) fn new(now: Instant) -> Self {
        Self { end: now + TOTAL, pause: FIRST }
    }

    pub(super) const fn succeeded(&mut self) {
        self.pause = FIRST;
    }

    /// The next pause, or none when it would end after the total time. `jitter` is between 0
    /// and 1: it spreads the agents of a cluster over half of each pause.
    pub(super) fn next(
        &mut self,
        now: Instant,
        asked: Option<Duration>,
        jitter: f64,
    ) -> Option<Duration> {
        let spread = self.pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.pause = (self.pause * 2).min(LONGEST);
        let pause = asked.map_or(spread, |asked| asked.max(spread));
        (pause <= self.end.saturating_duration_since(now)).then_some(pause)
    }
}

/// A number between 0 and 1 that differs between agents.
pub(super) fn jitter() -> f64 {
    let random = ring::rand::generate::<[u8; 2]>(&ring::rand::SystemRandom::new());
    random.map_or(0.5, |octets| f64::from(u16::from_le_bytes(octets.expose())) / 65535.0)
}

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);
const TOTAL: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Backoff, jitter};

    #[test]
    fn pauses_double_up_to_a_limit_and_end_after_five_minutes() {
        let start = Instant::now();
        let mut backoff = Backoff::new(start);
        let mut passed = Duration::ZERO;
        let mut pauses = Vec::new();
        while let Some(pause) = backoff.next(start + passed, None, 1.0) {
            passed += pause;
            pauses.push(pause.as_secs());
            assert!(pauses.len() < 100, "the back-off never ends");
        }
        assert_eq!(pauses.get(..7), Some(&[1, 2, 4, 8, 16, 30, 30][..]));
        assert!((270..=300).contains(&passed.as_secs()), "gave up after {passed:?}");
    }

    #[test]
    fn jitter_takes_up_to_half_of_a_pause() {
        let now = Instant::now();
        assert_eq!(Backoff::new(now).next(now, None, 0.0), Some(Duration::from_millis(500)));
        assert!((0.0..=1.0).contains(&jitter()));
    }

    #[test]
    fn the_receiver_may_ask_for_more_but_not_for_more_than_there_is() {
        let now = Instant::now();
        let ask = |seconds| Backoff::new(now).next(now, Some(Duration::from_secs(seconds)), 1.0);
        assert_eq!(ask(60), Some(Duration::from_secs(60)));
        assert_eq!(ask(0), Some(Duration::from_secs(1)));
        assert_eq!(ask(301), None);
    }

    #[test]
    fn success_starts_over() {
        let now = Instant::now();
        let mut backoff = Backoff::new(now);
        backoff.next(now, None, 1.0);
        backoff.succeeded();
        assert_eq!(backoff.next(now, None, 1.0), Some(Duration::from_secs(1)));
    }
}
