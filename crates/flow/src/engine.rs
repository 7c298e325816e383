//! Tables, ledger and hooks together: the one writer of a kernel side.
//!
//! Everything here runs on one thread. Edges are hooked and let go between drains, so
//! no state is shared and no lock is held.

mod law;
mod moves;

use std::{collections::BTreeMap, sync::Arc};

use flow_bpf::{Drain, Program, Scope, SharedPages, SlotCell, Tables};
use flow_model::{
    edge::{EdgeId, EdgeRecord, EdgeSpec, Identity, Place, Text},
    flow::{Direction, Slot, Totals},
    ledger::{Drained, Ledger, Observer, Settings},
};
use law::start_of_bypass;

use crate::{
    audit::{Bracket, InterfaceCheck, Shortfall},
    degradation::Degradation,
    error::{Error, SiteError},
    fitting::fit,
    hook::{Hook, Lane, PREFERENCE, announce},
    pins::{PinDir, unpin},
    site::{EdgePlan, Site},
    time::now,
};

/// A hooked edge.
#[derive(Debug)]
pub(crate) struct Edge {
    /// What was asked for.
    pub(crate) plan: EdgePlan,
    /// Its place in the kernel's arrays.
    pub(crate) slot: Slot,
    /// Its hooks, by direction.
    pub(crate) hooks: [Hook; 2],
    /// Interface counters around the attach, by direction; absent when an earlier process
    /// attached.
    pub(crate) opened: [Option<Bracket>; 2],
    /// Where the next check of the interface law starts, by direction.
    pub(crate) checked: [Option<Checkpoint>; 2],
    /// What the last check of the interface law saw, by direction.
    pub(crate) checks: [Option<InterfaceCheck>; 2],
    /// Watches what goes around a receive hook on the host side.
    pub(crate) bypass: Option<Shortfall>,
}

/// A moment at which hook and device were read together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Checkpoint {
    /// The device, before and after the hook was read.
    pub(crate) bracket: Bracket,
    /// The hook.
    pub(crate) totals: Totals,
}

/// What a hook had seen when it was removed.
#[derive(Debug, Clone)]
pub(crate) struct Closed {
    /// What was asked for.
    pub(crate) plan: EdgePlan,
    /// Interface counters around attach and detach, by direction; absent where the
    /// device was gone before.
    pub(crate) counters: [Option<[Bracket; 2]>; 2],
}

/// The one writer.
#[derive(Debug)]
pub(crate) struct Engine {
    tables: Arc<Tables>,
    drain: Drain,
    ledger: Ledger<SharedPages>,
    lane: Lane,
    shared: Option<Arc<Program>>,
    pins: Option<PinDir>,
    edges: BTreeMap<EdgeId, Edge>,
}

impl Engine {
    /// Works on tables through a ledger made or opened on them.
    pub(crate) fn new(
        tables: Arc<Tables>,
        drain: Drain,
        ledger: Ledger<SharedPages>,
        lane: Lane,
    ) -> Self {
        Self { tables, drain, ledger, lane, shared: None, pins: None, edges: BTreeMap::new() }
    }

    /// Makes fresh tables and a ledger that nothing outlives.
    pub(crate) fn private(
        sizes: flow_bpf::Sizes,
        settings: Settings,
        lane: Lane,
    ) -> Result<Self, Error> {
        let (tables, sizes) = fit(sizes, Tables::create)?;
        let tables = Arc::new(tables);
        let drain = Drain::new(Arc::clone(&tables))?;
        let ledger = Ledger::create(
            tables.pages()?,
            sizes.geometry,
            settings,
            now(),
            flow_model::ledger::Legacy::None,
        )?;
        Ok(Self::new(tables, drain, ledger, lane))
    }

    /// Filters are announced by pins here before they are attached.
    pub(crate) fn announce_in(&mut self, pins: Option<&PinDir>) {
        self.pins = pins.cloned();
    }

    /// The maps.
    pub(crate) const fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The ledger.
    pub(crate) const fn ledger(&self) -> &Ledger<SharedPages> {
        &self.ledger
    }

    /// The ledger, to change its settings.
    pub(crate) const fn ledger_mut(&mut self) -> &mut Ledger<SharedPages> {
        &mut self.ledger
    }

    /// The reader of the tables.
    pub(crate) const fn reader(&self) -> &Drain {
        &self.drain
    }

    /// Hooked edges.
    pub(crate) const fn edges(&self) -> &BTreeMap<EdgeId, Edge> {
        &self.edges
    }

    /// Closes the open epoch.
    pub(crate) fn drain(&mut self, observer: &mut impl Observer) -> Result<Drained, Error> {
        Ok(self.ledger.drain(&mut self.drain, now(), observer)?)
    }

    /// Hooks an edge. It counts from the moment this returns.
    pub(crate) fn attach(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let (id, slot) = self.ledger.add_edge(&mut self.drain, &spec(&plan), now())?;
        match self.hook(&plan, id, slot) {
            Ok((hooks, opened)) => {
                for direction in Direction::ALL {
                    let record = hooks[direction as usize].record();
                    // The edge was added above and nobody else drops it.
                    let noted = self.ledger.set_hook(id, direction, record);
                    debug_assert!(noted.is_ok(), "the edge was just added");
                }
                let checked =
                    opened.map(|bracket| Some(Checkpoint { bracket, totals: Totals::default() }));
                let opened = opened.map(Some);
                let bypass = start_of_bypass(&plan);
                let edge = Edge { plan, slot, hooks, opened, checked, checks: [None; 2], bypass };
                self.edges.insert(id, edge);
                Ok(id)
            }
            Err(source) => {
                let dropped = self.ledger.drop_edge(id);
                debug_assert!(dropped.is_ok(), "the edge was just added");
                Err(Error::Edge { edge: plan.name, source })
            }
        }
    }

    /// Hooks an edge, on the host side alone if there is no way into its namespace.
    pub(crate) fn attach_or_degrade(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let fallback = plan.on_host_side(Degradation::HostEgress);
        match (self.attach(plan), fallback) {
            (Err(error), Some(fallback)) if error.is_way_in() => {
                tracing::debug!(%error, edge = fallback.name, "There is no way into a namespace");
                self.attach(fallback)
            }
            (result, _) => result,
        }
    }

    fn hook(
        &mut self,
        plan: &EdgePlan,
        id: EdgeId,
        slot: Slot,
    ) -> Result<([Hook; 2], [Bracket; 2]), SiteError> {
        let (tx, tx_opened) = self.hook_site(plan, Direction::Tx, id, slot)?;
        match self.hook_site(plan, Direction::Rx, id, slot) {
            Ok((rx, rx_opened)) => Ok(([tx, rx], [tx_opened, rx_opened])),
            Err(error) => {
                tx.detach()?;
                Err(error)
            }
        }
    }

    /// Attaches a program between two looks at its device.
    fn hook_site(
        &mut self,
        plan: &EdgePlan,
        direction: Direction,
        id: EdgeId,
        slot: Slot,
    ) -> Result<(Hook, Bracket), SiteError> {
        let site = plan.site(direction);
        let program = self.program(site, direction, slot)?;
        let program = program.fd(direction).ok_or(SiteError::NoCounters)?;
        let Self { ledger, pins, lane, .. } = self;
        let before = site.reading()?;
        let hook = Hook::attach_noted(site, direction, *lane, program, |record, program| {
            if let Some(pins) = pins {
                announce(program, &pins.link(id, direction))?;
            }
            let noted = ledger.set_hook(id, direction, record);
            debug_assert!(noted.is_ok(), "the edge was just added");
            Ok(())
        })?;
        Ok((hook, Bracket { before, after: site.reading()? }))
    }

    /// The program for a site: the shared one where the device can have a cell of its own,
    /// else an instance for this device alone.
    fn program(
        &mut self,
        site: &Site,
        direction: Direction,
        slot: Slot,
    ) -> Result<Arc<Program>, SiteError> {
        if self.assign_shared(site, slot)? {
            return self.shared_program();
        }
        let scope = Scope::Single { slot, link_layer: site.link_layer };
        Ok(Arc::new(Program::load(&self.tables, scope, &[direction])?))
    }

    /// Whether the shared programs can serve this site; if so the device has its slot.
    fn assign_shared(&self, site: &Site, slot: Slot) -> Result<bool, SiteError> {
        if site.place != Place::Host || !site.namespace.is_own() {
            return Ok(false);
        }
        let cell = SlotCell { ifindex: site.ifindex, slot, link_layer: site.link_layer };
        match self.tables.slot_holder(site.ifindex)? {
            Some(holder) if holder != site.ifindex => Ok(false),
            _ => {
                self.tables.assign_slot(cell)?;
                Ok(true)
            }
        }
    }

    fn shared_program(&mut self) -> Result<Arc<Program>, SiteError> {
        if let Some(program) = &self.shared {
            return Ok(Arc::clone(program));
        }
        let program = Arc::new(Program::load(&self.tables, Scope::Shared, &Direction::ALL)?);
        Ok(Arc::clone(self.shared.insert(program)))
    }

    /// Pins the links of an edge.
    pub(crate) fn pin(&self, id: EdgeId, pins: &PinDir) -> Result<(), Error> {
        let Some(edge) = self.edges.get(&id) else {
            return Ok(());
        };
        Direction::ALL.into_iter().try_for_each(|direction| pin_hook(edge, id, direction, pins))
    }

    /// Takes up an edge that an earlier process hooked, and puts this process's program
    /// in place of the old one without missing a packet. False when its device is gone.
    pub(crate) fn adopt(&mut self, plan: EdgePlan, record: &EdgeRecord, pins: &PinDir) -> bool {
        let hooks = Direction::ALL.map(|direction| self.adopt_hook(&plan, record, direction, pins));
        let [Ok(tx), Ok(rx)] = hooks else {
            return false;
        };
        let edge = Edge {
            bypass: start_of_bypass(&plan),
            plan,
            slot: record.slot,
            hooks: [tx, rx],
            opened: [None, None],
            checked: [None, None],
            checks: [None, None],
        };
        self.edges.insert(record.id, edge);
        true
    }

    fn adopt_hook(
        &mut self,
        plan: &EdgePlan,
        record: &EdgeRecord,
        direction: Direction,
        pins: &PinDir,
    ) -> Result<Hook, SiteError> {
        let site = plan.site(direction);
        let pin = pins.link(record.id, direction);
        let mut hook = Hook::adopt(site, record.hooks[direction as usize], &pin)?;
        let program = self.program(site, direction, record.slot)?;
        let program = program.fd(direction).ok_or(SiteError::NoCounters)?;
        hook.update(direction, program, &pin)?;
        Ok(hook)
    }

    /// Forgets an edge of the book that nobody can hook any more.
    pub(crate) fn abandon(&mut self, id: EdgeId) -> Result<(), Error> {
        self.tables.grace()?;
        // Dropping it a second time changes nothing.
        self.ledger.drop_edge(id).ok();
        Ok(())
    }

    /// Lets edges go: their hooks, then the pins, then after one grace period for all of
    /// them their slots.
    pub(crate) fn detach(
        &mut self,
        ids: &[EdgeId],
        pins: Option<&PinDir>,
    ) -> Vec<(EdgeId, Result<Closed, Error>)> {
        let mut results: Vec<_> =
            ids.iter().filter_map(|id| Some((*id, self.unhook(*id, pins)?))).collect();
        let graced = self.tables.grace();
        for (id, result) in &mut results {
            if let Ok(closed) = result {
                let freed = self.free(*id, closed);
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

    fn unhook(&mut self, id: EdgeId, pins: Option<&PinDir>) -> Option<Result<Closed, Error>> {
        let edge = self.edges.remove(&id)?;
        let closed = close(edge).map_err(|(edge, source)| Error::Edge { edge, source });
        // Not before: a filter without the pin of its program would not be known again.
        Some(closed.and_then(|closed| {
            if let Some(pins) = pins {
                for direction in Direction::ALL {
                    unpin(&pins.link(id, direction))?;
                }
            }
            Ok(closed)
        }))
    }

    fn free(&mut self, id: EdgeId, closed: &Closed) -> Result<(), Error> {
        for site in &closed.plan.sites {
            if site.place == Place::Host && site.namespace.is_own() {
                self.tables.release_slot(site.ifindex)?;
            }
        }
        let dropped = self.ledger.drop_edge(id);
        debug_assert!(dropped.is_ok(), "a hooked edge is in the book");
        Ok(())
    }

    /// Lets every edge go.
    pub(crate) fn detach_all(
        &mut self,
        pins: Option<&PinDir>,
    ) -> Result<Vec<(EdgeId, Closed)>, Error> {
        let ids: Vec<EdgeId> = self.edges.keys().copied().collect();
        let results = self.detach(&ids, pins).into_iter();
        results.map(|(id, closed)| Ok((id, closed?))).collect()
    }
}

impl Edge {
    /// Whether a device of it is gone for good.
    pub(crate) fn is_gone(&self) -> bool {
        let gone = |error: SiteError| matches!(error.reason(), "device_gone" | "no_netns");
        self.plan.sites.iter().any(|site| site.reading().is_err_and(gone))
    }

    /// Why it is not counted as it should be, if it is not.
    pub(crate) fn degradation(&self) -> Option<Degradation> {
        let behind = self.hooks.iter().any(|hook| hook.record().preference > PREFERENCE);
        self.plan.degraded.or_else(|| behind.then_some(Degradation::BehindForeignFilter))
    }
}

fn pin_hook(edge: &Edge, id: EdgeId, direction: Direction, pins: &PinDir) -> Result<(), Error> {
    edge.hooks[direction as usize]
        .pin(&pins.link(id, direction))
        .map_err(|source| Error::Edge { edge: edge.plan.name.clone(), source })
}

fn spec(plan: &EdgePlan) -> EdgeSpec {
    EdgeSpec {
        identity: Identity {
            // Longer names were refused where they were given.
            name: Text::new(&plan.name).unwrap_or(Text::EMPTY),
            ..Identity::EMPTY
        },
        named: true,
        netns_inode: plan.netns_inode,
        host_ifindex: plan.host_ifindex,
        pod_ifindex: plan.pod_ifindex,
    }
}

fn close(edge: Edge) -> Result<Closed, (String, SiteError)> {
    let mut counters = [None, None];
    let hooks = edge.hooks.into_iter().zip(edge.opened).zip(&mut counters);
    // Last first: the hook that made a qdisc finds it unused.
    for ((hook, opened), counters) in hooks.rev() {
        let site = hook.site().clone();
        let before = site.reading();
        match hook.detach() {
            Ok(()) => {}
            Err(error) if error.reason() == "device_gone" || error.reason() == "no_netns" => {}
            Err(error) => return Err((edge.plan.name, error)),
        }
        let after = site.reading();
        if let (Some(opened), Ok(before), Ok(after)) = (opened, before, after) {
            *counters = Some([opened, Bracket { before, after }]);
        }
    }
    Ok(Closed { plan: edge.plan, counters })
}

#[cfg(test)]
pub(crate) mod tests;
