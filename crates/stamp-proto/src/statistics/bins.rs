//! A histogram of a fixed number of bins between two limits, as a file shows it.

/// How the limits between the inner bins are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Scale {
    /// Evenly.
    #[default]
    Linear,
    /// Evenly in the logarithm.
    Log10,
}

/// Counts of durations by bin: the first takes all up to the floor, the last all from
/// the ceiling on, and the others divide what is between.
#[derive(Debug, Clone)]
pub struct Bins {
    scale: Scale,
    floor_ns: f64,
    ceiling_ns: f64,
    counts: Vec<u64>,
}

impl Bins {
    /// `bins` empty bins between `floor_ns` and `ceiling_ns`.
    pub fn new(
        bins: usize,
        floor_ns: f64,
        ceiling_ns: f64,
        scale: Scale,
    ) -> Result<Self, BinsError> {
        if !(FEWEST..=MOST).contains(&bins) {
            return Err(BinsError::Number { bins });
        }
        if !(floor_ns.is_finite()
            && ceiling_ns.is_finite()
            && floor_ns >= 0.0
            && floor_ns < ceiling_ns)
        {
            return Err(BinsError::Limits);
        }
        if scale == Scale::Log10 && floor_ns <= 0.0 {
            return Err(BinsError::NoLogarithm);
        }
        Ok(Self { scale, floor_ns, ceiling_ns, counts: vec![0; bins] })
    }

    /// Counts one duration.
    pub fn record(&mut self, ns: i64) {
        let bin = self.bin(ns as f64);
        self.counts[bin] += 1;
    }

    /// Durations in each bin.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The limits between the bins, one fewer than there are bins, in nanoseconds.
    pub fn edges_ns(&self) -> Vec<f64> {
        let inner = self.counts.len() - 2;
        (0..=inner).map(|n| self.unscaled(n as f64 / inner as f64)).collect()
    }

    /// How the limits are spaced.
    pub const fn scale(&self) -> Scale {
        self.scale
    }

    /// The line of a histogram file: each count followed by a space, then a new line.
    pub fn line(&self) -> String {
        let mut line: String = self.counts.iter().map(|count| format!("{count} ")).collect();
        line.push('\n');
        line
    }

    fn bin(&self, ns: f64) -> usize {
        let inner = self.counts.len() - 2;
        if ns <= self.floor_ns {
            0
        } else if ns >= self.ceiling_ns {
            inner + 1
        } else {
            1 + ((self.scaled(ns) * inner as f64) as usize).min(inner - 1)
        }
    }

    /// Where `ns` is between floor (0) and ceiling (1).
    fn scaled(&self, ns: f64) -> f64 {
        match self.scale {
            Scale::Linear => (ns - self.floor_ns) / (self.ceiling_ns - self.floor_ns),
            Scale::Log10 => {
                (ns / self.floor_ns).log10() / (self.ceiling_ns / self.floor_ns).log10()
            }
        }
    }

    fn unscaled(&self, share: f64) -> f64 {
        match self.scale {
            Scale::Linear => self.floor_ns + share * (self.ceiling_ns - self.floor_ns),
            Scale::Log10 => self.floor_ns * (self.ceiling_ns / self.floor_ns).powf(share),
        }
    }
}

/// Bins that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BinsError {
    /// Too few to have one between the limits, or more than a file should have.
    #[error("a histogram of {bins} bins is not possible; choose {FEWEST} to {MOST}")]
    Number {
        /// Bins asked for.
        bins: usize,
    },
    /// The floor is not below the ceiling, or is negative.
    #[error("the floor of a histogram must be 0 or more and below its ceiling")]
    Limits,
    /// A logarithmic scale from 0.
    #[error(
        "a logarithmic histogram needs a floor above 0; raise the floor or use the linear scale"
    )]
    NoLogarithm,
}

const FEWEST: usize = 3;
const MOST: usize = 100_000;

#[cfg(test)]
mod tests {
    use super::{Bins, BinsError, Scale};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    const MS: f64 = 1e6;

    fn nine() -> Bins {
        Bins::new(9, 0.0, 10.0 * MS, Scale::Linear).unwrap()
    }

    #[test]
    fn seven_bins_share_ten_milliseconds_evenly() {
        let mut bins = nine();
        [0, 1, 1_428_571, 1_428_572, 9_999_999, 10_000_000, i64::MAX, -5]
            .into_iter()
            .for_each(|ns| bins.record(ns));
        assert_eq!(bins.counts(), [2, 2, 1, 0, 0, 0, 0, 1, 2]);
        assert_eq!(bins.line(), "2 2 1 0 0 0 0 1 2 \n");
    }

    #[test]
    fn more_bins_than_milliseconds_are_possible() {
        let mut bins = Bins::new(30, 10.0 * MS, 11.0 * MS, Scale::Linear).unwrap();
        bins.record(10_500_000);
        assert_eq!(bins.counts().iter().position(|&count| count == 1), Some(15));
    }

    #[test]
    fn a_logarithmic_scale_has_a_bin_per_factor() {
        let mut bins = Bins::new(5, 1.0 * MS, 1_000.0 * MS, Scale::Log10).unwrap();
        [2_000_000, 20_000_000, 200_000_000, 2_000_000_000]
            .into_iter()
            .for_each(|ns| bins.record(ns));
        assert_eq!(bins.counts(), [0, 1, 1, 1, 1]);
    }

    #[test]
    fn impossible_bins_are_told() {
        let new = |bins, floor, ceiling, scale| Bins::new(bins, floor, ceiling, scale).map(|_| ());
        assert_eq!(new(2, 0.0, 1.0, Scale::Linear), Err(BinsError::Number { bins: 2 }));
        assert_eq!(new(100_001, 0.0, 1.0, Scale::Linear), Err(BinsError::Number { bins: 100_001 }));
        for (floor, ceiling) in
            [(1.0, 1.0), (2.0, 1.0), (-1.0, 1.0), (f64::NAN, 1.0), (0.0, f64::INFINITY)]
        {
            assert_eq!(new(3, floor, ceiling, Scale::Linear), Err(BinsError::Limits));
        }
        assert_eq!(new(3, 0.0, 1.0, Scale::Log10), Err(BinsError::NoLogarithm));
    }

    proptest! {
        #[test]
        fn each_value_is_counted_once_between_its_edges(
            ns: i64, bins in 3_usize..60, floor in 0.001_f64..1e9, width in 1.0_f64..1e10, log: bool,
        ) {
            let scale = if log { Scale::Log10 } else { Scale::Linear };
            let mut bins = Bins::new(bins, floor, floor + width, scale).unwrap();
            bins.record(ns);
            prop_assert_eq!(bins.counts().iter().sum::<u64>(), 1);
            let bin = bins.counts().iter().position(|&count| count == 1).unwrap();
            let edges = bins.edges_ns();
            let near = |a: f64, b: f64| a <= b * (1.0 + 1e-9) + 1e-3;
            prop_assert!(bin == 0 || near(edges[bin - 1], ns as f64));
            prop_assert!(bin == edges.len() || near(ns as f64, edges[bin]) || ns < 0);
        }
    }
}
