//! One small record a second, for whoever wants to see how it came to be so.

use std::collections::VecDeque;

use crate::clock::MonoTime;
use crate::loss::Counts;

/// The last quarter of an hour, second by second.
///
/// A second in which nothing was counted has no record. Closed seconds keep their
/// durations in single precision, exact up to 16 ms and to six parts in 10⁸ beyond.
#[derive(Debug, Clone, Default)]
pub struct Series {
    closed: VecDeque<Closed>,
    open: Option<Second>,
    sum_ns: i128,
    told: Told,
}

/// What was counted in one second. Durations are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second {
    /// When it began.
    pub at: MonoTime,
    /// Requests sent.
    pub sent: u32,
    /// First replies within the timeout.
    pub received: u32,
    /// Requests whose loss became certain: they were sent some time before.
    pub lost: u32,
    /// Round trips behind the three values that follow.
    pub count: u32,
    /// The round trips; absent when there is none.
    pub roundtrip: Option<Spread>,
    /// Smallest certain delay on the way there; absent when nothing is certain.
    pub near_lower_ns: Option<i64>,
    /// The same of the way back.
    pub far_lower_ns: Option<i64>,
}

/// Durations in short.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spread {
    /// Smallest value.
    pub min_ns: i64,
    /// Arithmetic mean.
    pub mean_ns: i64,
    /// Largest value.
    pub max_ns: i64,
}

/// Counts that are in the series already.
#[derive(Debug, Clone, Copy, Default)]
struct Told {
    sent: u64,
    received: u64,
    lost: u64,
}

impl Series {
    /// Takes what has been counted until now; what is new of it belongs to this second.
    pub fn count(&mut self, now: MonoTime, counts: &Counts) {
        let Counts { sent, received, lost, .. } = *counts;
        let now_told = Told { sent, received, lost: lost.total() };
        let told = std::mem::replace(&mut self.told, now_told);
        let grown = [
            now_told.sent.saturating_sub(told.sent),
            now_told.received.saturating_sub(told.received),
            now_told.lost.saturating_sub(told.lost),
        ];
        if grown == [0; 3] {
            return;
        }
        let [sent, received, lost] = grown.map(|n| u32::try_from(n).unwrap_or(u32::MAX));
        let second = self.second(now);
        second.sent = second.sent.saturating_add(sent);
        second.received = second.received.saturating_add(received);
        second.lost = second.lost.saturating_add(lost);
    }

    /// Takes a round trip, and the smallest certain delay of each direction.
    pub fn record(&mut self, now: MonoTime, roundtrip_ns: i64, lower_ns: [Option<i64>; 2]) {
        let [near, far] = lower_ns;
        let second = self.second(now);
        second.near_lower_ns = smaller(second.near_lower_ns, near);
        second.far_lower_ns = smaller(second.far_lower_ns, far);
        second.count = second.count.saturating_add(1);
        let count = i128::from(second.count);
        self.sum_ns += i128::from(roundtrip_ns);
        let mean_ns = (self.sum_ns / count) as i64;
        let second = self.second(now);
        let before = second.roundtrip.unwrap_or_else(|| Spread::of(roundtrip_ns));
        second.roundtrip = Some(Spread {
            min_ns: before.min_ns.min(roundtrip_ns),
            mean_ns,
            max_ns: before.max_ns.max(roundtrip_ns),
        });
    }

    /// The seconds that began within the last `seconds` before `now`, the oldest first.
    pub fn seconds(&self, now: MonoTime, seconds: u32) -> impl Iterator<Item = Second> {
        let oldest = i64::from(seconds.min(KEPT as u32)) * SECOND_NS;
        let closed = self.closed.iter().map(Closed::second);
        closed.chain(self.open).filter(move |second| now.since(second.at) < oldest)
    }

    /// The record of the second of `now`; time that goes back stays in the last one.
    fn second(&mut self, now: MonoTime) -> &mut Second {
        let at = MonoTime::from_ns(now.as_ns().div_euclid(SECOND_NS) * SECOND_NS);
        if let Some(ended) = self.open.take_if(|open| open.at < at) {
            self.close(ended);
        }
        self.open.get_or_insert_with(|| Second::beginning(at))
    }

    fn close(&mut self, second: Second) {
        if self.closed.len() >= KEPT - 1 {
            self.closed.pop_front();
        }
        self.closed.push_back(Closed::of(&second));
        self.sum_ns = 0;
    }
}

impl Second {
    const fn beginning(at: MonoTime) -> Self {
        Self {
            at,
            sent: 0,
            received: 0,
            lost: 0,
            count: 0,
            roundtrip: None,
            near_lower_ns: None,
            far_lower_ns: None,
        }
    }
}

impl Spread {
    const fn of(ns: i64) -> Self {
        Self { min_ns: ns, mean_ns: ns, max_ns: ns }
    }
}

/// A second that is over, in 40 octets: there are hundreds of them for each target.
#[derive(Debug, Clone, Copy)]
struct Closed {
    second: u32,
    sent: u32,
    received: u32,
    lost: u32,
    count: u32,
    roundtrip: [f32; 3],
    /// NaN stands for nothing.
    lower: [f32; 2],
}

const _: () = assert!(size_of::<Closed>() == 40);

impl Closed {
    fn of(second: &Second) -> Self {
        let Spread { min_ns, mean_ns, max_ns } = second.roundtrip.unwrap_or_else(|| Spread::of(0));
        let lower = [second.near_lower_ns, second.far_lower_ns];
        Self {
            second: (second.at.as_ns() / SECOND_NS) as u32,
            sent: second.sent,
            received: second.received,
            lost: second.lost,
            count: second.count,
            roundtrip: [min_ns, mean_ns, max_ns].map(|ns| ns as f32),
            lower: lower.map(|ns| ns.map_or(f32::NAN, |ns| ns as f32)),
        }
    }

    fn second(&self) -> Second {
        let [min_ns, mean_ns, max_ns] = self.roundtrip.map(|ns| ns as i64);
        let [near, far] = self.lower.map(|ns| Some(ns as i64).filter(|_| !ns.is_nan()));
        Second {
            at: MonoTime::from_ns(i64::from(self.second) * SECOND_NS),
            sent: self.sent,
            received: self.received,
            lost: self.lost,
            count: self.count,
            roundtrip: (self.count > 0).then_some(Spread { min_ns, mean_ns, max_ns }),
            near_lower_ns: near,
            far_lower_ns: far,
        }
    }
}

fn smaller(before: Option<i64>, now: Option<i64>) -> Option<i64> {
    before.into_iter().chain(now).min()
}

/// A quarter of an hour, the open second included.
const KEPT: usize = 900;
const SECOND_NS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::{KEPT, SECOND_NS, Second, Series, Spread};
    use crate::clock::MonoTime;
    use crate::loss::{Counts, Directed};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    fn at(ns: i64) -> MonoTime {
        MonoTime::from_ns(ns)
    }

    fn counts(sent: u64, received: u64, forward: u64) -> Counts {
        let lost = Directed { forward, ..Directed::default() };
        Counts { sent, received, lost, ..Counts::default() }
    }

    #[test]
    fn each_second_has_what_happened_in_it() {
        let mut series = Series::default();
        series.count(at(100), &counts(3, 1, 0));
        series.record(at(200), 70, [Some(30), None]);
        series.record(at(300), 30, [Some(20), None]);
        series.count(at(2 * SECOND_NS + 5), &counts(3, 1, 2));
        series.count(at(3 * SECOND_NS), &counts(3, 1, 2));
        let roundtrip = Some(Spread { min_ns: 30, mean_ns: 50, max_ns: 70 });
        let first = Second {
            sent: 3,
            received: 1,
            count: 2,
            roundtrip,
            near_lower_ns: Some(20),
            ..Second::beginning(at(0))
        };
        let third = Second { lost: 2, ..Second::beginning(at(2 * SECOND_NS)) };
        let told: Vec<_> = series.seconds(at(3 * SECOND_NS), 900).collect();
        assert_eq!(told, [first, third]);
        assert_eq!(series.seconds(at(3 * SECOND_NS), 2).collect::<Vec<_>>(), [third]);
        assert_eq!(series.seconds(at(2 * SECOND_NS), 2).collect::<Vec<_>>(), [third]);
    }

    #[test]
    fn a_mean_is_that_of_its_second_alone() {
        let mut series = Series::default();
        for (second, ns) in [(0, 1_000), (1, 10), (1, 30)] {
            series.record(at(second * SECOND_NS), ns, [None, Some(ns)]);
        }
        let means = series.seconds(at(SECOND_NS), 900).map(|second| second.roundtrip.unwrap());
        assert_eq!(means.map(|spread| spread.mean_ns).collect::<Vec<_>>(), [1_000, 20]);
    }

    #[test]
    fn no_more_than_a_quarter_of_an_hour_is_kept() {
        let mut series = Series::default();
        for second in 0..3 * KEPT as i64 {
            series.record(at(second * SECOND_NS), second, [None; 2]);
            assert!(series.closed.len() < KEPT);
        }
        let now = at(3 * KEPT as i64 * SECOND_NS - 1);
        let told: Vec<_> = series.seconds(now, u32::MAX).collect();
        assert_eq!(told.len(), KEPT);
        assert_eq!(told[0].at, at(2 * KEPT as i64 * SECOND_NS));
        assert_eq!(series.seconds(now.after(899 * SECOND_NS), u32::MAX).count(), 1);
        assert_eq!(series.seconds(now.after(900 * SECOND_NS), u32::MAX).count(), 0);
    }

    #[test]
    fn time_that_goes_back_begins_no_second() {
        let mut series = Series::default();
        series.record(at(5 * SECOND_NS), 1, [None; 2]);
        series.record(at(4 * SECOND_NS), 3, [None; 2]);
        let told: Vec<_> = series.seconds(at(5 * SECOND_NS), 900).collect();
        assert_eq!((told.len(), told[0].count, told[0].at), (1, 2, at(5 * SECOND_NS)));
    }

    proptest! {
        #[test]
        fn all_seconds_together_are_all_that_was_counted(
            steps in proptest::collection::vec((0_i64..2_000_000_000, 0_u64..9, 0_u64..9, 0_u64..9, -10_000_000_000_i64..10_000_000_000), 1..100),
        ) {
            let mut series = Series::default();
            let (mut now, mut all) = (0, [0; 3]);
            for (pause, sent, received, lost, ns) in &steps {
                now += pause;
                all = [all[0] + sent, all[1] + received, all[2] + lost];
                series.count(at(now), &counts(all[0], all[1], all[2]));
                series.record(at(now), *ns, [Some(*ns), None]);
            }
            let told: Vec<_> = series.seconds(at(now), 900).collect();
            let sum = |of: fn(&Second) -> u32| told.iter().map(|second| u64::from(of(second))).sum::<u64>();
            prop_assert_eq!([sum(|s| s.sent), sum(|s| s.received), sum(|s| s.lost)], all);
            prop_assert_eq!(sum(|s| s.count), steps.len() as u64);
            prop_assert!(told.iter().all(|s| s.roundtrip.is_some_and(|r| r.min_ns <= r.mean_ns && r.mean_ns <= r.max_ns)));
            let least = told.iter().filter_map(|second| second.near_lower_ns).min().unwrap();
            let exact = steps.iter().map(|step| step.4).min().unwrap();
            prop_assert!((least - exact).abs() as f64 <= exact.abs() as f64 * 6e-8);
        }
    }
}
