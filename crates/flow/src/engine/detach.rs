//! Edges that are let go.

use flow_model::{
    edge::{EdgeId, Place},
    flow::Direction,
};

use super::{Closed, Edge, Engine};
use crate::{
    audit::Bracket,
    error::{Error, SiteError},
    pins::{PinDir, unpin},
    plan::EdgePlan,
    site::Site,
};

impl Engine {
    /// Forgets an edge of the book that an earlier process hooked and nobody wants.
    pub(crate) fn abandon_recorded(&mut self, id: EdgeId) -> Result<(), Error> {
        self.tables.grace()?;
        // Dropping it a second time changes nothing.
        self.ledger.drop_edge(id).ok();
        Ok(())
    }

    /// Forgets an edge whose hooks are gone.
    pub(super) fn abandon(&mut self, id: EdgeId, plan: &EdgePlan) -> Result<(), Error> {
        let graced = self.tables.grace();
        self.free(id, plan)?;
        Ok(graced?)
    }

    /// Lets edges go: their hooks, then the pins, then after one grace period for all of
    /// them their slots.
    pub(crate) fn detach(&mut self, ids: &[EdgeId]) -> Vec<(EdgeId, Result<Closed, Error>)> {
        if ids.is_empty() {
            // Nothing to wait for.
            return Vec::new();
        }
        let mut results: Vec<_> =
            ids.iter().filter_map(|id| Some((*id, self.unhook(*id)?))).collect();
        let graced = self.tables.grace();
        for (id, result) in &mut results {
            if let Ok(closed) = result {
                let freed = self.free(*id, &closed.plan);
                if let Err(error) = freed {
                    *result = Err(error);
                }
            }
        }
        if let (Err(error), Some((_, result))) = (graced, results.first_mut()) {
            *result = Err(error.into());
        }
        results
    }

    fn unhook(&mut self, id: EdgeId) -> Option<Result<Closed, Error>> {
        let edge = self.edges.remove(&id)?;
        let closed = close(edge).map_err(|(edge, source)| Error::Edge { edge, source });
        // Not before: a filter without the pin of its program would not be known again.
        Some(closed.and_then(|closed| {
            if let Some(pins) = &self.pins {
                unpin_links(pins, id)?;
            }
            Ok(closed)
        }))
    }

    fn free(&mut self, id: EdgeId, plan: &EdgePlan) -> Result<(), Error> {
        let dropped = self.ledger.drop_edge(id);
        debug_assert!(dropped.is_ok(), "an edge is in the book until its slot is freed");
        plan.sites.iter().try_for_each(|site| self.release(site))
    }

    /// Gives the cell of a device back that the shared programs looked its slot up in.
    /// At least a grace period lies behind the end of its hook.
    pub(super) fn release(&self, site: &Site) -> Result<(), Error> {
        if site.place == Place::Host && site.namespace.is_own() {
            self.tables.release_slot(site.ifindex)?;
        }
        Ok(())
    }

    /// Lets every edge go.
    pub(crate) fn detach_all(&mut self) -> Result<Vec<(EdgeId, Closed)>, Error> {
        let ids: Vec<EdgeId> = self.edges.keys().copied().collect();
        let results = self.detach(&ids).into_iter();
        results.map(|(id, closed)| Ok((id, closed?))).collect()
    }
}

/// Removes the pins of an edge.
pub(super) fn unpin_links(pins: &PinDir, id: EdgeId) -> Result<(), Error> {
    Direction::ALL.into_iter().try_for_each(|direction| unpin(&pins.link(id, direction)))
}

fn close(edge: Edge) -> Result<Closed, (String, SiteError)> {
    let mut counters = [None, None];
    let mut last = [None, None];
    let [mut tx, rx] = edge.hooks;
    if rx.has_own_qdisc() && tx.site().is_beside(rx.site()) {
        tx.inherit_qdisc();
    }
    let hooks = [tx, rx].into_iter().zip(edge.opened).zip(&mut counters).zip(&mut last);
    let mut failed = None;
    // Last first, so that the hook that is left finds the qdisc unused.
    for (((hook, opened), counters), last) in hooks.rev() {
        let site = hook.site().clone();
        let before = site.reading();
        match hook.detach() {
            Ok(()) => {}
            Err(stuck) if matches!(stuck.source.reason(), "device_gone" | "no_netns") => {}
            Err(stuck) => {
                failed.get_or_insert(stuck.source);
            }
        }
        let after = site.reading();
        *last = after.as_ref().ok().copied();
        if let (Some(opened), Ok(before), Ok(after)) = (opened, before, after) {
            *counters = Some([opened, Bracket { before, after }]);
        }
    }
    match failed {
        Some(source) => Err((edge.plan.name, source)),
        None => Ok(Closed { plan: edge.plan, counters, last }),
    }
}
