//! Tables, ledger and hooks together: the one writer of a kernel side.
//!
//! Everything here runs on one thread. Edges are hooked and let go between drains, so
//! no state is shared and no lock is held.

mod attach;
mod detach;
mod law;
mod moves;
mod parted;

use std::{collections::BTreeMap, sync::Arc};

use flow_bpf::{Drain, Program, SharedPages, Tables};
use flow_model::{
    edge::EdgeId,
    flow::{Direction, Slot, Totals},
    ledger::{Drained, Ledger, Observer, Settings},
};

pub(crate) use moves::Moved;

use crate::{
    account::Parted,
    audit::{Bracket, InterfaceCheck, Shortfall},
    degradation::Degradation,
    error::{Error, SiteError},
    fitting::fit,
    hook::{Hook, Lane},
    pins::PinDir,
    plan::EdgePlan,
    site::{Reading, Site},
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
    /// What their devices had told when they began to count, by direction: the rest is theirs.
    pub(crate) start: [Option<Reading>; 2],
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
    /// Interface counters after the detach, by direction.
    pub(crate) last: [Option<Reading>; 2],
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
    parted: Parted,
}

impl Engine {
    /// Works on tables through a ledger made or opened on them.
    pub(crate) fn new(
        tables: Arc<Tables>,
        drain: Drain,
        ledger: Ledger<SharedPages>,
        lane: Lane,
    ) -> Self {
        let (edges, parted) = (BTreeMap::new(), Parted::default());
        Self { tables, drain, ledger, lane, shared: None, pins: None, edges, parted }
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

    /// Hooks outlive the process by pins here; filters have theirs before they are there.
    pub(crate) fn pinned_in(mut self, pins: &PinDir) -> Self {
        self.pins = Some(pins.clone());
        self
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

    /// How it attaches.
    pub(crate) const fn lane(&self) -> Lane {
        self.lane
    }

    /// Whether everything that is to outlive the process has its pin still.
    pub(crate) fn is_pinned(&self) -> bool {
        self.pins.as_ref().is_some_and(|pins| {
            let hooks =
                self.edges.keys().flat_map(|id| Direction::ALL.map(|at| pins.link(*id, at)));
            Tables::is_pinned(pins.path()) && hooks.into_iter().all(|pin| pin.exists())
        })
    }

    /// The reader of the tables.
    pub(crate) const fn reader(&self) -> &Drain {
        &self.drain
    }

    /// Hooked edges.
    pub(crate) const fn edges(&self) -> &BTreeMap<EdgeId, Edge> {
        &self.edges
    }

    /// Takes over what devices and ways to them are called now.
    pub(crate) fn know_again(&mut self, id: EdgeId, plan: &EdgePlan) {
        let Some(edge) = self.edges.get_mut(&id) else { return };
        for (site, hook) in edge.plan.sites.iter_mut().zip(&mut edge.hooks) {
            let same = |known: &&Site| known.is_beside(site) && known.hook == site.hook;
            if let Some(known) = plan.sites.iter().find(same) {
                *site = known.clone();
                hook.set_site(known.clone());
            }
        }
    }

    /// Asks what devices are called now.
    pub(crate) fn learn_names(&mut self) {
        for edge in self.edges.values_mut() {
            for (site, hook) in edge.plan.sites.iter_mut().zip(&mut edge.hooks) {
                if let Ok(name) = site.name_now() {
                    site.interface = name;
                    hook.set_site(site.clone());
                }
            }
        }
    }

    /// Closes the open epoch.
    pub(crate) fn drain(&mut self, observer: &mut impl Observer) -> Result<Drained, Error> {
        Ok(self.ledger.drain(&mut self.drain, now(), observer)?)
    }
}

/// What nobody can take up again does not outlive its process, whatever ends it: a filter
/// would stay by itself.
impl Drop for Engine {
    fn drop(&mut self) {
        if self.pins.is_none()
            && let Err(error) = self.detach_all()
        {
            tracing::warn!(event = "edge.left", %error, "A hook may be left");
        }
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
        let behind = self.hooks.iter().any(Hook::is_behind);
        self.plan.degraded.or_else(|| behind.then_some(Degradation::BehindForeignFilter))
    }
}

#[cfg(test)]
pub(crate) mod tests;
