//! What the kernel tells beside a packet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use nix::libc::{in_pktinfo, in6_pktinfo, sock_extended_err};
use nix::sys::socket::{CmsgIterator, ControlMessageOwned, Timestamps};
use stamp_proto::clock::WallTime;

use super::Notice;

/// What is known of how a packet came.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Told {
    /// When the kernel received it.
    pub(crate) at: Option<WallTime>,
    /// TTL or hop limit.
    pub(crate) ttl: Option<u8>,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// The address it was sent to.
    pub(crate) destination: Option<IpAddr>,
    /// The device it came by; 0 when that is not told.
    pub(crate) ifindex: u32,
}

impl Told {
    pub(super) fn of(messages: CmsgIterator<'_>) -> Self {
        let mut told = Self::default();
        for message in messages {
            match message {
                ControlMessageOwned::ScmTimestampsns(stamps) => told.at = software(&stamps),
                ControlMessageOwned::Ipv4Ttl(ttl) | ControlMessageOwned::Ipv6HopLimit(ttl) => {
                    told.ttl = u8::try_from(ttl).ok();
                }
                ControlMessageOwned::Ipv4Tos(class) => told.traffic_class = class,
                ControlMessageOwned::Ipv6TClass(class) => told.traffic_class = class as u8,
                ControlMessageOwned::Ipv4PacketInfo(info) => {
                    told.place(v4(&info), info.ipi_ifindex as u32)
                }
                ControlMessageOwned::Ipv6PacketInfo(info) => {
                    told.place(v6(&info), info.ipi6_ifindex)
                }
                _ => {}
            }
        }
        told
    }

    fn place(&mut self, destination: IpAddr, ifindex: u32) {
        self.destination = Some(destination);
        self.ifindex = ifindex;
    }
}

/// What one entry of the error queue says; nothing where it is of another kind.
pub(super) fn notice(
    messages: CmsgIterator<'_>,
    destination: Option<SocketAddr>,
) -> Option<Notice> {
    let (mut at, mut error): (_, Option<sock_extended_err>) = (None, None);
    for message in messages {
        match message {
            ControlMessageOwned::ScmTimestampsns(stamps) => at = software(&stamps),
            ControlMessageOwned::Ipv4RecvErr(told, _)
            | ControlMessageOwned::Ipv6RecvErr(told, _) => error = Some(told),
            _ => {}
        }
    }
    let error = error?;
    match error.ee_origin {
        FROM_TIMESTAMPING => Some(Notice::Sent { count: error.ee_data, at: at? }),
        origin => {
            let by_icmp = matches!(origin, FROM_ICMP | FROM_ICMP6);
            Some(Notice::Refused { destination, error: error.ee_errno as i32, by_icmp })
        }
    }
}

/// Room for everything that is asked for.
pub(super) fn room() -> Vec<u8> {
    vec![0; ROOM]
}

/// Beside what was asked for, an ICMP error comes with parts of the packet that caused it.
const ROOM: usize = 1_024;

/// The kernel writes zero where it has no time.
fn software(stamps: &Timestamps) -> Option<WallTime> {
    let (seconds, ns) = (stamps.system.tv_sec(), stamps.system.tv_nsec());
    let time = seconds.checked_mul(1_000_000_000)?.checked_add(ns)?;
    (time != 0).then(|| WallTime::from_ns(time))
}

fn v4(info: &in_pktinfo) -> IpAddr {
    Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into()
}

fn v6(info: &in6_pktinfo) -> IpAddr {
    Ipv6Addr::from(info.ipi6_addr.s6_addr).into()
}

/// Where an entry of the error queue comes from. linux/errqueue.h.
const FROM_ICMP: u8 = 2;
const FROM_ICMP6: u8 = 3;
const FROM_TIMESTAMPING: u8 = 4;
