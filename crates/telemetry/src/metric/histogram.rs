//! Distributions in fixed buckets.

use std::borrow::Cow;

/// Counts of observations in buckets, with their exact number and sum.
///
/// A bucket holds what is less than or equal to its bound and above the bound before it;
/// one more bucket without a bound holds the rest.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    bounds: Cow<'static, [f64]>,
    counts: Vec<u64>,
    sum: f64,
}

impl Histogram {
    /// An empty distribution; bounds must be finite and rise.
    pub fn new(bounds: impl Into<Cow<'static, [f64]>>) -> Result<Self, HistogramError> {
        let bounds = bounds.into();
        let counts = vec![0; bounds.len() + 1];
        Self::from_counts(bounds, counts, 0.0)
    }

    /// Takes over counts per bucket, the last of them for what is above every bound.
    pub fn from_counts(
        bounds: impl Into<Cow<'static, [f64]>>,
        counts: Vec<u64>,
        sum: f64,
    ) -> Result<Self, HistogramError> {
        let bounds = bounds.into();
        if counts.len() != bounds.len() + 1 {
            let (bounds, counts) = (bounds.len(), counts.len());
            return Err(HistogramError::Buckets { bounds, counts });
        }
        let rising = bounds.windows(2).all(|pair| pair[0] < pair[1]);
        if !rising || bounds.iter().any(|bound| !bound.is_finite()) {
            return Err(HistogramError::Bounds);
        }
        Ok(Self { bounds, counts, sum })
    }

    /// Adds one observation; NaN belongs to no bucket and is ignored.
    pub fn observe(&mut self, value: f64) {
        if value.is_nan() {
            return;
        }
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket] += 1;
        self.sum += value;
    }

    /// Upper bounds, without the last bucket's.
    pub fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// Observations per bucket, not cumulative.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of observations.
    pub const fn sum(&self) -> f64 {
        self.sum
    }
}

/// Why numbers do not make a histogram.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HistogramError {
    /// Bounds that are not finite or do not rise.
    #[error("bucket bounds are not finite and rising; sort them and leave out infinity")]
    Bounds,
    /// Counts that do not belong to the bounds.
    #[error("{bounds} bounds make {} buckets, not {counts}; give one count for each", bounds + 1)]
    Buckets {
        /// Bounds given.
        bounds: usize,
        /// Counts given.
        counts: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::{Histogram, HistogramError};

    #[test]
    fn a_value_on_the_bound_belongs_below_it() {
        let mut histogram = Histogram::new(&[1.0, 2.0][..]).unwrap();
        for value in [1.0, 1.5, 2.0, 2.1, f64::NAN] {
            histogram.observe(value);
        }
        assert_eq!(histogram.counts(), [1, 2, 1]);
        assert_eq!((histogram.count(), histogram.sum()), (4, 6.6));
    }

    #[test]
    fn bounds_must_rise_and_counts_must_match() {
        assert_eq!(Histogram::new(&[2.0, 1.0][..]), Err(HistogramError::Bounds));
        assert_eq!(Histogram::new(&[f64::INFINITY][..]), Err(HistogramError::Bounds));
        let short = Histogram::from_counts(&[1.0][..], vec![1], 1.0);
        assert_eq!(short, Err(HistogramError::Buckets { bounds: 1, counts: 1 }));
    }
}
