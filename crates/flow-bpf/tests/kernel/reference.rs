//! What a frame says, read slowly: a second reading of the same documents that shares no
//! line with the kernel's parser.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use flow_model::{flow::Counts, wire};

/// Why there is no flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    NotIp,
    Short,
    BadHeader,
    Chain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    First,
    Later,
}

/// A packet's headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) src: IpAddr,
    pub(crate) dst: IpAddr,
    pub(crate) protocol: u8,
    pub(crate) src_port: u16,
    pub(crate) dst_port: u16,
    pub(crate) part: Part,
    pub(crate) id: u32,
    pub(crate) fragment_protocol: u8,
    pub(crate) tcp_flags: u8,
    /// Where the transport header starts.
    pub(crate) transport: usize,
    /// Where the payload starts; not known behind unknown protocols.
    pub(crate) payload: Option<usize>,
    has_fragment_header: bool,
}

/// Octets with a position, which only moves forward.
struct Reader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Lost> {
        let rest = self.all.get(self.at..).ok_or(Lost::Short)?;
        let taken = rest.get(..len).ok_or(Lost::Short)?;
        self.at += len;
        Ok(taken)
    }

    fn peek(&self, len: usize) -> Result<&'a [u8], Lost> {
        Reader { all: self.all, at: self.at }.take(len)
    }
}

fn number(octets: &[u8]) -> u32 {
    octets.iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet))
}

/// A frame that starts with an Ethernet header.
pub(crate) fn ethernet(frame: &[u8]) -> Result<Packet, Lost> {
    let mut reader = Reader { all: frame, at: 0 };
    reader.take(12)?;
    let mut ethertype = number(reader.take(2)?);
    for _ in 0..2 {
        if ethertype == 0x8100 || ethertype == 0x88a8 {
            reader.take(2)?;
            ethertype = number(reader.take(2)?);
        }
    }
    network(reader, ethertype)
}

/// A frame that starts with the IP header.
pub(crate) fn bare(frame: &[u8], ethertype: u16) -> Result<Packet, Lost> {
    network(Reader { all: frame, at: 0 }, ethertype.into())
}

fn network(reader: Reader<'_>, ethertype: u32) -> Result<Packet, Lost> {
    match ethertype {
        0x0800 => ipv4(reader),
        0x86dd => ipv6(reader),
        _ => Err(Lost::NotIp),
    }
}

fn ipv4(mut reader: Reader<'_>) -> Result<Packet, Lost> {
    let fixed = reader.take(20)?;
    let words = usize::from(fixed[0] % 16);
    if fixed[0] / 16 != 4 || words < 5 {
        return Err(Lost::BadHeader);
    }
    reader.take(words * 4 - 20)?;
    let flags = number(&fixed[6..8]);
    let part = match (flags % 0x2000, flags / 0x2000 % 2) {
        (0, 0) => Part::Whole,
        (0, _) => Part::First,
        _ => Part::Later,
    };
    let packet = Packet {
        src: IpAddr::V4(Ipv4Addr::from_bits(number(&fixed[12..16]))),
        dst: IpAddr::V4(Ipv4Addr::from_bits(number(&fixed[16..20]))),
        protocol: fixed[9],
        src_port: 0,
        dst_port: 0,
        part,
        id: number(&fixed[4..6]),
        fragment_protocol: fixed[9],
        tcp_flags: 0,
        transport: reader.at,
        payload: None,
        has_fragment_header: part != Part::Whole,
    };
    transport(reader, packet)
}

fn ipv6(mut reader: Reader<'_>) -> Result<Packet, Lost> {
    let fixed = reader.take(40)?;
    if fixed[0] / 16 != 6 {
        return Err(Lost::BadHeader);
    }
    let address = |at: usize| {
        let octets: [u8; 16] = fixed[at..at + 16].try_into().unwrap();
        IpAddr::V6(Ipv6Addr::from(octets))
    };
    let mut packet = Packet {
        src: address(8),
        dst: address(24),
        protocol: fixed[6],
        src_port: 0,
        dst_port: 0,
        part: Part::Whole,
        id: 0,
        fragment_protocol: fixed[6],
        tcp_flags: 0,
        transport: 0,
        payload: None,
        has_fragment_header: false,
    };
    let mut headers = 0;
    while matches!(packet.protocol, 0 | 43 | 44 | 51 | 60) && packet.part != Part::Later {
        if headers == 6 {
            return Err(Lost::Chain);
        }
        extension(&mut reader, &mut packet)?;
        headers += 1;
    }
    packet.transport = reader.at;
    transport(reader, packet)
}

fn extension(reader: &mut Reader<'_>, packet: &mut Packet) -> Result<(), Lost> {
    // Each is at least eight octets long, an authentication header of twelve included.
    let start = reader.peek(8)?;
    let units = usize::from(start[1]);
    match packet.protocol {
        44 => {
            let offset = number(&start[2..4]);
            packet.part = match (offset / 8, offset % 2) {
                (0, 0) => Part::Whole,
                (0, _) => Part::First,
                _ => Part::Later,
            };
            packet.id = number(&start[4..8]);
            packet.fragment_protocol = start[0];
            packet.has_fragment_header = true;
            reader.take(8)?;
        }
        51 => drop(reader.take((units + 2) * 4)?),
        _ => drop(reader.take((units + 1) * 8)?),
    }
    packet.protocol = start[0];
    Ok(())
}

fn transport(mut reader: Reader<'_>, mut packet: Packet) -> Result<Packet, Lost> {
    if packet.part == Part::Later {
        return Ok(packet);
    }
    let minimum = match packet.protocol {
        6 => 20,
        17 => 8,
        132 => 12,
        1 | 58 => 4,
        _ => return Ok(packet),
    };
    let header = reader.take(minimum)?;
    let mut len = minimum;
    if minimum == 4 {
        packet.src_port = header[0].into();
        packet.dst_port = header[1].into();
        len = 8;
    } else {
        packet.src_port = number(&header[..2]) as u16;
        packet.dst_port = number(&header[2..4]) as u16;
    }
    if packet.protocol == 6 {
        len = usize::from(header[12] / 16) * 4;
        packet.tcp_flags = header[13];
        if len < 20 {
            return Err(Lost::BadHeader);
        }
    }
    packet.payload = Some(packet.transport + len);
    Ok(packet)
}

/// Where the octets end that every segment repeats.
fn repeated(frame: &[u8], packet: &Packet) -> Option<usize> {
    if packet.part == Part::Later {
        return None;
    }
    let behind = frame.get(packet.transport..)?;
    let (start, ethertype) = match (packet.protocol, packet.dst_port) {
        (4, _) => (0, 0x0800),
        (41, _) => (0, 0x86dd),
        (47, _) => gre(behind)?,
        (17, 4789 | 8472) => (16, 0x6558),
        (17, 6081) => (16 + 4 * usize::from(behind.get(8)? % 64), number(behind.get(10..12)?)),
        _ => return packet.payload,
    };
    let inside = behind.get(start..)?;
    let (link, inner) = if ethertype == 0x6558 {
        let ethertype = number(inside.get(12..14)?) as u16;
        (14, bare(inside.get(14..)?, ethertype).ok()?)
    } else {
        (0, bare(inside, ethertype as u16).ok()?)
    };
    let segmentable = matches!(inner.protocol, 6 | 17 | 132) && !inner.has_fragment_header;
    segmentable.then_some(packet.transport + start + link + inner.payload?)
}

fn gre(header: &[u8]) -> Option<(usize, u32)> {
    let flags = header.first()?;
    let optional = [0x80, 0x20, 0x10].iter().filter(|bit| flags & **bit != 0).count();
    Some((4 + optional * 4, number(header.get(2..4)?)))
}

/// Frames and octets on the wire, and whether the headers were understood.
pub(crate) fn on_wire(
    frame: &[u8],
    packet: Result<&Packet, &Lost>,
    gso_size: u32,
    gso_segs: u16,
) -> (Counts, bool) {
    let len = frame.len() as u32;
    if gso_size == 0 {
        return (Counts { packets: 1, bytes: len.into() }, true);
    }
    let headers = packet.ok().and_then(|packet| repeated(frame, packet));
    match headers.filter(|headers| *headers <= frame.len()) {
        Some(headers) if gso_size == 0xffff => {
            let frames = u64::from(gso_segs.max(1));
            let bytes = u64::from(len) + (frames - 1) * headers as u64;
            (Counts { packets: frames, bytes }, true)
        }
        Some(headers) => (wire::on_wire(len, headers as u32, gso_size), true),
        None => (wire::on_wire_unparsed(len, gso_segs), false),
    }
}
