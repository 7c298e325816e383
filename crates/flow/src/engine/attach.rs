//! Edges that are hooked: anew, or taken over from an earlier process.

use std::sync::Arc;

use flow_bpf::{Program, Scope, SlotCell};
use flow_model::{
    edge::{EdgeId, EdgeRecord, EdgeSpec, Identity, Place, Text},
    flow::{Direction, Slot, Totals},
};

use super::{Checkpoint, Edge, Engine, detach::unpin_links, law::start_of_bypass};
use crate::{
    audit::Bracket,
    degradation::Degradation,
    error::{Error, SiteError},
    hook::{Hook, Room, announce, room},
    pins::PinDir,
    plan::EdgePlan,
    site::{Reading, Site},
    time::now,
};

/// A hook, and interface counters around its attach.
pub(super) type Placed = (Hook, Bracket);

/// How often a device is held against its new hook.
const LOOKS: usize = 3;

/// A hook of a new edge.
struct Begun {
    hook: Hook,
    /// Interface counters around its attach.
    opened: Bracket,
    /// What of them it did not count.
    start: Reading,
}

impl Engine {
    /// Hooks an edge. It counts from the moment this returns, and where there are pins it
    /// outlives the process.
    pub(crate) fn attach(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let (id, slot) = self.ledger.add_edge(&mut self.drain, &spec(&plan), now())?;
        match self.hook(&plan, id, slot) {
            Ok([tx, rx]) => {
                let opened = [tx.opened, rx.opened];
                let (start, hooks) = ([Some(tx.start), Some(rx.start)], [tx.hook, rx.hook]);
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
                let checks = [None; 2];
                let edge = Edge { plan, slot, hooks, opened, start, checked, checks, bypass };
                self.edges.insert(id, edge);
                self.mark(id);
                let pinned = Direction::ALL.into_iter().try_for_each(|at| self.pin_hook(id, at));
                if let Err(error) = pinned {
                    self.detach(&[id]);
                    return Err(error);
                }
                Ok(id)
            }
            Err(source) => {
                self.give_up(id, &plan)?;
                Err(Error::Edge { edge: plan.name, source })
            }
        }
    }

    /// Hooks an edge that was found: where it was planned, else in the best place that can
    /// be had.
    pub(crate) fn attach_or_degrade(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let fallback = plan.on_host_side(Degradation::HostEgress);
        let attached = self.feasible(plan).and_then(|plan| self.attach(plan));
        match (attached, fallback) {
            (Err(error), Some(fallback)) if error.is_inside_shut() => {
                tracing::debug!(%error, edge = fallback.name, "There is no place inside a namespace");
                self.attach(fallback)
            }
            (result, _) => result,
        }
    }

    /// A plan as it can be carried out now, found out before anything is taken for it.
    ///
    /// What arrives is hooked inside unless there is no way in. What leaves is hooked
    /// inside as well where somebody else's filter would run before ours on the host side
    /// and could keep packets from it.
    pub(crate) fn feasible(&self, plan: EdgePlan) -> Result<EdgePlan, Error> {
        let at = |direction| {
            room(plan.site(direction), self.lane)
                .map_err(|source| Error::Edge { edge: plan.name.clone(), source })
        };
        let inside = at(Direction::Rx);
        let Some(outside) = plan.on_host_side(Degradation::HostEgress) else {
            return inside.map(|_| plan);
        };
        match inside {
            Err(error) if error.is_inside_shut() => return Ok(outside),
            Ok(Room::None) => return Ok(outside),
            other => other?,
        };
        let sent = plan.site(Direction::Tx);
        let ours = self.edges.values().flat_map(|edge| &edge.hooks);
        let is_ours = ours.into_iter().any(|hook| hook.site() == sent && !hook.is_behind());
        let contested = !is_ours && at(Direction::Tx)? != Room::First;
        Ok(plan.inside().filter(|_| contested).unwrap_or(plan))
    }

    /// Leaves nothing of an edge that could not be hooked.
    pub(super) fn give_up(&mut self, id: EdgeId, plan: &EdgePlan) -> Result<(), Error> {
        if let Some(pins) = &self.pins {
            unpin_links(pins, id)?;
        }
        self.abandon(id, plan)
    }

    fn hook(&mut self, plan: &EdgePlan, id: EdgeId, slot: Slot) -> Result<[Begun; 2], SiteError> {
        let program = self.program(plan.site(Direction::Tx), Direction::Tx, slot)?;
        let tx = self.begin(plan.site(Direction::Tx), Direction::Tx, (id, slot), &program)?;
        let rx = self.program(plan.site(Direction::Rx), Direction::Rx, slot).and_then(|program| {
            self.begin(plan.site(Direction::Rx), Direction::Rx, (id, slot), &program)
        });
        match rx {
            Ok(rx) => Ok([tx, rx]),
            Err(error) => {
                tx.hook.detach()?;
                Err(error)
            }
        }
    }

    /// Attaches a program of a new edge.
    fn begin(
        &mut self,
        site: &Site,
        direction: Direction,
        (id, slot): (EdgeId, Slot),
        program: &Program,
    ) -> Result<Begun, SiteError> {
        let (hook, opened) = self.hook_site(site, direction, id, program)?;
        let (mut start, mut device) = (opened.before, opened.after);
        for _ in 0..LOOKS {
            // After the device, so that what comes in between is not said to be missed: each
            // look tells the least that was, and the shortest one tells most.
            let Ok(counted) = self.hook_totals(slot, direction) else { break };
            start = start.at_least(device.less(counted.skb));
            let Ok(next) = site.reading() else { break };
            device = next;
        }
        Ok(Begun { hook, opened, start })
    }

    /// Attaches a program between two looks at its device.
    pub(super) fn hook_site(
        &mut self,
        site: &Site,
        direction: Direction,
        id: EdgeId,
        program: &Program,
    ) -> Result<Placed, SiteError> {
        let program = program.fd(direction).ok_or(SiteError::NoCounters)?;
        let Self { ledger, pins, lane, .. } = self;
        let before = site.reading()?;
        let hook = Hook::attach_noted(site, direction, *lane, program, |record, program| {
            if let Some(pins) = pins {
                announce(program, &pins.link(id, direction))?;
            }
            let noted = ledger.set_hook(id, direction, record);
            debug_assert!(noted.is_ok(), "an edge is in the book before it is hooked");
            Ok(())
        })?;
        Ok((hook, Bracket { before, after: site.reading()? }))
    }

    /// The program for a site: the shared one where the device can have a cell of its own,
    /// else an instance for this device alone.
    pub(super) fn program(
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

    /// Lets a hook outlive the process, if there are pins.
    pub(super) fn pin_hook(&self, id: EdgeId, direction: Direction) -> Result<(), Error> {
        let (Some(pins), Some(edge)) = (&self.pins, self.edges.get(&id)) else { return Ok(()) };
        edge.hooks[direction as usize]
            .pin(&pins.link(id, direction))
            .map_err(|source| Error::Edge { edge: edge.plan.name.clone(), source })
    }

    /// Takes up an edge that an earlier process hooked, and puts this process's program
    /// in place of the old one without missing a packet. False when its device is gone.
    pub(crate) fn adopt(&mut self, plan: EdgePlan, record: &EdgeRecord) -> bool {
        let Some(pins) = self.pins.clone() else { return false };
        let hooks =
            Direction::ALL.map(|direction| self.adopt_hook(&plan, record, direction, &pins));
        let [Ok(tx), Ok(rx)] = hooks else {
            return false;
        };
        let edge = Edge {
            bypass: start_of_bypass(&plan),
            plan,
            slot: record.slot,
            hooks: [tx, rx],
            opened: [None, None],
            start: [None, None],
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
