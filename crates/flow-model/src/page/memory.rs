//! Pages in ordinary memory, for readers of dumps, tests and fuzzing.

use super::{Geometry, Pages, Region};

/// Pages that live and die with the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    regions: [Vec<u64>; 4],
}

impl Memory {
    /// Zeroed pages of the right sizes.
    pub fn new(geometry: &Geometry) -> Self {
        Self { regions: Region::ALL.map(|region| vec![0; geometry.words(region)]) }
    }

    /// Mutable words of one region.
    pub fn words_mut(&mut self, region: Region) -> &mut [u64] {
        &mut self.regions[region as usize]
    }
}

impl Pages for Memory {
    fn load(&self, region: Region, word: usize) -> u64 {
        self.regions[region as usize][word]
    }

    fn store(&mut self, region: Region, word: usize, value: u64) {
        self.regions[region as usize][word] = value;
    }

    fn words(&self, region: Region) -> usize {
        self.regions[region as usize].len()
    }
}
