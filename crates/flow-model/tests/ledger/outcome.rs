//! What two runs have in common, and what one run must never do.

use std::collections::BTreeMap;

use flow_model::edge::{EdgeState, Text};
use flow_model::flow::{Counts, Folded, Protocol, Totals};
use flow_model::snapshot::{PairFamily, PodFamily, Snapshot};
use std::net::IpAddr;

use crate::driver::Run;

type Pairs = BTreeMap<(IpAddr, IpAddr, Protocol), (u64, Counts)>;

/// Everything that must not depend on where a run was interrupted. Ids and slots may.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Essence {
    node: [Totals; 2],
    folded: Folded,
    edges: BTreeMap<Text, [Counts; 2]>,
    pairs: Pairs,
    pair_rest: [Counts; 3],
    pods: BTreeMap<(Text, Text), (Text, u64, [Counts; 2])>,
    pod_rest: [[Counts; 2]; 3],
}

impl Essence {
    /// For ledgers in which edges start anew with the sums kept elsewhere.
    pub(crate) fn without_edges(self) -> Self {
        Self { edges: BTreeMap::new(), ..self }
    }
}

pub(crate) fn essence(snapshot: &Snapshot) -> Essence {
    let live = snapshot.edges.iter().filter(|edge| edge.record.state == EdgeState::Live);
    let PairFamily { other, ignored, retired, .. } = snapshot.pairs;
    let pod_rest = [snapshot.pods.other, snapshot.pods.retired, snapshot.pods.unnamed];
    Essence {
        node: snapshot.node,
        folded: snapshot.folded,
        edges: live.map(|edge| (edge.record.identity.name, [edge.wire(0), edge.wire(1)])).collect(),
        pairs: pairs(&snapshot.pairs),
        pair_rest: [other, ignored, retired],
        pods: pods(&snapshot.pods),
        pod_rest,
    }
}

fn pairs(family: &PairFamily) -> Pairs {
    let row = |row: &flow_model::snapshot::PairRow| {
        ((row.src, row.dst, row.protocol), (row.created_ns, row.counts))
    };
    family.rows.iter().map(row).collect()
}

fn pods(family: &PodFamily) -> BTreeMap<(Text, Text), (Text, u64, [Counts; 2])> {
    let rows = family.rows.iter();
    rows.map(|row| ((row.namespace, row.name), (row.uid, row.created_ns, row.counts))).collect()
}

/// What is wrong with a run in itself: laws, counters that fell, packets lost or counted
/// twice. The script must have ended with drains enough to see every packet.
pub(crate) fn faults(run: &Run) -> Vec<&'static str> {
    let mut faults = Vec::new();
    for commit in run.commits.iter().map(|commit| &**commit).chain([&run.last]) {
        if !commit.laws.hold() {
            faults.push("a law does not hold");
        }
    }
    for pair in run.commits.windows(2) {
        faults.extend(falls(&pair[0], &pair[1]));
    }
    if let Some(last) = run.commits.last() {
        faults.extend(falls(last, &run.last));
    }
    let counted = run.last.node.map(|totals| totals.wire);
    if counted != run.offered {
        faults.push("not every packet is counted once");
    }
    if run.last.node.map(|totals| totals.skb) != run.offered {
        faults.push("not every buffer is counted once");
    }
    faults
}

/// Counters that are lower in `next` than in `before`.
fn falls(before: &Snapshot, next: &Snapshot) -> Vec<&'static str> {
    let mut falls = Vec::new();
    let mut check = |name, before: &[Counts], next: &[Counts]| {
        if before.iter().zip(next).any(|(a, b)| a.packets > b.packets || a.bytes > b.bytes) {
            falls.push(name);
        }
    };
    let wire = |snapshot: &Snapshot| snapshot.node.map(|totals| totals.wire);
    let skb = |snapshot: &Snapshot| snapshot.node.map(|totals| totals.skb);
    check("node fell", &wire(before), &wire(next));
    check("skb fell", &skb(before), &skb(next));
    check("folded fell", before.folded.as_flattened(), next.folded.as_flattened());
    check("pod other fell", &before.pods.other, &next.pods.other);
    check("pod retired fell", &before.pods.retired, &next.pods.retired);
    let rest = |pairs: &PairFamily| [pairs.other, pairs.ignored, pairs.retired];
    check("pair rest fell", &rest(&before.pairs), &rest(&next.pairs));
    let later = pairs(&next.pairs);
    for (key, (created, counts)) in pairs(&before.pairs) {
        if let Some((same, now)) = later.get(&key)
            && *same == created
        {
            check("pair fell", &[counts], &[*now]);
        }
    }
    let later = pods(&next.pods);
    for (key, (_, created, counts)) in pods(&before.pods) {
        if let Some((_, same, now)) = later.get(&key)
            && *same == created
        {
            check("pod fell", &counts, now);
        }
    }
    falls
}
