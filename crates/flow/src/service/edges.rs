//! Edges while the agent runs: taken up, hooked, let go.

use std::{sync::mpsc::SyncSender, time::Instant};

use flow_model::edge::{EdgeId, EdgeRecord, EdgeState, Identity, Place, Text};
use net_sys::survey::Key;

use super::{Service, discovered::Waiting};
use crate::{
    command::Command,
    engine::Closed,
    error::{Error, SiteError},
    home::{home, settle_here},
    hook::remove_recorded,
    links::LinkThread,
    named::{self, Found},
    pins::unpin,
    plan::EdgePlan,
    time::now,
};

impl Service {
    /// Named and found edges at the start: those that an earlier process hooked are taken
    /// up, the rest is hooked. A named edge that can't be had ends the start.
    pub(super) fn take_up_edges(&mut self, sender: SyncSender<Command>) -> Result<(), Error> {
        let settings = self.config.settings();
        // Before devices are listed: what comes after that is told.
        self.links = Some(LinkThread::start(sender.clone())?);
        let named = named::resolve(&settings.pod_edge, &settings.netns)?;
        let found = if self.config.discovers() { self.survey(sender)? } else { Vec::new() };
        let mut left: Vec<EdgeRecord> =
            self.engine.ledger().edges().filter(|record| record.state == EdgeState::Live).collect();
        let mut missing = Vec::new();
        for plan in &named {
            match self.adopt(plan, &mut left) {
                Some(id) => {
                    self.rename(id, &plan.name);
                    self.named.insert(plan.name.clone(), id);
                }
                None => missing.push(plan.clone()),
            }
        }
        let mut adopted: Vec<(Key, EdgeId)> = Vec::new();
        let is_named = |plan: &EdgePlan| named.iter().any(|named| named.shares_device(plan));
        for (key, plan) in found.iter().filter(|(_, plan)| !is_named(plan)) {
            let Some(id) = self.adopt(plan, &mut left) else { continue };
            // The other one of that name is perhaps still to be taken up.
            if self.names.get(&id) != Some(&plan.name_apart()) {
                let name = self.name_for(Some(id), plan);
                self.rename(id, &name);
            }
            adopted.push((*key, id));
        }
        // Before anything is hooked: what two hooks see counts twice, and where two find a qdisc
        // nobody knows whose it is.
        self.let_go(left)?;
        for plan in missing {
            let name = plan.name.clone();
            let id = self.hook_named(plan, false)?;
            self.named.insert(name, id);
        }
        self.tell_lane();
        self.note_hooked(&adopted);
        adopted.iter().for_each(|(_, id)| self.improve(*id));
        // Ready means that everything is hooked that could be.
        while self.waiting() == Waiting::ToBeHooked {
            self.hook_some(Instant::now());
        }
        // What was taken up is compared from here on; what it differs by is not known yet.
        self.engine.check_interfaces()?;
        Ok(())
    }

    /// Hooks that were taken up stay as an earlier process attached them.
    fn tell_lane(&self) {
        let hooks = self.engine.edges().values().flat_map(|edge| &edge.hooks);
        let other = hooks.filter(|hook| hook.lane() != self.engine.lane()).count();
        if other > 0 {
            tracing::warn!(
                event = "config.unused",
                settings = "attach",
                hooks = other,
                "Hooks stay as an earlier run attached them; to change that, run `fathom flows detach` first"
            );
        }
    }

    /// Hooks an edge as its flag says. Of a device that is new all that passed it before was
    /// missed.
    pub(super) fn hook_named(&mut self, plan: EdgePlan, is_new: bool) -> Result<EdgeId, Error> {
        let name = plan.name.clone();
        let id = self.engine.attach(plan)?;
        self.hooked_as(id, name);
        self.tell_missed_before(id, is_new);
        Ok(id)
    }

    /// Hooks the named edges that are there and not hooked, and lets those go that nobody names
    /// any more. Devices are new where they were waited for.
    pub(super) fn follow_named(&mut self, waited: bool) {
        let settings = self.config.settings();
        let found = match named::look_up(&settings.pod_edge, &settings.netns) {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(event = "config.rejected", %error, "Named edges stay as they are");
                return;
            }
        };
        self.let_unnamed_go(&found);
        let there = found.plans.into_iter().map(|plan| (plan.name.clone(), Ok(plan)));
        let missing = found.missing.into_iter().map(|(name, error)| (name, Err(error)));
        for (name, plan) in there.chain(missing) {
            if !self.named.contains_key(&name) {
                self.hook_newly_named(name, plan, waited);
            }
        }
    }

    /// Lets edges go that nobody names any more, or whose name means another device now.
    fn let_unnamed_go(&mut self, found: &Found) {
        let is_missing = |name: &str| found.missing.iter().any(|(missing, _)| missing == name);
        let is_meant = |name: &str, id: &EdgeId| {
            let edge = self.engine.edges().get(id);
            let mut plans = found.plans.iter().filter(|plan| plan.name == *name);
            plans.any(|plan| edge.is_some_and(|edge| edge.plan.shares_device(plan)))
        };
        let stays = |(name, id): &(&String, &EdgeId)| is_missing(name) || is_meant(name, id);
        let gone: Vec<EdgeId> =
            self.named.iter().filter(|edge| !stays(edge)).map(|(_, id)| *id).collect();
        self.named.retain(|_, id| !gone.contains(id));
        let is_asked_for =
            |name: &str| is_missing(name) || found.plans.iter().any(|plan| plan.name == name);
        self.refused.retain(|name, _| is_asked_for(name));
        self.unhook(&gone);
    }

    fn hook_newly_named(&mut self, name: String, plan: Result<EdgePlan, Error>, waited: bool) {
        // One that could not be hooked for another reason was there all the while.
        let was_gone = |reason: &&str| ["device_gone", "no_netns"].contains(reason);
        let is_new = waited && self.refused.get(&name).is_none_or(was_gone);
        let hooked = plan.and_then(|plan| {
            self.let_found_go(&plan);
            self.hook_named(plan, is_new)
        });
        match hooked {
            Ok(id) => {
                self.refused.remove(&name);
                self.named.insert(name, id);
            }
            Err(error) => {
                let reason = error.attach_reason();
                // It is tried again with every device that comes or goes, and told once.
                if self.refused.insert(name.clone(), reason) != Some(reason) {
                    self.attach_failed(&name, &error);
                }
            }
        }
    }

    /// A device that was found before it was named must not be counted twice.
    fn let_found_go(&mut self, plan: &EdgePlan) {
        let edges = self.engine.edges().iter();
        let found: Vec<EdgeId> =
            edges.filter(|(_, edge)| edge.plan.shares_device(plan)).map(|(id, _)| *id).collect();
        for id in &found {
            self.discovered.iter_mut().for_each(|discovered| discovered.release(*id));
        }
        self.lose(&found);
    }

    /// Takes up the recorded edge that a plan is for, if there is one.
    fn adopt(&mut self, plan: &EdgePlan, left: &mut Vec<EdgeRecord>) -> Option<EdgeId> {
        let mut records = left.iter().enumerate();
        let (at, as_hooked) =
            records.find_map(|(at, record)| Some((at, plan.as_recorded(record)?)))?;
        if !self.engine.adopt(as_hooked, &left[at]) {
            return None;
        }
        let EdgeRecord { id, identity, .. } = left.swap_remove(at);
        self.names.insert(id, identity.name.as_str().to_owned());
        Some(id)
    }

    /// Gives an edge the name by which it is known now.
    pub(super) fn rename(&mut self, id: EdgeId, name: &str) {
        let before = self.names.get(&id).cloned().unwrap_or_default();
        if before == name {
            return;
        }
        // Longer names are refused where they are given and cut where they are found.
        let text = Text::new(name).unwrap_or(Text::EMPTY);
        let identity = Identity { name: text, ..Identity::EMPTY };
        match self.engine.ledger_mut().name_edge(id, &identity, now()) {
            Ok(_) => {
                tracing::info!(event = "edge.renamed", edge = name, before, "An edge has a name");
                self.names.insert(id, name.to_owned());
            }
            Err(error) => {
                tracing::warn!(event = "edge.unnamed", %error, edge = before, "An edge keeps its old name")
            }
        }
    }

    /// Lets recorded edges go that nobody wants or whose device is gone.
    fn let_go(&mut self, left: Vec<EdgeRecord>) -> Result<(), Error> {
        let Some(pins) = self.pins.clone() else { return Ok(()) };
        let home = home(self.engine.ledger().pages());
        for record in left {
            let name = record.identity.name.as_str();
            match remove_recorded(&record, &pins, home) {
                Ok(_) => {
                    self.engine.abandon_recorded(record.id)?;
                    self.engine.recall(&record);
                }
                // Its filters count on, into a place that nobody else may get.
                Err(error @ SiteError::Unreachable { .. }) => {
                    tracing::warn!(
                        event = "edge.left",
                        edge = name,
                        %error,
                        "An edge of an earlier run counts on"
                    );
                    continue;
                }
                Err(source) => return Err(Error::Edge { edge: name.to_owned(), source }),
            }
            tracing::info!(
                event = "edge.detached",
                edge = name,
                "An edge of an earlier run is gone"
            );
        }
        // What a crash between two steps left behind.
        for (path, id) in pins.pinned_links() {
            if self.engine.ledger().edge(id).is_none() {
                unpin(&path)?;
            }
        }
        settle_here(&mut self.engine.tables().pages()?)
    }

    /// Notes and tells that an edge is hooked.
    pub(super) fn hooked_as(&mut self, id: EdgeId, name: String) {
        if let Some(edge) = self.engine.edges().get(&id) {
            let host_side_only = edge.plan.sites.iter().all(|site| site.place == Place::Host);
            if let Some(why) = edge.degradation() {
                self.tell_degraded(&name, why);
            }
            tracing::info!(
                event = "edge.attached",
                edge = name,
                id = id.0,
                host_side_only,
                "An edge is hooked"
            );
        }
        self.names.insert(id, name);
    }

    /// Lets edges go that nobody wants.
    pub(super) fn unhook(&mut self, ids: &[EdgeId]) {
        let ended = self.engine.detach(ids);
        tell_ended(ended);
    }

    /// Lets edges go whose devices are gone, lead elsewhere or are hooked anew: what passes them
    /// until then is missed.
    pub(super) fn lose(&mut self, ids: &[EdgeId]) {
        let ended = self.engine.part(ids);
        tell_ended(ended);
    }
}

fn tell_ended(ended: Vec<(EdgeId, Result<Closed, Error>)>) {
    for (id, result) in ended {
        match result {
            Ok(_) => tracing::info!(event = "edge.detached", edge = id.0, "An edge is gone"),
            Err(error) => {
                tracing::warn!(event = "edge.left", %error, edge = id.0, "An edge could not be let go");
            }
        }
    }
}
