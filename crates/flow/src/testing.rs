//! What several tests need: settings, a ledger's snapshot made by hand, places for pins.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    path::Path,
    sync::Arc,
    time::Duration,
};

use clap::Parser;
use flow_model::{
    connections::TickClock,
    edge::{Attachment, EdgeId, EdgeRecord, EdgeState, Exposure, Hook, Identity, Place, Text},
    flow::{Class, Counts, Direction, FlowEntry, FlowKey, Folded, Protocol, Slot, Totals},
    page::FlowKeyMode,
    snapshot::{EdgeRow, PairFamily, PairRow, PodFamily, PodRow, Snapshot},
};
use net_sys::{link::Link, tcx};
use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;

use crate::{
    config::Config,
    plan::EdgePlan,
    published::{Hooked, View},
    settings::Settings,
    site::{Namespace, Site, Way},
};

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    settings: Settings,
}

/// Settings as a command line gives them.
pub(crate) fn settings(arguments: &[&str]) -> Settings {
    Cli::try_parse_from(["flows"].iter().chain(arguments)).unwrap().settings
}

/// A configuration of small maps that names nothing, but for what is told.
pub(crate) fn config(arguments: &[&str]) -> Config {
    let usual = [
        ["--flow-capacity", "1024"],
        ["--flow-capacity6", "1024"],
        ["--shards", "1"],
        ["--max-edges", "8"],
        ["--pair-series-max", "16"],
        ["--discover", "on"],
    ];
    let usual = usual.iter().filter(|[flag, _]| !arguments.contains(flag)).flatten();
    let all: Vec<&str> = usual.chain(arguments).copied().collect();
    Config::new(settings(&all)).unwrap()
}

pub(crate) const fn counts(packets: u64, bytes: u64) -> Counts {
    Counts { packets, bytes }
}

/// A flow of 10.0.0.1:40000 to 10.0.0.2:80 by TCP.
pub(crate) fn key() -> FlowKey {
    FlowKey {
        slot: Slot(1),
        direction: Direction::Tx,
        src: ip("10.0.0.1"),
        dst: ip("10.0.0.2"),
        src_port: 40_000,
        dst_port: 80,
        protocol: 6,
        fragment: false,
    }
}

pub(crate) fn flow(key: FlowKey, counts: Counts, ticks: [u32; 2]) -> FlowEntry {
    FlowEntry { key, counts, first: ticks[0], last: ticks[1], syn: 1, fin: 0, rst: 0 }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// Tick 1000 is the hundredth second; ticks last ten milliseconds.
pub(crate) const CLOCK: TickClock =
    TickClock { tick: 1000, monotonic_ns: 100_000_000_000, tick_ns: 10_000_000 };

/// An edge hooked on the host side for what it sends and inside for the rest.
pub(crate) fn edge(id: u32, name: &str, state: EdgeState) -> EdgeRow {
    let hook = |place| Hook { place, attachment: Attachment::Tcx, preference: 0, handle: 0 };
    let record = EdgeRecord {
        id: EdgeId(id),
        slot: Slot(u16::try_from(id).unwrap()),
        state,
        since_epoch: 0,
        netns_inode: 4_026_531_840,
        host_ifindex: 10 + id,
        pod_ifindex: 2,
        hooks: [hook(Place::Host), hook(Place::Pod)],
        created_ns: SECOND,
        exposure: Exposure::Series,
        identity: Identity { name: Text::new(name).unwrap(), ..Identity::EMPTY },
        sums: [[Counts::ZERO; 2]; 2],
        inherited: [Counts::ZERO; 2],
        pod_created_ns: SECOND,
        baseline: [0; 8],
    };
    let mut folded = Folded::default();
    folded[0][Class::NonIp as usize] = counts(1, 42);
    let totals = [totals(4, 1042), totals(2, 200)];
    EdgeRow { record, flows: [counts(3, 1000), counts(2, 200)], folded, totals }
}

const SECOND: u64 = 1_000_000_000;

fn totals(packets: u64, bytes: u64) -> Totals {
    Totals { wire: counts(packets, bytes), skb: counts(packets - 1, bytes - 40) }
}

/// Two edges, one pair and one pod at the seventh commit.
pub(crate) fn snapshot() -> Snapshot {
    let pair = PairRow {
        src: ip("10.0.0.1"),
        dst: ip("10.0.0.2"),
        protocol: Protocol::Tcp,
        owner: EdgeId(1),
        created_ns: 5 * SECOND,
        counts: counts(3, 1000),
    };
    let pod = PodRow {
        namespace: Text::EMPTY,
        name: Text::new("pod-a").unwrap(),
        uid: Text::EMPTY,
        created_ns: 5 * SECOND,
        counts: [counts(4, 1042), counts(2, 200)],
    };
    let edges = vec![edge(1, "pod-a", EdgeState::Live), edge(2, "pod-b", EdgeState::Draining)];
    let mut folded = Folded::default();
    folded[0][Class::NonIp as usize] = counts(1, 42);
    Snapshot {
        epoch: 7,
        at_ns: 9 * SECOND,
        created_ns: SECOND,
        node: [totals(4, 1042), totals(2, 200)],
        folded,
        edges,
        pairs: PairFamily { rows: vec![pair], other: counts(1, 42), ..PairFamily::default() },
        pods: PodFamily { rows: vec![pod], ..PodFamily::default() },
        next_edge_id: 3,
        laws: flow_model::audit::Laws::default(),
        activity: flow_model::snapshot::Activity { epochs: 3, drained_flows: 5, stray_flows: 0 },
        recovered: flow_model::snapshot::Recovered { replayed: 1, ..Default::default() },
    }
}

/// A plan for an edge that no test hooks.
pub(crate) fn plan(name: &str) -> EdgePlan {
    let mut link = Link::default();
    (link.ifindex, link.name) = (11, "veth-a".into());
    let namespace = Namespace { way: Way::Own, inode: 4_026_531_840 };
    let mut plan = EdgePlan::host(name, &namespace, &link);
    let inside = Namespace { way: Way::File("/run/netns/pod-a".into()), inode: 4_026_532_000 };
    link.ifindex = 2;
    link.name = "eth0".into();
    plan.sites[1] = Site::new(&inside, &link, tcx::Hook::Ingress, Place::Pod);
    plan
}

/// What the API shows of that snapshot and some flows.
pub(crate) fn view(epoch: Vec<(EdgeId, FlowEntry)>) -> View {
    let hooked = Hooked { plan: plan("pod-a"), degraded: None, checks: [None; 2] };
    View {
        snapshot: Arc::new(snapshot()),
        epoch: Arc::new(epoch),
        names: Arc::new(HashMap::from([(EdgeId(1), "pod-a".into()), (EdgeId(2), "pod-b".into())])),
        hooked: BTreeMap::from([(EdgeId(1), hooked)]),
        clock: Some(CLOCK),
        mode: FlowKeyMode::FiveTuple,
        refused: vec![("veth-x".into(), "no_netns")],
        interface_drift: Counts::ZERO,
    }
}

/// A bpffs of our own, gone with the guard.
pub(crate) struct Bpffs(TempDir);

impl Bpffs {
    pub(crate) fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        rustix::mount::mount("bpf", dir.path(), "bpf", MountFlags::empty(), None).unwrap();
        Self(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        rustix::mount::unmount(self.path(), UnmountFlags::DETACH).unwrap();
    }
}
