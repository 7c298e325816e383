//! Hooks that change their place while their edge goes on counting.

use flow_model::{
    edge::EdgeId,
    flow::{Counts, Direction, Slot, Totals},
};

use super::{Checkpoint, Edge, Engine, pin_hook};
use crate::{
    audit::{Bracket, missed},
    error::{Error, SiteError},
    hook::{Hook, announce},
    pins::{PinDir, unpin},
    site::{EdgePlan, Site},
};

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

    /// Gives one direction of an edge the place that `plan` has for it. Answers what
    /// passed the device between the old hook and the new one: the old one goes first, so
    /// that nothing is counted twice.
    ///
    /// # Errors
    ///
    /// When the new place can't be had. Before anything was touched the edge stays as it
    /// was; behind that it is let go, and hooking it anew is up to the caller.
    pub(crate) fn move_hook(
        &mut self,
        id: EdgeId,
        direction: Direction,
        plan: EdgePlan,
        pins: Option<&PinDir>,
    ) -> Result<Counts, Error> {
        let name = plan.name.clone();
        let failed = |source| Error::Edge { edge: name.clone(), source };
        let Some(slot) = self.edges.get(&id).map(|edge| edge.slot) else {
            return Ok(Counts::ZERO);
        };
        // What can fail for want of rights, memory or the device fails here.
        let site = plan.site(direction).clone();
        let program = self.program(&site, direction, slot).map_err(failed)?;
        let start = site.reading().map_err(failed)?;
        let seen = self.hook_totals(slot, direction)?;

        let Some(edge) = self.edges.remove(&id) else {
            return Ok(Counts::ZERO);
        };
        let Self { ledger, lane, .. } = self;
        let moved = edge.moved(direction, plan, |site| {
            let program = program.fd(direction).ok_or(SiteError::NoCounters)?;
            let before = site.reading()?;
            let hook = Hook::attach_noted(site, direction, *lane, program, |record, program| {
                pins.map_or(Ok(()), |pins| announce(program, &pins.link(id, direction)))?;
                let noted = ledger.set_hook(id, direction, record);
                debug_assert!(noted.is_ok(), "a hooked edge is in the book");
                Ok(())
            })?;
            Ok((hook, Bracket { before, after: site.reading()? }))
        });
        let (edge, opened) = match moved {
            Ok(moved) => moved,
            Err(source) => {
                self.forget(id, pins)?;
                return Err(failed(source));
            }
        };
        self.seat(id, direction, edge, pins)?;
        let totals = self.hook_totals(slot, direction)?;
        if let Some(edge) = self.edges.get_mut(&id) {
            edge.checked[direction as usize] = Some(Checkpoint { bracket: opened, totals });
        }
        Ok(missed(start, opened.after, &seen, &totals))
    }

    /// Makes the new place of a hook outlive the process. Whatever fails here, the edge
    /// is hooked.
    fn seat(
        &mut self,
        id: EdgeId,
        direction: Direction,
        edge: Edge,
        pins: Option<&PinDir>,
    ) -> Result<(), Error> {
        let record = edge.hooks[direction as usize].record();
        let noted = self.ledger.set_hook(id, direction, record);
        debug_assert!(noted.is_ok(), "a hooked edge is in the book");
        self.edges.insert(id, edge);
        match (pins, self.edges.get(&id)) {
            // The pin of a filter's program was there before the filter.
            (Some(pins), Some(edge)) if !record.attachment.is_filter() => {
                unpin(&pins.link(id, direction))?;
                pin_hook(edge, id, direction, pins)
            }
            _ => Ok(()),
        }
    }

    /// Lets an edge go whose hooks are gone already.
    fn forget(&mut self, id: EdgeId, pins: Option<&PinDir>) -> Result<(), Error> {
        for direction in Direction::ALL {
            pins.map_or(Ok(()), |pins| unpin(&pins.link(id, direction)))?;
        }
        self.abandon(id)
    }

    fn hook_totals(&mut self, slot: Slot, direction: Direction) -> Result<Totals, Error> {
        let totals = self.totals()?;
        let cell = totals.get(usize::from(slot.0)).copied().unwrap_or_default();
        Ok(cell[direction as usize])
    }
}

impl Edge {
    /// The edge with one hook taken away and another put up. On failure both directions
    /// are without a hook.
    fn moved(
        self,
        direction: Direction,
        plan: EdgePlan,
        put_up: impl FnOnce(&Site) -> Result<(Hook, Bracket), SiteError>,
    ) -> Result<(Self, Bracket), SiteError> {
        let [tx, rx] = self.hooks;
        let (old, other) = match direction {
            Direction::Tx => (tx, rx),
            Direction::Rx => (rx, tx),
        };
        let placed = old.detach().and_then(|()| put_up(plan.site(direction)));
        let (new, opened) = match placed {
            Ok(placed) => placed,
            Err(error) => {
                // Its device may be gone as well; the first error tells more.
                other.detach().ok();
                return Err(error);
            }
        };
        let hooks = match direction {
            Direction::Tx => [new, other],
            Direction::Rx => [other, new],
        };
        let (mut started, mut checks) = (self.opened, self.checks);
        (started[direction as usize], checks[direction as usize]) = (Some(opened), None);
        let edge = Self { plan, hooks, opened: started, checks, bypass: None, ..self };
        Ok((edge, opened))
    }
}
