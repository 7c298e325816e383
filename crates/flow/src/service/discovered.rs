//! Edges that discovery finds: known, hooked, refused for now, forgotten.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::mpsc::SyncSender,
    time::{Duration, Instant},
};

use flow_model::edge::EdgeId;
use net_sys::survey::{Change, Crossing, Key};

use super::Service;
use crate::{
    command::Command,
    discover::{EARLY, Rule, SurveyThread, Verdict},
    error::Error,
    plan::EdgePlan,
};

/// Devices that discovery knows, and which of them are hooked.
#[derive(Debug)]
pub(super) struct Discovered {
    rule: Rule,
    known: BTreeMap<Key, Crossing>,
    hooked: BTreeMap<Key, EdgeId>,
    refused: BTreeMap<Key, Refusal>,
    /// Devices that were there at the start, or hooked as another pod's: what they carried
    /// before is not news, and nothing is waited for.
    old: BTreeSet<Key>,
}

/// A device that could not be hooked.
#[derive(Debug)]
struct Refusal {
    name: String,
    reason: &'static str,
    /// It is tried again when something about it changes, and at each resync.
    again: bool,
}

/// What became of a hooked device.
enum News {
    /// Something about it is otherwise.
    Changed(EdgeId),
    /// It is another pod's now.
    Moved(EdgeId),
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
    /// Starts to look for edges; answers what can be hooked now.
    pub(super) fn survey(
        &mut self,
        sender: SyncSender<Command>,
    ) -> Result<Vec<(Key, EdgePlan)>, Error> {
        let settings = self.config.settings();
        let rule = Rule::of(settings)?;
        let (thread, crossings) = SurveyThread::start(settings.netns_dir.clone(), sender)?;
        self.survey = Some(thread);
        let discovered = self.discovered.insert(Discovered::new(rule, crossings));
        let now = Instant::now();
        let plans = discovered.known.iter().filter_map(|(key, crossing)| {
            match discovered.judge(crossing, now) {
                Verdict::Edge(plan) => Some((*key, *plan)),
                Verdict::Ignored | Verdict::Early => None,
            }
        });
        Ok(plans.collect())
    }

    /// Changes that the survey told, as many as came together.
    pub(super) fn devices(&mut self, changes: Vec<Change>) {
        let Some(discovered) = &mut self.discovered else { return };
        let (mut gone, mut changed) = (Vec::new(), Vec::new());
        for change in changes {
            match change {
                Change::Appeared(crossing) | Change::Changed(crossing) => {
                    match discovered.learn(*crossing) {
                        Some(News::Changed(id)) => changed.push(id),
                        Some(News::Moved(id)) => gone.push(id),
                        None => {}
                    }
                }
                Change::Vanished(key) => gone.extend(discovered.forget(&key)),
                _ => {}
            }
        }
        self.lose(&gone);
        for id in changed {
            self.know_again(id);
            self.improve(id);
        }
    }

    /// Follows new names of a device and of the file that leads to its pod.
    fn know_again(&mut self, id: EdgeId) {
        let plan = self.discovered.as_ref().and_then(|discovered| discovered.plan_for(id));
        if let Some(plan) = plan {
            self.engine.know_again(id, &plan);
            self.name_again(id);
        }
    }

    /// Gives a found edge the name that it would get now.
    pub(super) fn name_again(&mut self, id: EdgeId) {
        let plan = self.discovered.as_ref().and_then(|discovered| discovered.plan_for(id));
        let Some(plan) = plan else { return };
        // A file that is gone is no reason to forget whose device it was.
        if plan.netns_inode != 0 {
            let name = self.name_for(Some(id), &plan);
            self.rename(id, &name);
        }
    }

    /// The name of an edge that was found: namespaces whose files have one name, in several
    /// directories, are several pods.
    pub(super) fn name_for(&self, id: Option<EdgeId>, plan: &EdgePlan) -> String {
        let is_given = |id: &EdgeId| self.named.values().any(|named| named == id);
        let mut others = self.engine.edges().iter().filter(|(other, _)| Some(**other) != id);
        let is_taken = others.any(|(other, edge)| {
            let one_name = self.names.get(other) == Some(&plan.name);
            one_name && !is_given(other) && !edge.plan.is_in_namespace_of(plan)
        });
        if is_taken { plan.name_apart() } else { plan.name.clone() }
    }

    /// What the devices that are not hooked wait for.
    pub(super) fn waiting(&self) -> Waiting {
        let Some(discovered) = &self.discovered else { return Waiting::Nothing };
        let now = Instant::now();
        let mut waiting = Waiting::Nothing;
        for (_, crossing) in discovered.unhooked() {
            match discovered.judge(crossing, now) {
                Verdict::Edge(plan) if !self.is_named(&plan) => return Waiting::ToBeHooked,
                Verdict::Early => waiting = Waiting::ForNamespace,
                Verdict::Edge(_) | Verdict::Ignored => {}
            }
        }
        waiting
    }

    /// Gives devices that could not be hooked another chance.
    pub(super) fn retry_refused(&mut self) {
        let refusals = self.discovered.iter_mut().flat_map(|known| known.refused.values_mut());
        refusals.for_each(|refusal| refusal.again = true);
    }

    /// Hooks some of the known devices that are edges and not hooked yet.
    pub(super) fn hook_some(&mut self, now: Instant) {
        let Some(discovered) = &self.discovered else { return };
        let wanted: Vec<(Key, EdgePlan, Option<Instant>)> = discovered
            .unhooked()
            .filter_map(|(key, crossing)| match discovered.judge(crossing, now) {
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
                Ok(id) => {
                    self.tell_missed_before(id, noticed.is_some());
                    self.hooked(key, id, noticed);
                }
                Err(error) => {
                    self.attach_failed(&name, &error);
                    if let Some(discovered) = &mut self.discovered {
                        let reason = error.attach_reason();
                        discovered.refused.insert(key, Refusal { name, reason, again: false });
                    }
                }
            }
        }
    }

    /// An edge named by flag is hooked as the flag says; found again it is ignored.
    pub(super) fn is_named(&self, plan: &EdgePlan) -> bool {
        self.engine.edges().values().any(|edge| edge.plan.shares_device(plan))
    }

    /// Inside if that is possible, else on the host side alone.
    pub(super) fn hook_found(&mut self, mut plan: EdgePlan) -> Result<EdgeId, Error> {
        plan.name = self.name_for(None, &plan);
        let name = plan.name.clone();
        let id = self.engine.attach_or_degrade(plan)?;
        self.hooked_as(id, name);
        Ok(id)
    }

    /// Notes which devices are hooked already.
    pub(super) fn note_hooked(&mut self, edges: &[(Key, EdgeId)]) {
        if let Some(discovered) = &mut self.discovered {
            discovered.hooked.extend(edges.iter().copied());
        }
    }

    fn hooked(&mut self, key: Key, id: EdgeId, noticed: Option<Instant>) {
        if let Some(discovered) = &mut self.discovered {
            discovered.hooked.insert(key, id);
            discovered.refused.remove(&key);
        }
        if let Some(noticed) = noticed {
            self.tally.attach_lag.observe(noticed.elapsed().as_secs_f64());
        }
    }
}

impl Discovered {
    fn new(rule: Rule, crossings: Vec<Crossing>) -> Self {
        let known: BTreeMap<Key, Crossing> =
            crossings.into_iter().map(|crossing| (crossing.key, crossing)).collect();
        let old = known.keys().copied().collect();
        Self { rule, known, hooked: BTreeMap::new(), refused: BTreeMap::new(), old }
    }

    /// Names of devices that could not be hooked, and why.
    pub(super) fn refusals(&self) -> impl Iterator<Item = (&str, &'static str)> {
        self.refused.values().map(|refusal| (refusal.name.as_str(), refusal.reason))
    }

    /// Where an edge would be hooked if it were found now.
    pub(super) fn plan_for(&self, id: EdgeId) -> Option<EdgePlan> {
        let (key, _) = self.hooked.iter().find(|(_, hooked)| **hooked == id)?;
        match self.judge(self.known.get(key)?, Instant::now()) {
            Verdict::Edge(plan) => Some(*plan),
            Verdict::Ignored | Verdict::Early => None,
        }
    }

    fn judge(&self, crossing: &Crossing, now: Instant) -> Verdict {
        let patience = if self.old.contains(&crossing.key) { EARLY } else { Duration::ZERO };
        self.rule.judge(crossing, now + patience)
    }

    /// An edge has no hooks any more: its device is to be hooked anew.
    pub(super) fn release(&mut self, id: EdgeId) {
        self.hooked.retain(|_, hooked| *hooked != id);
    }

    /// The device of an edge was made anew: this one is to be hooked, and is news.
    pub(super) fn replace(&mut self, id: EdgeId) {
        for (key, _) in self.hooked.extract_if(.., |_, hooked| *hooked == id) {
            self.old.remove(&key);
        }
    }

    fn unhooked(&self) -> impl Iterator<Item = (&Key, &Crossing)> {
        self.known.iter().filter(|(key, _)| {
            let refused = self.refused.get(key).is_some_and(|refusal| !refusal.again);
            !refused && !self.hooked.contains_key(key)
        })
    }

    /// What is known of a device now; answers what that means for the edge that it is.
    fn learn(&mut self, crossing: Crossing) -> Option<News> {
        let key = crossing.key;
        let before = self.known.insert(key, crossing);
        if let Some(refusal) = self.refused.get_mut(&key) {
            refusal.again = true;
        }
        let is_elsewhere = before.is_some_and(|before| has_moved(&before, &self.known[&key]));
        if !is_elsewhere {
            return self.hooked.get(&key).copied().map(News::Changed);
        }
        let id = self.hooked.remove(&key)?;
        self.old.insert(key);
        Some(News::Moved(id))
    }

    /// A device is gone; answers the edge that it was.
    fn forget(&mut self, key: &Key) -> Option<EdgeId> {
        self.known.remove(key);
        self.refused.remove(key);
        self.old.remove(key);
        self.hooked.remove(key)
    }
}

/// Whether a device leads to another namespace than before, as far as that is known.
fn has_moved(before: &Crossing, now: &Crossing) -> bool {
    fn differ<T: PartialEq>(before: Option<T>, now: Option<T>) -> bool {
        before.zip(now).is_some_and(|(before, now)| before != now)
    }
    let namespace = |crossing: &Crossing| crossing.namespace.as_ref().map(|there| there.inode);
    let pod = |crossing: &Crossing| crossing.pod.as_ref().map(|device| device.ifindex);
    // Where the file tells, the id may be another one and lead there all the same.
    match (namespace(before), namespace(now)) {
        (Some(before), Some(now)) if before != now => true,
        (Some(_), Some(_)) => differ(pod(before), pod(now)),
        _ => differ(before.nsid, now.nsid) || differ(pod(before), pod(now)),
    }
}
