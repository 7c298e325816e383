//! Hooks that are not where they should be any more, or could be better placed by now.

use std::time::Instant;

use flow_model::{
    edge::{EdgeId, Place},
    flow::{Counts, Direction},
};

use super::Service;
use crate::{
    degradation::Degradation, discover::Verdict, engine::Edge, settings::EdgeHooks, site::EdgePlan,
};

impl Service {
    /// Puts hooks back that somebody removed: on the host side where that is possible,
    /// which the pod can't reach.
    pub(super) fn mend_hooks(&mut self) {
        for (id, direction) in self.engine.removed_hooks() {
            let Some(edge) = self.engine.edges().get(&id) else {
                continue;
            };
            let plan = edge.plan.on_host_side(Degradation::Tampered).unwrap_or_else(|| EdgePlan {
                degraded: Some(Degradation::Tampered),
                ..edge.plan.clone()
            });
            self.tell_degraded(&plan.name, Degradation::Tampered);
            self.move_hook(id, direction, plan);
        }
    }

    /// Counts what goes around receive hooks on the host side, and moves such a hook
    /// inside where the settings and the namespace allow it.
    pub(super) fn look_for_bypass(&mut self) {
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
            if let Some(plan) = self.better_place(id) {
                self.move_hook(id, Direction::Rx, plan);
            }
        }
    }

    /// Where discovery would hook an edge now, if that is inside and the edge is not.
    fn better_place(&self, id: EdgeId) -> Option<EdgePlan> {
        if self.config.settings().edge_hooks != EdgeHooks::Auto {
            return None;
        }
        let discovered = self.discovered.as_ref()?;
        let crossing = discovered.crossing_of(id)?;
        let Verdict::Edge(plan) = discovered.rule.judge(crossing, Instant::now()) else {
            return None;
        };
        let current = &self.engine.edges().get(&id)?.plan;
        let inside = plan.site(Direction::Rx).place == Place::Pod;
        let same_tx = plan.site(Direction::Tx) == current.site(Direction::Tx);
        // What was tampered with inside does not go back there.
        let trusted = current.degraded != Some(Degradation::Tampered);
        (inside && same_tx && trusted).then_some(*plan)
    }

    fn move_hook(&mut self, id: EdgeId, direction: Direction, plan: EdgePlan) {
        let (name, pins) = (plan.name.clone(), self.pins.clone());
        match self.engine.move_hook(id, direction, plan, pins.as_ref()) {
            Ok(missed) => {
                self.tally.missed[direction as usize] += missed;
                tracing::info!(
                    event = "edge.attached",
                    edge = name,
                    id = id.0,
                    direction = direction.as_str(),
                    "A hook has another place"
                );
            }
            Err(error) => {
                self.forget_unhooked(id);
                self.attach_failed(&name, error.attach_reason(), &error);
            }
        }
    }

    /// Lets named edges go whose device is gone, and hooks those that are there again.
    pub(super) fn renew_named(&mut self) {
        let gone = |id: &EdgeId| self.engine.edges().get(id).is_none_or(Edge::is_gone);
        let lost: Vec<EdgeId> = self.named.values().copied().filter(|id| gone(id)).collect();
        self.named.retain(|_, id| !lost.contains(id));
        self.unhook(&lost);
        let settings = self.config.settings();
        if self.named.len() < settings.pod_edge.len() + settings.netns.len() {
            self.follow_named();
        }
    }

    /// An edge that lost its hooks is hooked anew by the next look at what is known.
    fn forget_unhooked(&mut self, id: EdgeId) {
        if self.engine.edges().contains_key(&id) {
            return;
        }
        self.named.retain(|_, named| *named != id);
        if let Some(discovered) = &mut self.discovered {
            discovered.hooked.retain(|_, hooked| *hooked != id);
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
