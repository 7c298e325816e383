//! From settings that parse to a configuration that holds together.

use std::time::Duration;

use flow_bpf::Sizes;
use flow_model::{
    ledger,
    page::{FlowKeyMode, Geometry},
};

use crate::{
    error::Error,
    fixed::keep_fixed,
    named,
    parse::Signal,
    settings::{Attach, AutoOff, AutoOnOff, Decap, Discover, FlowKey, HostTraffic, Settings},
    time::nanos,
};

/// Settings without contradictions.
#[derive(Debug, Clone)]
pub struct Config {
    settings: Settings,
}

impl Config {
    /// Checks what single flags can't know. Every problem is told in one pass.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let problems = problems(&settings);
        if problems.is_empty() { Ok(Self { settings }) } else { Err(Error::Settings(problems)) }
    }

    /// The settings as given.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Holds the named edges against the devices that there are.
    ///
    /// # Errors
    ///
    /// When one is named twice, or two have one name. A device that is missing may come.
    pub fn check_edges(&self) -> Result<(), Error> {
        named::look_up(&self.settings.pod_edge, &self.settings.netns).map(drop)
    }

    /// Whether there is one measurement, which ends by itself and leaves nothing.
    pub const fn is_once(&self) -> bool {
        self.settings.duration.is_some()
    }

    /// Whether edges are looked for.
    pub const fn discovers(&self) -> bool {
        match self.settings.discover {
            Discover::On => true,
            Discover::Off => false,
            Discover::Auto => self.settings.pod_edge.is_empty() && self.settings.netns.is_empty(),
        }
    }

    /// New settings, but for those that are fixed while the process runs: the names of
    /// these are told where they would have to change.
    pub(crate) fn with_reloadable(&self, new: Self) -> (Self, Vec<&'static str>) {
        let mut settings = new.settings;
        let waiting = keep_fixed(&self.settings, &mut settings);
        (Self { settings }, waiting)
    }

    /// Settings that were given and do nothing: what they are about is not part of this
    /// release (workloads and zones, the host's own traffic, signals). What the environment
    /// of every pod brings (its name, its namespace, KUBECONFIG) is not told.
    pub(crate) fn without_effect(&self) -> Vec<&'static str> {
        let settings = &self.settings;
        // The usual values stand here once more; a test holds them against the settings.
        let signals = [Signal::Rtt, Signal::Retransmits, Signal::Resets, Signal::Connections];
        let given = [
            ("host_cgroup", !settings.host_cgroup.is_empty()),
            ("nic", !settings.nic.is_empty()),
            ("workload_series_max", settings.workload_series_max != 2000),
            ("zone_series_max", settings.zone_series_max != 1000),
            ("peer_cidr", !settings.peer_cidr.is_empty()),
            ("conntrack", settings.conntrack != AutoOff::Auto),
            ("decap", settings.decap != Decap::Off),
            ("kube_sync_timeout", settings.kube_sync_timeout != Duration::from_secs(30)),
            ("signals", ![&signals[..], &[Signal::None]].contains(&&*settings.signals)),
        ];
        given.into_iter().filter(|(_, given)| *given).map(|(name, _)| name).collect()
    }

    /// Sizes of the maps on a host with this many CPUs.
    pub fn sizes(&self, cpus: usize) -> Sizes {
        let settings = &self.settings;
        Sizes {
            geometry: Geometry {
                flow_capacity4: settings.flow_capacity,
                flow_capacity6: settings.flow_capacity6,
                shards: settings.shards.resolve(cpus),
                max_edges: settings.max_edges,
                pair_series: settings.pair_series_max,
                flow_key: self.flow_key(),
            },
            edge_quota_percent: settings.edge_flow_quota,
            early_drain_percent: settings.early_drain_percent,
        }
    }

    /// Behaviour of the ledger.
    pub fn ledger(&self) -> ledger::Settings {
        ledger::Settings {
            ignored_peers: self.settings.ignore_peer.iter().copied().collect(),
            series_idle_ns: nanos(self.settings.series_idle),
            pod_series: self.settings.pod_series_max as usize,
        }
    }

    /// What tells flows apart: without connection tracking ports are not kept.
    pub const fn flow_key(&self) -> FlowKeyMode {
        match self.settings.flow_key {
            _ if !self.settings.connection_tracking => FlowKeyMode::Pair,
            FlowKey::FiveTuple => FlowKeyMode::FiveTuple,
            FlowKey::PairServicePort => FlowKeyMode::PairServicePort,
            FlowKey::Pair => FlowKeyMode::Pair,
        }
    }

    /// Whether active connections can be told: only both ports identify one.
    pub fn counts_connections(&self) -> bool {
        self.flow_key() == FlowKeyMode::FiveTuple
    }

    /// Drain period.
    pub const fn interval(&self) -> Duration {
        self.settings.collection_interval
    }

    /// How programs are attached.
    pub const fn attach(&self) -> Attach {
        self.settings.attach
    }

    /// Name of the node.
    pub fn node_name(&self) -> String {
        let settings = &self.settings;
        settings
            .node_name
            .iter()
            .chain(&settings.daemonset_node_name)
            .find(|name| !name.is_empty())
            .cloned()
            .unwrap_or_else(net_sys::host::hostname)
    }
}

fn problems(settings: &Settings) -> Vec<String> {
    let mut problems = Vec::new();
    let mut refuse = |text: String| problems.push(text);
    let named = settings.pod_edge.len() + settings.netns.len();
    if named > settings.max_edges as usize {
        refuse(format!("max_edges: {named} edges are named, {} allowed", settings.max_edges));
    }
    if settings.peer_cidr.len() > 32 {
        refuse(format!("peer_cidr: {} ranges, at most 32", settings.peer_cidr.len()));
    }
    if settings.ignore_peer.len() > 64 {
        refuse(format!("ignore_peer: {} ranges, at most 64", settings.ignore_peer.len()));
    }
    if matches!(settings.host_traffic, HostTraffic::Cgroup | HostTraffic::Nic) {
        refuse(
            "host_traffic: counting the host's own traffic needs a later release; use auto or off"
                .into(),
        );
    }
    if settings.kube == AutoOnOff::On {
        refuse("kube: the pod index needs a later release; use auto or off".into());
    }
    if settings.discover == Discover::Off && named == 0 {
        refuse(
            "discover: off, and no edge is named by pod_edge or netns: nothing would be counted"
                .into(),
        );
    }
    if settings.signals.len() > 1 && settings.signals.contains(&Signal::None) {
        refuse("signals: none, and others beside it; leave out the one or the others".into());
    }
    problems.extend(doubled(settings));
    problems
}

/// Edges that are one by what is given; what only devices tell is found at the start.
fn doubled(settings: &Settings) -> Vec<String> {
    let edges = settings.pod_edge.iter();
    let pods = edges.map(|edge| Named::new("pod_edge", edge, &edge.interface, &edge.name));
    let edges = settings.netns.iter();
    let namespaces = edges.map(|edge| {
        let place = format!("{}:{:?}", edge.path.display(), edge.interface);
        Named::new("netns", edge, &place, &edge.name)
    });
    let (mut seen, mut problems): (Vec<Named>, Vec<String>) = Default::default();
    for edge in pods.chain(namespaces) {
        problems.extend(seen.iter().find_map(|first| first.clash(&edge)));
        seen.push(edge);
    }
    problems
}

/// An edge as it was named.
struct Named {
    key: &'static str,
    given: String,
    place: String,
    name: String,
}

impl Named {
    fn new(key: &'static str, given: &impl ToString, place: &str, name: &str) -> Self {
        Self { key, given: given.to_string(), place: place.to_owned(), name: name.to_owned() }
    }

    fn clash(&self, other: &Self) -> Option<String> {
        let (key, first, second) = (other.key, &self.given, &other.given);
        if self.key == other.key && self.place == other.place {
            return Some(format!("{key}: {first} and {second} are the same edge; name it once"));
        }
        (self.name == other.name).then(|| {
            format!("{key}: {first} and {second} have one name; give one of them another by =NAME")
        })
    }
}

#[cfg(test)]
mod tests;
