//! Families about the program, its drains, the audit and the edges.

use flow_model::{
    audit::Law,
    edge::{EdgeState, Place},
    flow::Direction,
};
use telemetry::metric::Family;

use super::Facts;
use crate::{
    catalogue as metric,
    degradation::Degradation,
    tally::{ATTACH_REASONS, Cause, Fault},
};

impl Facts<'_> {
    pub(super) fn program(&self, families: &mut Vec<Family>) {
        let tally = self.tally;
        families.push(Family::single(&metric::LOAD_STATUS, u64::from(tally.loaded)));
        families.push(Family::single(&metric::LOAD_ATTEMPTS, tally.loads));
        families.push(Family::single(&metric::LOAD_DURATION, tally.load_took.as_secs_f64()));
        let share = |used: usize, limit: u32| used as f64 / f64::from(limit.max(1));
        let [pairs, edges] = self.limits;
        let mut fill = Family::new(&metric::MAP_UTILISATION);
        for (map, share) in [
            ("flows4", self.fill[0]),
            ("flows6", self.fill[1]),
            ("pairs", share(self.snapshot.pairs.rows.len(), pairs)),
            ("edges", share(self.snapshot.edges.len(), edges)),
        ] {
            fill.push([map.into()], (share * 100.0).min(100.0));
        }
        families.push(fill);
        families.push(self.tracking());
        let mut memory = Family::new(&metric::KERNEL_MEMORY);
        for (map, bytes) in &self.memory {
            memory.push([(*map).into()], *bytes);
        }
        families.push(memory);
    }

    fn tracking(&self) -> Family {
        let info = self.info;
        let mut tracking = Family::new(&metric::TRACKING_INFO);
        tracking.push(
            [
                if info.enabled { "true" } else { "false" }.into(),
                info.flow_key.into(),
                "epoch".into(),
                "fold".into(),
                (&info.node).into(),
                (&info.pod_uid).into(),
            ],
            1_u64,
        );
        tracking
    }

    pub(super) fn drains(&self, families: &mut Vec<Family>) {
        let tally = self.tally;
        families.push(Family::single(&metric::COLLECTION_DURATION, tally.collection.clone()));
        families.push(Family::single(&metric::GRACE, tally.grace.clone()));
        families.push(Family::single(&metric::ATTACH_LAG, tally.attach_lag.clone()));
        families.push(Family::single(&metric::EPOCHS, self.snapshot.activity.epochs));
        families.push(Family::single(&metric::DRAINED_FLOWS, self.snapshot.activity.drained_flows));
        families.push(Family::single(&metric::OVERRUNS, tally.overruns));
        let mut errors = Family::new(&metric::COLLECTOR_ERRORS);
        for fault in Fault::ALL {
            errors.push([fault.as_str().into()], tally.faults(fault));
        }
        let mut early = Family::new(&metric::EARLY_DRAINS);
        for cause in Cause::ALL {
            early.push([cause.as_str().into()], tally.earlies(cause));
        }
        let mut attach = Family::new(&metric::ATTACH_ERRORS);
        for (reason, count) in tally.attach_failures() {
            attach.push([reason.into()], count);
        }
        let mut dumps = Family::new(&metric::DUMPS);
        dumps.push(["written".into()], tally.dumped);
        dumps.push(["failed".into()], tally.faults(Fault::Dump));
        families.extend([errors, early, attach, dumps, self.recovered()]);
    }

    fn recovered(&self) -> Family {
        let recovered = self.snapshot.recovered;
        let mut epochs = Family::new(&metric::RECOVERED);
        for (how, count) in [
            ("redrained", recovered.redrained),
            ("replayed", recovered.replayed),
            ("cleared", recovered.cleared),
            ("foreign", recovered.foreign),
        ] {
            epochs.push([how.into()], count);
        }
        epochs
    }

    pub(super) fn audit(&self, families: &mut Vec<Family>) {
        let mut bytes = Family::new(&metric::DRIFT_BYTES);
        let mut packets = Family::new(&metric::DRIFT_PACKETS);
        let laws = Law::ALL.map(|law| (law.as_str(), self.snapshot.laws.drift(law)));
        for (law, drift) in laws.into_iter().chain([("interface", self.interface_drift)]) {
            bytes.push([law.into()], drift.bytes);
            packets.push([law.into()], drift.packets);
        }
        families.extend([bytes, packets]);
        for (metric, amount) in [
            (&metric::BYPASSED_BYTES, self.tally.bypassed.bytes),
            (&metric::BYPASSED_PACKETS, self.tally.bypassed.packets),
        ] {
            families.push(Family::single(metric, amount));
        }
        let mut bytes = Family::new(&metric::MISSED_BYTES);
        let mut packets = Family::new(&metric::MISSED_PACKETS);
        for (direction, missed) in Direction::ALL.iter().zip(self.tally.missed) {
            bytes.push([direction.as_str().into()], missed.bytes);
            packets.push([direction.as_str().into()], missed.packets);
        }
        families.extend([bytes, packets]);
    }

    pub(super) fn edges(&self, families: &mut Vec<Family>) {
        let states = |wanted: EdgeState| {
            let edges = self.snapshot.edges.iter();
            edges.filter(|edge| edge.record.state == wanted).count() as u64
        };
        let degraded = self.degraded.len() as u64;
        let mut family = Family::new(&metric::EDGES);
        let mut push = |state: &'static str, reason: &'static str, count: u64| {
            family.push([state.into(), reason.into()], count);
        };
        push("attached", "none", states(EdgeState::Live).saturating_sub(degraded));
        push("draining", "none", states(EdgeState::Draining));
        // An edge is named as soon as it is hooked while nobody else knows its pod.
        push("degraded", "unnamed", 0);
        for why in Degradation::ALL {
            let count = self.degraded.iter().filter(|degraded| **degraded == why).count();
            push("degraded", why.as_str(), count as u64);
        }
        for reason in ATTACH_REASONS {
            let count = self.refused.iter().filter(|refused| **refused == reason).count();
            push("refused", reason, count as u64);
        }
        families.push(family);
        families.push(self.hooks());
    }

    fn hooks(&self) -> Family {
        let mut hooks = Family::new(&metric::HOOKS);
        for (place, name) in [(Place::Host, "host"), (Place::Pod, "pod")] {
            for direction in Direction::ALL {
                let edges = self.snapshot.edges.iter();
                let live = edges.filter(|edge| edge.record.state == EdgeState::Live);
                let there =
                    live.filter(|edge| edge.record.hooks[direction as usize].place == place);
                hooks.push(
                    [self.info.attach.into(), name.into(), direction.as_str().into()],
                    there.count() as u64,
                );
            }
        }
        hooks
    }
}
