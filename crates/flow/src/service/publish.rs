//! Showing what a commit brought.

use std::{collections::HashSet, sync::Arc, time::Instant};

use flow_bpf::Event;
use flow_model::{audit::Law, edge::EdgeId, snapshot::Snapshot};
use net_sys::fdinfo;

use super::{Service, discovered::Discovered};
use crate::{
    dump::Dumper, engine::Edge, error::Error, families::Facts, published::View, tally::Fault,
    time::tick_clock,
};

impl Service {
    /// Replaces what scrapes and the API show.
    pub(super) fn publish(&mut self, snapshot: &Arc<Snapshot>) -> Result<(), Error> {
        self.report_laws(snapshot);
        let active = self.active();
        self.count_dumps();
        let settings = self.config.settings();
        let facts = Facts {
            snapshot,
            tally: &self.tally,
            active,
            untracked: self.watch.untracked(),
            fill: self.fill,
            limits: [settings.pair_series_max, settings.max_edges],
            events: self.events()?,
            memory: self.memory(),
            interface_drift: self.interface_drift,
            degraded: self.engine.edges().values().filter_map(Edge::degradation).collect(),
            refused: self.refusals().map(|(_, why)| why).collect(),
            info: &self.info,
        };
        self.handle.publish(facts.families());
        self.published.store(Some(Arc::new(View {
            snapshot: Arc::clone(snapshot),
            epoch: Arc::clone(&self.epoch),
            names: Arc::new(self.names.clone()),
            hooked: self.engine.edges().iter().map(|(id, edge)| (*id, edge.into())).collect(),
            clock: self.engine.tables().clock().ok().as_ref().map(tick_clock),
            mode: self.config.flow_key(),
            refused: self.refusals().map(|(name, why)| (name.to_owned(), why)).collect(),
            interface_drift: self.interface_drift,
        })));
        // Only now: the last flows of an edge that departed in this epoch show its name.
        let edges: HashSet<EdgeId> = snapshot.edges.iter().map(|edge| edge.record.id).collect();
        self.names.retain(|id, _| edges.contains(id));
        Ok(())
    }

    /// Edges that can't be had, and why.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&str, &'static str)> {
        let named = self.refused.iter().map(|(name, why)| (name.as_str(), *why));
        named.chain(self.discovered.iter().flat_map(Discovered::refusals))
    }

    /// Adds up what became of dumps, also of those before a reload.
    pub(super) fn count_dumps(&mut self) {
        let [written, failed] = self.dumper.as_ref().map_or([0; 2], Dumper::take_results);
        self.tally.dumps(written, failed);
    }

    fn report_laws(&self, snapshot: &Snapshot) {
        for law in Law::ALL {
            let drift = snapshot.laws.drift(law);
            if !drift.is_zero() {
                self.report_violation(law.as_str(), drift.packets, drift.bytes);
            }
        }
    }

    fn events(&self) -> Result<Vec<(Event, u64)>, Error> {
        let tables = self.engine.tables();
        Event::ALL.into_iter().map(|event| Ok((event, tables.events(event)?))).collect()
    }

    /// Memory by map; a map whose descriptor does not tell is left out.
    fn memory(&self) -> Vec<(&'static str, u64)> {
        let mut memory: Vec<(&'static str, u64)> = Vec::new();
        for (name, fd) in self.engine.tables().descriptors() {
            let Ok(Some(bytes)) = fdinfo::memlock(fd) else {
                continue;
            };
            match memory.iter_mut().find(|(known, _)| *known == name) {
                Some((_, sum)) => *sum += bytes,
                None => memory.push((name, bytes)),
            }
        }
        memory
    }

    /// Counts and tells a failure to hook an edge.
    pub(super) fn attach_failed(&mut self, name: &str, error: &Error) {
        let reason = error.attach_reason();
        self.tally.fault(Fault::Attach);
        self.tally.attach_failed(reason);
        if let Some(suppressed) = self.limit.admit("edge.refused", reason, Instant::now()) {
            tracing::warn!(event = "edge.refused", edge = name, reason, suppressed, %error, "An edge is not counted");
        }
    }
}
