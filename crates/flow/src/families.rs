//! The ledger as metric families: one consistent set for each commit.

mod state;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use flow_bpf::Event;
use flow_model::{
    connections::Active,
    flow::{Class, Counts, Direction, Protocol},
    snapshot::Snapshot,
};
use telemetry::metric::{Family, LabelValue};

use crate::{catalogue as metric, degradation::Degradation, tally::Tally};

/// Everything that is exposed, as of one commit.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// The ledger.
    pub(crate) snapshot: &'a Snapshot,
    /// The process.
    pub(crate) tally: &'a Tally,
    /// Active connections; absent where they can't be told.
    pub(crate) active: Option<Active>,
    /// Connections that found no room.
    pub(crate) untracked: u64,
    /// Fill of the flow tables in the last epoch, 0 to 1: IPv4, IPv6.
    pub(crate) fill: [f64; 2],
    /// Limits of pairs and edges.
    pub(crate) limits: [u32; 2],
    /// Kernel events since the maps were made.
    pub(crate) events: Vec<(Event, u64)>,
    /// Kernel memory by map.
    pub(crate) memory: Vec<(&'static str, u64)>,
    /// Violations of the interface law.
    pub(crate) interface_drift: Counts,
    /// Hooked edges that are not counted as they should be.
    pub(crate) degraded: Vec<Degradation>,
    /// Why edges could not be hooked, one reason each.
    pub(crate) refused: Vec<&'static str>,
    /// Values of the info metric.
    pub(crate) info: &'a Info,
}

/// Values of the info metric.
#[derive(Debug, Clone)]
pub(crate) struct Info {
    /// Whether connections are tracked.
    pub(crate) enabled: bool,
    /// What tells flows apart.
    pub(crate) flow_key: &'static str,
    /// The node.
    pub(crate) node: Arc<str>,
    /// The agent's own pod.
    pub(crate) pod_uid: Arc<str>,
    /// tcx or clsact.
    pub(crate) attach: &'static str,
}

const OTHER: &str = "other";
const IGNORED: &str = "ignored";

impl Facts<'_> {
    /// All families.
    pub(crate) fn families(&self) -> Vec<Family> {
        let mut families = Vec::with_capacity(64);
        self.pairs(&mut families);
        self.node(&mut families);
        self.pods(&mut families);
        self.series(&mut families);
        self.folded(&mut families);
        self.program(&mut families);
        self.drains(&mut families);
        self.audit(&mut families);
        self.edges(&mut families);
        families
    }

    fn pairs(&self, families: &mut Vec<Family>) {
        let pairs = &self.snapshot.pairs;
        let mut bytes = Family::with_capacity(&metric::PAIR_BYTES, pairs.rows.len() + 2);
        let mut packets = Family::with_capacity(&metric::PAIR_PACKETS, pairs.rows.len() + 2);
        for row in &pairs.rows {
            let labels = [
                row.src.to_string().into(),
                row.dst.to_string().into(),
                row.protocol.as_str().into(),
            ];
            let created = since_1970(row.created_ns);
            packets.push_created(labels.clone(), row.counts.packets, created);
            bytes.push_created(labels, row.counts.bytes, created);
        }
        let created = since_1970(self.snapshot.created_ns);
        for (name, counts) in [(OTHER, pairs.other), (IGNORED, pairs.ignored)] {
            let labels: [LabelValue; 3] =
                [name.into(), name.into(), Protocol::Other.as_str().into()];
            packets.push_created(labels.clone(), counts.packets, created);
            bytes.push_created(labels, counts.bytes, created);
        }
        families.extend([bytes, packets]);
        families.push(Family::single(&metric::BATCH_SIZE, pairs.batch));
        if let Some(active) = self.active {
            let mut family = Family::new(&metric::ACTIVE_CONNECTIONS);
            family.push(["tcp".into()], active.tcp);
            family.push(["udp".into()], active.udp);
            families.push(family);
        }
        families.push(Family::single(&metric::UNTRACKED, self.untracked));
    }

    fn node(&self, families: &mut Vec<Family>) {
        let [tx, rx] = self.snapshot.node.map(|totals| totals.wire);
        let created = since_1970(self.snapshot.created_ns);
        for (metric, value) in [
            (&metric::TX_BYTES, tx.bytes),
            (&metric::TX_PACKETS, tx.packets),
            (&metric::RX_BYTES, rx.bytes),
            (&metric::RX_PACKETS, rx.packets),
        ] {
            let mut family = Family::new(metric);
            family.push_created([], value, created);
            families.push(family);
        }
    }

    fn pods(&self, families: &mut Vec<Family>) {
        let pods = &self.snapshot.pods;
        let created = since_1970(self.snapshot.created_ns);
        let mut sides = [
            [Family::new(&metric::POD_TX_BYTES), Family::new(&metric::POD_TX_PACKETS)],
            [Family::new(&metric::POD_RX_BYTES), Family::new(&metric::POD_RX_PACKETS)],
        ];
        for row in &pods.rows {
            let pod: Arc<str> = row.name.as_str().into();
            let namespace: Arc<str> = row.namespace.as_str().into();
            let labels = || -> [LabelValue; 4] {
                [(&namespace).into(), (&pod).into(), "".into(), "".into()]
            };
            for (side, counts) in sides.iter_mut().zip(row.counts) {
                push_both(side, labels, counts, since_1970(row.created_ns));
            }
        }
        for (side, counts) in sides.iter_mut().zip(pods.other) {
            push_both(side, || [OTHER; 4].map(LabelValue::from), counts, created);
        }
        families.extend(sides.into_iter().flatten());
        let mut unnamed = Family::new(&metric::UNNAMED_BYTES);
        for (direction, counts) in Direction::ALL.iter().zip(pods.unnamed) {
            unnamed.push([direction.as_str().into()], counts.bytes);
        }
        families.push(unnamed);
    }

    fn series(&self, families: &mut Vec<Family>) {
        let Snapshot { pairs, pods, .. } = self.snapshot;
        let mut bytes = Family::new(&metric::RETIRED_BYTES);
        let mut packets = Family::new(&metric::RETIRED_PACKETS);
        // Workloads and zones are known by a pod index alone: without one they have no
        // series, and nothing of them is retired or ambiguous.
        let none = [Counts::ZERO; 2];
        for (family, retired) in [
            ("pair", [pairs.retired, Counts::ZERO]),
            ("pod", pods.retired),
            ("workload", none),
            ("zone", none),
        ] {
            for (direction, counts) in Direction::ALL.iter().zip(retired) {
                let labels = [family.into(), direction.as_str().into()];
                packets.push(labels.clone(), counts.packets);
                bytes.push(labels, counts.bytes);
            }
        }
        let mut used = Family::new(&metric::SERIES);
        let mut refused = Family::new(&metric::SERIES_REFUSED);
        for (family, rows, turned_away) in [
            ("pair", pairs.rows.len(), pairs.refused),
            ("pod", pods.rows.len(), pods.refused),
            ("workload", 0, 0),
            ("zone", 0, 0),
        ] {
            used.push([family.into()], rows as u64);
            refused.push([family.into()], turned_away);
        }
        families.push(Family::single(&metric::AMBIGUOUS, 0_u64));
        families.extend([bytes, packets, used, refused]);
    }

    fn folded(&self, families: &mut Vec<Family>) {
        let mut bytes = Family::new(&metric::FOLDED_BYTES);
        let mut packets = Family::new(&metric::FOLDED_PACKETS);
        for direction in Direction::ALL {
            for class in Class::ALL {
                let counts = self.snapshot.folded[direction as usize][class as usize];
                let labels = [direction.as_str().into(), class.as_str().into()];
                packets.push(labels.clone(), counts.packets);
                bytes.push(labels, counts.bytes);
            }
        }
        let mut unparsed = Family::new(&metric::UNPARSED);
        for (event, count) in &self.events {
            if let Some(reason) = event.parse_reason() {
                unparsed.push([reason.into()], *count);
            }
        }
        families.extend([bytes, packets, unparsed]);
        for (metric, wanted) in [
            (&metric::OVERFLOW, Event::Overflow),
            (&metric::UNSLOTTED, Event::Unslotted),
            (&metric::LOST_NOTICES, Event::LostNotice),
        ] {
            let found = self.events.iter().find(|(event, _)| *event == wanted);
            families.extend(found.map(|(_, count)| Family::single(metric, *count)));
        }
    }
}

fn push_both(
    side: &mut [Family; 2],
    labels: impl Fn() -> [LabelValue; 4],
    counts: Counts,
    created: SystemTime,
) {
    let [bytes, packets] = side;
    bytes.push_created(labels(), counts.bytes, created);
    packets.push_created(labels(), counts.packets, created);
}

fn since_1970(ns: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_nanos(ns)
}

#[cfg(test)]
mod tests;
