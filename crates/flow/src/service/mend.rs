//! Hooks that are not where they should be any more, or could be better placed by now.

use std::time::Instant;

use flow_model::{
    edge::EdgeId,
    flow::{Counts, Direction},
};

use super::Service;
use crate::{
    degradation::Degradation,
    discover::SurveyThread,
    engine::{Edge, Moved},
    error::Error,
    plan::EdgePlan,
};

impl Service {
    /// Brings hooks and devices together again, whatever was not noticed meanwhile.
    pub(super) fn resync(&mut self) {
        self.last_resync = Instant::now();
        self.survey.iter().for_each(SurveyThread::look_again);
        self.engine.learn_names();
        self.let_replaced_go();
        // Before hooks move, because one that does begins a new comparison.
        self.check_interfaces();
        self.count_bypassed();
        self.look_at_pins();
        self.retry_refused();
        self.renew_named();
        self.mend_hooks();
        self.tell_overtaken();
        self.improve_all();
    }

    fn check_interfaces(&mut self) {
        match self.engine.check_interfaces() {
            Ok(drift) => self.interface_drift = drift,
            Err(error) => {
                tracing::warn!(event = "audit.failed", %error, "Interface counters could not be compared")
            }
        }
        if !self.interface_drift.is_zero() {
            let Counts { packets, bytes } = self.interface_drift;
            self.report_violation("interface", packets, bytes);
        }
    }

    /// Tells when somebody removed what was to outlive the process.
    fn look_at_pins(&self) {
        if self.pins.is_none() || self.engine.is_pinned() {
            return;
        }
        if let Some(suppressed) = self.limit.admit("pins.gone", "", Instant::now()) {
            tracing::warn!(
                event = "pins.gone",
                suppressed,
                "Pins were removed: counts end with this process; restart it to pin anew"
            );
        }
    }

    /// Tells of edges before whose hooks somebody put a program that may keep packets from
    /// them.
    pub(super) fn tell_overtaken(&mut self) {
        for id in self.engine.look_at_chains() {
            let edge = self.engine.edges().get(&id);
            if edge.and_then(Edge::degradation) == Some(Degradation::BehindForeignFilter) {
                let name = self.names.get(&id).cloned().unwrap_or_default();
                self.tell_degraded(&name, Degradation::BehindForeignFilter);
            }
        }
    }

    /// Puts hooks back that somebody removed: on the host side where that is possible,
    /// which the pod can't reach.
    fn mend_hooks(&mut self) {
        for (id, direction) in self.engine.removed_hooks() {
            let Some(edge) = self.engine.edges().get(&id) else {
                continue;
            };
            let plan = edge.plan.on_host_side(Degradation::Tampered).unwrap_or_else(|| EdgePlan {
                degraded: Some(Degradation::Tampered),
                ..edge.plan.clone()
            });
            // Up to the look at interfaces, with which this resync began.
            let gap = edge.checks[direction as usize].map(|check| check.unseen());
            self.tell_degraded(&plan.name, Degradation::Tampered);
            self.tell_missed(id, direction, gap.unwrap_or_default());
            self.move_hook(id, direction, plan);
        }
    }

    /// Counts what goes around receive hooks on the host side.
    pub(super) fn count_bypassed(&mut self) {
        for (id, around) in self.engine.check_bypass() {
            self.tally.bypassed += around;
            let Counts { packets, bytes } = around;
            if let Some(suppressed) = self.limit.admit("edge.degraded", "bypassed", Instant::now())
            {
                tracing::warn!(
                    event = "edge.degraded",
                    reason = "bypassed",
                    edge = self.names.get(&id).map_or("", String::as_str),
                    packets,
                    bytes,
                    suppressed,
                    "Packets reached a pod around the hook on the host side"
                );
            }
        }
    }

    fn improve_all(&mut self) {
        let ids: Vec<EdgeId> = self.engine.edges().keys().copied().collect();
        for id in ids {
            self.name_again(id);
            self.improve(id);
        }
    }

    /// Gives the hooks of a degraded edge the places that discovery has for them now.
    pub(super) fn improve(&mut self, id: EdgeId) {
        let Some(plan) = self.better_plan(id) else { return };
        // What arrives first: that it is counted here is what degrades most edges.
        for direction in [Direction::Rx, Direction::Tx] {
            let moves = self.engine.is_misplaced(id, direction, &plan);
            if moves && !self.move_hook(id, direction, plan.clone()) {
                return;
            }
        }
        let name = self.name_for(Some(id), &plan);
        self.rename(id, &name);
    }

    /// Where discovery would hook a degraded edge now, if nothing is in its way.
    fn better_plan(&self, id: EdgeId) -> Option<EdgePlan> {
        match self.engine.edges().get(&id)?.degradation()? {
            // What was tampered with inside does not go back there.
            Degradation::Tampered => return None,
            Degradation::HostEgress | Degradation::BehindForeignFilter => {}
        }
        let plan = self.discovered.as_ref()?.plan_for(id)?;
        self.engine.feasible(plan).ok().filter(|plan| plan.degraded.is_none())
    }

    /// Whether the hook is in its new place.
    fn move_hook(&mut self, id: EdgeId, direction: Direction, plan: EdgePlan) -> bool {
        let name = plan.name.clone();
        let refused = match self.engine.move_hook(id, direction, plan) {
            Ok(Moved { missed, refused }) => {
                self.tally.missed[direction as usize] += missed;
                refused
            }
            Err(error) => Some(error),
        };
        if let Some(error) = refused {
            self.move_failed(id, &name, &error);
            return false;
        }
        tracing::info!(
            event = "edge.attached",
            edge = name,
            id = id.0,
            direction = direction.as_str(),
            "A hook has another place"
        );
        true
    }

    /// Counts what passed the devices of an edge before it was hooked: since they were hooked
    /// last, or since they were made if nobody had hooked them.
    pub(super) fn tell_missed_before(&mut self, id: EdgeId, is_new: bool) {
        let gaps = Direction::ALL.map(|direction| self.engine.rejoin(id, direction));
        if gaps == [None; 2] && is_new {
            let start = self.engine.edges().get(&id).map(|edge| edge.start).unwrap_or_default();
            for (missed, start) in self.tally.missed.iter_mut().zip(start) {
                *missed += start.unwrap_or_default().counts();
            }
        }
        for (direction, gap) in Direction::ALL.into_iter().zip(gaps) {
            match gap {
                None | Some(Counts::ZERO) => {}
                Some(gap) => self.tell_missed(id, direction, gap),
            }
        }
    }

    /// Counts what passed a device while its hook was taken away.
    fn tell_missed(&mut self, id: EdgeId, direction: Direction, gap: Counts) {
        self.tally.missed[direction as usize] += gap;
        if let Some(suppressed) = self.limit.admit("edge.missed", "tampered", Instant::now()) {
            tracing::warn!(
                event = "edge.missed",
                edge = self.names.get(&id).map_or("", String::as_str),
                direction = direction.as_str(),
                packets = gap.packets,
                bytes = gap.bytes,
                suppressed,
                "A device was without its hook; what passed meanwhile was not counted"
            );
        }
    }

    fn move_failed(&mut self, id: EdgeId, name: &str, error: &Error) {
        if self.engine.edges().contains_key(&id) {
            tracing::debug!(%error, edge = name, "A hook stays where it is");
            return;
        }
        // It is hooked anew by the next look at what is known.
        self.named.retain(|_, named| *named != id);
        self.discovered.iter_mut().for_each(|discovered| discovered.release(id));
        self.attach_failed(name, error);
    }

    /// Follows devices that came or went: at once for named edges, since discovery tells of
    /// others by itself. One that has no hook any more left, whatever is in its place.
    pub(super) fn follow_links(&mut self) {
        let bare = self.engine.bare(self.named.values().copied());
        self.lose(&bare);
        self.renew_named();
    }

    /// Lets edges go whose devices were made anew: these are hooked as new ones.
    fn let_replaced_go(&mut self) {
        let replaced = self.engine.replaced();
        for id in &replaced {
            self.discovered.iter_mut().for_each(|discovered| discovered.replace(*id));
        }
        self.lose(&replaced);
    }

    /// Lets named edges go whose device is gone, and hooks those that are there again.
    fn renew_named(&mut self) {
        let gone = |id: &EdgeId| self.engine.edges().get(id).is_none_or(Edge::is_gone);
        let lost: Vec<EdgeId> = self.named.values().copied().filter(|id| gone(id)).collect();
        self.named.retain(|_, id| !lost.contains(id));
        self.lose(&lost);
        let settings = self.config.settings();
        if self.named.len() < settings.pod_edge.len() + settings.netns.len() {
            self.follow_named(true);
        }
    }

    /// Tells that an edge is counted otherwise than it should be.
    pub(super) fn tell_degraded(&self, edge: &str, why: Degradation) {
        let reason = why.as_str();
        if let Some(suppressed) = self.limit.admit("edge.degraded", reason, Instant::now()) {
            tracing::warn!(
                event = "edge.degraded",
                edge,
                reason,
                suppressed,
                "An edge is not counted where it should be"
            );
        }
    }
}
