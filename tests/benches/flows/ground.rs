//! A node with pods that say nothing by themselves.

use std::net::{IpAddr, Ipv4Addr};

use fathom_tests::binary::SOON;
use fathom_tests::site::silent;
use testkit::topology::Cidr;
use testkit::{Device, Namespace, Veth};

/// A node and its pods; dropping it removes them.
pub(crate) struct Ground {
    pub(crate) pods: Vec<Pod>,
    pub(crate) node: Namespace,
}

/// A pod behind a routed link.
pub(crate) struct Pod {
    pub(crate) namespace: Namespace,
    /// The node's end of its link.
    pub(crate) outside: Device,
    /// The node's address on that link, the pod's default route.
    pub(crate) gateway: IpAddr,
}

impl Ground {
    /// A node that does not forward: what is sent to nowhere ends there without an answer.
    pub(crate) fn with_pods(count: u8) -> Self {
        let node = silent("node");
        let pods = (0..count).map(|number| pod(&node, number)).collect();
        Self { pods, node }
    }
}

fn pod(node: &Namespace, number: u8) -> Pod {
    let namespace = silent(&format!("pod-{number}"));
    let name = format!("veth-{number}");
    let veth = Veth::join((node.place(), name.as_str()), (namespace.place(), "eth0")).unwrap();
    let [gateway, own] = [1, 2].map(|host| IpAddr::V4(Ipv4Addr::new(198, 18, number, host)));
    veth.near.address(Cidr::new(gateway, 30).unwrap()).unwrap();
    veth.far.address(Cidr::new(own, 30).unwrap()).unwrap();
    namespace.route(Cidr::ANY_V4, gateway).unwrap();
    veth.near.ready(SOON).unwrap();
    veth.far.ready(SOON).unwrap();
    Pod { namespace, outside: veth.near, gateway }
}
