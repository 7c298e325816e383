//! The demonstration laboratory: two nodes, three pods, real traffic.
//!
//! ```text
//!   pod a1 ─ veth-a1 ┐                                ┌ veth-b1 ─ pod b1
//!                    ├─ node-a ─ uplink ── uplink ─ node-b
//!   pod a2 ─ veth-a2 ┘
//! ```
//!
//! Every node and pod is a namespace of its own; the namespace this process lives in only sees
//! names under /run/netns. Both address families work between all of them.

mod build;
mod life;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::namespace::{EnterError, Namespace, NamespaceError};
use crate::proc::ProcessError;
use crate::topology::{CidrError, Device, Segmentation};
use crate::traffic::{Generator, Report, TrafficError};

/// Why there is no laboratory.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A namespace could not be made.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A namespace could not be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A link, address or route could not be made.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// An address of the plan is wrong, which is a bug here.
    #[error(transparent)]
    Cidr(#[from] CidrError),
    /// Traffic could not be started or broke off.
    #[error(transparent)]
    Traffic(#[from] TrafficError),
}

/// How a laboratory is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Plan {
    /// How pods are attached to their node.
    pub fabric: Fabric,
    /// How packets travel between the nodes.
    pub underlay: Underlay,
    /// Segmentation offload of every device.
    pub segmentation: Segmentation,
}

/// How pods are attached to their node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Fabric {
    /// All pods of a node on one bridge.
    #[default]
    Bridge,
    /// A routed link for each pod.
    Routed,
}

/// How packets travel between the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Underlay {
    /// As they are.
    #[default]
    Routed,
    /// Inside VXLAN.
    Vxlan,
}

/// Two nodes and their pods; dropping it leaves nothing behind.
///
/// A signal that ends the process without drops is covered by the last will of the namespaces.
#[derive(Debug)]
pub struct Lab {
    /// Ends before the namespaces it runs in.
    traffic: Vec<Generator>,
    nodes: [Node; 2],
}

impl Lab {
    /// Builds everything and waits until every link works.
    pub fn build(plan: &Plan) -> Result<Self, LabError> {
        build::lab(plan)
    }

    /// Starts traffic like that of a small service on every path, in both families; it goes on
    /// until [`Self::stop_traffic`] or drop.
    pub fn start_traffic(&mut self) -> Result<(), LabError> {
        life::start(self)
    }

    /// Ends the traffic and tells what was sent and received.
    pub fn stop_traffic(&mut self) -> Result<Vec<Report>, LabError> {
        let stopped = self.traffic.drain(..).map(Generator::stop);
        Ok(stopped.collect::<Result<_, _>>()?)
    }

    /// What was sent and received so far.
    pub fn traffic(&self) -> Vec<Report> {
        self.traffic.iter().map(Generator::report).collect()
    }

    /// The node with two pods.
    pub const fn node_a(&self) -> &Node {
        let [a, _] = &self.nodes;
        a
    }

    /// The node with one pod.
    pub const fn node_b(&self) -> &Node {
        let [_, b] = &self.nodes;
        b
    }

    /// Both nodes.
    pub const fn nodes(&self) -> &[Node; 2] {
        &self.nodes
    }

    /// All pods, node by node.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.nodes.iter().flat_map(|node| &node.pods)
    }

    /// The pod called `name`: a1, a2 or b1.
    pub fn pod(&self, name: &str) -> Option<&Pod> {
        self.pods().find(|pod| pod.name == name)
    }
}

/// A node: a namespace that routes for its pods.
#[derive(Debug)]
#[non_exhaustive]
pub struct Node {
    /// node-a or node-b.
    pub name: &'static str,
    /// Its pods. They go before the node does.
    pub pods: Vec<Pod>,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its end of the link between the nodes.
    pub uplink: Device,
    /// Its addresses on that link.
    pub addresses: Addresses,
}

/// A pod: a namespace with one device.
#[derive(Debug)]
#[non_exhaustive]
pub struct Pod {
    /// a1, a2 or b1.
    pub name: &'static str,
    /// Its namespace.
    pub namespace: Namespace,
    /// Its own device, `eth0`.
    pub device: Device,
    /// The other end of it, in the node's namespace.
    pub host_device: Device,
    /// Its addresses.
    pub addresses: Addresses,
}

/// One address of each family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Addresses {
    /// IPv4.
    pub v4: Ipv4Addr,
    /// IPv6.
    pub v6: Ipv6Addr,
}

impl Addresses {
    /// Both.
    pub const fn both(self) -> [IpAddr; 2] {
        [IpAddr::V4(self.v4), IpAddr::V6(self.v6)]
    }
}
