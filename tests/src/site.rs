//! Places to measure in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use testkit::lab::{Addresses, Fabric, Lab, Plan, Pod};
use testkit::traffic::{Generator, Load, Path, Report};
use testkit::{Device, Namespace, Segmentation, Veth};

use crate::binary::SOON;

/// A laboratory whose links have said everything they say by themselves.
///
/// # Panics
///
/// If it cannot be built.
pub fn lab(fabric: Fabric, segmentation: Segmentation) -> Lab {
    let plan = Plan { fabric, segmentation, ..Plan::default() };
    let lab = Lab::build(&plan).unwrap_or_else(|error| panic!("laboratory: {error}"));
    for pod in lab.pods() {
        settle(&pod.device);
    }
    lab
}

/// Waits until `device` has reported its multicast groups, which takes a new link up to a second.
///
/// # Panics
///
/// If it never is quiet.
pub fn settle(device: &Device) {
    let quiet = device.quiet(SETTLED, SOON);
    quiet.unwrap_or_else(|error| panic!("{}: {error}", device.name()));
}

/// The pod called `name`.
///
/// # Panics
///
/// If the laboratory has none.
pub fn pod<'a>(lab: &'a Lab, name: &str) -> &'a Pod {
    lab.pod(name).unwrap_or_else(|| panic!("there is a pod {name}"))
}

/// The IPv4 address.
pub const fn v4(addresses: Addresses) -> IpAddr {
    IpAddr::V4(addresses.v4)
}

/// The IPv6 address.
pub const fn v6(addresses: Addresses) -> IpAddr {
    IpAddr::V6(addresses.v6)
}

/// Runs `load` from one pod to another, to its end and without loss.
///
/// # Panics
///
/// If it breaks off or something is lost.
pub fn exchange(from: &Pod, to: &Pod, target: IpAddr, load: &Load) -> Report {
    let path = Path {
        client: from.namespace.place().clone(),
        server: to.namespace.place().clone(),
        target: SocketAddr::new(target, 0),
        lifetime: SOON,
    };
    let report = Generator::start(load, &path).and_then(|running| running.finish(SOON));
    let report = report.unwrap_or_else(|error| panic!("traffic: {error}"));
    assert!(report.is_lossless(), "{report:?}");
    report
}

/// One silent link: a pod and its node without addresses, so that only what a test sends passes.
#[derive(Debug)]
pub struct Wire {
    /// The pod's namespace.
    pub pod: Namespace,
    /// The node's namespace.
    pub node: Namespace,
    /// The pod's end, `eth0`.
    pub inside: Device,
    /// The node's end, `vpod`.
    pub outside: Device,
}

impl Wire {
    /// Builds it.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn build() -> Self {
        let pod = silent("pod");
        let node = silent("node");
        let veth = Veth::join((node.place(), "vpod"), (pod.place(), "eth0"));
        let veth = veth.unwrap_or_else(|error| panic!("link: {error}"));
        for end in veth.ends() {
            let ready = end.mtu(MTU).and_then(|()| end.ready(SOON));
            ready.unwrap_or_else(|error| panic!("{}: {error}", end.name()));
        }
        Self { pod, node, inside: veth.far, outside: veth.near }
    }
}

/// A namespace whose devices never speak of themselves.
///
/// # Panics
///
/// If it cannot be made.
pub fn silent(label: &str) -> Namespace {
    let made = Namespace::create(label).unwrap_or_else(|error| panic!("namespace: {error}"));
    for scope in ["all", "default"] {
        let name = format!("net/ipv6/conf/{scope}/disable_ipv6");
        let set = made.set_sysctl(&name, "1");
        set.unwrap_or_else(|error| panic!("silence: {error}"));
    }
    made
}

/// Reports of groups are repeated after a random part of a second (RFC 3810 §9.11).
const SETTLED: Duration = Duration::from_millis(1200);
/// Room for jumbo frames.
const MTU: u32 = 9000;
