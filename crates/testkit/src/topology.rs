//! Links, addresses and routes, built with iproute2 and ethtool inside namespaces.
//!
//! Every command names itself, its words and the package to install when it fails. Links are not
//! guards: they go with the namespace that holds them.

mod cidr;
mod device;
mod segmentation;

use std::net::IpAddr;

pub use cidr::{Cidr, CidrError};
pub use device::{Device, Shaping};
pub use segmentation::Segmentation;

use crate::namespace::{NamespaceError, Place};
use crate::proc::ProcessError;

/// A pair of joined devices: what goes into one comes out of the other.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Veth {
    /// The end in the first place, for example the host side of a pod's link.
    pub near: Device,
    /// The end in the second place.
    pub far: Device,
}

impl Veth {
    /// Joins two places; both ends are up.
    pub fn join(near: (&Place, &str), far: (&Place, &str)) -> Result<Self, ProcessError> {
        let (place, name) = near;
        let (other, peer) = far;
        let other_path = other.path().to_string_lossy();
        place.ip([
            "link",
            "add",
            "name",
            name,
            "type",
            "veth",
            "peer",
            "name",
            peer,
            "netns",
            &other_path,
        ])?;
        let pair = Self { near: Device::named(place, name), far: Device::named(other, peer) };
        pair.ends().into_iter().try_for_each(Device::up)?;
        Ok(pair)
    }

    /// Both ends.
    pub const fn ends(&self) -> [&Device; 2] {
        [&self.near, &self.far]
    }

    /// Switches segmentation offload of both ends.
    pub fn segmentation(&self, setting: Segmentation) -> Result<(), ProcessError> {
        self.ends().into_iter().try_for_each(|end| end.segmentation(setting))
    }
}

/// A VXLAN tunnel end (RFC 7348) to one other node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vxlan {
    /// Network identifier.
    pub id: u32,
    /// Address of this node.
    pub local: IpAddr,
    /// Address of the other node.
    pub remote: IpAddr,
    /// UDP port, 4789 by the RFC.
    pub port: u16,
}

impl Place {
    /// Adds a bridge that is up.
    pub fn bridge(&self, name: &str) -> Result<Device, ProcessError> {
        self.ip(["link", "add", "name", name, "type", "bridge"])?;
        self.started(name)
    }

    /// Adds a tunnel to another node.
    pub fn vxlan(&self, name: &str, tunnel: Vxlan) -> Result<Device, ProcessError> {
        let Vxlan { id, local, remote, port } = tunnel;
        let (id, local) = (id.to_string(), local.to_string());
        let (remote, port) = (remote.to_string(), port.to_string());
        self.ip([
            "link", "add", "name", name, "type", "vxlan", "id", &id, "local", &local, "remote",
            &remote, "dstport", &port,
        ])?;
        self.started(name)
    }

    /// Adds a device of its own MAC address on top of `parent`, inside `pod`: a pod without a
    /// host side.
    pub fn macvlan(&self, name: &str, parent: &Device, pod: &Self) -> Result<Device, ProcessError> {
        let pod_path = pod.path().to_string_lossy();
        self.ip([
            "link",
            "add",
            "name",
            name,
            "netns",
            &pod_path,
            "link",
            parent.name(),
            "type",
            "macvlan",
            "mode",
            "bridge",
        ])?;
        pod.started(name)
    }

    /// Adds a persistent layer 3 device. It has no carrier until a program opens it.
    pub fn tun(&self, name: &str) -> Result<Device, ProcessError> {
        self.ip(["tuntap", "add", "dev", name, "mode", "tun"])?;
        self.started(name)
    }

    /// Adds a route through a gateway.
    pub fn route(&self, to: Cidr, gateway: IpAddr) -> Result<(), ProcessError> {
        let (to, gateway) = (to.to_string(), gateway.to_string());
        self.ip(["route", "add", &to, "via", &gateway]).map(drop)
    }

    /// Adds a route to what is directly reachable through `device`.
    pub fn link_route(&self, to: Cidr, device: &Device) -> Result<(), ProcessError> {
        self.ip(["route", "add", &to.to_string(), "dev", device.name()]).map(drop)
    }

    /// Makes the namespace a router for both families.
    pub fn forward(&self) -> Result<(), NamespaceError> {
        self.set_sysctl("net/ipv4/ip_forward", "1")?;
        self.set_sysctl("net/ipv6/conf/all/forwarding", "1")
    }

    fn started(&self, name: &str) -> Result<Device, ProcessError> {
        let device = Device::named(self, name);
        device.up()?;
        Ok(device)
    }
}
