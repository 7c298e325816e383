//! Which pairs without a record are heavy, in bounded memory.
//!
//! Space-saving (Metwally, Agrawal, El Abbadi 2005) over the sums of an epoch: when
//! the sketch is full, a pair not in it takes the place of the one with the lowest
//! rank and inherits that rank, so a steady pair gets in however many others pass by.
//! The inherited part says nothing about the pair, so promotion looks at the proven
//! part alone, which never exceeds what the pair has carried.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::{PairKey, WINDOW};
use crate::edge::EdgeId;

/// Bounded memory of pairs in `other`.
#[derive(Debug)]
pub(super) struct Sketch {
    capacity: usize,
    index: HashMap<PairKey, usize>,
    entries: Vec<Entry>,
    /// Order of eviction in this drain; built when first needed.
    ranks: Option<BinaryHeap<Reverse<(u64, usize)>>>,
    drain: u64,
}

#[derive(Debug)]
struct Entry {
    key: PairKey,
    edge: EdgeId,
    recent: [u64; WINDOW],
    inherited: u64,
    since: u64,
}

/// A pair that may deserve a record.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) key: PairKey,
    pub(super) edge: EdgeId,
    /// Bytes in the last five drains, each at its turn.
    pub(super) recent: [u64; WINDOW],
    /// Their sum.
    pub(super) bytes: u64,
}

impl Sketch {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity, index: HashMap::new(), entries: Vec::new(), ranks: None, drain: 0 }
    }

    /// Moves the window on and forgets pairs that left it.
    pub(super) fn begin_drain(&mut self) {
        let turn = self.turn();
        self.ranks = None;
        for entry in &mut self.entries {
            entry.recent[turn] = 0;
            if self.drain + 1 >= entry.since + WINDOW as u64 {
                entry.inherited = 0;
            }
        }
        let silent = |sketch: &Self, i: usize| sketch.entries[i].rank() == 0;
        for i in (0..self.entries.len()).rev() {
            if silent(self, i) {
                self.remove_at(i);
            }
        }
        self.drain += 1;
    }

    /// Adds what a pair carried in this epoch.
    pub(super) fn add(&mut self, key: PairKey, edge: EdgeId, bytes: u64) {
        let turn = self.last_turn();
        if let Some(&i) = self.index.get(&key) {
            let cell = &mut self.entries[i].recent[turn];
            *cell = cell.saturating_add(bytes);
            return;
        }
        let mut entry = Entry { key, edge, recent: [0; WINDOW], inherited: 0, since: self.drain };
        entry.recent[turn] = bytes;
        if self.entries.len() < self.capacity {
            self.index.insert(key, self.entries.len());
            self.entries.push(entry);
            self.ranks = None;
        } else if let Some((rank, i)) = self.pop_lowest() {
            entry.inherited = rank;
            self.index.remove(&self.entries[i].key);
            self.index.insert(key, i);
            self.entries[i] = entry;
            self.push_rank(i);
        }
    }

    /// Forgets a pair that got a record.
    pub(super) fn remove(&mut self, key: &PairKey) {
        if let Some(&i) = self.index.get(key) {
            self.remove_at(i);
        }
    }

    /// At most `most` candidates, heaviest first.
    pub(super) fn heaviest(&self, most: usize) -> Vec<Candidate> {
        let mut candidates: Vec<_> = self.entries.iter().map(Entry::candidate).collect();
        candidates.retain(|candidate| candidate.bytes > 0);
        let order = |candidate: &Candidate| (Reverse(candidate.bytes), candidate.key);
        if most < candidates.len() {
            candidates.select_nth_unstable_by_key(most, order);
            candidates.truncate(most);
        }
        candidates.sort_unstable_by_key(order);
        candidates
    }

    /// Ranks only grow within a drain, so one that is out of date goes back in line.
    fn pop_lowest(&mut self) -> Option<(u64, usize)> {
        let entries = &self.entries;
        let ranks = self.ranks.get_or_insert_with(|| {
            entries.iter().enumerate().map(|(i, entry)| Reverse((entry.rank(), i))).collect()
        });
        loop {
            let Reverse((rank, i)) = ranks.pop()?;
            let current = entries[i].rank();
            if current == rank {
                return Some((rank, i));
            }
            ranks.push(Reverse((current, i)));
        }
    }

    fn push_rank(&mut self, i: usize) {
        if let Some(ranks) = &mut self.ranks {
            ranks.push(Reverse((self.entries[i].rank(), i)));
        }
    }

    fn remove_at(&mut self, i: usize) {
        let removed = self.entries.swap_remove(i);
        self.index.remove(&removed.key);
        if let Some(moved) = self.entries.get(i) {
            self.index.insert(moved.key, i);
        }
        self.ranks = None;
    }

    const fn turn(&self) -> usize {
        (self.drain % WINDOW as u64) as usize
    }

    /// The turn that [`Sketch::begin_drain`] has opened.
    const fn last_turn(&self) -> usize {
        ((self.drain + WINDOW as u64 - 1) % WINDOW as u64) as usize
    }
}

impl Entry {
    fn proven(&self) -> u64 {
        self.recent.iter().fold(0, |sum, bytes| sum.saturating_add(*bytes))
    }

    fn rank(&self) -> u64 {
        self.proven().saturating_add(self.inherited)
    }

    fn candidate(&self) -> Candidate {
        Candidate { key: self.key, edge: self.edge, recent: self.recent, bytes: self.proven() }
    }
}

#[cfg(test)]
mod tests {
    use super::{Sketch, WINDOW};
    use crate::edge::EdgeId;
    use crate::flow::{Direction, FlowKey, Slot};
    use crate::series::PairKey;
    use proptest::prelude::{prop_assert, proptest};
    use std::collections::HashMap;
    use std::net::{IpAddr, Ipv4Addr};

    fn pair(n: u32) -> PairKey {
        let address = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
        PairKey::of(&FlowKey {
            slot: Slot(1),
            direction: Direction::Tx,
            src: address(0x0a00_0001),
            dst: address(n),
            src_port: 0,
            dst_port: 0,
            protocol: 6,
            fragment: false,
        })
    }

    #[test]
    fn a_pair_leaves_the_window_after_five_drains() {
        let mut sketch = Sketch::new(4);
        sketch.begin_drain();
        sketch.add(pair(1), EdgeId(1), 100);
        for _ in 1..WINDOW {
            sketch.begin_drain();
            assert_eq!(sketch.heaviest(1)[0].bytes, 100);
        }
        sketch.begin_drain();
        assert!(sketch.heaviest(1).is_empty() && sketch.entries.is_empty());
    }

    #[test]
    fn a_steady_pair_is_kept_while_a_thousand_others_pass_by() {
        let mut sketch = Sketch::new(8);
        for drain in 0..10 {
            sketch.begin_drain();
            for other in 0..100 {
                sketch.add(pair(1000 + drain * 100 + other), EdgeId(2), 10);
            }
            sketch.add(pair(1), EdgeId(1), 500);
        }
        let heaviest = sketch.heaviest(1)[0];
        assert_eq!((heaviest.key, heaviest.bytes), (pair(1), 2500));
    }

    proptest! {
        #[test]
        fn proven_bytes_never_exceed_what_was_carried_and_the_bound_holds(
            drains in proptest::collection::vec(
                proptest::collection::vec((0_u32..30, 1_u64..1000), 0..40), 1..12),
            capacity in 1_usize..12,
        ) {
            let mut sketch = Sketch::new(capacity);
            for (n, drain) in drains.iter().enumerate() {
                sketch.begin_drain();
                for (key, bytes) in drain {
                    sketch.add(pair(*key), EdgeId(1), *bytes);
                }
                let mut truth: HashMap<PairKey, u64> = HashMap::new();
                for (key, bytes) in drains[(n + 1).saturating_sub(WINDOW)..=n].iter().flatten() {
                    *truth.entry(pair(*key)).or_default() += bytes;
                }
                let found = sketch.heaviest(100);
                prop_assert!(found.len() <= capacity);
                prop_assert!(found.iter().all(|one| one.bytes <= truth[&one.key]));
                prop_assert!(sketch.index.iter().all(|(key, i)| sketch.entries[*i].key == *key));
            }
        }
    }
}
