//! One network device.

use std::ops::Range;

use super::{Counters64, Nsid};
use crate::netlink::ParseError;
use crate::netlink::wire::{Attribute, Attributes, Message, u16_at, u32_at};

/// A network device as `RTM_NEWLINK` describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Link {
    /// Interface index, unique within its namespace only.
    pub ifindex: u32,
    /// Name; octets that are no UTF-8 are replaced, so the index is the identity.
    pub name: String,
    /// Driver kind, such as `veth`; hardware has none.
    pub kind: Option<String>,
    /// Link-layer address; some tunnels have none.
    pub address: Vec<u8>,
    /// Index of the device on the other side, in the namespace that `link_netnsid` names.
    pub peer_ifindex: Option<u32>,
    /// Namespace of the device on the other side, if it is not ours.
    pub link_netnsid: Option<Nsid>,
    /// Bridge, bond or VRF that the device belongs to.
    pub controller_ifindex: Option<u32>,
    /// Link layer (`ARPHRD_*`), which decides the length of the link header.
    pub link_type: u16,
    /// Largest packet without link header.
    pub mtu: Option<u32>,
    /// Whether the administrator switched it on.
    pub up: bool,
    /// Whether it can pass packets, as far as its driver tells (RFC 2863 `ifOperStatus`).
    pub running: bool,
    /// Whether it has a carrier.
    pub lower_up: bool,
    /// Whether it is a loopback device.
    pub loopback: bool,
    /// Whether an XDP program sees what arrives before anybody else.
    pub xdp: bool,
    /// Counters, where the message carries them.
    pub counters: Option<Counters64>,
}

impl Link {
    /// Whether frames carry a 14-octet Ethernet header.
    pub const fn is_ethernet(&self) -> bool {
        matches!(self.link_type, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK)
    }

    /// Reads the body of an `RTM_NEWLINK` or `RTM_DELLINK` message.
    pub fn from_body(body: &[u8]) -> Result<Self, ParseError> {
        let (header, attributes) = Attributes::behind::<HEADER>(body, "link message")?;
        let flags = u32_at(header, FLAGS.start).unwrap_or(0);
        let has = |flag: libc::c_int| flags & flag.cast_unsigned() != 0;
        let mut link = Self {
            ifindex: u32_at(header, INDEX.start).unwrap_or(0),
            link_type: u16_at(header, LINK_TYPE.start).unwrap_or(0),
            up: has(libc::IFF_UP),
            running: has(libc::IFF_RUNNING),
            lower_up: has(libc::IFF_LOWER_UP),
            loopback: has(libc::IFF_LOOPBACK),
            ..Self::default()
        };
        for attribute in attributes {
            link.read(&attribute?)?;
        }
        link.checked()
    }

    /// Reads one message of a reply; other kinds of message are none of ours.
    pub(super) fn from_reply(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        if message.kind != libc::RTM_NEWLINK {
            return Ok(None);
        }
        Self::from_body(message.body).map(Some)
    }

    fn read(&mut self, attribute: &Attribute<'_>) -> Result<(), ParseError> {
        match attribute.kind {
            libc::IFLA_IFNAME => self.name = attribute.text().into_owned(),
            libc::IFLA_ADDRESS => self.address = attribute.payload.to_vec(),
            libc::IFLA_MTU => self.mtu = Some(attribute.u32("link MTU")?),
            libc::IFLA_LINK => self.peer_ifindex = index(attribute, "index of the other side")?,
            libc::IFLA_MASTER => {
                self.controller_ifindex = index(attribute, "index of the controller")?;
            }
            libc::IFLA_LINK_NETNSID => {
                self.link_netnsid = Nsid::new(attribute.i32("namespace of the other side")?);
            }
            libc::IFLA_LINKINFO => self.kind = kind(attribute.nested())?,
            libc::IFLA_XDP => self.xdp = has_xdp(attribute.nested())?,
            libc::IFLA_STATS64 => self.counters = Some(Counters64::parse(attribute.payload)?),
            _ => {}
        }
        Ok(())
    }

    fn checked(self) -> Result<Self, ParseError> {
        if self.ifindex == 0 || self.ifindex.cast_signed() < 0 {
            return Err(ParseError::Value { what: "interface index" });
        }
        if self.name.is_empty() {
            return Err(ParseError::Missing { what: "interface name" });
        }
        Ok(self)
    }
}

/// Zero stands for "none": tunnels without a lower device say so.
fn index(attribute: &Attribute<'_>, what: &'static str) -> Result<Option<u32>, ParseError> {
    attribute.u32(what).map(|index| (index != 0).then_some(index))
}

fn has_xdp(attributes: Attributes<'_>) -> Result<bool, ParseError> {
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == IFLA_XDP_ATTACHED {
            return Ok(attribute.payload.first().is_some_and(|mode| *mode != 0));
        }
    }
    Ok(false)
}

fn kind(attributes: Attributes<'_>) -> Result<Option<String>, ParseError> {
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == libc::IFLA_INFO_KIND {
            return Ok(Some(attribute.text().into_owned()));
        }
    }
    Ok(None)
}

/// How an XDP program is attached; 0 says that there is none.
const IFLA_XDP_ATTACHED: u16 = 2;

/// Length of `struct ifinfomsg`.
pub(super) const HEADER: usize = 16;
const LINK_TYPE: Range<usize> = 2..4;
pub(super) const INDEX: Range<usize> = 4..8;
const FLAGS: Range<usize> = 8..12;
