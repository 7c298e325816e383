//! Which devices the programs are on, and by which addresses those are called.

use std::collections::BTreeSet;
use std::net::IpAddr;

use net_sys::Route;
use net_sys::link::{Address, Link, Scope};
use net_sys::netlink::NetlinkError;
use stamp_bpf::{LinkLayer, LocalAddress};
use stamp_proto::reflector::Prefix;

use crate::parse::Member;

/// What the roles ask for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// Every device by which a network reaches this host.
    pub(crate) auto: bool,
    /// Devices by name.
    pub(crate) names: BTreeSet<String>,
    /// Devices by which targets are reached.
    pub(crate) indices: BTreeSet<u32>,
}

/// A device that there is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Device {
    pub(crate) ifindex: u32,
    pub(crate) name: String,
    pub(crate) loopback: bool,
    pub(crate) has_header: bool,
    mac: Option<[u8; 6]>,
}

impl Device {
    fn of(link: &Link) -> Self {
        Self {
            ifindex: link.ifindex,
            name: link.name.clone(),
            loopback: link.loopback,
            has_header: link.is_ethernet(),
            mac: link.address.first_chunk().copied(),
        }
    }

    /// How its frames start.
    pub(crate) const fn layer(&self) -> LinkLayer {
        if self.has_header { LinkLayer::Ethernet } else { LinkLayer::None }
    }
}

impl Wanted {
    /// Those of all devices that are wanted.
    pub(crate) fn among(&self, links: &[Link], addresses: &[Address]) -> Vec<Device> {
        let is_wanted = |link: &&Link| {
            self.names.contains(&link.name)
                || self.indices.contains(&link.ifindex)
                || self.auto && is_outward(link, links, addresses)
        };
        links.iter().filter(is_wanted).map(Device::of).collect()
    }

    /// A device that is named and not there.
    pub(crate) fn missing(&self, links: &[Link]) -> Option<&str> {
        let is_there = |name: &String| links.iter().any(|link| link.name == *name);
        self.names.iter().find(|name| !is_there(name)).map(String::as_str)
    }
}

/// Names of the devices that `auto` stands for.
///
/// # Errors
///
/// When the devices can't be seen.
pub fn outward() -> Result<Vec<String>, NetlinkError> {
    let wanted = Wanted { auto: true, ..Wanted::default() };
    let mut route = Route::open()?;
    let devices = wanted.among(&route.links(None)?, &route.addresses(None)?);
    Ok(devices.into_iter().map(|device| device.name).collect())
}

/// What a reflector has to know of its host.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Networks that its device is in, or those of all that `auto` stands for.
    pub(crate) networks: Vec<Prefix>,
    /// All addresses of the host.
    pub(crate) addresses: Vec<IpAddr>,
    /// All its hardware addresses.
    pub(crate) macs: Vec<[u8; 6]>,
}

impl Surroundings {
    pub(crate) fn of(device: Option<&str>) -> Result<Self, NetlinkError> {
        let names = device.map(str::to_owned).into_iter().collect();
        let wanted = Wanted { auto: device.is_none(), names, ..Wanted::default() };
        let mut route = Route::open()?;
        let (links, addresses) = (route.links(None)?, route.addresses(None)?);
        Ok(Self {
            networks: subnets(&wanted.among(&links, &addresses), &addresses),
            addresses: addresses.iter().map(|address| address.address).collect(),
            macs: links.iter().filter_map(|link| link.address.first_chunk().copied()).collect(),
        })
    }
}

/// Whether a network reaches this host by a device, rather than a part of this host.
fn is_outward(link: &Link, links: &[Link], addresses: &[Address]) -> bool {
    let has_address = addresses
        .iter()
        .any(|address| address.ifindex == link.ifindex && address.scope == Scope::Global);
    let is_made = link.kind.as_deref().is_some_and(|kind| INWARD.contains(&kind));
    let controller = link.controller_ifindex.and_then(|ifindex| {
        let controller = links.iter().find(|other| other.ifindex == ifindex)?;
        controller.kind.as_deref()
    });
    let is_member = controller.is_some_and(|kind| BONDS.contains(&kind));
    link.up && !link.loopback && has_address && !is_made && !is_member
}

/// By what the devices are called. What is sent to any of our own addresses from here
/// comes by the loopback device.
pub(crate) fn locals(
    devices: &[Device],
    addresses: &[Address],
    members: &[Member],
) -> Vec<LocalAddress> {
    let of = |device: &Device| {
        let member = members.iter().find(|member| member.device == device.name);
        let member = member.map(|member| member.id);
        let Device { ifindex, loopback, mac, .. } = *device;
        let own = addresses.iter().filter(move |address| loopback || address.ifindex == ifindex);
        own.map(move |address| LocalAddress {
            ifindex,
            address: address.address,
            member,
            loopback,
            mac,
        })
        .collect::<Vec<_>>()
    };
    devices.iter().flat_map(of).collect()
}

/// The networks that devices are in.
pub(crate) fn subnets(devices: &[Device], addresses: &[Address]) -> Vec<Prefix> {
    let is_on = |address: &&Address| devices.iter().any(|it| it.ifindex == address.ifindex);
    let network = |address: &Address| network(address.address, address.prefix_len);
    addresses.iter().filter(is_on).filter_map(network).collect()
}

fn network(address: IpAddr, len: u8) -> Option<Prefix> {
    let masked: IpAddr = match address {
        IpAddr::V4(v4) => {
            let host = u32::MAX.checked_shr(len.into()).unwrap_or(0);
            std::net::Ipv4Addr::from_bits(v4.to_bits() & !host).into()
        }
        IpAddr::V6(v6) => {
            let host = u128::MAX.checked_shr(len.into()).unwrap_or(0);
            std::net::Ipv6Addr::from_bits(v6.to_bits() & !host).into()
        }
    };
    Prefix::new(masked, len).ok()
}

/// Kinds of devices that lead into this host, or through another device.
const INWARD: [&str; 20] = [
    "veth",
    "bridge",
    "openvswitch",
    "dummy",
    "ifb",
    "nlmon",
    "ipip",
    "ip6tnl",
    "sit",
    "gre",
    "gretap",
    "ip6gre",
    "ip6gretap",
    "erspan",
    "vti",
    "vti6",
    "vxlan",
    "geneve",
    "wireguard",
    "tun",
];

const BONDS: [&str; 2] = ["bond", "team"];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use net_sys::Route;
    use net_sys::link::{Address, Link};
    use testkit::{Namespace, Veth};

    use super::{Wanted, locals, subnets};

    /// What the kernel tells of two hosts with a cable between them.
    fn cable() -> (Vec<Link>, Vec<Address>, [Namespace; 2]) {
        let [near, far] = ["near", "far"].map(|name| Namespace::create(name).unwrap());
        let veth = Veth::join((near.place(), "near0"), (far.place(), "far0")).unwrap();
        veth.near.address("10.7.0.2/24".parse().unwrap()).unwrap();
        veth.far.address("10.7.0.1/24".parse().unwrap()).unwrap();
        veth.near.ready(Duration::from_secs(5)).unwrap();
        let mut route = near.place().run(|| Route::open().unwrap()).unwrap();
        (route.links(None).unwrap(), route.addresses(None).unwrap(), [near, far])
    }

    #[test]
    fn devices_are_wanted_by_name_by_index_or_by_what_they_are() {
        let (links, addresses, _hosts) = cable();
        let found = |wanted: &Wanted| wanted.among(&links, &addresses);
        let named = Wanted { names: ["near0".to_owned()].into(), ..Wanted::default() };
        assert_eq!(found(&named).len(), 1);
        assert_eq!((found(&named)[0].loopback, found(&named)[0].has_header), (false, true));
        let lo = Wanted { indices: [1].into(), ..Wanted::default() };
        assert!(found(&lo)[0].loopback);
        // A veth leads to a pod of this host, or, in a pod, to its host.
        assert_eq!(found(&Wanted { auto: true, ..Wanted::default() }), []);
        let absent = Wanted { names: ["near0".to_owned(), "eth7".to_owned()].into(), ..named };
        assert_eq!(absent.missing(&links), Some("eth7"));
    }

    #[test]
    fn a_device_is_called_by_its_own_addresses_and_loopback_by_all() {
        let (links, addresses, _hosts) = cable();
        let wanted = Wanted { names: ["near0".to_owned()].into(), ..Wanted::default() };
        let both = Wanted { indices: [1].into(), ..wanted.clone() };
        let called = |wanted: &Wanted| {
            let locals = locals(&wanted.among(&links, &addresses), &addresses, &[]);
            locals.iter().filter(|local| local.address.is_ipv4()).count()
        };
        assert_eq!(called(&wanted), 1);
        assert_eq!(called(&both), 1 + 2);
        let subnets = subnets(&wanted.among(&links, &addresses), &addresses);
        assert!(subnets.contains(&"10.7.0.0/24".parse().unwrap()), "{subnets:?}");
    }
}
