//! What one commit publishes: plain data, consistent in itself.

use std::net::IpAddr;

use crate::audit::Laws;
use crate::edge::{EdgeId, EdgeRecord, Text};
use crate::flow::{Counts, Folded, Protocol, Totals};

/// Everything that the ledger knows at one commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Last committed epoch.
    pub epoch: u64,
    /// Wall time of the commit.
    pub at_ns: u64,
    /// Wall time at which the ledger was created: start of the node counters.
    pub created_ns: u64,
    /// Everything that crossed pod edges, by direction, departed edges included.
    pub node: [Totals; 2],
    /// The part of it without flow detail, by direction and class cell.
    pub folded: Folded,
    /// Edges that are live or draining, by slot.
    pub edges: Vec<EdgeRow>,
    /// Address pairs, in the order of their records.
    pub pairs: PairFamily,
    /// Pods, by namespace and name.
    pub pods: PodFamily,
    /// Id that the next edge will get; only grows.
    pub next_edge_id: u32,
    /// Laws of the last drain.
    pub laws: Laws,
    /// What the process has done so far.
    pub activity: Activity,
    /// Epochs that a crash left unfinished, since the ledger was created.
    pub recovered: Recovered,
}

/// One edge at a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgeRow {
    /// Its record.
    pub record: EdgeRecord,
    /// Its committed flows, by direction.
    pub flows: [Counts; 2],
    /// Its amounts without flow detail.
    pub folded: Folded,
    /// What its hooks counted, by direction, as of the last drain of each parity.
    pub totals: [Totals; 2],
}

impl EdgeRow {
    /// Flows and folded amounts of a direction.
    pub fn wire(&self, direction: usize) -> Counts {
        self.flows[direction] + self.folded[direction].into_iter().sum()
    }
}

/// The address pairs: what pods sent.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PairFamily {
    /// Exposed pairs.
    pub rows: Vec<PairRow>,
    /// Pairs without a series of their own, and folded amounts.
    pub other: Counts,
    /// Pairs whose destination is in an ignored range.
    pub ignored: Counts,
    /// Final amounts of pairs no longer exposed.
    pub retired: Counts,
    /// How often a pair went to `other` for lack of room, since the process started.
    pub refused: u64,
    /// Distinct pairs in the last epoch.
    pub batch: u64,
}

/// One exposed pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PairRow {
    /// Source address as on the wire at the pod.
    pub src: IpAddr,
    /// Destination address as on the wire at the pod.
    pub dst: IpAddr,
    /// Protocol.
    pub protocol: Protocol,
    /// Edge that first carried it.
    pub owner: EdgeId,
    /// Wall time of the drain that gave it a series.
    pub created_ns: u64,
    /// What it carried since.
    pub counts: Counts,
}

/// The pods.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodFamily {
    /// Exposed pods.
    pub rows: Vec<PodRow>,
    /// Pods without a series of their own, by direction.
    pub other: [Counts; 2],
    /// Final amounts of pods no longer exposed, by direction.
    pub retired: [Counts; 2],
    /// Amounts that wait for the identity of their edge, by direction.
    pub unnamed: [Counts; 2],
    /// How often an edge went to `other` for lack of room, since the process started.
    pub refused: u64,
}

/// One exposed pod with all its edges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PodRow {
    /// Kubernetes namespace; empty without Kubernetes.
    pub namespace: Text,
    /// Name of the pod, or of the edge without Kubernetes.
    pub name: Text,
    /// Pod UID; empty without Kubernetes.
    pub uid: Text,
    /// Wall time at which the series began.
    pub created_ns: u64,
    /// Its amounts, by direction.
    pub counts: [Counts; 2],
}

/// Counts that start with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Activity {
    /// Epochs drained.
    pub epochs: u64,
    /// Flow entries read by drains that were committed.
    pub drained_flows: u64,
    /// Flow entries whose slot belonged to no edge: counted, but a bug.
    pub stray_flows: u64,
}

/// Epochs that were not finished by the process that closed them, by what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Drained again from the start: nothing had been removed.
    pub redrained: u64,
    /// Taken from the complete redo log.
    pub replayed: u64,
    /// Committed already; only the flow maps were emptied.
    pub cleared: u64,
    /// Known by their totals alone, because the ledger was not ours any more.
    pub foreign: u64,
}
