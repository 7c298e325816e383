//! UDP sockets that tell when each packet came and went.
//!
//! The kernel stamps what it receives, and, through the error queue, what it has sent;
//! the same queue tells of ICMP errors. Both are asked for on every socket, and what
//! arrives without a stamp is told as such rather than stamped here.

mod ancillary;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrStorage,
    TimestampingFlag, bind, getsockname, recvmsg, sendmsg, setsockopt, socket, sockopt,
};
use rustix::net::sockopt as option;
use stamp_proto::clock::WallTime;

pub(crate) use ancillary::Told;

/// Largest payload there is over UDP.
pub(crate) const LONGEST: usize = 65_535;

/// A packet that came.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Datagram {
    /// Octets of its payload, at the front of the buffer.
    pub(crate) len: usize,
    /// Who sent it.
    pub(crate) source: SocketAddr,
    /// What the kernel told with it.
    pub(crate) told: Told,
}

/// What the error queue has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The packet with this count on its socket left at this time.
    Sent { count: u32, at: WallTime },
    /// Something that is of no use.
    Other,
    /// A packet to this address came back.
    Refused { destination: Option<SocketAddr>, error: i32, by_icmp: bool },
}

/// How a packet is to leave.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leave {
    /// Where to.
    pub(crate) destination: SocketAddr,
    /// From which of our addresses; the kernel's choice when absent.
    pub(crate) source: Option<IpAddr>,
    /// By which device; the kernel's choice when 0.
    pub(crate) ifindex: u32,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
}

/// A socket of one family on one port.
#[derive(Debug)]
pub(crate) struct Socket {
    fd: OwnedFd,
    port: u16,
    is_v6: bool,
    /// Device that it is bound to.
    device: Option<String>,
    /// Packets sent, as the kernel counts them in its notices.
    sent: u32,
    /// DSCP and ECN that the next packet leaves with.
    traffic_class: u8,
}

impl Socket {
    /// Binds a port of a family on all addresses, or on those of one device.
    pub(crate) fn bind(is_v6: bool, port: u16, device: Option<&str>, ttl: u8) -> io::Result<Self> {
        let family = if is_v6 { AddressFamily::Inet6 } else { AddressFamily::Inet };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let fd = socket(family, SockType::Datagram, flags, SockProtocol::Udp)?;
        if is_v6 {
            setsockopt(&fd, sockopt::Ipv6V6Only, &true)?;
        }
        if let Some(device) = device {
            setsockopt(&fd, sockopt::BindToDevice, &device.into())?;
        }
        ask(&fd, is_v6)?;
        shape(&fd, is_v6, ttl)?;
        let any: IpAddr =
            if is_v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
        bind(fd.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(any, port)))?;
        let bound: SockaddrStorage = getsockname(fd.as_raw_fd())?;
        let port = address(&bound).map_or(port, |address| address.port());
        let device = device.map(str::to_owned);
        Ok(Self { fd, port, is_v6, device, sent: 0, traffic_class: 0 })
    }

    /// Binds it again to the device of its name: one that was made anew is another.
    pub(crate) fn follow_device(&mut self) {
        if let Some(device) = &self.device
            && let Err(error) = setsockopt(&self.fd, sockopt::BindToDevice, &device.into())
        {
            tracing::debug!(event = "device.down", device, %error, "A device is not there");
        }
    }

    /// The port it is bound to.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Has the kernel tell in notices when each packet left. Nothing may have been sent.
    pub(crate) fn ask_for_sent_times(&self) -> io::Result<()> {
        let stamps = RECEIVED
            | TimestampingFlag::SOF_TIMESTAMPING_TX_SOFTWARE
            | TimestampingFlag::SOF_TIMESTAMPING_OPT_ID
            | TimestampingFlag::SOF_TIMESTAMPING_OPT_TSONLY;
        Ok(setsockopt(&self.fd, sockopt::Timestamping, &stamps)?)
    }

    /// Whether it is of the family of this address.
    pub(crate) const fn serves(&self, address: IpAddr) -> bool {
        address.is_ipv6() == self.is_v6
    }

    /// The next packet, if there is one.
    pub(crate) fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Datagram>> {
        let mut room = ancillary::room();
        let mut parts = [IoSliceMut::new(buffer)];
        match recvmsg::<SockaddrStorage>(
            self.fd.as_raw_fd(),
            &mut parts,
            Some(&mut room),
            MsgFlags::empty(),
        ) {
            Ok(message) => {
                let told = Told::of(message.cmsgs()?);
                let source = message.address.as_ref().and_then(address);
                let source =
                    source.unwrap_or_else(|| SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
                Ok(Some(Datagram { len: message.bytes, source, told }))
            }
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next notice of the error queue, if there is one.
    pub(crate) fn notice(&self) -> io::Result<Option<Notice>> {
        let mut room = ancillary::room();
        let mut ignored = [0; 64];
        let mut parts = [IoSliceMut::new(&mut ignored)];
        let flags = MsgFlags::MSG_ERRQUEUE;
        match recvmsg::<SockaddrStorage>(self.fd.as_raw_fd(), &mut parts, Some(&mut room), flags) {
            Ok(message) => {
                let destination = message.address.as_ref().and_then(address);
                Ok(Some(ancillary::notice(message.cmsgs()?, destination).unwrap_or(Notice::Other)))
            }
            Err(Errno::EAGAIN) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Sends one packet and gives the count by which its notice will know it.
    pub(crate) fn send(&mut self, payload: &[u8], leave: &Leave) -> io::Result<u32> {
        self.mark(leave.traffic_class)?;
        let parts = [io::IoSlice::new(payload)];
        let to = SockaddrStorage::from(leave.destination);
        let (v4, v6) = (leave.packet_info_v4(), leave.packet_info_v6());
        let control = match leave.source {
            Some(IpAddr::V4(_)) => Some(ControlMessage::Ipv4PacketInfo(&v4)),
            Some(IpAddr::V6(_)) => Some(ControlMessage::Ipv6PacketInfo(&v6)),
            None => None,
        };
        let send = || {
            sendmsg(self.fd.as_raw_fd(), &parts, control.as_slice(), MsgFlags::empty(), Some(&to))
        };
        // The error of an earlier packet, to whomever, comes with the next call; it is in the
        // error queue as well, and this packet was not sent.
        send().or_else(|_| send())?;
        let count = self.sent;
        self.sent = self.sent.wrapping_add(1);
        Ok(count)
    }

    /// The kernel takes the mark of a packet from its socket.
    fn mark(&mut self, traffic_class: u8) -> io::Result<()> {
        if self.traffic_class == traffic_class {
            return Ok(());
        }
        let class = i32::from(traffic_class);
        match self.is_v6 {
            true => setsockopt(&self.fd, sockopt::Ipv6TClass, &class)?,
            false => setsockopt(&self.fd, sockopt::Ipv4Tos, &class)?,
        }
        self.traffic_class = traffic_class;
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Leave {
    fn packet_info_v4(&self) -> libc::in_pktinfo {
        let source = match self.source {
            Some(IpAddr::V4(source)) => source,
            _ => Ipv4Addr::UNSPECIFIED,
        };
        let any = libc::in_addr { s_addr: 0 };
        let source = libc::in_addr { s_addr: source.to_bits().to_be() };
        libc::in_pktinfo { ipi_ifindex: self.ifindex as i32, ipi_spec_dst: source, ipi_addr: any }
    }

    fn packet_info_v6(&self) -> libc::in6_pktinfo {
        let source = match self.source {
            Some(IpAddr::V6(source)) => source,
            _ => Ipv6Addr::UNSPECIFIED,
        };
        let ipi6_addr = libc::in6_addr { s6_addr: source.octets() };
        libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: self.ifindex }
    }
}

/// Times of what comes.
const RECEIVED: TimestampingFlag = TimestampingFlag::SOF_TIMESTAMPING_SOFTWARE
    .union(TimestampingFlag::SOF_TIMESTAMPING_RX_SOFTWARE);

/// Asks for everything that can be told of packets.
fn ask(fd: &OwnedFd, is_v6: bool) -> io::Result<()> {
    setsockopt(fd, sockopt::Timestamping, &RECEIVED)?;
    if is_v6 {
        setsockopt(fd, sockopt::Ipv6RecvHopLimit, &true)?;
        setsockopt(fd, sockopt::Ipv6RecvTClass, &true)?;
        setsockopt(fd, sockopt::Ipv6RecvPacketInfo, &true)?;
        setsockopt(fd, sockopt::Ipv6RecvErr, &true)?;
    } else {
        setsockopt(fd, sockopt::Ipv4RecvTtl, &true)?;
        setsockopt(fd, sockopt::IpRecvTos, &true)?;
        setsockopt(fd, sockopt::Ipv4PacketInfo, &true)?;
        setsockopt(fd, sockopt::Ipv4RecvErr, &true)?;
    }
    Ok(())
}

/// A full TTL tells the other end how far a packet came, and a test packet is never cut
/// into fragments: what does not fit is told as an error.
fn shape(fd: &OwnedFd, is_v6: bool, ttl: u8) -> io::Result<()> {
    if is_v6 {
        setsockopt(fd, sockopt::Ipv6Ttl, &i32::from(ttl))?;
        option::set_ipv6_mtu_discover(fd, option::Ipv6PathMtuDiscovery::DO)?;
    } else {
        setsockopt(fd, sockopt::Ipv4Ttl, &i32::from(ttl))?;
        option::set_ip_mtu_discover(fd, option::Ipv4PathMtuDiscovery::DO)?;
    }
    Ok(())
}

fn address(storage: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 =
        storage.as_sockaddr_in().map(|address| SocketAddr::from((address.ip(), address.port())));
    let v6 = || {
        let address = storage.as_sockaddr_in6()?;
        let scope = address.scope_id();
        Some(std::net::SocketAddrV6::new(address.ip(), address.port(), 0, scope).into())
    };
    v4.or_else(v6)
}

#[cfg(test)]
mod tests;
