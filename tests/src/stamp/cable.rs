//! Hosts for test packets: two that a cable joins, or two with a third one between them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use testkit::topology::Cidr;
use testkit::{Device, Namespace, Place, Veth};

use crate::binary::SOON;

/// A host with one device, `eth0`.
#[derive(Debug)]
pub struct Host {
    /// Its namespace.
    pub namespace: Namespace,
    /// Its device.
    pub device: Device,
    /// Its addresses, one of each family.
    pub addresses: [IpAddr; 2],
}

impl Host {
    /// Where it is.
    pub const fn place(&self) -> &Place {
        self.namespace.place()
    }

    /// Whether its device leaves checksums to the other end, as a veth does by itself.
    ///
    /// # Panics
    ///
    /// If ethtool fails.
    pub fn offload(&self, is_on: bool) {
        let word = if is_on { "on" } else { "off" };
        let words = ["-K", "eth0", "tx", word, "rx", word];
        let set = self.place().command("ethtool").args(words).succeed(SOON);
        set.unwrap_or_else(|error| panic!("ethtool: {error}"));
    }
}

/// Two hosts in one network.
#[derive(Debug)]
pub struct Cable {
    /// The one that asks.
    pub near: Host,
    /// The one that answers.
    pub far: Host,
}

impl Cable {
    /// Builds both.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn new() -> Self {
        let [near, far] = ["near", "far"].map(namespace);
        let devices = join((near.place(), "eth0"), (far.place(), "eth0"));
        let [near, far] = hosts([near, far], devices, [(7, 2), (7, 1)]);
        Self { near, far }
    }
}

impl Default for Cable {
    fn default() -> Self {
        Self::new()
    }
}

/// Two hosts that reach only the one between them.
#[derive(Debug)]
pub struct Detour {
    /// The one that asks.
    pub near: Host,
    /// The one that answers.
    pub far: Host,
    /// The one between them.
    pub middle: Namespace,
    /// Its addresses on the side of the one that asks.
    pub entrance: [IpAddr; 2],
}

impl Detour {
    /// Builds all three.
    ///
    /// # Panics
    ///
    /// If the kernel refuses.
    pub fn new() -> Self {
        let [near, middle, far] = ["near", "middle", "far"].map(namespace);
        let [outer, entrance] = join((near.place(), "eth0"), (middle.place(), "near0"));
        let [exit, inner] = join((middle.place(), "far0"), (far.place(), "eth0"));
        for (device, network) in [(&entrance, 7), (&exit, 8)] {
            set_addresses(device, addresses(network, 1));
        }
        let [near, far] = hosts([near, far], [outer, inner], [(7, 2), (8, 2)]);
        Self { near, far, middle, entrance: addresses(7, 1) }
    }
}

impl Default for Detour {
    fn default() -> Self {
        Self::new()
    }
}

fn hosts(
    [near, far]: [Namespace; 2],
    [near_device, far_device]: [Device; 2],
    numbers: [(u8, u8); 2],
) -> [Host; 2] {
    let [near_at, far_at] = numbers.map(|(network, host)| addresses(network, host));
    let hosts = [
        Host { namespace: near, device: near_device, addresses: near_at },
        Host { namespace: far, device: far_device, addresses: far_at },
    ];
    for host in &hosts {
        set_addresses(&host.device, host.addresses);
    }
    hosts
}

fn namespace(label: &str) -> Namespace {
    Namespace::create(label).unwrap_or_else(|error| panic!("namespace: {error}"))
}

fn join(near: (&Place, &str), far: (&Place, &str)) -> [Device; 2] {
    let veth = Veth::join(near, far).unwrap_or_else(|error| panic!("link: {error}"));
    [veth.near, veth.far]
}

fn addresses(network: u8, host: u8) -> [IpAddr; 2] {
    let (group, last) = (0xfd00 + u16::from(network), u16::from(host));
    [
        Ipv4Addr::new(10, network, 0, host).into(),
        Ipv6Addr::new(group, 0, 0, 0, 0, 0, 0, last).into(),
    ]
}

fn set_addresses(device: &Device, addresses: [IpAddr; 2]) {
    for (address, len) in addresses.into_iter().zip([24, 64]) {
        let cidr = Cidr::new(address, len).unwrap_or_else(|error| panic!("{error}"));
        device.address(cidr).unwrap_or_else(|error| panic!("address: {error}"));
    }
    device.ready(SOON).unwrap_or_else(|error| panic!("{}: {error}", device.name()));
}
