//! What is kept of one target's samples.

use std::collections::BTreeMap;

use stamp_proto::clock::{MonoTime, looks_like_tai};
use stamp_proto::loss::{Direction, Outcome};
use stamp_proto::offset::{Estimator, Offset, Ppb};
use stamp_proto::sender::{Fault, LocalClock, OneWay, Sample};
use stamp_proto::statistics::{Bins, Distribution, Variation};
use telemetry::metric::Histogram;

use crate::clock::Step;

/// Everything that is known of one target.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) roundtrip: Kept,
    pub(crate) roundtrip_gross: Kept,
    pub(crate) residence: Kept,
    /// By direction: near-end, then far-end.
    pub(crate) ways: [Way; 2],
    pub(crate) bins: Option<Bins>,
    pub(crate) faults: BTreeMap<&'static str, u64>,
    pub(crate) last: Option<Sample>,
    estimator: Estimator,
    suspect: bool,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) raw: Distribution,
    pub(crate) lower: Distribution,
    pub(crate) upper: Distribution,
    pub(crate) pdv: Kept,
    pub(crate) ipdv_abs: Kept,
    /// Raw values that are trusted.
    pub(crate) trusted: Kept,
    pub(crate) unusable: BTreeMap<&'static str, u64>,
    variation: Variation,
}

/// A distribution for documents and the same in buckets for a scraper.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) exact: Distribution,
    pub(crate) buckets: Histogram,
}

impl Kept {
    fn new() -> Self {
        let buckets = Histogram::new(BUCKETS).expect("the bounds are finite and rise");
        Self { exact: Distribution::default(), buckets }
    }

    fn record(&mut self, ns: i64) {
        self.exact.record(ns);
        self.buckets.observe(ns as f64 * 1e-9);
    }
}

impl Way {
    fn new() -> Self {
        Self {
            raw: Distribution::default(),
            lower: Distribution::default(),
            upper: Distribution::default(),
            pdv: Kept::new(),
            ipdv_abs: Kept::new(),
            trusted: Kept::new(),
            unusable: BTreeMap::new(),
            variation: Variation::new(WINDOW_NS),
        }
    }

    /// Smoothed variation in nanoseconds.
    pub(crate) const fn jitter_ns(&self) -> Option<f64> {
        self.variation.jitter_ns()
    }

    fn record(&mut self, sample: &Sample, one_way: &OneWay) {
        if let Some(why) = one_way.unusable {
            *self.unusable.entry(why.reason()).or_default() += 1;
        }
        one_way.trusted_ns().into_iter().for_each(|ns| self.trusted.record(ns));
        let Some(raw) = one_way.raw_ns else { return };
        self.raw.record(raw);
        let varied = self.variation.record(sample.t4.mono, sample.sequence, raw);
        self.pdv.record(varied.pdv);
        if let Some(ipdv) = varied.ipdv {
            self.ipdv_abs.record(ipdv.saturating_abs());
        }
        if let Some((shortest, longest)) = one_way.certain_ns {
            self.lower.record(shortest);
            self.upper.record(longest);
        }
    }
}

impl Tally {
    /// Nothing yet.
    pub(crate) fn new(bins: Option<Bins>) -> Self {
        Self {
            roundtrip: Kept::new(),
            roundtrip_gross: Kept::new(),
            residence: Kept::new(),
            ways: [Way::new(), Way::new()],
            bins,
            faults: BTreeMap::new(),
            last: None,
            estimator: Estimator::new(WINDOW_NS),
            suspect: false,
        }
    }

    /// Takes one sample, and gives what it says of both directions. A late one and a
    /// further copy change nothing: their requests are counted otherwise already.
    pub(crate) fn record(&mut self, sample: &Sample, local: LocalClock) -> [OneWay; 2] {
        if sample.outcome != Outcome::First {
            return self.one_ways(sample, local);
        }
        self.roundtrip_gross.record(sample.roundtrip_gross_ns);
        sample.residence_ns.into_iter().for_each(|ns| self.residence.record(ns));
        if let Some(ns) = sample.roundtrip_ns {
            self.roundtrip.record(ns);
            self.bins.iter_mut().for_each(|bins| bins.record(ns));
        }
        if let Some(fault) = sample.fault {
            *self.faults.entry(Fault::reason(fault)).or_default() += 1;
        }
        self.compare(sample, local);
        let one_ways = self.one_ways(sample, local);
        for (way, one_way) in self.ways.iter_mut().zip(&one_ways) {
            way.record(sample, one_way);
        }
        self.last = Some(*sample);
        one_ways
    }

    /// Where the other clock stands.
    pub(crate) fn offset(&self, now: MonoTime) -> Option<Offset> {
        self.estimator.estimate(now).filter(|_| !self.suspect)
    }

    /// Times the other clock was set.
    pub(crate) const fn steps(&self) -> u64 {
        self.estimator.steps()
    }

    /// True when the clocks are apart by what TAI and UTC are apart.
    pub(crate) const fn is_suspect(&self) -> bool {
        self.suspect
    }

    /// Follows a step of our own clock.
    pub(crate) fn handle_local_step(&mut self, step: Step) {
        self.estimator.handle_local_step(step.delta_ns, step.error_ns, step.known_good);
        self.ways.iter_mut().for_each(|way| way.variation.reset());
    }

    fn one_ways(&self, sample: &Sample, local: LocalClock) -> [OneWay; 2] {
        let offset = self.offset(sample.t4.mono);
        Direction::ALL
            .map(|direction| OneWay::of(sample, direction, local, offset.as_ref(), self.suspect))
    }

    fn compare(&mut self, sample: &Sample, local: LocalClock) {
        let (Some(near), Some(far)) = (sample.near_raw_ns(), sample.far_raw_ns()) else { return };
        let both = local.synchronized && sample.error_estimate.synchronized();
        let rate = if both { SYNCHRONIZED_PPB } else { FREE_PPB };
        // Each time in a packet is cut to its format, by less than a nanosecond.
        self.estimator.record(sample.t4.mono, far.saturating_neg() - CUT_NS, near + CUT_NS, rate);
        let estimate = self.estimator.estimate(sample.t4.mono);
        self.suspect = estimate.is_some_and(|offset| looks_like_tai(offset.offset_ns));
    }
}

/// From a microsecond to seconds, three to a decade.
const BUCKETS: &[f64] = &[
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2,
    5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
];

const WINDOW_NS: i64 = 60_000_000_000;
const CUT_NS: i64 = 1;

/// How fast two clocks that are kept right can drift apart, and two that are not.
const SYNCHRONIZED_PPB: Ppb = 15_000;
const FREE_PPB: Ppb = 200_000;

#[cfg(test)]
mod tests {
    use stamp_proto::clock::WallTime;
    use stamp_proto::estimate::ErrorEstimate;
    use stamp_proto::sender::Moment;

    use super::*;

    #[test]
    fn only_the_first_reply_in_time_enters_the_statistics() {
        let local = LocalClock { synchronized: false, error_ns: None, leaping: false };
        let mut tally = Tally::new(None);
        for outcome in [Outcome::First, Outcome::Late, Outcome::Duplicate] {
            tally.record(&sample(outcome), local);
        }
        let ways = tally.ways.each_ref();
        assert_eq!(tally.roundtrip.exact.count(), 1);
        assert_eq!(tally.roundtrip_gross.exact.count(), 1);
        assert_eq!(tally.residence.exact.count(), 1);
        assert_eq!(ways.map(|way| way.raw.count()), [1, 1]);
        assert_eq!(tally.last.map(|last| last.outcome), Some(Outcome::First));
    }

    fn sample(outcome: Outcome) -> Sample {
        let at = |ns| Moment { wall: WallTime::from_ns(ns), mono: MonoTime::from_ns(ns), epoch: 0 };
        Sample {
            sequence: 0,
            reflector_sequence: 0,
            outcome,
            t1: at(1_000),
            stamped: true,
            t2: Some(WallTime::from_ns(2_000)),
            t3: Some(WallTime::from_ns(2_500)),
            t4: at(4_000),
            roundtrip_gross_ns: 3_000,
            residence_ns: Some(500),
            roundtrip_ns: Some(2_500),
            fault: None,
            error_estimate: ErrorEstimate::from_bits(1),
            ttl_forward: None,
            ttl_reverse: None,
            traffic_class: 0,
        }
    }
}
