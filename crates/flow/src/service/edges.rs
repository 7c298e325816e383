//! Edges while the agent runs: taken up, hooked, let go.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::SyncSender,
    time::Instant,
};

use flow_model::{
    edge::{EdgeId, EdgeRecord, EdgeState, Identity, Place, Text},
    flow::Direction,
};
use net_sys::survey::{Change, Crossing, Key};

use super::Service;
use crate::{
    command::Command,
    discover::{Rule, SurveyThread, Verdict},
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
    pub(super) hooked: BTreeMap<Key, EdgeId>,
    /// Devices that could not be hooked; they are tried again when something about them
    /// changes, and at each resync.
    refused: BTreeSet<Key>,
    /// Devices that were there at the start: what they carried before is not news.
    old: BTreeSet<Key>,
}

/// What the devices that are not hooked wait for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Waiting {
    /// There are none.
    Nothing,
    /// A file that leads into their namespace.
    ForNamespace,
    /// Only for their turn.
    ToBeHooked,
}

/// Edges that are hooked before commands and drains get their turn: each takes the kernel
/// two grace periods.
const SLICE: usize = 4;

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
        // Ready means that everything is hooked that could be.
        while self.waiting() == Waiting::ToBeHooked {
            self.hook_some(Instant::now());
        }
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
                self.unhook(&[id]);
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
        let known: BTreeMap<Key, Crossing> =
            crossings.into_iter().map(|crossing| (crossing.key, crossing)).collect();
        let old = known.keys().copied().collect();
        self.discovered = Some(Discovered {
            rule,
            known,
            hooked: BTreeMap::new(),
            refused: BTreeSet::new(),
            old,
        });
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
        let id = self.engine.attach(plan)?;
        self.hooked_as(id, name);
        Ok(id)
    }

    /// Notes and tells that an edge is hooked.
    fn hooked_as(&mut self, id: EdgeId, name: String) {
        self.refused.remove(&name);
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

    fn pin(&self, id: EdgeId) -> Result<(), Error> {
        match &self.pins {
            Some(pins) => self.engine.pin(id, pins),
            None => Ok(()),
        }
    }

    /// Changes that the survey told, as many as came together.
    pub(super) fn devices(&mut self, changes: Vec<Change>) {
        let Some(discovered) = &mut self.discovered else { return };
        let mut gone = Vec::new();
        for change in changes {
            match change {
                Change::Appeared(crossing) | Change::Changed(crossing) => {
                    discovered.refused.remove(&crossing.key);
                    discovered.known.insert(crossing.key, *crossing);
                }
                Change::Vanished(key) => gone.extend(discovered.forget(&key)),
                _ => {}
            }
        }
        self.unhook(&gone);
    }

    pub(super) fn unhook(&mut self, ids: &[EdgeId]) {
        let pins = self.pins.clone();
        for (id, result) in self.engine.detach(ids, pins.as_ref()) {
            match result {
                Ok(_) => tracing::info!(event = "edge.detached", edge = id.0, "An edge is gone"),
                Err(error) => {
                    tracing::warn!(%error, edge = id.0, "An edge could not be let go");
                }
            }
        }
    }

    /// What the devices that are not hooked wait for.
    pub(super) fn waiting(&self) -> Waiting {
        let Some(discovered) = &self.discovered else { return Waiting::Nothing };
        let now = Instant::now();
        let mut waiting = Waiting::Nothing;
        for (_, crossing) in discovered.unhooked() {
            match discovered.rule.judge(crossing, now) {
                Verdict::Edge(plan) if !self.is_named(&plan) => return Waiting::ToBeHooked,
                Verdict::Early => waiting = Waiting::ForNamespace,
                Verdict::Edge(_) | Verdict::Ignored => {}
            }
        }
        waiting
    }

    /// Gives devices that could not be hooked another chance.
    pub(super) fn retry_refused(&mut self) {
        if let Some(discovered) = &mut self.discovered {
            discovered.refused.clear();
        }
    }

    /// Hooks some of the known devices that are edges and not hooked yet.
    pub(super) fn hook_some(&mut self, now: Instant) {
        let Some(discovered) = &self.discovered else { return };
        let wanted: Vec<(Key, EdgePlan, Option<Instant>)> = discovered
            .unhooked()
            .filter_map(|(key, crossing)| match discovered.rule.judge(crossing, now) {
                Verdict::Edge(plan) if !self.is_named(&plan) => {
                    let news = !discovered.old.contains(key);
                    Some((*key, *plan, news.then_some(crossing.noticed)))
                }
                _ => None,
            })
            .take(SLICE)
            .collect();
        for (key, plan, noticed) in wanted {
            let name = plan.name.clone();
            match self.hook_found(plan) {
                Ok(id) => self.hooked(key, id, noticed),
                Err(error) => {
                    self.attach_failed(&name, error.attach_reason(), &error);
                    if let Some(discovered) = &mut self.discovered {
                        discovered.refused.insert(key);
                    }
                }
            }
        }
    }

    /// An edge named by flag is hooked as the flag says; found again it is ignored.
    fn is_named(&self, plan: &EdgePlan) -> bool {
        self.engine.edges().values().any(|edge| edge.plan.shares_device(plan))
    }

    /// Inside if that is possible, else on the host side alone.
    fn hook_found(&mut self, plan: EdgePlan) -> Result<EdgeId, Error> {
        let name = plan.name.clone();
        let id = self.engine.attach_or_degrade(plan)?;
        self.hooked_as(id, name);
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
        self.known
            .iter()
            .filter(|(key, _)| !self.hooked.contains_key(key) && !self.refused.contains(key))
    }

    /// A device is gone; answers the edge that it was.
    fn forget(&mut self, key: &Key) -> Option<EdgeId> {
        self.known.remove(key);
        self.refused.remove(key);
        self.old.remove(key);
        self.hooked.remove(key)
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
