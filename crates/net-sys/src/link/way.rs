//! The way that packets to an address leave this host.

use std::net::IpAddr;

use super::address::ip;
use super::{Route, one};
use crate::netlink::wire::{Attribute, Attributes, Request};
use crate::netlink::{NetlinkError, Operation, ParseError};

/// How packets to a destination leave, as `ip route get` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Way {
    /// The device; the loopback device where the destination is this host.
    pub ifindex: u32,
    /// Address that packets leave with, unless their socket has another.
    pub source: Option<IpAddr>,
    /// Next hop, which may be of the other family; none for a neighbour.
    pub gateway: Option<IpAddr>,
    /// MTU that the route was given or the path was found to have; else that of the device holds.
    pub mtu: Option<u32>,
    /// Whether the destination is an address of this host.
    pub local: bool,
}

impl Way {
    /// Reads the body of an `RTM_NEWROUTE` message; `None` where the route lets nothing pass.
    pub fn from_body(body: &[u8]) -> Result<Option<Self>, ParseError> {
        let (header, attributes) = Attributes::behind::<HEADER>(body, "route message")?;
        let (family, kind) = (header[FAMILY], header[KIND]);
        let (mut ifindex, mut source, mut gateway, mut mtu) = (None, None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                libc::RTA_OIF => ifindex = Some(attribute.u32("outgoing device")?),
                libc::RTA_PREFSRC => source = ip(family, &attribute)?,
                libc::RTA_GATEWAY => gateway = ip(family, &attribute)?,
                RTA_VIA => gateway = via(&attribute)?,
                libc::RTA_METRICS => mtu = mtu_metric(attribute.nested())?,
                _ => {}
            }
        }
        if !passes(kind) {
            return Ok(None);
        }
        let ifindex = ifindex.filter(|&index| index != 0);
        let ifindex = ifindex.ok_or(ParseError::Missing { what: "outgoing device" })?;
        Ok(Some(Self { ifindex, source, gateway, mtu, local: kind == libc::RTN_LOCAL }))
    }
}

impl Route {
    /// Looks up the way that a packet to `destination` takes from this namespace now.
    ///
    /// `from` and `ifindex` are the address and the device that its socket is bound to, if it is.
    /// Bound to a device, IPv4 takes a destination that no route leads to for a neighbour, and so
    /// does the answer. A link-local IPv6 destination means nothing without its device.
    pub fn to(
        &mut self,
        destination: IpAddr,
        from: Option<IpAddr>,
        ifindex: Option<u32>,
    ) -> Result<Way, NetlinkError> {
        let no_route = |errno| NetlinkError::no_route(destination, errno);
        let from = from.filter(|address| !address.is_unspecified());
        let ifindex = ifindex.filter(|&index| index != 0);
        if needs_device(destination) && ifindex.is_none() {
            return Err(no_route(libc::EINVAL));
        }
        if from.is_some_and(|from| from.is_ipv4() != destination.is_ipv4()) {
            return Err(no_route(libc::EAFNOSUPPORT));
        }
        let request = request(destination, from, ifindex);
        let way = one(&mut self.connection, Operation::Routes, request, |message| {
            let answers = message.kind == libc::RTM_NEWROUTE;
            answers.then(|| Way::from_body(message.body)).transpose()
        });
        let way = way.map_err(|error| error.of_destination(destination))?;
        let way = way.ok_or_else(|| no_route(libc::EHOSTUNREACH))?;
        // What was asked with is not repeated by IPv4 and is ignored by IPv6.
        Ok(Way { source: from.or(way.source), ..way })
    }
}

fn request(destination: IpAddr, from: Option<IpAddr>, ifindex: Option<u32>) -> Request {
    let to = octets(destination);
    let from = from.map(octets).unwrap_or_default();
    let mut header = [0; HEADER];
    header[FAMILY] = if destination.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 } as u8;
    header[TO_BITS] = to.len() as u8 * 8;
    header[FROM_BITS] = from.len() as u8 * 8;
    let mut request = Request::new(libc::RTM_GETROUTE, &header).with(libc::RTA_DST, &to);
    if !from.is_empty() {
        request = request.with(libc::RTA_SRC, &from);
    }
    match ifindex {
        Some(index) => request.with(libc::RTA_OIF, &index.to_ne_bytes()),
        None => request,
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// Each device has the same prefix, so without one the kernel would answer for any of them.
const fn needs_device(destination: IpAddr) -> bool {
    matches!(destination, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// Kernels differ in whether they tell of such a route or answer with its error.
const fn passes(kind: u8) -> bool {
    !matches!(
        kind,
        libc::RTN_BLACKHOLE | libc::RTN_UNREACHABLE | libc::RTN_PROHIBIT | libc::RTN_THROW
    )
}

/// `struct rtvia`: a family of its own, then the address.
fn via(attribute: &Attribute<'_>) -> Result<Option<IpAddr>, ParseError> {
    let have = attribute.payload.len();
    let split = attribute.payload.split_first_chunk::<2>();
    let (family, payload) =
        split.ok_or(ParseError::Truncated { what: "next hop", need: 2, have })?;
    let family = u8::try_from(u16::from_ne_bytes(*family)).unwrap_or(0);
    ip(family, &Attribute { kind: attribute.kind, payload })
}

fn mtu_metric(metrics: Attributes<'_>) -> Result<Option<u32>, ParseError> {
    let mut mtu = None;
    for metric in metrics {
        let metric = metric?;
        if metric.kind == RTAX_MTU {
            mtu = Some(metric.u32("MTU of a route")?).filter(|&mtu| mtu != 0);
        }
    }
    Ok(mtu)
}

/// Length of `struct rtmsg`.
const HEADER: usize = 12;
const FAMILY: usize = 0;
const TO_BITS: usize = 1;
const FROM_BITS: usize = 2;
const KIND: usize = 7;

// `linux/rtnetlink.h`; libc does not have them everywhere.
const RTA_VIA: u16 = 18;
const RTAX_MTU: u16 = 2;

#[cfg(test)]
mod tests;
