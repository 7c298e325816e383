//! Devices that come and go: what passed them while they had no hook.

use flow_model::{
    edge::{EdgeId, EdgeRecord, Place},
    flow::{Counts, Direction, Totals},
};

use super::{Closed, Engine};
use crate::{
    account::Mark,
    error::Error,
    hook::Hook,
    site::{Reading, side_of},
};

impl Engine {
    /// Notes how far what passes the devices of an edge is counted, for whoever has to hook
    /// them anew.
    pub(super) fn mark(&mut self, id: EdgeId) {
        let (Some(edge), Some(record)) = (self.edges.get(&id), self.ledger.edge(id)) else {
            return;
        };
        let mut words = record.baseline;
        for at in Direction::ALL {
            let known = Mark::load(&words, at).map(|mark| mark.address);
            let address = known.or_else(|| edge.plan.site(at).address().ok());
            if let (Some(address), Some(checked)) = (address, edge.checked[at as usize]) {
                let (device, hook) = (checked.bracket.after, checked.totals.wire);
                Mark::new(address, device, hook).store(&mut words, at);
            }
        }
        self.note_baseline(id, words);
    }

    /// The same for an edge that has a hook on another device than before.
    pub(super) fn mark_anew(&mut self, id: EdgeId) {
        self.note_baseline(id, [0; 8]);
        self.mark(id);
    }

    fn note_baseline(&mut self, id: EdgeId, words: [u64; 8]) {
        let noted = self.ledger.set_baseline(id, words);
        debug_assert!(noted.is_ok(), "a hooked edge is in the book");
    }

    /// Edges that lost a hook because their device was made anew with its old index.
    pub(crate) fn replaced(&self) -> Vec<EdgeId> {
        let is_replaced =
            |id: &EdgeId| Direction::ALL.into_iter().any(|at| self.is_replaced(*id, at));
        self.edges.keys().copied().filter(is_replaced).collect()
    }

    /// Which of these edges have no hook in its place, though their devices are there.
    pub(crate) fn bare(&self, ids: impl Iterator<Item = EdgeId>) -> Vec<EdgeId> {
        let is_gone = |hook: &Hook| matches!(hook.is_in_place(), Ok(false));
        let is_bare =
            |id: &EdgeId| self.edges.get(id).is_some_and(|edge| edge.hooks.iter().all(is_gone));
        ids.filter(is_bare).collect()
    }

    fn is_replaced(&self, id: EdgeId, direction: Direction) -> bool {
        let Some(edge) = self.edges.get(&id) else { return false };
        if !matches!(edge.hooks[direction as usize].is_in_place(), Ok(false)) {
            return false;
        }
        let mark = self.ledger.edge(id).and_then(|record| Mark::load(&record.baseline, direction));
        let site = edge.plan.site(direction);
        let (Some(mark), Ok(address), Ok(now)) = (mark, site.address(), site.reading()) else {
            return false;
        };
        address != mark.address || now.packets < mark.seen
    }

    /// Lets edges go whose devices are gone or lead elsewhere, and remembers how far these were
    /// counted.
    pub(crate) fn part(&mut self, ids: &[EdgeId]) -> Vec<(EdgeId, Result<Closed, Error>)> {
        let parted = self.detach(ids);
        if let (false, Ok(totals)) = (ids.is_empty(), self.totals()) {
            for (id, closed) in &parted {
                if let (Ok(closed), Some(record)) = (closed, self.ledger.edge(*id)) {
                    self.remember(&record, closed.last, &totals);
                }
            }
        }
        parted
    }

    /// Remembers how far the devices of an edge were counted that an earlier process hooked.
    pub(crate) fn recall(&mut self, record: &EdgeRecord) {
        if let Ok(totals) = self.totals() {
            self.remember(record, [None; 2], &totals);
        }
    }

    fn remember(
        &mut self,
        record: &EdgeRecord,
        last: [Option<Reading>; 2],
        totals: &[[Totals; 2]],
    ) {
        let Some(counted) = totals.get(usize::from(record.slot.0)) else { return };
        for (at, last) in Direction::ALL.into_iter().zip(last) {
            let place = record.hooks[at as usize].place;
            let ifindex = match place {
                Place::Pod => record.pod_ifindex,
                _ => record.host_ifindex,
            };
            if let Some(mark) = Mark::load(&record.baseline, at) {
                let side = (ifindex, side_of(place, at));
                self.parted.keep(side, mark, counted[at as usize].wire, last);
            }
        }
    }

    /// What passed one side of an edge between its former hook and this one, if it had one.
    pub(crate) fn rejoin(&mut self, id: EdgeId, direction: Direction) -> Option<Counts> {
        let mark = Mark::load(&self.ledger.edge(id)?.baseline, direction)?;
        let edge = self.edges.get(&id)?;
        let (site, start) = (edge.plan.site(direction), edge.start[direction as usize]?);
        self.parted.rejoin((site.ifindex, site.hook), mark.address, start)
    }
}
