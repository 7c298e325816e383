//! How the rate of our own clock has been changed while the window lasts.

use std::collections::VecDeque;

use super::Ppb;
use crate::clock::MonoTime;

/// The rates at which our clock has run lately.
///
/// A change of ours adds to the rate by which two clocks drift apart: see
/// [`Settings::rate`](super::Settings::rate).
#[derive(Debug)]
pub struct OwnRate {
    window_ns: i64,
    spans: VecDeque<Span>,
}

/// The rates of one second and of all time until the next span begins.
#[derive(Debug, Clone, Copy)]
struct Span {
    began: MonoTime,
    lowest: i64,
    highest: i64,
}

impl OwnRate {
    /// Remembers rates for `window_ns` nanoseconds.
    pub const fn new(window_ns: i64) -> Self {
        Self { window_ns, spans: VecDeque::new() }
    }

    /// Takes the rate at which the clock runs from now on, in parts in 10⁹ above nominal.
    pub fn record(&mut self, now: MonoTime, rate: i64) {
        match self.spans.back_mut().filter(|span| now.since(span.began) < SPAN_NS) {
            Some(span) => {
                span.lowest = span.lowest.min(rate);
                span.highest = span.highest.max(rate);
            }
            None => self.spans.push_back(Span { began: now, lowest: rate, highest: rate }),
        }
        while self.spans.get(1).is_some_and(|next| now.since(next.began) > self.window_ns) {
            self.spans.pop_front();
        }
    }

    /// By how much the rate has changed within the window.
    pub fn change(&self) -> Ppb {
        let highest = self.spans.iter().map(|span| span.highest).max();
        let lowest = self.spans.iter().map(|span| span.lowest).min();
        highest.zip(lowest).map_or(0, |(highest, lowest)| highest.abs_diff(lowest))
    }
}

const SPAN_NS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::{OwnRate, SPAN_NS};
    use crate::clock::MonoTime;

    #[test]
    fn a_change_counts_until_its_window_is_over() {
        let mut rate = OwnRate::new(60 * SPAN_NS);
        let mut change = |second: i64, ppb| {
            rate.record(MonoTime::from_ns(second * SPAN_NS), ppb);
            rate.change()
        };
        assert_eq!([change(0, 100), change(1, 100)], [0, 0]);
        assert_eq!([change(10, -50), change(20, 120), change(30, 120)], [150, 170, 170]);
        assert_eq!([change(70, 120), change(80, 120)], [170, 170]);
        assert_eq!([change(81, 120), change(200, 7), change(261, 7)], [0, 113, 0]);
    }

    #[test]
    fn rates_of_one_second_all_count_and_are_few() {
        let mut rate = OwnRate::new(60 * SPAN_NS);
        for n in 0..100_000 {
            let ppb = match n % 100 {
                50 => -5,
                60 => 9,
                _ => 5,
            };
            rate.record(MonoTime::from_ns(n * SPAN_NS / 100), ppb);
            assert!(rate.spans.len() <= 62);
        }
        assert_eq!(rate.change(), 14);
    }
}
