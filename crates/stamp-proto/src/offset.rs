//! The offset between two clocks, as an interval that cannot be wrong.
//!
//! With θ the reflector's clock minus the sender's, every answered packet proves
//! T3 − T4 ≤ θ ≤ T2 − T1, because no delay is negative. Nothing is assumed of the
//! path's symmetry. The proofs of a window of time are brought to one moment by
//! letting each grow looser with its age, at the highest rate ρ by which the two clocks
//! can drift apart, and are cut with each other. What remains is half the sum of the
//! smallest delays wide, and holds as long as ρ does.

mod book;
mod rate;
mod skew;

use std::collections::VecDeque;

use crate::clock::MonoTime;

pub use book::{Between, OffsetBook};
pub use rate::OwnRate;

/// Parts in 10⁹ by which two clocks can drift apart.
pub type Ppb = u64;

/// How long samples count, and how fast clocks may drift apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Nanoseconds for which a sample counts while newer ones come.
    pub window_ns: i64,
    /// Nanoseconds after the last sample for which the offset is told at all.
    pub expire_ns: i64,
    /// Highest rate between two clocks that both follow UTC.
    pub max_skew: Ppb,
    /// Highest rate between any other two.
    pub max_skew_unsynced: Ppb,
}

impl Settings {
    /// The rate for a sample: `both_follow_utc` by what the two ends say, while the rate
    /// of our own clock has been changed by up to `own_change`.
    pub const fn rate(&self, both_follow_utc: bool, own_change: Ppb) -> Ppb {
        let skew = if both_follow_utc { self.max_skew } else { self.max_skew_unsynced };
        skew.saturating_add(own_change)
    }
}

impl Default for Settings {
    /// A minute, two minutes, 15 and 200 parts in 10⁶.
    fn default() -> Self {
        Self {
            window_ns: 60_000_000_000,
            expire_ns: 120_000_000_000,
            max_skew: 15_000,
            max_skew_unsynced: 200_000,
        }
    }
}

/// Where the other clock stands against ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offset {
    /// Middle of the interval: the other clock minus ours, in nanoseconds.
    pub offset_ns: i64,
    /// Half the width of the interval.
    pub bound_ns: u64,
    /// How fast the other clock gains on ours, in parts in 10⁹; absent below half a
    /// minute of samples. Tells, and is never used for the bound.
    pub skew_ppb: Option<i64>,
    /// When the last sample was taken.
    pub measured_at: MonoTime,
    /// Samples in the window.
    pub samples: u64,
}

impl Offset {
    /// The smallest and the largest offset that the samples allow.
    pub const fn interval(&self) -> (i64, i64) {
        let bound = if self.bound_ns > i64::MAX as u64 { i64::MAX } else { self.bound_ns as i64 };
        (self.offset_ns.saturating_sub(bound), self.offset_ns.saturating_add(bound))
    }
}

/// Finds the offset of one other clock from samples.
#[derive(Debug)]
pub struct Estimator {
    window_ns: i64,
    expire_ns: i64,
    bins: VecDeque<Bin>,
    steps: u64,
}

/// The tightest proofs of one second.
#[derive(Debug, Clone, Copy)]
struct Bin {
    began: MonoTime,
    last: MonoTime,
    lower: Proof,
    upper: Proof,
    rate: Ppb,
    samples: u64,
}

/// That the offset is not below, or not above, `limit_ns` at a time.
#[derive(Debug, Clone, Copy)]
struct Proof {
    limit_ns: i64,
    at: MonoTime,
}

impl Estimator {
    /// An estimator that remembers samples for `window_ns` nanoseconds, and the last ones
    /// for ever.
    pub const fn new(window_ns: i64) -> Self {
        Self { window_ns, expire_ns: i64::MAX, bins: VecDeque::new(), steps: 0 }
    }

    /// An estimator that remembers samples as long as these settings say.
    pub const fn with(settings: &Settings) -> Self {
        let Settings { window_ns, expire_ns, .. } = *settings;
        Self { window_ns, expire_ns, bins: VecDeque::new(), steps: 0 }
    }

    /// Takes the proof of one sample: T3 − T4 and T2 − T1, where `at` is T1. The other
    /// clock was read some time between T1 and T4, so that is how old both limits may be.
    ///
    /// `rate` bounds how fast the clocks drift apart around now. Returns false when the
    /// sample contradicts those before it: a clock has stepped or drifts faster, and the
    /// window begins again with this sample.
    pub fn record(&mut self, at: MonoTime, lower_ns: i64, upper_ns: i64, rate: Ppb) -> bool {
        let (lower, upper) = (Proof { limit_ns: lower_ns, at }, Proof { limit_ns: upper_ns, at });
        match self.bins.back_mut().filter(|bin| at.since(bin.began) < BIN_NS) {
            Some(bin) => bin.add(lower, upper, rate),
            None => {
                self.bins.push_back(Bin { began: at, last: at, lower, upper, rate, samples: 1 })
            }
        }
        while self.bins.front().is_some_and(|bin| at.since(bin.last) > self.window_ns) {
            self.bins.pop_front();
        }
        let consistent = self.interval(at).is_none_or(|(low, high)| low <= high);
        if !consistent {
            self.steps += 1;
            self.bins.clear();
            self.bins.push_back(Bin { began: at, last: at, lower, upper, rate, samples: 1 });
        }
        consistent
    }

    /// Where the other clock stands at `now`; absent before the first sample, and when the
    /// last one is too long ago.
    pub fn estimate(&self, now: MonoTime) -> Option<Offset> {
        let measured_at = self.bins.back()?.last;
        if now.since(measured_at) > self.expire_ns {
            return None;
        }
        let (low, high) = self.interval(now)?;
        let width = high.checked_sub(low)?.max(0) as u64;
        Some(Offset {
            offset_ns: low + (width / 2) as i64,
            bound_ns: width / 2 + 1,
            skew_ppb: skew::slope(self.bins.iter().map(|bin| (bin.lower, bin.upper))),
            measured_at,
            samples: self.bins.iter().map(|bin| bin.samples).sum(),
        })
    }

    /// Brings the window over a step of our own clock by `step_ns`, known to `error_ns`.
    ///
    /// The step happened after `known_good`; samples since then may be from either side
    /// of it and are left out.
    pub fn handle_local_step(&mut self, step_ns: i64, error_ns: u64, known_good: MonoTime) {
        self.bins.retain(|bin| bin.last <= known_good);
        let error_ns = i64::try_from(error_ns).unwrap_or(i64::MAX);
        for bin in &mut self.bins {
            bin.lower.limit_ns =
                bin.lower.limit_ns.saturating_sub(step_ns).saturating_sub(error_ns);
            bin.upper.limit_ns =
                bin.upper.limit_ns.saturating_sub(step_ns).saturating_add(error_ns);
        }
    }

    /// Forgets all samples: they say nothing of the clocks as they are now.
    pub fn reset(&mut self) {
        self.bins.clear();
    }

    /// Times that samples contradicted each other.
    pub const fn steps(&self) -> u64 {
        self.steps
    }

    /// The highest rate that any sample in the window was taken under.
    fn rate(&self) -> Ppb {
        self.bins.iter().map(|bin| bin.rate).max().unwrap_or(0)
    }

    fn interval(&self, now: MonoTime) -> Option<(i64, i64)> {
        let rate = self.rate();
        let low = self.bins.iter().map(|bin| bin.lower.below(now, rate)).max()?;
        let high = self.bins.iter().map(|bin| bin.upper.above(now, rate)).min()?;
        Some((low, high))
    }
}

impl Bin {
    fn add(&mut self, lower: Proof, upper: Proof, rate: Ppb) {
        self.rate = self.rate.max(rate);
        // Each proves less with every moment: what counts is what both prove at the later one.
        let at = self.lower.at.max(lower.at);
        if lower.below(at, self.rate) >= self.lower.below(at, self.rate) {
            self.lower = lower;
        }
        let at = self.upper.at.max(upper.at);
        if upper.above(at, self.rate) <= self.upper.above(at, self.rate) {
            self.upper = upper;
        }
        self.last = self.last.max(lower.at);
        self.samples += 1;
    }
}

impl Proof {
    /// What the offset is not below at `now`.
    fn below(&self, now: MonoTime, rate: Ppb) -> i64 {
        self.limit_ns.saturating_sub(self.drift(now, rate))
    }

    /// What the offset is not above at `now`.
    fn above(&self, now: MonoTime, rate: Ppb) -> i64 {
        self.limit_ns.saturating_add(self.drift(now, rate))
    }

    /// How far the clocks may have drifted apart between this proof and `now`.
    fn drift(&self, now: MonoTime, rate: Ppb) -> i64 {
        drift(now.since(self.at), rate)
    }
}

/// How far clocks drift apart in `age_ns` at `rate`, rounded up.
fn drift(age_ns: i64, rate: Ppb) -> i64 {
    let ns = (u128::from(age_ns.unsigned_abs()) * u128::from(rate)).div_ceil(1_000_000_000);
    i64::try_from(ns).unwrap_or(i64::MAX)
}

const BIN_NS: i64 = 1_000_000_000;

#[cfg(test)]
mod tests;
