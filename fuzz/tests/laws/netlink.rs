//! What rtnetlink says of links, addresses, routes and filters.

use std::net::{IpAddr, Ipv4Addr};

use net_sys::clsact::Filter;
use net_sys::link::{Address, Link, Way};
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::{damaged, hold};

/// An attribute as the kernel writes it: length, type, value, padding.
fn written((kind, value): &(u16, Vec<u8>)) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap();
    let mut octets = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    octets.extend(value);
    octets.resize(octets.len().next_multiple_of(4), 0);
    octets
}

/// Any attributes of `kinds`, in any order and number, some inside others.
fn attributes(kinds: &'static [u16]) -> impl Strategy<Value = Vec<u8>> {
    let kind = proptest::sample::select(kinds);
    let value =
        prop_oneof![
            proptest::sample::select(vec!["eth0", "", "bpf", "veth", "\0x", "ä"])
                .prop_map(|text| [text.as_bytes(), &[0]].concat()),
            any::<u32>().prop_map(|number| number.to_ne_bytes().to_vec()),
            (0_u32..3).prop_map(|number| number.to_ne_bytes().to_vec()),
            any::<[u8; 16]>().prop_map(Vec::from),
            any::<[u8; 16]>().prop_map(|address| [&[10, 0], &address[..]].concat()),
            vec(any::<u8>(), 0..12),
            (184_usize..208).prop_map(|length| vec![7; length]),
        ];
    let leaf = (kind.clone(), value);
    let nest = (kind, vec(leaf.clone(), 0..4));
    let nest = nest.prop_map(|(kind, inner)| {
        (kind | NESTED, inner.iter().flat_map(written).collect::<Vec<_>>())
    });
    let any_of_both = prop_oneof![3 => leaf, 1 => nest];
    vec(any_of_both, 0..8).prop_map(|all| all.iter().flat_map(written).collect())
}

/// A body with a header of `header` octets, whole or damaged.
fn body(header: usize, kinds: &'static [u16]) -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![Just(0_u8), Just(1), Just(2), Just(10), any::<u8>()];
    let whole = (vec(octet, header), attributes(kinds));
    damaged(whole.prop_map(|(header, attributes)| [header, attributes].concat()), any::<u8>())
}

type Attribute<'a> = (u16, &'a [u8]);

/// The attribute in front and what stands behind it; nothing if it does not fit.
fn split(octets: &[u8]) -> Option<(Attribute<'_>, &[u8])> {
    let [l0, l1, k0, k1, ..] = *octets else { return None };
    let length = usize::from(u16::from_ne_bytes([l0, l1]));
    let value = octets.get(4..length)?;
    let rest = octets.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some(((u16::from_ne_bytes([k0, k1]) & 0x3fff, value), rest))
}

/// All attributes; nothing if one does not fit.
fn taken_apart(mut octets: &[u8]) -> Option<Vec<Attribute<'_>>> {
    let mut found = Vec::new();
    while !octets.is_empty() {
        let (attribute, rest) = split(octets)?;
        found.push(attribute);
        octets = rest;
    }
    Some(found)
}

/// The first attribute of `kind`; what stands behind it is not looked at.
fn first(mut octets: &[u8], kind: u16) -> Option<Option<&[u8]>> {
    while !octets.is_empty() {
        let ((found, value), rest) = split(octets)?;
        if found == kind {
            return Some(Some(value));
        }
        octets = rest;
    }
    Some(None)
}

fn number(value: &[u8]) -> Option<u32> {
    value.first_chunk().map(|octets| u32::from_ne_bytes(*octets))
}

fn text(value: &[u8]) -> String {
    let end = value.iter().position(|octet| *octet == 0).unwrap_or(value.len());
    String::from_utf8_lossy(&value[..end]).into_owned()
}

#[derive(Debug, Default, PartialEq)]
struct Device {
    index: u32,
    name: String,
    mtu: Option<u32>,
    peer: Option<u32>,
    namespace: Option<i32>,
    controller: Option<u32>,
    kind: Option<String>,
    packets: Option<u64>,
    address: Vec<u8>,
    xdp: bool,
}

fn link_slowly(body: &[u8]) -> Option<Device> {
    let (header, attributes) = body.split_at_checked(16)?;
    let mut device = Device { index: number(&header[4..])?, ..Device::default() };
    for (kind, value) in taken_apart(attributes)? {
        match kind {
            1 => device.address = value.to_vec(),
            3 => device.name = text(value),
            4 => device.mtu = Some(number(value)?),
            5 => device.peer = Some(number(value)?).filter(|index| *index != 0),
            10 => device.controller = Some(number(value)?).filter(|index| *index != 0),
            18 => device.kind = first(value, 1)?.map(text),
            23 => {
                let counters = value.get(..24 * 8)?;
                device.packets = counters.first_chunk().map(|o| u64::from_ne_bytes(*o));
            }
            43 => {
                let mode = first(value, 2)?.and_then(<[u8]>::first);
                device.xdp = mode.is_some_and(|mode| *mode != 0);
            }
            37 => device.namespace = Some(number(value)?.cast_signed()).filter(|id| *id >= 0),
            _ => {}
        }
    }
    let sound = (1..=i32::MAX.cast_unsigned()).contains(&device.index) && !device.name.is_empty();
    sound.then_some(device)
}

#[test]
fn links_are_read_like_attribute_by_attribute() {
    hold(body(16, &[3, 3, 4, 5, 10, 18, 23, 37, 43, 1, 900]), |body| {
        let read = Link::from_body(&body).ok().map(|link| Device {
            index: link.ifindex,
            name: link.name,
            mtu: link.mtu,
            peer: link.peer_ifindex,
            namespace: link.link_netnsid.map(|id| id.value()),
            controller: link.controller_ifindex,
            kind: link.kind,
            packets: link.counters.map(|counters| counters.rx_packets),
            address: link.address,
            xdp: link.xdp,
        });
        assert_eq!(read, link_slowly(&body));
    });
}

/// An address of `family`; the inner nothing is a family other than IP.
fn ip(family: u8, value: &[u8]) -> Option<Option<IpAddr>> {
    match family {
        2 => <[u8; 4]>::try_from(value).ok().map(|octets| Some(octets.into())),
        10 => <[u8; 16]>::try_from(value).ok().map(|octets| Some(octets.into())),
        _ => Some(None),
    }
}

#[derive(Debug, PartialEq)]
struct Place {
    index: u32,
    address: IpAddr,
    prefix: u8,
    peer: Option<IpAddr>,
    broadcast: Option<Ipv4Addr>,
    /// Failed, deprecated, tentative.
    flags: u32,
}

fn address_slowly(body: &[u8]) -> Option<Option<Place>> {
    let (header, attributes) = body.split_at_checked(8)?;
    let (mut own, mut other, mut broadcast) = (None, None, None);
    let mut flags = u32::from(header[2]);
    for (kind, value) in taken_apart(attributes)? {
        match kind {
            1 => other = ip(header[0], value)?,
            2 => own = ip(header[0], value)?,
            4 => broadcast = ip(header[0], value)?,
            8 => flags = number(value)?,
            _ => {}
        }
    }
    let broadcast = match broadcast {
        Some(IpAddr::V4(address)) => Some(address),
        _ => None,
    };
    let (index, flags) = (number(&header[4..])?, flags & 0x68);
    Some(own.or(other).map(|address| {
        let peer = other.filter(|other| *other != address);
        Place { index, address, prefix: header[1], peer, broadcast, flags }
    }))
}

#[test]
fn addresses_are_read_like_attribute_by_attribute() {
    hold(body(8, &[1, 2, 2, 3, 4, 8, 900]), |body| {
        let read = Address::from_body(&body).ok();
        let facts = |found: Option<Address>| {
            found.map(|it| Place {
                index: it.ifindex,
                address: it.address,
                prefix: it.prefix_len,
                peer: it.peer,
                broadcast: it.broadcast,
                flags: (u32::from(it.dad_failed) << 3)
                    | (u32::from(it.deprecated) << 5)
                    | (u32::from(it.tentative) << 6),
            })
        };
        assert_eq!(read.map(facts), address_slowly(&body));
    });
}

/// Device, source, next hop, MTU and whether it is this host.
type Route = (u32, Option<IpAddr>, Option<IpAddr>, Option<u32>, bool);

/// The inner nothing is a route that lets nothing pass.
fn route_slowly(body: &[u8]) -> Option<Option<Route>> {
    let (header, attributes) = body.split_at_checked(12)?;
    let (mut device, mut source, mut gateway, mut mtu) = (0, None, None, None);
    for (kind, value) in taken_apart(attributes)? {
        match kind {
            4 => device = number(value)?,
            5 => gateway = ip(header[0], value)?,
            7 => source = ip(header[0], value)?,
            8 => {
                let metrics = taken_apart(value)?.into_iter().filter(|(kind, _)| *kind == 2);
                let read: Option<Vec<_>> = metrics.map(|(_, value)| number(value)).collect();
                mtu = read?.last().copied().filter(|mtu| *mtu != 0);
            }
            18 => {
                let (family, address) = value.split_at_checked(2)?;
                let family = u16::from_ne_bytes([family[0], family[1]]);
                gateway = ip(u8::try_from(family).unwrap_or(0), address)?;
            }
            _ => {}
        }
    }
    if (6..=9).contains(&header[7]) {
        return Some(None);
    }
    (device != 0).then_some(Some((device, source, gateway, mtu, header[7] == 2)))
}

#[test]
fn routes_are_read_like_attribute_by_attribute() {
    hold(body(12, &[4, 4, 4, 5, 7, 8, 18, 2, 900]), |body| {
        let read = Way::from_body(&body).ok();
        let facts = |found: Option<Way>| {
            found.map(|way| (way.ifindex, way.source, way.gateway, way.mtu, way.local))
        };
        assert_eq!(read.map(facts), route_slowly(&body));
    });
}

#[derive(Debug, PartialEq)]
struct Classifier {
    preference: u32,
    handle: u32,
    chain: u32,
    kind: String,
    program: Option<u32>,
    name: Option<String>,
    direct: bool,
}

fn filter_slowly(body: &[u8]) -> Option<Option<Classifier>> {
    let (header, attributes) = body.split_at_checked(20)?;
    let (mut kind, mut options, mut chain) = (None, None, 0);
    for (of, value) in taken_apart(attributes)? {
        match of {
            1 => kind = Some(text(value)),
            2 => options = Some(value),
            11 => chain = number(value)?,
            _ => {}
        }
    }
    let kind = kind?;
    let (mut program, mut name, mut direct) = (None, None, false);
    for (of, value) in taken_apart(options.filter(|_| kind == "bpf").unwrap_or_default())? {
        match of {
            7 => name = Some(text(value)),
            8 => direct = number(value)? & 1 == 1,
            11 => program = Some(number(value)?),
            _ => {}
        }
    }
    let (handle, preference) = (number(&header[8..])?, number(&header[16..])? >> 16);
    let found = Classifier { preference, handle, chain, kind, program, name, direct };
    Some((handle != 0).then_some(found))
}

#[test]
fn filters_are_read_like_attribute_by_attribute() {
    hold(body(20, &[1, 1, 2, 2, 7, 8, 10, 11, 900]), |body| {
        let read = Filter::from_body(&body).ok();
        let facts = |found: Option<Filter>| {
            let filter = found?;
            let bpf = filter.bpf.unwrap_or_default();
            Some(Classifier {
                preference: filter.preference.into(),
                handle: filter.handle,
                chain: filter.chain,
                kind: filter.kind,
                program: bpf.program_id,
                name: bpf.name,
                direct: bpf.direct_action,
            })
        };
        assert_eq!(read.map(facts), filter_slowly(&body));
    });
}

/// `NLA_F_NESTED`.
const NESTED: u16 = 0x8000;
