//! Distributions of signed durations, and how they vary.
//!
//! Counts, sums and extremes are exact; quantiles are within 0.8 % of the value, over
//! the whole range from a nanosecond to centuries. A duration that came out negative
//! is kept negative.

mod bins;
mod rolling;
mod series;
mod variation;

pub use bins::{Bins, BinsError, Scale};
pub use rolling::Rolling;
pub use series::{Second, Series, Spread};
pub use variation::{Jitter, Variation, Varied};

use std::collections::BTreeMap;

/// A distribution of durations in nanoseconds.
///
/// Buckets are spaced evenly within each octave, 64 to one, and an octave takes memory
/// when the first value falls into it.
#[derive(Debug, Clone, Default)]
pub struct Distribution {
    octaves: BTreeMap<i8, Box<[u64; PER_OCTAVE]>>,
    count: u64,
    sum: i128,
    squares: f64,
    min: i64,
    max: i64,
    last: i64,
}

/// What a distribution says, in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// Values recorded.
    pub count: u64,
    /// Smallest value.
    pub min: i64,
    /// Arithmetic mean.
    pub mean: i64,
    /// Standard deviation over all values.
    pub stddev: u64,
    /// The value that is not exceeded by half of all.
    pub p50: i64,
    /// The value that is not exceeded by 90 % of all.
    pub p90: i64,
    /// The value that is not exceeded by 95 % of all.
    pub p95: i64,
    /// The value that is not exceeded by 99 % of all.
    pub p99: i64,
    /// The value that is not exceeded by 99.9 % of all.
    pub p999: i64,
    /// Largest value.
    pub max: i64,
    /// The value recorded last.
    pub last: i64,
}

impl Distribution {
    /// Adds one value.
    pub fn record(&mut self, ns: i64) {
        let (octave, bucket) = place(ns);
        self.octaves.entry(octave).or_insert_with(|| Box::new([0; PER_OCTAVE]))[bucket] += 1;
        self.min = if self.count == 0 { ns } else { self.min.min(ns) };
        self.max = if self.count == 0 { ns } else { self.max.max(ns) };
        self.last = ns;
        self.count += 1;
        self.sum += i128::from(ns);
        self.squares += ns as f64 * ns as f64;
    }

    /// Adds all values of `later`, which were recorded after those of this one.
    pub fn merge(&mut self, later: &Self) {
        if later.count == 0 {
            return;
        }
        for (octave, buckets) in &later.octaves {
            let own = self.octaves.entry(*octave).or_insert_with(|| Box::new([0; PER_OCTAVE]));
            own.iter_mut().zip(buckets.iter()).for_each(|(own, other)| *own += other);
        }
        self.min = if self.count == 0 { later.min } else { self.min.min(later.min) };
        self.max = if self.count == 0 { later.max } else { self.max.max(later.max) };
        self.last = later.last;
        self.count += later.count;
        self.sum += later.sum;
        self.squares += later.squares;
    }

    /// Values recorded.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// The sum of all values.
    pub const fn sum(&self) -> i128 {
        self.sum
    }

    /// Smallest value; absent when there is none.
    pub const fn min(&self) -> Option<i64> {
        if self.count == 0 { None } else { Some(self.min) }
    }

    /// The value that a share `q` of all values does not exceed; absent when there is none.
    pub fn quantile(&self, q: f64) -> Option<i64> {
        let rank = ((q * self.count as f64).ceil() as u64).clamp(1, self.count.max(1));
        let mut seen = 0;
        for (&octave, buckets) in &self.octaves {
            for bucket in in_order(octave) {
                seen += buckets[bucket];
                if seen >= rank {
                    return Some(middle(octave, bucket).clamp(self.min, self.max));
                }
            }
        }
        None
    }

    /// Everything at once; absent when there is no value.
    pub fn summary(&self) -> Option<Summary> {
        let mean = self.sum.checked_div(i128::from(self.count))? as i64;
        let exact_mean = self.sum as f64 / self.count as f64;
        let variance = (self.squares / self.count as f64 - exact_mean * exact_mean).max(0.0);
        Some(Summary {
            count: self.count,
            min: self.min,
            mean,
            stddev: variance.sqrt().round() as u64,
            p50: self.quantile(0.5)?,
            p90: self.quantile(0.9)?,
            p95: self.quantile(0.95)?,
            p99: self.quantile(0.99)?,
            p999: self.quantile(0.999)?,
            max: self.max,
            last: self.last,
        })
    }
}

/// Octave and bucket of a value. Octave 0 has a bucket for each value below 64; those
/// of negative values are counted down from −1.
const fn place(ns: i64) -> (i8, usize) {
    let size = ns.unsigned_abs();
    let octave = if size < PER_OCTAVE as u64 { 0 } else { size.ilog2() as i8 - 5 };
    let shift = if octave == 0 { 0 } else { octave - 1 };
    (if ns < 0 { -1 - octave } else { octave }, (size >> shift) as usize % PER_OCTAVE)
}

/// The middle of a bucket: what is told for every value in it.
const fn middle(octave: i8, bucket: usize) -> i64 {
    let size = if octave < 0 { -1 - octave } else { octave };
    let middle = if size == 0 {
        bucket as u64
    } else {
        let width = 1_u64 << (size - 1);
        (PER_OCTAVE as u64 + bucket as u64) * width + width / 2
    };
    let middle = if middle > i64::MAX as u64 { i64::MAX } else { middle as i64 };
    if octave < 0 { -middle } else { middle }
}

/// Buckets of an octave from the smallest value to the largest.
fn in_order(octave: i8) -> impl Iterator<Item = usize> {
    (0..PER_OCTAVE).map(move |n| if octave < 0 { PER_OCTAVE - 1 - n } else { n })
}

const PER_OCTAVE: usize = 64;

#[cfg(test)]
mod tests {
    use super::{Distribution, middle, place};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn small_values_have_a_bucket_each() {
        for ns in -127..128 {
            let (octave, bucket) = place(ns);
            assert_eq!(middle(octave, bucket), ns);
        }
    }

    #[test]
    fn an_empty_distribution_says_nothing() {
        let empty = Distribution::default();
        assert_eq!((empty.summary(), empty.quantile(0.5), empty.min()), (None, None, None));
    }

    #[test]
    fn quantiles_of_a_known_set_are_its_ranks() {
        let mut all = Distribution::default();
        (1..=60).rev().for_each(|ns| all.record(ns));
        let summary = all.summary().unwrap();
        assert_eq!((summary.min, summary.p50, summary.p90, summary.max), (1, 30, 54, 60));
        assert_eq!((summary.mean, summary.stddev, summary.last, summary.count), (30, 17, 1, 60));
    }

    #[test]
    fn negative_values_are_ordered_before_the_others() {
        let mut all = Distribution::default();
        [-500, -3, 4, 600].into_iter().for_each(|ns| all.record(ns));
        let summary = all.summary().unwrap();
        assert_eq!((summary.min, summary.p50, summary.max), (-500, -3, 600));
        assert!((all.quantile(0.25).unwrap() + 500).abs() <= 4);
    }

    proptest! {
        #[test]
        fn a_bucket_is_within_eight_thousandths_of_its_values(ns: i64) {
            let (octave, bucket) = place(ns);
            let error = (middle(octave, bucket) as f64 - ns as f64).abs();
            prop_assert!(error <= ns.unsigned_abs() as f64 / 128.0 + 1.0, "{} is {} off", ns, error);
        }

        #[test]
        fn merging_equals_recording(first: Vec<i32>, second: Vec<i32>) {
            let record = |values: &[i32]| {
                let mut all = Distribution::default();
                values.iter().for_each(|&ns| all.record(ns.into()));
                all
            };
            let mut merged = record(&first);
            merged.merge(&record(&second));
            let (merged, whole) = (merged.summary(), record(&[first, second].concat()).summary());
            prop_assert_eq!(merged.map(|s| (s.count, s.min, s.mean, s.p50, s.p99, s.max, s.last)),
                            whole.map(|s| (s.count, s.min, s.mean, s.p50, s.p99, s.max, s.last)));
        }

        #[test]
        fn quantiles_are_those_of_the_sorted_values(mut values: Vec<i32>, q in 0.0_f64..1.0) {
            let mut all = Distribution::default();
            values.iter().for_each(|&ns| all.record(ns.into()));
            values.sort();
            let rank = f64::max((q * values.len() as f64).ceil(), 1.0) as usize - 1;
            let Some(&expected) = values.get(rank) else { return Ok(()) };
            let told = all.quantile(q).unwrap();
            let error = (told as f64 - f64::from(expected)).abs();
            prop_assert!(error <= f64::from(expected.unsigned_abs()) / 128.0 + 1.0);
        }
    }
}
