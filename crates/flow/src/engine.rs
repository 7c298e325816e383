//! Tables, ledger and hooks together: the one writer of a kernel side.
//!
//! Everything here runs on one thread. Edges are hooked and let go between drains, so
//! no state is shared and no lock is held.

use std::{collections::BTreeMap, sync::Arc};

use flow_bpf::{Drain, Program, Scope, SharedPages, SlotCell, Tables};
use flow_model::{
    edge::{EdgeId, EdgeSpec, Identity, Place, Text},
    flow::{Direction, Slot},
    ledger::{Drained, Ledger, Observer, Settings},
};

use crate::{
    audit::Bracket,
    error::{Error, SiteError},
    hook::{Hook, Lane},
    site::{EdgePlan, Site},
    time::now,
};

/// A hooked edge.
#[derive(Debug)]
pub struct Edge {
    /// What was asked for.
    pub plan: EdgePlan,
    /// Its place in the kernel's arrays.
    pub slot: Slot,
    /// Its hooks, by direction.
    pub hooks: [Hook; 2],
    /// Interface counters around the attach, by direction.
    pub opened: [Bracket; 2],
}

/// What a hook had seen when it was removed.
#[derive(Debug, Clone)]
pub struct Closed {
    /// What was asked for.
    pub plan: EdgePlan,
    /// Interface counters around attach and detach, by direction; absent where the
    /// device was gone before.
    pub counters: [Option<[Bracket; 2]>; 2],
}

/// The one writer.
#[derive(Debug)]
pub struct Engine {
    tables: Arc<Tables>,
    drain: Drain,
    ledger: Ledger<SharedPages>,
    lane: Lane,
    shared: Option<Program>,
    edges: BTreeMap<EdgeId, Edge>,
}

impl Engine {
    /// Works on tables through a ledger made or opened on them.
    pub fn new(tables: Arc<Tables>, drain: Drain, ledger: Ledger<SharedPages>, lane: Lane) -> Self {
        Self { tables, drain, ledger, lane, shared: None, edges: BTreeMap::new() }
    }

    /// Makes fresh tables and a ledger that nothing outlives.
    pub fn private(sizes: flow_bpf::Sizes, settings: Settings, lane: Lane) -> Result<Self, Error> {
        let tables = Arc::new(Tables::create(sizes)?);
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

    /// The maps.
    pub const fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// How programs are attached.
    pub const fn lane(&self) -> Lane {
        self.lane
    }

    /// The ledger.
    pub const fn ledger(&self) -> &Ledger<SharedPages> {
        &self.ledger
    }

    /// The ledger, to change its settings.
    pub const fn ledger_mut(&mut self) -> &mut Ledger<SharedPages> {
        &mut self.ledger
    }

    /// The reader of the tables.
    pub const fn reader(&self) -> &Drain {
        &self.drain
    }

    /// Hooked edges.
    pub const fn edges(&self) -> &BTreeMap<EdgeId, Edge> {
        &self.edges
    }

    /// Closes the open epoch.
    pub fn drain(&mut self, observer: &mut impl Observer) -> Result<Drained, Error> {
        Ok(self.ledger.drain(&mut self.drain, now(), observer)?)
    }

    /// Hooks an edge. It counts from the moment this returns.
    pub fn attach(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let (id, slot) = self.ledger.add_edge(&mut self.drain, &spec(&plan), now())?;
        match self.hook(&plan, slot) {
            Ok((hooks, opened)) => {
                for direction in Direction::ALL {
                    let record = hooks[direction as usize].record();
                    // The edge was added above and nobody else drops it.
                    let noted = self.ledger.set_hook(id, direction, record);
                    debug_assert!(noted.is_ok(), "the edge was just added");
                }
                self.edges.insert(id, Edge { plan, slot, hooks, opened });
                Ok(id)
            }
            Err(source) => {
                let dropped = self.ledger.drop_edge(id);
                debug_assert!(dropped.is_ok(), "the edge was just added");
                Err(Error::Edge { edge: plan.name, source })
            }
        }
    }

    fn hook(
        &mut self,
        plan: &EdgePlan,
        slot: Slot,
    ) -> Result<([Hook; 2], [Bracket; 2]), SiteError> {
        let (tx, tx_opened) = self.hook_site(plan.site(Direction::Tx), Direction::Tx, slot)?;
        match self.hook_site(plan.site(Direction::Rx), Direction::Rx, slot) {
            Ok((rx, rx_opened)) => Ok(([tx, rx], [tx_opened, rx_opened])),
            Err(error) => {
                tx.detach()?;
                Err(error)
            }
        }
    }

    fn hook_site(
        &mut self,
        site: &Site,
        direction: Direction,
        slot: Slot,
    ) -> Result<(Hook, Bracket), SiteError> {
        let lane = self.lane;
        let single;
        let program = if self.assign_shared(site, slot)? {
            self.shared_program()?
        } else {
            let scope = Scope::Single { slot, link_layer: site.link_layer };
            single = Program::load(&self.tables, scope, &[direction])?;
            &single
        };
        let program = program.fd(direction).ok_or(SiteError::NoCounters)?;
        let before = site.reading()?;
        let hook = Hook::attach(site, direction, lane, program)?;
        let after = site.reading()?;
        Ok((hook, Bracket { before, after }))
    }

    /// Whether the shared programs can serve this site; if so the device has its slot.
    fn assign_shared(&self, site: &Site, slot: Slot) -> Result<bool, SiteError> {
        if site.place != Place::Host || site.namespace.path.is_some() {
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

    fn shared_program(&mut self) -> Result<&Program, SiteError> {
        if self.shared.is_none() {
            let program = Program::load(&self.tables, Scope::Shared, &Direction::ALL)?;
            self.shared = Some(program);
        }
        self.shared.as_ref().ok_or(SiteError::NoCounters)
    }

    /// Lets an edge go: hooks first, then a grace period, then its slot.
    pub fn detach(&mut self, id: EdgeId) -> Result<Option<Closed>, Error> {
        let Some(edge) = self.edges.remove(&id) else { return Ok(None) };
        let closed = close(edge).map_err(|(edge, source)| Error::Edge { edge, source })?;
        self.tables.grace()?;
        for site in &closed.plan.sites {
            if site.place == Place::Host && site.namespace.path.is_none() {
                self.tables.release_slot(site.ifindex)?;
            }
        }
        let dropped = self.ledger.drop_edge(id);
        debug_assert!(dropped.is_ok(), "a hooked edge is in the book");
        Ok(Some(closed))
    }

    /// Lets every edge go.
    pub fn detach_all(&mut self) -> Result<Vec<(EdgeId, Closed)>, Error> {
        let ids: Vec<EdgeId> = self.edges.keys().copied().collect();
        let mut closed = Vec::with_capacity(ids.len());
        for id in ids {
            closed.extend(self.detach(id)?.map(|edge| (id, edge)));
        }
        Ok(closed)
    }
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
    for ((hook, opened), counters) in edge.hooks.into_iter().zip(edge.opened).zip(&mut counters) {
        let site = hook.site().clone();
        let before = site.reading();
        match hook.detach() {
            Ok(()) => {}
            Err(error) if error.reason() == "device_gone" || error.reason() == "no_netns" => {}
            Err(error) => return Err((edge.plan.name, error)),
        }
        let after = site.reading();
        if let (Ok(before), Ok(after)) = (before, after) {
            *counters = Some([opened, Bracket { before, after }]);
        }
    }
    Ok(Closed { plan: edge.plan, counters })
}
