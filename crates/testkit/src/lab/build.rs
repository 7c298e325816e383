//! Builds the laboratory from its plan.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use super::{Addresses, Fabric, Lab, LabError, Node, Plan, Pod, Underlay};
use crate::namespace::Namespace;
use crate::topology::{Cidr, Device, Veth, Vxlan};

pub(super) fn lab(plan: &Plan) -> Result<Lab, LabError> {
    let (a, b) = (Namespace::create("node-a")?, Namespace::create("node-b")?);
    let link = Veth::join((a.place(), "uplink"), (b.place(), "uplink"))?;
    let a = node(plan, &NODE_A, a, link.near)?;
    let b = node(plan, &NODE_B, b, link.far)?;
    connect(plan, [&NODE_A, &NODE_B], [&a, &b])?;
    let lab = Lab { traffic: Vec::new(), nodes: [a, b] };
    for device in devices(&lab) {
        device.segmentation(plan.segmentation)?;
        device.ready(READY)?;
    }
    Ok(lab)
}

/// Where a node and its pods stand in the address plan.
struct Site {
    name: &'static str,
    /// Third octet of the pods' network.
    number: u8,
    pods: &'static [&'static str],
}

impl Site {
    const fn uplink(&self) -> Addresses {
        Addresses {
            v4: Ipv4Addr::new(192, 168, 77, self.number),
            v6: Ipv6Addr::new(0xfd00, 0x77, 0, 0, 0, 0, 0, self.number as u16),
        }
    }

    const fn tunnel(&self) -> Addresses {
        Addresses {
            v4: Ipv4Addr::new(10, 244, 255, self.number),
            v6: Ipv6Addr::new(0xfd00, 0x244, 0xff, 0, 0, 0, 0, self.number as u16),
        }
    }

    /// Host 0 is the network itself, host 1 the gateway.
    const fn host(&self, host: u8) -> Addresses {
        Addresses {
            v4: Ipv4Addr::new(10, 244, self.number, host),
            v6: Ipv6Addr::new(0xfd00, 0x244, self.number as u16, 0, 0, 0, 0, host as u16),
        }
    }
}

fn node(plan: &Plan, site: &Site, namespace: Namespace, uplink: Device) -> Result<Node, LabError> {
    namespace.forward()?;
    let addresses = site.uplink();
    set_network(&uplink, addresses)?;
    let bridge = match plan.fabric {
        Fabric::Bridge => Some(bridge(site, &namespace)?),
        Fabric::Routed => None,
    };
    let mut node = Node { name: site.name, pods: Vec::new(), namespace, uplink, addresses };
    for (name, host) in site.pods.iter().zip(FIRST_POD..) {
        let addresses = site.host(host);
        let pod = pod(&node, name, addresses)?;
        match &bridge {
            Some(bridge) => plug_in(site, &pod, bridge)?,
            None => route(site, &node, &pod)?,
        }
        if plan.underlay == Underlay::Vxlan {
            pod.device.mtu(TUNNEL_MTU)?;
            pod.host_device.mtu(TUNNEL_MTU)?;
        }
        node.pods.push(pod);
    }
    Ok(node)
}

fn bridge(site: &Site, node: &Namespace) -> Result<Device, LabError> {
    let bridge = node.bridge("pods")?;
    set_network(&bridge, site.host(GATEWAY))?;
    Ok(bridge)
}

fn pod(node: &Node, name: &'static str, addresses: Addresses) -> Result<Pod, LabError> {
    let namespace = Namespace::create(&format!("pod-{name}"))?;
    let host_side = format!("veth-{name}");
    let veth =
        Veth::join((node.namespace.place(), host_side.as_str()), (namespace.place(), "eth0"))?;
    Ok(Pod { name, namespace, device: veth.far, host_device: veth.near, addresses })
}

fn plug_in(site: &Site, pod: &Pod, bridge: &Device) -> Result<(), LabError> {
    pod.host_device.enslave_to(bridge)?;
    set_network(&pod.device, pod.addresses)?;
    add_default_routes(site, pod)
}

/// As the ptp plugin does it: host addresses on both ends, routes to the other.
fn route(site: &Site, node: &Node, pod: &Pod) -> Result<(), LabError> {
    let gateway = site.host(GATEWAY).both();
    for (own, gateway) in pod.addresses.both().into_iter().zip(gateway) {
        pod.host_device.address(Cidr::host(gateway))?;
        pod.device.address(Cidr::host(own))?;
        pod.namespace.link_route(Cidr::host(gateway), &pod.device)?;
        node.namespace.link_route(Cidr::host(own), &pod.host_device)?;
    }
    add_default_routes(site, pod)
}

fn add_default_routes(site: &Site, pod: &Pod) -> Result<(), LabError> {
    let gateway = site.host(GATEWAY);
    pod.namespace.route(Cidr::ANY_V4, IpAddr::V4(gateway.v4))?;
    pod.namespace.route(Cidr::ANY_V6, IpAddr::V6(gateway.v6))?;
    Ok(())
}

fn connect(plan: &Plan, sites: [&Site; 2], nodes: [&Node; 2]) -> Result<(), LabError> {
    let [site_a, site_b] = sites;
    let [a, b] = nodes;
    for (node, from, to) in [(a, site_a, site_b), (b, site_b, site_a)] {
        let next = match plan.underlay {
            Underlay::Routed => to.uplink(),
            Underlay::Vxlan => {
                dig(node, from, to)?;
                to.tunnel()
            }
        };
        let there = to.host(0);
        node.namespace.route(Cidr::new(there.v4, V4_PREFIX)?, IpAddr::V4(next.v4))?;
        node.namespace.route(Cidr::new(there.v6, V6_PREFIX)?, IpAddr::V6(next.v6))?;
    }
    Ok(())
}

fn dig(node: &Node, from: &Site, to: &Site) -> Result<(), LabError> {
    let (local, remote) = (IpAddr::V4(from.uplink().v4), IpAddr::V4(to.uplink().v4));
    let tunnel = Vxlan { id: 77, local, remote, port: 4789 };
    let device = node.namespace.vxlan("tunnel", tunnel)?;
    set_network(&device, from.tunnel())
}

fn set_network(device: &Device, addresses: Addresses) -> Result<(), LabError> {
    device.address(Cidr::new(addresses.v4, V4_PREFIX)?)?;
    device.address(Cidr::new(addresses.v6, V6_PREFIX)?)?;
    Ok(())
}

fn devices(lab: &Lab) -> impl Iterator<Item = &Device> {
    let pods = lab.pods().flat_map(|pod| [&pod.device, &pod.host_device]);
    lab.nodes.iter().map(|node| &node.uplink).chain(pods)
}

const NODE_A: Site = Site { name: "node-a", number: 1, pods: &["a1", "a2"] };
const NODE_B: Site = Site { name: "node-b", number: 2, pods: &["b1"] };

const GATEWAY: u8 = 1;
const FIRST_POD: u8 = 11;
const V4_PREFIX: u8 = 24;
const V6_PREFIX: u8 = 64;

/// 1500 without the 50 bytes of VXLAN over IPv4 (RFC 7348 §4.3: no fragments in the tunnel).
const TUNNEL_MTU: u32 = 1450;

const READY: Duration = Duration::from_secs(20);
