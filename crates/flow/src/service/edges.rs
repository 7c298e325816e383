//! Edges while the agent runs: taken up, hooked, let go.

use std::{collections::BTreeMap, sync::mpsc::SyncSender, time::Instant};

use flow_model::{
    edge::{EdgeId, EdgeRecord, EdgeState, Identity, Place, Text},
    flow::Direction,
};
use net_sys::survey::{Change, Crossing, Key};

use super::Service;
use crate::{
    command::Command,
    degradation::Degradation,
    discover::{Rule, SurveyThread, Verdict},
    engine::Edge,
    error::Error,
    hook::remove_recorded,
    named,
    pins::unpin,
    site::{EdgePlan, Namespace},
    time::now,
};

/// Devices that discovery knows, and which of them are hooked.
#[derive(Debug)]
pub(super) struct Discovered {
    pub(super) rule: Rule,
    known: BTreeMap<Key, Crossing>,
    hooked: BTreeMap<Key, EdgeId>,
}

impl Service {
    /// Named and found edges at the start: those that an earlier process hooked are taken
    /// up, the rest is hooked. A named edge that can't be had ends the start.
    pub(super) fn take_up_edges(&mut self, sender: SyncSender<Command>) -> Result<(), Error> {
        let settings = self.config.settings();
        let named = named::resolve(&settings.pod_edge, &settings.netns)?;
        let found = if self.config.discovers() { self.survey(sender)? } else { Vec::new() };
        let mut left: Vec<EdgeRecord> =
            self.engine.ledger().edges().filter(|record| record.state == EdgeState::Live).collect();
        for plan in named {
            let name = plan.name.clone();
            let id = match self.adopt(&plan, &mut left) {
                Some(id) => id,
                None => self.hook_named(plan)?,
            };
            self.named.insert(name, id);
        }
        let mut adopted = Vec::new();
        for (key, plan) in &found {
            adopted.extend(self.adopt(plan, &mut left).map(|id| (*key, id)));
        }
        self.let_go(left)?;
        if let Some(discovered) = &mut self.discovered {
            discovered.hooked.extend(adopted);
        }
        self.hook_known(false);
        Ok(())
    }

    fn hook_named(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let id = self.hook(plan)?;
        self.pin(id)?;
        Ok(id)
    }

    /// Follows a change of the named edges while the agent runs.
    pub(super) fn follow_named(&mut self) {
        let settings = self.config.settings();
        let plans = match named::resolve(&settings.pod_edge, &settings.netns) {
            Ok(plans) => plans,
            Err(error) => {
                tracing::warn!(event = "config.rejected", %error, "Named edges stay as they are");
                return;
            }
        };
        let wanted = |name: &String| plans.iter().any(|plan| plan.name == *name);
        let gone: Vec<String> = self.named.keys().filter(|name| !wanted(name)).cloned().collect();
        for name in gone {
            if let Some(id) = self.named.remove(&name) {
                self.unhook(id);
            }
        }
        for plan in plans {
            let name = plan.name.clone();
            if self.named.contains_key(&name) {
                continue;
            }
            match self.hook_named(plan) {
                Ok(id) => {
                    self.named.insert(name, id);
                }
                Err(error) => self.attach_failed(&name, error.attach_reason(), &error),
            }
        }
    }

    /// Starts to look for edges; answers what can be hooked now.
    fn survey(&mut self, sender: SyncSender<Command>) -> Result<Vec<(Key, EdgePlan)>, Error> {
        let settings = self.config.settings();
        let rule = Rule {
            exclude: settings.discover_exclude.clone(),
            hooks: settings.edge_hooks,
            own: Namespace::own()
                .map_err(|source| Error::Edge { edge: "own namespace".into(), source })?,
        };
        let (thread, crossings) = SurveyThread::start(settings.netns_dir.clone(), sender)?;
        self._survey = Some(thread);
        let plans = crossings
            .iter()
            .filter_map(|crossing| match rule.judge(crossing, Instant::now()) {
                Verdict::Edge(plan) => Some((crossing.key, *plan)),
                Verdict::Ignored | Verdict::Early => None,
            })
            .collect();
        let known = crossings.into_iter().map(|crossing| (crossing.key, crossing)).collect();
        self.discovered = Some(Discovered { rule, known, hooked: BTreeMap::new() });
        Ok(plans)
    }

    /// Takes up the recorded edge that a plan is for, if there is one.
    fn adopt(&mut self, plan: &EdgePlan, left: &mut Vec<EdgeRecord>) -> Option<EdgeId> {
        let pins = self.pins.clone()?;
        let at = left.iter().position(|record| is_for(plan, record))?;
        if !self.engine.adopt(plan.clone(), &left[at], &pins) {
            return None;
        }
        let record = left.swap_remove(at);
        let identity = identity(&plan.name);
        if !record.identity.same_pod(&identity)
            && let Err(error) = self.engine.ledger_mut().name_edge(record.id, &identity, now())
        {
            tracing::warn!(%error, edge = plan.name, "An edge keeps its old name");
        }
        self.names.insert(record.id, plan.name.clone());
        Some(record.id)
    }

    /// Lets recorded edges go that nobody wants or whose device is gone.
    fn let_go(&mut self, left: Vec<EdgeRecord>) -> Result<(), Error> {
        let Some(pins) = self.pins.clone() else { return Ok(()) };
        for record in left {
            remove_recorded(&record, &pins)
                .map_err(|source| Error::Edge { edge: record.identity.name.to_string(), source })?;
            self.engine.abandon(record.id)?;
            let name = record.identity.name.as_str();
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
        Ok(())
    }

    fn hook(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let name = plan.name.clone();
        let host_side_only = plan.sites.iter().all(|site| site.place == Place::Host);
        let id = self.engine.attach(plan)?;
        self.refused.remove(&name);
        if let Some(why) = self.engine.edges().get(&id).and_then(Edge::degradation) {
            self.tell_degraded(&name, why);
        }
        tracing::info!(
            event = "edge.attached",
            edge = name,
            id = id.0,
            host_side_only,
            "An edge is hooked"
        );
        self.names.insert(id, name);
        Ok(id)
    }

    fn pin(&self, id: EdgeId) -> Result<(), Error> {
        match &self.pins {
            Some(pins) => self.engine.pin(id, pins),
            None => Ok(()),
        }
    }

    /// A change that the survey told.
    pub(super) fn device(&mut self, change: Change) {
        let Some(discovered) = &mut self.discovered else {
            return;
        };
        match change {
            Change::Appeared(crossing) | Change::Changed(crossing) => {
                discovered.known.insert(crossing.key, *crossing);
                self.hook_known(true);
            }
            Change::Vanished(key) => {
                discovered.known.remove(&key);
                if let Some(id) = discovered.hooked.remove(&key) {
                    self.unhook(id);
                }
            }
            _ => {}
        }
    }

    /// An edge that lost its hooks is hooked anew by the next look at what is known.
    pub(super) fn forget_unhooked(&mut self, id: EdgeId) {
        if self.engine.edges().contains_key(&id) {
            return;
        }
        self.named.retain(|_, named| *named != id);
        if let Some(discovered) = &mut self.discovered {
            discovered.hooked.retain(|_, hooked| *hooked != id);
        }
    }

    fn unhook(&mut self, id: EdgeId) {
        let pins = self.pins.clone();
        match self.engine.detach(id, pins.as_ref()) {
            Ok(_) => tracing::info!(event = "edge.detached", edge = id.0, "An edge is gone"),
            Err(error) => tracing::warn!(%error, edge = id.0, "An edge could not be let go"),
        }
    }

    /// Whether a device waits for its namespace file.
    pub(super) fn has_early(&self) -> bool {
        let now = Instant::now();
        self.discovered.as_ref().is_some_and(|discovered| {
            discovered
                .unhooked()
                .any(|(_, crossing)| discovered.rule.judge(crossing, now) == Verdict::Early)
        })
    }

    /// Hooks every known device that is an edge and not hooked yet. `appeared` tells that
    /// they came while the agent ran, so that what they carried before is known as missed.
    pub(super) fn hook_known(&mut self, appeared: bool) {
        let Some(discovered) = &self.discovered else {
            return;
        };
        let now = Instant::now();
        let wanted: Vec<(Key, EdgePlan, Instant)> = discovered
            .unhooked()
            .filter_map(|(key, crossing)| match discovered.rule.judge(crossing, now) {
                Verdict::Edge(plan) => Some((*key, *plan, crossing.noticed)),
                Verdict::Ignored | Verdict::Early => None,
            })
            .collect();
        for (key, plan, noticed) in wanted {
            if self.is_named(&plan) {
                continue;
            }
            let name = plan.name.clone();
            match self.hook_found(plan) {
                Ok(id) => self.hooked(key, id, appeared.then_some(noticed)),
                Err(error) => self.attach_failed(&name, error.attach_reason(), &error),
            }
        }
    }

    /// Lets named edges go whose device is gone, and hooks those that are there again.
    pub(super) fn renew_named(&mut self) {
        let gone = |id: &EdgeId| self.engine.edges().get(id).is_none_or(Edge::is_gone);
        let lost: Vec<String> =
            self.named.iter().filter(|(_, id)| gone(id)).map(|(name, _)| name.clone()).collect();
        for name in &lost {
            if let Some(id) = self.named.remove(name) {
                self.unhook(id);
            }
        }
        let settings = self.config.settings();
        if self.named.len() < settings.pod_edge.len() + settings.netns.len() {
            self.follow_named();
        }
    }

    /// An edge named by flag is hooked as the flag says; found again it is ignored.
    fn is_named(&self, plan: &EdgePlan) -> bool {
        let device = |site: &crate::site::Site| (site.namespace.inode, site.ifindex);
        self.engine.edges().values().any(|edge| {
            edge.plan
                .sites
                .iter()
                .any(|taken| plan.sites.iter().any(|site| device(site) == device(taken)))
        })
    }

    /// Inside if that is possible, else on the host side alone.
    fn hook_found(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let fallback = plan.on_host_side(Degradation::HostEgress);
        let result = self.hook(plan);
        let id = match (result, fallback) {
            (Err(error), Some(fallback)) if error.is_way_in() => {
                tracing::debug!(%error, edge = fallback.name, "There is no way into a namespace");
                self.hook(fallback)?
            }
            (result, _) => result?,
        };
        self.pin(id)?;
        Ok(id)
    }

    fn hooked(&mut self, key: Key, id: EdgeId, noticed: Option<Instant>) {
        if let Some(discovered) = &mut self.discovered {
            discovered.hooked.insert(key, id);
        }
        let (Some(noticed), Some(edge)) = (noticed, self.engine.edges().get(&id)) else {
            return;
        };
        self.tally.attach_lag.observe(noticed.elapsed().as_secs_f64());
        for (missed, opened) in self.tally.missed.iter_mut().zip(edge.opened) {
            let before = opened.map(|opened| opened.before).unwrap_or_default();
            missed.packets += before.packets;
            missed.bytes += before.bytes;
        }
    }
}

impl Discovered {
    /// The device of a hooked edge.
    pub(super) fn crossing_of(&self, id: EdgeId) -> Option<&Crossing> {
        let (key, _) = self.hooked.iter().find(|(_, hooked)| **hooked == id)?;
        self.known.get(key)
    }

    fn unhooked(&self) -> impl Iterator<Item = (&Key, &Crossing)> {
        self.known.iter().filter(|(key, _)| !self.hooked.contains_key(key))
    }
}

/// Whether a recorded edge has its hooks exactly where a plan wants them.
fn is_for(plan: &EdgePlan, record: &EdgeRecord) -> bool {
    Direction::ALL.into_iter().all(|direction| {
        let site = plan.site(direction);
        let hook = record.hooks[direction as usize];
        let device = match hook.place {
            Place::Host => record.host_ifindex == site.ifindex,
            Place::Pod => {
                record.pod_ifindex == site.ifindex && record.netns_inode == site.namespace.inode
            }
            Place::None | Place::Nic | Place::Cgroup => false,
        };
        hook.place == site.place && device
    })
}

fn identity(name: &str) -> Identity {
    // Longer names are refused where they are given and cut where they are found.
    Identity { name: Text::new(name).unwrap_or(Text::EMPTY), ..Identity::EMPTY }
}
