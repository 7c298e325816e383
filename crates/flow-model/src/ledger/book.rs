//! What the process remembers of the edge book and of the kernel's arrays.

use std::collections::HashMap;

use super::ById;
use crate::edge::{CorruptEdge, EdgeId, EdgeRecord, EdgeState, Exposure, Identity};
use crate::flow::{Counts, FlowEntry, Folded, Parity, Slot, Totals};
use crate::page::{Geometry, Pages, Region, control, control_word, load_words};

/// Who is in which slot. A mirror of the edge book: look-ups per flow don't touch pages.
#[derive(Debug)]
pub(super) struct Roster {
    seats: Vec<Seat>,
    by_id: ById,
}

/// One slot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Seat {
    pub(super) state: EdgeState,
    pub(super) id: EdgeId,
    pub(super) exposure: Exposure,
    pub(super) identity: Identity,
}

const EMPTY: Seat = Seat {
    state: EdgeState::Free,
    id: EdgeId(0),
    exposure: Exposure::Unnamed,
    identity: Identity::EMPTY,
};

impl Roster {
    pub(super) fn empty(geometry: &Geometry) -> Self {
        Self { seats: vec![EMPTY; geometry.slots()], by_id: HashMap::new() }
    }

    /// Reads the edge book; ids must be ours and unique.
    pub(super) fn load(pages: &impl Pages, geometry: &Geometry) -> Result<Self, CorruptEdge> {
        let mut roster = Self::empty(geometry);
        let next_id = control_word(pages, control::NEXT_EDGE_ID);
        for slot in roster.slots() {
            let words = load_words(pages, Region::EdgeBook, usize::from(slot.0), 0);
            let record = EdgeRecord::decode(slot, &words)?;
            let known = record.state == EdgeState::Free || u64::from(record.id.0) < next_id;
            if !known || roster.by_id.contains_key(&record.id) {
                return Err(CorruptEdge { slot: slot.0, field: "id" });
            }
            roster.seat(&record);
        }
        Ok(roster)
    }

    /// Slots that edges can have.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> + use<> {
        (1..self.seats.len()).map(|slot| Slot(slot as u16))
    }

    pub(super) fn seat(&mut self, record: &EdgeRecord) {
        self.free(record.slot);
        let EdgeRecord { state, id, exposure, identity, .. } = *record;
        if state != EdgeState::Free {
            self.by_id.insert(id, record.slot);
            self.seats[usize::from(record.slot.0)] = Seat { state, id, exposure, identity };
        }
    }

    pub(super) fn free(&mut self, slot: Slot) {
        let seat = std::mem::replace(&mut self.seats[usize::from(slot.0)], EMPTY);
        self.by_id.remove(&seat.id);
    }

    pub(super) fn set_state(&mut self, slot: Slot, state: EdgeState) {
        self.seats[usize::from(slot.0)].state = state;
    }

    pub(super) fn at(&self, slot: Slot) -> &Seat {
        self.seats.get(usize::from(slot.0)).unwrap_or(&EMPTY)
    }

    pub(super) fn slot(&self, id: EdgeId) -> Option<Slot> {
        self.by_id.get(&id).copied()
    }

    pub(super) fn lowest_free(&self) -> Option<Slot> {
        self.slots().find(|slot| self.at(*slot).state == EdgeState::Free)
    }

    /// The edge whose packets a slot counts.
    pub(super) fn counting(&self, slot: Slot) -> Option<EdgeId> {
        let seat = self.at(slot);
        seat.state.counts().then_some(seat.id)
    }

    pub(super) fn counting_slots(&self) -> impl Iterator<Item = Slot> {
        self.in_state(EdgeState::counts)
    }

    pub(super) fn in_state(
        &self,
        wanted: impl Fn(EdgeState) -> bool,
    ) -> impl Iterator<Item = Slot> {
        self.slots().filter(move |slot| wanted(self.at(*slot).state))
    }

    /// Edges that show the same pod in a series.
    pub(super) fn series_of(&self, identity: &Identity) -> impl Iterator<Item = Slot> {
        self.counting_slots().filter(move |slot| {
            let seat = self.at(*slot);
            seat.exposure == Exposure::Series && seat.identity.same_pod(identity)
        })
    }

    /// How many slots from the first must be read to see every edge.
    pub(super) fn span(&self) -> usize {
        let last = self.in_state(|state| state != EdgeState::Free).last();
        last.map_or(0, |slot| usize::from(slot.0) + 1)
    }
}

/// The kernel's arrays as last read, by parity and slot.
#[derive(Debug)]
pub(super) struct Arrays {
    pub(super) totals: [Vec<[Totals; 2]>; 2],
    pub(super) folded: [Vec<Folded>; 2],
}

impl Arrays {
    pub(super) fn empty(geometry: &Geometry) -> Self {
        let slots = geometry.slots();
        Self {
            totals: [vec![[Totals::default(); 2]; slots], vec![[Totals::default(); 2]; slots]],
            folded: [vec![Folded::default(); slots], vec![Folded::default(); slots]],
        }
    }

    pub(super) fn zero(&mut self, slot: Slot) {
        for parity in Parity::ALL {
            self.totals[parity as usize][usize::from(slot.0)] = [Totals::default(); 2];
            self.folded[parity as usize][usize::from(slot.0)] = Folded::default();
        }
    }

    /// Folded amounts of a slot over both parities.
    pub(super) fn folded(&self, slot: Slot) -> Folded {
        let mut sum = Folded::default();
        for parity in Parity::ALL {
            add_folded(&mut sum, &self.folded[parity as usize][usize::from(slot.0)]);
        }
        sum
    }

    /// Totals of a slot over both parities, by direction.
    pub(super) fn totals(&self, slot: Slot) -> [Totals; 2] {
        let mut sum = [Totals::default(); 2];
        for parity in Parity::ALL {
            let part = &self.totals[parity as usize][usize::from(slot.0)];
            for (sum, part) in sum.iter_mut().zip(part) {
                sum.wire += part.wire;
                sum.skb += part.skb;
            }
        }
        sum
    }
}

/// What the flows of the epoch being drained add up to.
#[derive(Debug)]
pub(super) struct Tally {
    /// By slot and direction.
    pub(super) edges: Vec<[Counts; 2]>,
    /// Flows of slots without an edge, by direction.
    pub(super) stray: [Counts; 2],
    pub(super) flows: u64,
    pub(super) stray_flows: u64,
}

impl Tally {
    pub(super) fn empty(geometry: &Geometry) -> Self {
        let edges = vec![[Counts::ZERO; 2]; geometry.slots()];
        Self { edges, stray: [Counts::ZERO; 2], flows: 0, stray_flows: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.edges.fill([Counts::ZERO; 2]);
        self.stray = [Counts::ZERO; 2];
        (self.flows, self.stray_flows) = (0, 0);
    }

    pub(super) fn add(&mut self, edge: Option<EdgeId>, flow: &FlowEntry) {
        let direction = flow.key.direction as usize;
        self.flows += 1;
        match edge {
            Some(_) => self.edges[usize::from(flow.key.slot.0)][direction] += flow.counts,
            None => {
                self.stray[direction] += flow.counts;
                self.stray_flows += 1;
            }
        }
    }

    /// All flows of a direction.
    pub(super) fn sum(&self, direction: usize) -> Counts {
        self.edges.iter().map(|edge| edge[direction]).sum::<Counts>() + self.stray[direction]
    }
}

pub(super) fn add_folded(sum: &mut Folded, part: &Folded) {
    for (sum, part) in sum.iter_mut().flatten().zip(part.iter().flatten()) {
        *sum += *part;
    }
}
