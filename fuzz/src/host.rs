//! The C parser behind safe functions.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flow_model::flow::Counts;

use crate::{Cut, Link, reference::Part};

/// `enum parse_verdict`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// A packet with a key.
    Ok,
    /// Neither IPv4 nor IPv6.
    NotIp,
    /// A header is cut off.
    Short,
    /// A header contradicts itself.
    BadHeader,
    /// Too many extension headers.
    ExtensionChain,
    /// Something that can't happen to a buffer in user space.
    Unexpected(u32),
}

impl Verdict {
    const fn from_raw(raw: u32) -> Self {
        match raw {
            0 => Self::Ok,
            1 => Self::NotIp,
            2 => Self::Short,
            3 => Self::BadHeader,
            4 => Self::ExtensionChain,
            other => Self::Unexpected(other),
        }
    }
}

/// `struct parsed`.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub(crate) struct Parsed {
    src: [u8; 16],
    dst: [u8; 16],
    src_port: [u8; 2],
    dst_port: [u8; 2],
    protocol: u8,
    owner_flags: u8,
    owner: u16,
    transport: u32,
    fragment_id: [u8; 4],
    family: u8,
    fragment_protocol: u8,
    fragment: u8,
    tcp_flags: u8,
    transport_len: u32,
}

const _: () = assert!(size_of::<Parsed>() == 56);

impl Parsed {
    /// What the memory holds before the parser writes to it: nothing to rely on.
    const DIRTY: Self = Self {
        src: [0xa5; 16],
        dst: [0xa5; 16],
        src_port: [0xa5; 2],
        dst_port: [0xa5; 2],
        protocol: 0xa5,
        owner_flags: 0xa5,
        owner: 0xa5a5,
        transport: 0xa5a5_a5a5,
        fragment_id: [0xa5; 4],
        family: 0xa5,
        fragment_protocol: 0xa5,
        fragment: 0xa5,
        tcp_flags: 0xa5,
        transport_len: 0xa5a5_a5a5,
    };

    /// Source and destination.
    pub(crate) fn addresses(&self) -> (IpAddr, IpAddr) {
        let address = |octets: [u8; 16]| match self.family {
            4 => IpAddr::V4(Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3])),
            6 => IpAddr::V6(Ipv6Addr::from(octets)),
            other => panic!("family {other}"),
        };
        (address(self.src), address(self.dst))
    }

    /// Source and destination.
    pub(crate) fn ports(&self) -> [u16; 2] {
        [self.src_port, self.dst_port].map(u16::from_be_bytes)
    }

    /// Behind all extension headers.
    pub(crate) fn protocol(&self) -> u8 {
        self.protocol
    }

    /// Which part of a datagram this is.
    pub(crate) fn part(&self) -> Part {
        match self.fragment {
            0 => Part::Whole,
            1 => Part::First,
            2 => Part::Later,
            other => panic!("part {other}"),
        }
    }

    /// Flags of a TCP header, 0 without one.
    pub(crate) fn tcp_flags(&self) -> u8 {
        self.tcp_flags
    }

    /// Where the transport header starts.
    pub(crate) fn transport(&self) -> usize {
        self.transport as usize
    }

    /// How long it is, if the protocol is known.
    pub(crate) fn transport_len(&self) -> Option<usize> {
        Some(self.transport_len as usize).filter(|len| *len > 0)
    }

    /// Identification and protocol that fragments of one datagram share.
    pub(crate) fn fragment(&self) -> (u32, u8) {
        let id = match (self.family, self.fragment_id) {
            // Sixteen bits in network order, in the first half of the field.
            (4, [high, low, ..]) => u16::from_be_bytes([high, low]).into(),
            (_, octets) => u32::from_be_bytes(octets),
        };
        (id, self.fragment_protocol)
    }
}

#[repr(C)]
#[derive(Default)]
struct Amount {
    packets: u64,
    bytes: u64,
}

unsafe extern "C" {
    fn host_parse_hot(octets: *const u8, linear: u32, out: *mut Parsed) -> bool;
    fn host_parse_frame(
        octets: *const u8,
        len: u32,
        link_header: bool,
        ethertype: u16,
        out: *mut Parsed,
    ) -> u32;
    fn host_segment(
        octets: *const u8,
        len: u32,
        cut: *const Cut,
        out: *const Parsed,
        amount: *mut Amount,
    ) -> bool;
}

/// The reading that understands everything.
pub(crate) fn parse_frame(frame: &[u8], link: Link) -> (Verdict, Parsed) {
    let mut parsed = Parsed::DIRTY;
    let (link_header, ethertype) = match link {
        Link::Ethernet => (true, 0),
        Link::Bare(ethertype) => (false, ethertype),
    };
    // SAFETY: the frame and the record outlive the call; the length is the frame's.
    let verdict = unsafe {
        host_parse_frame(frame.as_ptr(), len_of(frame), link_header, ethertype, &raw mut parsed)
    };
    (Verdict::from_raw(verdict), parsed)
}

/// The quick reading, of what is linear.
pub(crate) fn parse_hot(linear: &[u8]) -> Option<Parsed> {
    // A copy of its own, so that a sanitizer sees every octet read behind the end.
    let linear: Box<[u8]> = linear.into();
    let mut parsed = Parsed::DIRTY;
    // SAFETY: as above.
    let read = unsafe { host_parse_hot(linear.as_ptr(), len_of(&linear), &raw mut parsed) };
    read.then_some(parsed)
}

/// What a segmented buffer becomes, and whether its headers were understood.
pub(crate) fn segment(frame: &[u8], parsed: Option<&Parsed>, cut: &Cut) -> (Counts, bool) {
    let parsed = parsed.map_or(std::ptr::null(), std::ptr::from_ref);
    let mut amount = Amount::default();
    // SAFETY: as above; a null record says that there is none.
    let known =
        unsafe { host_segment(frame.as_ptr(), len_of(frame), cut, parsed, &raw mut amount) };
    (Counts { packets: amount.packets, bytes: amount.bytes }, known)
}

fn len_of(octets: &[u8]) -> u32 {
    u32::try_from(octets.len()).expect("a frame is shorter than 4 GiB")
}
