//! How long and from where random tests run.

/// The seed of this run: `FATHOM_SEED`, else always the same.
pub(crate) fn seed() -> u64 {
    number("FATHOM_SEED").unwrap_or(0x5eed_f10e)
}

/// `FATHOM_CASES`, else what an ordinary run can afford.
pub(crate) fn cases(ordinary: u32) -> u32 {
    number("FATHOM_CASES").and_then(|n| n.try_into().ok()).unwrap_or(ordinary)
}

/// A number from the environment.
pub(crate) fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// A small generator: what a thread of a race needs, and reproducible.
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    /// A number below `bound`.
    pub(crate) const fn roll(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % bound
    }
}
