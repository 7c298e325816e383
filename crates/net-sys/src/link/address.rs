//! Interface addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::netlink::ParseError;
use crate::netlink::wire::{Attribute, Attributes, Message, u32_at};

/// How far an address is valid (`RT_SCOPE_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// Everywhere.
    Global,
    /// Within the site (deprecated for IPv6 by RFC 3879).
    Site,
    /// On this link.
    Link,
    /// On this host.
    Host,
    /// Any other value.
    Other(u8),
}

impl From<u8> for Scope {
    fn from(value: u8) -> Self {
        match value {
            libc::RT_SCOPE_UNIVERSE => Self::Global,
            libc::RT_SCOPE_SITE => Self::Site,
            libc::RT_SCOPE_LINK => Self::Link,
            libc::RT_SCOPE_HOST => Self::Host,
            other => Self::Other(other),
        }
    }
}

/// An address of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Address {
    /// Interface index.
    pub ifindex: u32,
    /// The interface's own address, also on point-to-point links.
    pub address: IpAddr,
    /// Length of the prefix, which is that of the peer where there is one.
    pub prefix_len: u8,
    /// The other end of a point-to-point link.
    pub peer: Option<IpAddr>,
    /// Broadcast address, which IPv4 alone has.
    pub broadcast: Option<Ipv4Addr>,
    /// How far it is valid.
    pub scope: Scope,
    /// Whether it is not known yet that nobody else on the link has it (RFC 4862 §5.4).
    pub tentative: bool,
    /// Whether somebody else on the link has it.
    pub dad_failed: bool,
    /// Whether nothing new should begin with it (RFC 4862 §5.5.4).
    pub deprecated: bool,
}

impl Address {
    /// Reads the body of an `RTM_NEWADDR` message; `None` for families other than IP.
    pub fn from_body(body: &[u8]) -> Result<Option<Self>, ParseError> {
        let (header, attributes) = Attributes::behind::<HEADER>(body, "address message")?;
        let [family, prefix_len, flags, scope, ..] = *header;
        let mut flags = u32::from(flags);
        let (mut local, mut address, mut broadcast) = (None, None, None);
        for attribute in attributes {
            let attribute = attribute?;
            match attribute.kind {
                libc::IFA_LOCAL => local = ip(family, &attribute)?,
                libc::IFA_ADDRESS => address = ip(family, &attribute)?,
                libc::IFA_BROADCAST => broadcast = ip(family, &attribute)?,
                // The octet in the header has no room for the newer ones.
                libc::IFA_FLAGS => flags = attribute.u32("address flags")?,
                _ => {}
            }
        }
        let has = |flag: u32| flags & flag != 0;
        // On a point-to-point link IFA_ADDRESS is the peer and IFA_LOCAL is ours.
        Ok(local.or(address).map(|own| Self {
            ifindex: u32_at(header, INDEX).unwrap_or(0),
            address: own,
            prefix_len,
            peer: address.filter(|&other| other != own),
            broadcast: broadcast.and_then(ipv4),
            scope: scope.into(),
            tentative: has(libc::IFA_F_TENTATIVE),
            dad_failed: has(libc::IFA_F_DADFAILED),
            deprecated: has(libc::IFA_F_DEPRECATED),
        }))
    }

    /// Reads one message of a reply; other kinds of message are none of ours.
    pub(super) fn from_reply(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        if message.kind == libc::RTM_NEWADDR { Self::from_body(message.body) } else { Ok(None) }
    }
}

const fn ipv4(address: IpAddr) -> Option<Ipv4Addr> {
    match address {
        IpAddr::V4(address) => Some(address),
        IpAddr::V6(_) => None,
    }
}

/// Reads an address of `family`; `None` for families other than IP.
pub(super) fn ip(family: u8, attribute: &Attribute<'_>) -> Result<Option<IpAddr>, ParseError> {
    match i32::from(family) {
        libc::AF_INET => octets(attribute).map(|o: [u8; 4]| Some(Ipv4Addr::from(o).into())),
        libc::AF_INET6 => octets(attribute).map(|o: [u8; 16]| Some(Ipv6Addr::from(o).into())),
        _ => Ok(None),
    }
}

fn octets<const N: usize>(attribute: &Attribute<'_>) -> Result<[u8; N], ParseError> {
    let have = attribute.payload.len();
    attribute.payload.try_into().map_err(|_wrong_length| ParseError::Length {
        what: "address",
        claimed: have,
        have: N,
    })
}

/// Length of `struct ifaddrmsg`.
pub(super) const HEADER: usize = 8;
const INDEX: usize = 4;

/// `IFA_TARGET_NETNSID` of `linux/if_addr.h`, since kernel 4.20; libc does not have it.
pub(super) const TARGET_NETNSID: u16 = 10;
