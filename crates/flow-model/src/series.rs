//! Which address pairs have a series of their own.
//!
//! A pair is exposed while it owns a record of the pair region. What a pair without
//! record carries goes to `other`; a sketch remembers which of those are heavy. In
//! each drain
//!
//! 1. pairs seen for the first time get the free records at once, heavy ones first;
//! 2. when none is free, at most 1 % of the records pass from the lightest pairs to
//!    candidates that carried over twice as much in the last five drains; an edge that
//!    owns a quarter of all records gets no more and exchanges among its own;
//! 3. pairs idle for too long give their record back.
//!
//! A promoted pair starts at zero (what it carried before stays in `other`) and the
//! amount of a pair that loses its record goes to `retired`. Both sides of each move
//! are after-images of one redo log, hence at every commit
//! Σ exposed + other + ignored + retired = everything drained.
//!
//! The index uses the standard library's keyed hasher: senders choose addresses, and
//! must not be able to choose collisions. It costs about 30 ns a flow.

mod choice;
mod key;
mod light;
mod sketch;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

pub(crate) use choice::{COUNTS, amount};
pub use key::PairKey;
pub(crate) use key::{CorruptPair, PAIRS_MAGIC, PairRecord, reserved};
use sketch::Sketch;

use crate::edge::EdgeId;
use crate::flow::{Counts, Direction, FlowEntry};
use crate::page::{Geometry, Pages, Region, load_words};
use crate::prefix::Prefixes;

/// Drains over which the weight of a pair is judged.
pub(crate) const WINDOW: usize = 5;

/// The exposed pairs, and what the epoch being drained adds to them.
#[derive(Debug)]
pub(crate) struct PairSeries {
    limit: usize,
    promotions: usize,
    index: HashMap<PairKey, u32>,
    cells: Vec<Cell>,
    free: BinaryHeap<Reverse<u32>>,
    owned: HashMap<EdgeId, usize>,
    sketch: Sketch,
    drains: u64,
    refused: u64,
    epoch: EpochPairs,
}

/// What is remembered of a record beside its words.
#[derive(Debug, Clone, Default)]
struct Cell {
    owner: Option<(PairKey, EdgeId)>,
    delta: Counts,
    recent: [u64; WINDOW],
    active_ns: u64,
}

/// Sums of the epoch being drained that belong to no record.
#[derive(Debug, Default)]
struct EpochPairs {
    newcomers: HashMap<PairKey, Newcomer>,
    ignored: Counts,
}

/// A pair without record, as one epoch saw it.
#[derive(Debug, Clone, Copy)]
struct Newcomer {
    counts: Counts,
    edge: EdgeId,
}

impl PairSeries {
    /// Reads the pair region. `now_ns` is monotonic: idle times start anew.
    pub(crate) fn load(
        pages: &impl Pages,
        geometry: &Geometry,
        now_ns: u64,
    ) -> Result<Self, CorruptPair> {
        if pages.load(Region::Pairs, 0) != PAIRS_MAGIC {
            return Err(CorruptPair::Magic);
        }
        let mut series = Self::empty(geometry);
        for cell in 0..series.limit {
            let words = load_words(pages, Region::Pairs, cell + Geometry::RESERVED_PAIRS, 0);
            match PairRecord::decode(cell, &words)? {
                None => series.free.push(Reverse(cell as u32)),
                Some(record) => series.adopt(cell, &record, now_ns)?,
            }
        }
        Ok(series)
    }

    /// All records free, as a region that was just wiped.
    pub(crate) fn fresh(geometry: &Geometry) -> Self {
        let mut series = Self::empty(geometry);
        series.free = (0..geometry.pair_series).map(Reverse).collect();
        series
    }

    fn empty(geometry: &Geometry) -> Self {
        let limit = geometry.pair_series as usize;
        Self {
            limit,
            promotions: geometry.promotions(),
            index: HashMap::with_capacity(limit),
            cells: vec![Cell::default(); limit],
            free: BinaryHeap::new(),
            owned: HashMap::new(),
            sketch: Sketch::new(4 * limit),
            drains: 0,
            refused: 0,
            epoch: EpochPairs::default(),
        }
    }

    fn adopt(&mut self, cell: usize, found: &PairRecord, now_ns: u64) -> Result<(), CorruptPair> {
        if self.index.contains_key(&found.key) {
            return Err(CorruptPair::Twice { record: cell });
        }
        self.seat(cell, found.key, found.owner, now_ns);
        Ok(())
    }

    /// Forgets what an unfinished reading of the epoch has added.
    pub(crate) fn begin_epoch(&mut self) {
        for cell in &mut self.cells {
            cell.delta = Counts::ZERO;
        }
        self.epoch.newcomers.clear();
        self.epoch.ignored = Counts::ZERO;
    }

    /// Adds one flow of the epoch. Only what pods send has series.
    pub(crate) fn absorb(&mut self, flow: &FlowEntry, edge: EdgeId, ignored: &Prefixes) {
        if flow.key.direction != Direction::Tx {
            return;
        }
        if ignored.contains(flow.key.dst) {
            self.epoch.ignored += flow.counts;
            return;
        }
        let key = PairKey::of(&flow.key);
        match self.index.get(&key) {
            Some(cell) => self.cells[*cell as usize].delta += flow.counts,
            None => self.epoch.add_newcomer(key, edge, flow.counts),
        }
    }

    /// Distinct pairs in the epoch being drained.
    pub(crate) fn distinct(&self) -> usize {
        let known = self.cells.iter().filter(|cell| !cell.delta.is_zero()).count();
        known + self.epoch.newcomers.len()
    }

    /// How often the amount of a pair and epoch went to `other`, since the start.
    pub(crate) const fn refused(&self) -> u64 {
        self.refused
    }

    /// The numbers of the records in use.
    pub(crate) fn records(&self) -> impl Iterator<Item = usize> {
        let used = self.cells.iter().enumerate().filter(|(_, cell)| cell.owner.is_some());
        used.map(|(cell, _)| cell + Geometry::RESERVED_PAIRS)
    }

    fn seat(&mut self, cell: usize, key: PairKey, owner: EdgeId, now_ns: u64) {
        self.index.insert(key, cell as u32);
        self.cells[cell] = Cell { owner: Some((key, owner)), active_ns: now_ns, ..Cell::default() };
        *self.owned.entry(owner).or_default() += 1;
    }

    /// Takes the record from its pair; the caller decides who gets it.
    fn unseat(&mut self, cell: usize) {
        let Some((key, owner)) = self.cells[cell].owner.take() else {
            return;
        };
        self.index.remove(&key);
        if let Some(owned) = self.owned.get_mut(&owner) {
            *owned -= 1;
            if *owned == 0 {
                self.owned.remove(&owner);
            }
        }
    }

    /// Whether an edge may have one more record: at most a quarter of all are its own.
    fn within_quota(&self, edge: EdgeId) -> bool {
        let owned = self.owned.get(&edge).copied().unwrap_or_default();
        owned < (self.limit / 4).max(1)
    }
}

impl EpochPairs {
    /// The owner is the oldest edge that carried the pair, whatever the order of reading.
    fn add_newcomer(&mut self, key: PairKey, edge: EdgeId, counts: Counts) {
        let newcomer = self.newcomers.entry(key).or_insert(Newcomer { counts: Counts::ZERO, edge });
        newcomer.counts += counts;
        newcomer.edge = newcomer.edge.min(edge);
    }
}

#[cfg(test)]
mod tests;
