//! The decisions of one drain, recorded as after-images.

use std::cmp::Reverse;

use super::light::Light;
use super::sketch::Candidate;
use super::{Cell, Newcomer, PairKey, PairRecord, PairSeries, WINDOW, reserved};
use crate::edge::EdgeId;
use crate::flow::Counts;
use crate::ledger::Now;
use crate::page::{Geometry, PAIR_WORDS, Pages, Region, load_words, store_words};
use crate::redo::Log;

/// What a drain adds to the records that are not series.
#[derive(Debug, Default)]
struct Gains {
    other: Counts,
    retired: Counts,
}

impl PairSeries {
    /// Decides who has a record after this epoch and logs every change.
    ///
    /// Keys go straight into free records, where they mean nothing until the log that
    /// puts the record in use is applied.
    pub(crate) fn plan(&mut self, log: &mut Log, pages: &mut impl Pages, now: Now, idle_ns: u64) {
        let mut gains = Gains::default();
        self.weigh(log, pages, now);
        self.sketch.begin_drain();
        self.place_newcomers(log, pages, now, &mut gains);
        self.promote(log, pages, now, &mut gains);
        self.retire_idle(log, pages, now, idle_ns, &mut gains);
        record_gain(log, pages, reserved::OTHER, gains.other);
        record_gain(log, pages, reserved::IGNORED, self.epoch.ignored);
        record_gain(log, pages, reserved::RETIRED, gains.retired);
        self.drains += 1;
    }

    /// Adds the epoch to the known pairs and to their recent weight.
    fn weigh(&mut self, log: &mut Log, pages: &impl Pages, now: Now) {
        let turn = self.turn();
        for (i, cell) in self.cells.iter_mut().enumerate() {
            cell.recent[turn] = cell.delta.bytes;
            if cell.owner.is_some() && !cell.delta.is_zero() {
                cell.active_ns = now.monotonic_ns;
                record_gain(log, pages, i + Geometry::RESERVED_PAIRS, cell.delta);
            }
        }
    }

    /// Gives free records to pairs seen for the first time; the rest goes to `other`.
    fn place_newcomers(
        &mut self,
        log: &mut Log,
        pages: &mut impl Pages,
        now: Now,
        gains: &mut Gains,
    ) {
        let mut newcomers: Vec<_> = self.epoch.newcomers.drain().collect();
        if !self.free.is_empty() {
            newcomers.sort_unstable_by_key(|(key, new)| (Reverse(new.counts.bytes), *key));
        }
        for (key, newcomer) in newcomers {
            if !self.place(log, pages, now, key, newcomer) {
                gains.other += newcomer.counts;
                self.refused += 1;
                self.sketch.add(key, newcomer.edge, newcomer.counts.bytes);
            }
        }
    }

    fn place(
        &mut self,
        log: &mut Log,
        pages: &mut impl Pages,
        now: Now,
        key: PairKey,
        Newcomer { counts, edge }: Newcomer,
    ) -> bool {
        if !self.within_quota(edge) {
            return false;
        }
        let Some(Reverse(cell)) = self.free.pop() else {
            return false;
        };
        let cell = cell as usize;
        let record = cell + Geometry::RESERVED_PAIRS;
        store_words(pages, Region::Pairs, record, 0, &PairRecord::key_words(&key));
        let pair = PairRecord { key, owner: edge, created_ns: now.wall_ns, counts };
        log.record(Region::Pairs, record, PairRecord::KEY_WORDS, &pair.tail_words());
        self.seat(cell, key, edge, now.monotonic_ns);
        let turn = self.turn();
        self.cells[cell].recent[turn] = counts.bytes;
        self.cells[cell].delta = counts;
        self.sketch.remove(&key);
        true
    }

    /// Hands records of light pairs to heavy candidates. Waits until there is something
    /// to compare: after a start every pair looks light.
    fn promote(&mut self, log: &mut Log, pages: &impl Pages, now: Now, gains: &mut Gains) {
        if self.drains < WINDOW as u64 {
            return;
        }
        let candidates = self.sketch.heaviest(self.promotions);
        let Some(heaviest) = candidates.first() else {
            return;
        };
        let mut light = self.lighter_than(heaviest.bytes / 2);
        for candidate in &candidates {
            if let Some((weight, cell)) = self.victim(candidate, &mut light)
                && candidate.bytes > weight.saturating_mul(2)
            {
                self.replace(log, pages, now, cell, candidate, gains);
            }
        }
    }

    fn lighter_than(&self, bytes: u64) -> Light {
        let weights = self.cells.iter().enumerate().filter_map(|(i, cell)| {
            let (_, owner) = cell.owner?;
            let weight = cell.weight();
            (weight <= bytes).then_some((weight, i, owner))
        });
        Light::new(weights.collect())
    }

    /// Whose record a candidate may take: of its own edge when that has its share, else
    /// anyone's; nobody's while records are free, for it gets one when it is next seen.
    fn victim(&self, candidate: &Candidate, light: &mut Light) -> Option<(u64, usize)> {
        if !self.within_quota(candidate.edge) {
            light.pop_of(candidate.edge)
        } else if self.free.is_empty() {
            light.pop()
        } else {
            None
        }
    }

    /// One pair for another in one record. The record is in use, so that the new key is
    /// part of the log, too.
    fn replace(
        &mut self,
        log: &mut Log,
        pages: &impl Pages,
        now: Now,
        cell: usize,
        candidate: &Candidate,
        gains: &mut Gains,
    ) {
        gains.retired += self.amount(pages, cell);
        self.unseat(cell);
        let pair = new_pair(candidate.key, candidate.edge, now);
        let record = cell + Geometry::RESERVED_PAIRS;
        log.record(Region::Pairs, record, 0, &PairRecord::key_words(&pair.key));
        log.record(Region::Pairs, record, PairRecord::KEY_WORDS, &pair.tail_words());
        self.seat(cell, pair.key, pair.owner, now.monotonic_ns);
        // Its past counts for its weight, or it would be the lightest at once.
        self.cells[cell].recent = candidate.recent;
        self.sketch.remove(&pair.key);
    }

    fn retire_idle(
        &mut self,
        log: &mut Log,
        pages: &impl Pages,
        now: Now,
        idle_ns: u64,
        gains: &mut Gains,
    ) {
        for cell in 0..self.cells.len() {
            let silent = now.monotonic_ns.saturating_sub(self.cells[cell].active_ns);
            if self.cells[cell].owner.is_some() && silent >= idle_ns.max(1) {
                gains.retired += self.amount(pages, cell);
                self.unseat(cell);
                self.free.push(Reverse(cell as u32));
                let record = cell + Geometry::RESERVED_PAIRS;
                log.record(Region::Pairs, record, PairRecord::KEY_WORDS, &[0; 4]);
            }
        }
    }

    /// What a pair has carried, this epoch included.
    fn amount(&self, pages: &impl Pages, cell: usize) -> Counts {
        amount(pages, cell + Geometry::RESERVED_PAIRS) + self.cells[cell].delta
    }

    const fn turn(&self) -> usize {
        (self.drains % WINDOW as u64) as usize
    }
}

impl Cell {
    fn weight(&self) -> u64 {
        self.recent.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }
}

const fn new_pair(key: PairKey, owner: EdgeId, now: Now) -> PairRecord {
    PairRecord { key, owner, created_ns: now.wall_ns, counts: Counts::ZERO }
}

/// The committed amount of any record of the region.
pub(crate) fn amount(pages: &impl Pages, record: usize) -> Counts {
    let [packets, bytes] = load_words(pages, Region::Pairs, record, COUNTS);
    Counts { packets, bytes }
}

/// Logs that a record will hold more by `gain`.
fn record_gain(log: &mut Log, pages: &impl Pages, record: usize, gain: Counts) {
    if !gain.is_zero() {
        log.record(Region::Pairs, record, COUNTS, &(amount(pages, record) + gain).words());
    }
}

/// Where packets and bytes stand in a record.
pub(crate) const COUNTS: usize = PAIR_WORDS - 2;
