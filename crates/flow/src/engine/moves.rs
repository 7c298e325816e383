//! Hooks that change their place while their edge goes on counting.

use std::sync::Arc;

use flow_bpf::Program;
use flow_model::{
    edge::EdgeId,
    flow::{Counts, Direction, Slot, Totals},
};

use super::{Checkpoint, Edge, Engine, law::start_of_bypass};
use crate::{
    audit::{Bracket, missed},
    error::{Error, SiteError},
    hook::{Hook, Room, room},
    plan::EdgePlan,
    site::{Reading, Site},
};

/// What became of a hook that was to be moved.
#[derive(Debug, Default)]
pub(crate) struct Moved {
    /// What passed its device while there was no hook.
    pub(crate) missed: Counts,
    /// Why it is where it was before, if it is.
    pub(crate) refused: Option<Error>,
}

/// A move that nothing speaks against, and the moment before it.
struct Move {
    id: EdgeId,
    slot: Slot,
    direction: Direction,
    plan: EdgePlan,
    program: Arc<Program>,
    /// The device that it leads to, and the one that it leads away from.
    devices: [Option<Reading>; 2],
    seen: Totals,
}

/// An edge that has its hook in another place, or again in the old one.
struct Replaced {
    edge: Edge,
    /// Absent if the hook was never taken away.
    opened: Option<Bracket>,
    refused: Option<SiteError>,
}

impl Engine {
    /// Hooks of ours that somebody removed. A device that can't be asked is not among
    /// them: the survey tells what became of it.
    pub(crate) fn removed_hooks(&self) -> Vec<(EdgeId, Direction)> {
        let mut removed = Vec::new();
        for (id, edge) in &self.edges {
            for (direction, hook) in Direction::ALL.into_iter().zip(&edge.hooks) {
                if matches!(hook.is_in_place(), Ok(false)) {
                    removed.push((*id, direction));
                }
            }
        }
        removed
    }

    /// Looks whether somebody else's programs run before ours; answers the edges for which
    /// that is news.
    pub(crate) fn look_at_chains(&mut self) -> Vec<EdgeId> {
        let mut news = Vec::new();
        for (id, edge) in &mut self.edges {
            let before = edge.degradation();
            edge.hooks.iter_mut().for_each(Hook::look_at_chain);
            if before != edge.degradation() {
                news.push(*id);
            }
        }
        news
    }

    /// Whether one direction of an edge is hooked otherwise than `plan` has it, and could
    /// be as it has it.
    pub(crate) fn is_misplaced(&self, id: EdgeId, direction: Direction, plan: &EdgePlan) -> bool {
        let Some(edge) = self.edges.get(&id) else { return false };
        let (hook, site) = (&edge.hooks[direction as usize], plan.site(direction));
        let elsewhere = hook.site() != site;
        elsewhere || hook.is_behind_filter() && matches!(room(site, self.lane), Ok(Room::First))
    }

    /// Gives one direction of an edge the place that `plan` has for it. The old hook goes
    /// first, so that nothing is counted twice; what passes until the new one is there is
    /// told. A place that turns out not to be had leaves the hook where it was.
    ///
    /// # Errors
    ///
    /// Before anything was touched the edge stays as it was. When even the old place can't
    /// be had any more it is let go, and hooking it anew is up to the caller.
    pub(crate) fn move_hook(
        &mut self,
        id: EdgeId,
        direction: Direction,
        plan: EdgePlan,
    ) -> Result<Moved, Error> {
        let Some(edge) = self.edges.remove(&id) else { return Ok(Moved::default()) };
        let (old, name) = (edge.plan.clone(), plan.name.clone());
        let failed = |source| Error::Edge { edge: name, source };
        let step = match self.prepare(id, &edge, direction, plan) {
            Ok(step) => step,
            Err(error) => {
                self.edges.insert(id, edge);
                return Err(error);
            }
        };
        let Replaced { edge, opened, refused } = match self.replace(edge, &step) {
            Ok(replaced) => replaced,
            Err(source) => {
                let record = self.ledger.edge(id);
                self.give_up(id, &old)?;
                record.iter().for_each(|record| self.recall(record));
                return Err(failed(source));
            }
        };
        self.edges.insert(id, edge);
        let start = step.devices[usize::from(refused.is_some())];
        let refused = refused.map(failed);
        let Some(opened) = opened else { return Ok(Moved { refused, ..Moved::default() }) };
        let totals = self.settle(&step, &old)?;
        let gap = start.map(|start| missed(start, opened.after, &step.seen, &totals));
        Ok(Moved { missed: gap.unwrap_or_default(), refused })
    }

    /// What can fail for want of rights, memory or the device fails here.
    fn prepare(
        &mut self,
        id: EdgeId,
        edge: &Edge,
        direction: Direction,
        plan: EdgePlan,
    ) -> Result<Move, Error> {
        let failed = |source| Error::Edge { edge: plan.name.clone(), source };
        let (slot, site) = (edge.slot, plan.site(direction));
        let program = self.program(site, direction, slot).map_err(failed)?;
        // In this order: what passes in between is not said to be missed.
        let seen = self.hook_totals(slot, direction)?;
        let there = site.reading().map_err(failed)?;
        let left = edge.plan.site(direction).reading().ok();
        Ok(Move { id, slot, direction, plan, program, devices: [Some(there), left], seen })
    }

    /// Takes one hook away and puts another up, or the same again.
    ///
    /// # Errors
    ///
    /// When neither place can be had: then both directions are without a hook.
    fn replace(&mut self, edge: Edge, step: &Move) -> Result<Replaced, SiteError> {
        let (id, direction, program) = (step.id, step.direction, &step.program);
        let Edge { hooks: [tx, rx], mut opened, mut checked, mut checks, .. } = edge;
        let tx_moves = direction == Direction::Tx;
        let (old, other) = if tx_moves { (tx, rx) } else { (rx, tx) };
        let in_order = |hook, other| if tx_moves { [hook, other] } else { [other, hook] };
        let (former, made_qdisc) = (old.site().clone(), old.has_own_qdisc());
        if let Err(stuck) = old.detach() {
            let edge = Edge { hooks: in_order(*stuck.hook, other), ..edge };
            return Ok(Replaced { edge, opened: None, refused: Some(stuck.source) });
        }
        // Nothing counts now, so this is where the next comparison starts.
        let quiet = self.hook_totals(step.slot, direction).ok();
        let (placed, refused) =
            match self.hook_site(step.plan.site(direction), direction, id, program) {
                Err(error) => (self.hook_site(&former, direction, id, program), Some(error)),
                placed => (placed, None),
            };
        let (hook, bracket) = match placed {
            Ok(placed) => placed,
            Err(error) => {
                // Its device may be gone as well; the first error tells more.
                other.detach().ok();
                return Err(refused.unwrap_or(error));
            }
        };
        let at = direction as usize;
        opened[at] = Some(bracket);
        checked[at] = quiet.map(|totals| Checkpoint { bracket, totals });
        checks[at] = None;
        let plan =
            if refused.is_some() { edge.plan } else { edge.plan.with(direction, &step.plan) };
        let (bypass, mut hooks) = (start_of_bypass(&plan), in_order(hook, other));
        let heir = hooks.iter_mut().find(|hook| made_qdisc && hook.site().is_beside(&former));
        heir.into_iter().for_each(Hook::inherit_qdisc);
        let edge = Edge { plan, hooks, opened, checked, checks, bypass, ..edge };
        Ok(Replaced { edge, opened: Some(bracket), refused })
    }

    /// Makes the new place of a hook outlive the process. Whatever fails here, the edge is
    /// hooked.
    fn settle(&mut self, step: &Move, old: &EdgePlan) -> Result<Totals, Error> {
        let (id, direction) = (step.id, step.direction);
        if let Some(edge) = self.edges.get(&id) {
            let EdgePlan { host_ifindex, pod_ifindex, .. } = edge.plan;
            for (direction, hook) in Direction::ALL.into_iter().zip(&edge.hooks) {
                let noted = self.ledger.set_hook(id, direction, hook.record());
                debug_assert!(noted.is_ok(), "a hooked edge is in the book");
            }
            let noted = self.ledger.set_devices(id, host_ifindex, pod_ifindex);
            debug_assert!(noted.is_ok(), "a hooked edge is in the book");
        }
        self.mark_anew(id);
        self.pin_hook(id, direction)?;
        self.release_unused(id, old)?;
        self.hook_totals(step.slot, direction)
    }

    /// Gives the cells of devices back that an edge has no hook on any more.
    fn release_unused(&self, id: EdgeId, old: &EdgePlan) -> Result<(), Error> {
        let Some(edge) = self.edges.get(&id) else { return Ok(()) };
        let is_used = |site: &&Site| edge.plan.sites.iter().any(|new| new.is_beside(site));
        let unused: Vec<_> = old.sites.iter().filter(|site| !is_used(site)).collect();
        if unused.is_empty() {
            return Ok(());
        }
        self.tables.grace()?;
        unused.into_iter().try_for_each(|site| self.release(site))
    }
}
