//! A whole service inside a node of its own, turned by hand.

mod devices;
mod life;
mod moved;
mod named;
mod once;
mod places;
mod shown;

use std::{
    fs,
    net::UdpSocket,
    path::{Path, PathBuf},
    sync::mpsc::Receiver,
    time::Duration,
};

use arc_swap::ArcSwapOption;
use flow_model::{edge::EdgeId, snapshot::Snapshot};
use rustix::mount::{UnmountFlags, mount_bind, unmount};
use telemetry::{
    expose::{Format, render},
    registry::{Build, Options, Registry},
};
use tempfile::TempDir;
use testkit::{Namespace as Netns, Place as Where, Veth, proc::Command as Tool};

use super::*;
use crate::{
    catalogue::CATALOGUE,
    command::channel,
    engine::tests::Node,
    testing::{PATIENCE, config},
};

/// A directory in which namespace files appear and vanish as a runtime has it.
struct Files {
    folder: TempDir,
    mounted: Vec<PathBuf>,
}

impl Files {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), mounted: Vec::new() }
    }

    fn path(&self) -> &str {
        self.folder.path().to_str().unwrap()
    }

    fn add(&mut self, pod: &Where) {
        self.add_as(pod, pod.name());
    }

    fn add_as(&mut self, pod: &Where, name: &str) {
        let target = self.folder.path().join(name);
        fs::write(&target, "").unwrap();
        mount_bind(pod.path(), &target).unwrap();
        self.mounted.push(target);
    }

    fn remove(&mut self, pod: &Where) {
        let target = self.folder.path().join(pod.name());
        self.mounted.retain(|mounted| *mounted != target);
        take_away(&target);
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        self.mounted.iter().for_each(|target| take_away(target));
    }
}

fn take_away(target: &Path) {
    unmount(target, UnmountFlags::DETACH).unwrap();
    fs::remove_file(target).unwrap();
}

/// A service and everything that it shows and hears.
struct Agent {
    service: Service,
    commands: Receiver<Command>,
    registry: Registry,
    published: Published,
}

impl Agent {
    fn try_start(arguments: &[&str]) -> Result<Self, Error> {
        let usual = ["--collection-interval", "200ms"];
        let arguments: Vec<&str> = usual.iter().chain(arguments).copied().collect();
        let registry = registry();
        let handle = registry.collector_with("flows", CATALOGUE, Options::default()).unwrap();
        let (sender, commands) = channel();
        let published: Published = Arc::new(ArcSwapOption::empty());
        let shown = Arc::clone(&published);
        let service = Service::start(config(&arguments), handle, sender, shown, None)?;
        Ok(Self { service, commands, registry, published })
    }

    /// One that pins nothing.
    fn start(arguments: &[&str]) -> Self {
        let private: Vec<&str> = ["--no-pin"].iter().chain(arguments).copied().collect();
        Self::try_start(&private).unwrap()
    }

    /// Lets it work until something is so.
    fn until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < deadline, "{what}\n{}", self.metrics());
            assert!(self.service.turn(&self.commands, Duration::from_millis(20)).unwrap());
        }
    }

    fn drained(&mut self) -> Arc<Snapshot> {
        self.service.close_epoch(Due::Regular).unwrap();
        let view = self.published.load_full().unwrap();
        assert!(view.snapshot.laws.hold(), "{:?}", view.snapshot.laws);
        Arc::clone(&view.snapshot)
    }

    fn metrics(&self) -> String {
        exposed(&self.registry)
    }

    fn value(&self, series: &str) -> u64 {
        value_in(&self.metrics(), series)
    }

    fn edges(&self, state: &str, reason: &str) -> u64 {
        self.value(&format!("fathom_flows_edges{{state=\"{state}\",reason=\"{reason}\"}} "))
    }

    /// How many hooks are there: sent and received at the host side, then in pods.
    fn hooks(&self) -> [u64; 4] {
        [("host", "tx"), ("host", "rx"), ("pod", "tx"), ("pod", "rx")].map(|(place, direction)| {
            let labels = format!("place=\"{place}\",direction=\"{direction}\"");
            let lanes = ["tcx", "clsact"].map(|lane| {
                self.value(&format!("fathom_flows_hooks{{attach=\"{lane}\",{labels}}} "))
            });
            lanes.iter().sum()
        })
    }

    fn only_edge(&self) -> EdgeId {
        let mut ids = self.service.engine.edges().keys();
        let id = *ids.next().unwrap();
        assert_eq!(ids.next(), None, "there is one edge");
        id
    }

    fn end(self) {
        self.service.stop().unwrap();
    }
}

fn registry() -> Registry {
    Registry::new(Build { version: "", revision: "", rustc: "", target: "" })
}

fn exposed(registry: &Registry) -> String {
    let mut text = Vec::new();
    render(Format::Text, registry.snapshot().families(), &mut text);
    String::from_utf8(text).unwrap()
}

/// The value of one exposed series, or of several added up.
fn value_in(text: &str, series: &str) -> u64 {
    let values = text.lines().filter_map(|line| line.strip_prefix(series)?.rsplit(' ').next());
    values.map(|value| value.parse::<u64>().unwrap()).sum()
}

const SENT_HERE: [u64; 4] = [1, 0, 0, 0];
const RECEIVED_HERE: [u64; 4] = [0, 1, 0, 0];
const SENT_INSIDE: [u64; 4] = [0, 0, 1, 0];
const RECEIVED_INSIDE: [u64; 4] = [0, 0, 0, 1];

fn both(one: [u64; 4], other: [u64; 4]) -> [u64; 4] {
    std::array::from_fn(|at| one[at] + other[at])
}

/// Another pod on the node, `host2` here.
fn second_pod(node: &Node) -> Netns {
    let pod = Netns::create("fq").unwrap();
    let veth = Veth::join((node.node.place(), "host2"), (pod.place(), "eth0")).unwrap();
    veth.far.address(format!("{POD}/24").parse().unwrap()).unwrap();
    veth.far.ready(PATIENCE).unwrap();
    pod
}

/// A pod says something, whether anybody hears it or not.
fn speak(pod: &Where, datagrams: usize) {
    let neighbour = format!("neigh replace {NODE} lladdr 02:00:00:00:00:01 dev eth0");
    pod.ip(neighbour.split(' ')).unwrap();
    let work = || {
        let socket = UdpSocket::bind((POD, 0)).unwrap();
        for _ in 0..datagrams {
            socket.send_to(&[0; 58], (NODE, 9)).unwrap();
        }
    };
    pod.run(work).unwrap();
}

/// Addresses of the node and of either pod.
const NODE: &str = "192.0.2.1";
const POD: &str = "192.0.2.2";

fn tc(place: &Where, words: &str) {
    let words = words.split(' ').map(|word| word.replace('_', " "));
    Tool::inside(place, "tc").args(words).succeed(PATIENCE).unwrap();
}

/// Somebody else's filter in the first place of what arrives at the node's device: it lets
/// nothing through.
fn forbid_everything(node: &Node) {
    tc(node.node.place(), "qdisc add dev host0 clsact");
    tc(node.node.place(), "filter add dev host0 ingress pref 1 bpf da bytecode 1,6_0_0_2");
}
