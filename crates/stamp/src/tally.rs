//! What is kept of one target's samples.

use std::collections::BTreeMap;

use stamp_proto::clock::{MonoTime, looks_like_tai};
use stamp_proto::loss::{Direction, Outcome};
use stamp_proto::offset::{Estimator, Offset, Settings as Offsets};
use stamp_proto::sender::{Fault, LocalClock, OneWay, Sample};
use stamp_proto::statistics::{Bins, Distribution, Rolling, Variation};
use telemetry::metric::Histogram;

use crate::clock::{Own, Step};

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
    offset: Offsets,
    suspect: bool,
}

/// One direction.
#[derive(Debug)]
pub(crate) struct Way {
    pub(crate) raw: Distribution,
    /// The certain interval, of all time and of the last minute.
    pub(crate) lower: Windowed,
    pub(crate) upper: Windowed,
    pub(crate) pdv: Kept,
    pub(crate) ipdv_abs: Kept,
    /// Raw values that are trusted.
    pub(crate) trusted: Kept,
    pub(crate) unusable: BTreeMap<&'static str, u64>,
    variation: Variation,
}

/// A distribution of all time, and that of the last minute.
#[derive(Debug, Default)]
pub(crate) struct Windowed {
    pub(crate) all: Distribution,
    pub(crate) recent: Rolling,
}

impl Windowed {
    fn record(&mut self, now: MonoTime, ns: i64) {
        self.all.record(ns);
        self.recent.record(now, ns);
    }
}

/// A distribution for documents and the same in buckets for a scraper.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) exact: Distribution,
    pub(crate) buckets: Histogram,
}

impl Kept {
    fn new(buckets: &Histogram) -> Self {
        Self { exact: Distribution::default(), buckets: buckets.clone() }
    }

    fn record(&mut self, ns: i64) {
        self.exact.record(ns);
        self.buckets.observe(ns as f64 * 1e-9);
    }
}

impl Way {
    fn new(buckets: &Histogram) -> Self {
        Self {
            raw: Distribution::default(),
            lower: Windowed::default(),
            upper: Windowed::default(),
            pdv: Kept::new(buckets),
            ipdv_abs: Kept::new(buckets),
            trusted: Kept::new(buckets),
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
            self.lower.record(sample.t4.mono, shortest);
            self.upper.record(sample.t4.mono, longest);
        }
    }
}

impl Tally {
    /// Nothing yet, to be kept in these bins and buckets.
    pub(crate) fn new(bins: Option<Bins>, buckets: &Histogram, offset: Offsets) -> Self {
        let way = || Way::new(buckets);
        Self {
            roundtrip: Kept::new(buckets),
            roundtrip_gross: Kept::new(buckets),
            residence: Kept::new(buckets),
            ways: [way(), way()],
            bins,
            faults: BTreeMap::new(),
            last: None,
            estimator: Estimator::with(&offset),
            offset,
            suspect: false,
        }
    }

    /// Takes one sample, and gives what it says of both directions. A late one and a
    /// further copy change nothing: their requests are counted otherwise already.
    pub(crate) fn record(&mut self, sample: &Sample, own: Own) -> [OneWay; 2] {
        if sample.outcome != Outcome::First {
            return self.one_ways(sample, own.clock);
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
        self.compare(sample, own);
        let one_ways = self.one_ways(sample, own.clock);
        for (way, one_way) in self.ways.iter_mut().zip(&one_ways) {
            way.record(sample, one_way);
        }
        self.last = Some(*sample);
        one_ways
    }

    /// Forgets what it knows of the other clock: there may be another at that address.
    pub(crate) fn begin_again(&mut self) {
        self.estimator = Estimator::with(&self.offset);
        self.ways.iter_mut().for_each(|way| way.variation.reset());
        self.suspect = false;
    }

    /// Where the other clock stands.
    pub(crate) fn offset(&self, now: MonoTime) -> Option<Offset> {
        self.estimator.estimate(now).filter(|_| !self.suspect)
    }

    /// For how long an offset is told after the last sample.
    pub(crate) const fn expire_ns(&self) -> i64 {
        self.offset.expire_ns
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

    fn compare(&mut self, sample: &Sample, own: Own) {
        let (Some(near), Some(far)) = (sample.near_raw_ns(), sample.far_raw_ns()) else { return };
        let both = own.clock.synchronized && sample.error_estimate.synchronized();
        let rate = self.offset.rate(both, own.rate_change);
        // Each time in a packet is cut to its format, by less than a nanosecond.
        self.estimator.record(sample.t1.mono, far.saturating_neg() - CUT_NS, near + CUT_NS, rate);
        let estimate = self.estimator.estimate(sample.t4.mono);
        self.suspect = estimate.is_some_and(|offset| looks_like_tai(offset.offset_ns));
    }
}

const WINDOW_NS: i64 = 60_000_000_000;
const CUT_NS: i64 = 1;

#[cfg(test)]
mod tests {
    use stamp_proto::clock::WallTime;
    use stamp_proto::estimate::ErrorEstimate;
    use stamp_proto::sender::Moment;

    use super::*;

    #[test]
    fn only_the_first_reply_in_time_enters_the_statistics() {
        let clock = LocalClock { synchronized: false, error_ns: None, leaping: false };
        let own = Own { clock, rate_change: 0 };
        let buckets = Histogram::new(&[1.0]).unwrap();
        let mut tally = Tally::new(None, &buckets, Offsets::default());
        for outcome in [Outcome::First, Outcome::Late, Outcome::Duplicate] {
            tally.record(&sample(outcome), own);
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
