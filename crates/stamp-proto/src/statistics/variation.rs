//! How a delay varies from packet to packet.

use crate::clock::MonoTime;

/// Smoothed variation as RTP receivers report it: J += (|D| − J) / 16. RFC 3550 §6.4.1.
#[derive(Debug, Clone, Copy, Default)]
pub struct Jitter {
    ns: f64,
    samples: u64,
}

impl Jitter {
    /// Takes the difference between the delays of two packets one behind the other.
    pub fn record(&mut self, difference_ns: i64) {
        self.ns += (difference_ns.unsigned_abs() as f64 - self.ns) / 16.0;
        self.samples += 1;
    }

    /// The variation in nanoseconds; absent before the second packet.
    pub const fn ns(&self) -> Option<f64> {
        if self.samples == 0 { None } else { Some(self.ns) }
    }
}

/// Variation of one direction's delay; a constant error of the clocks has no part in it.
#[derive(Debug, Clone)]
pub struct Variation {
    window_ns: i64,
    previous: Option<(u32, i64)>,
    /// Delays that may still become the smallest of the window, rising.
    smallest: std::collections::VecDeque<(MonoTime, i64)>,
    jitter: Jitter,
}

/// What one more packet says of the variation, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Varied {
    /// Its delay beyond the smallest of the window. RFC 5481 §4.2.
    pub pdv: i64,
    /// Its delay minus that of the packet with the number before it; absent when that
    /// was not answered. RFC 3393 §2.
    pub ipdv: Option<i64>,
}

impl Variation {
    /// Variation against the smallest delay of the last `window_ns` nanoseconds.
    pub const fn new(window_ns: i64) -> Self {
        Self {
            window_ns,
            previous: None,
            smallest: std::collections::VecDeque::new(),
            jitter: Jitter { ns: 0.0, samples: 0 },
        }
    }

    /// Takes the delay of packet `sequence`.
    pub fn record(&mut self, at: MonoTime, sequence: u32, delay_ns: i64) -> Varied {
        while self.smallest.back().is_some_and(|&(_, other)| other >= delay_ns) {
            self.smallest.pop_back();
        }
        self.smallest.push_back((at, delay_ns));
        while self.smallest.front().is_some_and(|&(then, _)| at.since(then) > self.window_ns) {
            self.smallest.pop_front();
        }
        let smallest = self.smallest.front().map_or(delay_ns, |&(_, smallest)| smallest);
        let before = self.previous.replace((sequence, delay_ns));
        let ipdv = before
            .filter(|&(number, _)| number.wrapping_add(1) == sequence)
            .map(|(_, delay)| delay_ns.saturating_sub(delay));
        if let Some(difference) = ipdv {
            self.jitter.record(difference);
        }
        Varied { pdv: delay_ns.saturating_sub(smallest), ipdv }
    }

    /// Starts over: a clock has stepped, and delays from before cannot be compared.
    pub fn reset(&mut self) {
        self.previous = None;
        self.smallest.clear();
    }

    /// Smoothed variation in nanoseconds.
    pub const fn jitter_ns(&self) -> Option<f64> {
        self.jitter.ns()
    }
}

#[cfg(test)]
mod tests {
    use super::{Jitter, Variation, Varied};
    use crate::clock::MonoTime;

    fn record(variation: &mut Variation, at: i64, sequence: u32, delay: i64) -> (i64, Option<i64>) {
        let Varied { pdv, ipdv } = variation.record(MonoTime::from_ns(at), sequence, delay);
        (pdv, ipdv)
    }

    #[test]
    fn a_packet_is_compared_with_the_one_before_and_with_the_fastest() {
        let mut variation = Variation::new(100);
        assert_eq!(record(&mut variation, 0, 0, 50), (0, None));
        assert_eq!(record(&mut variation, 10, 1, 70), (20, Some(20)));
        assert_eq!(record(&mut variation, 20, 2, 40), (0, Some(-30)));
        assert_eq!(record(&mut variation, 30, 4, 60), (20, None));
        assert_eq!(record(&mut variation, 121, 5, 65), (5, Some(5)));
        variation.reset();
        assert_eq!(record(&mut variation, 122, 6, 90), (0, None));
    }

    #[test]
    fn numbers_wrap() {
        let mut variation = Variation::new(100);
        record(&mut variation, 0, u32::MAX, 50);
        assert_eq!(record(&mut variation, 1, 0, 55), (5, Some(5)));
    }

    #[test]
    fn jitter_approaches_a_steady_difference_by_sixteenths() {
        let mut jitter = Jitter::default();
        assert_eq!(jitter.ns(), None);
        jitter.record(-1_600);
        assert_eq!(jitter.ns(), Some(100.0));
        (0..1_000).for_each(|_| jitter.record(1_600));
        assert!((jitter.ns().unwrap() - 1_600.0).abs() < 1e-6);
    }
}
