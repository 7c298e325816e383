//! Flow rows of a measurement, added up over its epochs.

use std::{
    collections::{HashMap, hash_map::Entry},
    time::Duration,
};

use flow_model::{
    connections::TickClock,
    edge::EdgeId,
    flow::{Counts, Direction, FlowEntry, FlowKey, Slot},
};

use crate::time::at_tick;

/// One flow of the whole measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Row {
    /// Its amount.
    pub(crate) counts: Counts,
    /// First packet, CLOCK_MONOTONIC, one tick exact.
    pub(crate) first: Duration,
    /// Last packet.
    pub(crate) last: Duration,
    /// TCP packets with SYN.
    pub(crate) syn: u64,
    /// TCP packets with FIN.
    pub(crate) fin: u64,
    /// TCP packets with RST.
    pub(crate) rst: u64,
}

/// Rows, bounded.
#[derive(Debug)]
pub(crate) struct Rows {
    limit: usize,
    rows: HashMap<(EdgeId, FlowKey), Row>,
    /// Amounts beyond the limit, by edge and direction.
    beyond: HashMap<(EdgeId, Direction), Counts>,
}

/// The most rows that a document has.
pub(crate) const LIMIT: usize = 1_000_000;

impl Rows {
    /// No rows, and room for `limit`.
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, rows: HashMap::new(), beyond: HashMap::new() }
    }

    /// Adds the flows of a committed epoch, whose ticks are told by `clock`.
    pub(crate) fn add_epoch(&mut self, epoch: &[(EdgeId, FlowEntry)], clock: &TickClock) {
        for (edge, flow) in epoch {
            self.add(*edge, flow, clock);
        }
    }

    /// All rows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (EdgeId, &FlowKey, &Row)> {
        self.rows.iter().map(|((edge, key), row)| (*edge, key, row))
    }

    /// Amounts that found no row.
    pub(crate) fn beyond(&self) -> impl Iterator<Item = (EdgeId, Direction, Counts)> {
        self.beyond.iter().map(|((edge, direction), counts)| (*edge, *direction, *counts))
    }

    fn add(&mut self, edge: EdgeId, flow: &FlowEntry, clock: &TickClock) {
        let full = self.rows.len() >= self.limit;
        // The slot is the edge's for now only.
        let key = FlowKey { slot: Slot(0), ..flow.key };
        match self.rows.entry((edge, key)) {
            Entry::Occupied(mut row) => row.get_mut().add(flow, clock),
            Entry::Vacant(_) if full => {
                *self.beyond.entry((edge, flow.key.direction)).or_default() += flow.counts;
            }
            Entry::Vacant(place) => {
                place.insert(Row::new(flow, clock));
            }
        }
    }
}

impl Row {
    /// The row of a flow seen in one epoch.
    pub(crate) fn new(flow: &FlowEntry, clock: &TickClock) -> Self {
        Self {
            counts: flow.counts,
            first: at_tick(clock, flow.first),
            last: at_tick(clock, flow.last),
            syn: flow.syn.into(),
            fin: flow.fin.into(),
            rst: flow.rst.into(),
        }
    }

    fn add(&mut self, flow: &FlowEntry, clock: &TickClock) {
        self.merge(&Self::new(flow, clock));
    }

    /// Adds what the same flow carried elsewhere or at another time.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.counts += other.counts;
        self.first = self.first.min(other.first);
        self.last = self.last.max(other.last);
        self.syn += other.syn;
        self.fin += other.fin;
        self.rst += other.rst;
    }
}

#[cfg(test)]
mod tests;
