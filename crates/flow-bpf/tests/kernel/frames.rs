//! Frames, built layer by layer. Checksums are left zero: nobody here looks at them.

/// Addresses that the builders use where a test does not care.
pub(crate) const SRC4: [u8; 4] = [10, 1, 0, 7];
pub(crate) const DST4: [u8; 4] = [10, 2, 0, 9];
pub(crate) const SRC6: [u8; 16] = [0xfd, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7];
pub(crate) const DST6: [u8; 16] = [0xfd, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9];

pub(crate) const IPV4: u16 = 0x0800;
pub(crate) const IPV6: u16 = 0x86dd;
pub(crate) const ARP: u16 = 0x0806;
pub(crate) const TEB: u16 = 0x6558;
pub(crate) const CTAG: u16 = 0x8100;
pub(crate) const STAG: u16 = 0x88a8;

pub(crate) const ICMP: u8 = 1;
pub(crate) const IPIP: u8 = 4;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const IN6: u8 = 41;
pub(crate) const GRE: u8 = 47;
pub(crate) const ESP: u8 = 50;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// The more-fragments bit of IPv4.
pub(crate) const MORE4: u16 = 0x2000;

pub(crate) fn ethernet(ethertype: u16, payload: &[u8]) -> Vec<u8> {
    tagged(&[], ethertype, payload)
}

/// An Ethernet frame with VLAN tags of the given types.
pub(crate) fn tagged(tags: &[u16], ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    for (id, tag) in (100_u16..).zip(tags) {
        frame.extend(tag.to_be_bytes());
        frame.extend(id.to_be_bytes());
    }
    frame.extend(ethertype.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What varies in an IPv4 header.
#[derive(Debug, Clone, Copy)]
pub(crate) struct V4 {
    pub(crate) src: [u8; 4],
    pub(crate) dst: [u8; 4],
    pub(crate) option_words: u8,
    pub(crate) id: u16,
    /// Flags and offset as they stand in the header.
    pub(crate) fragment: u16,
}

impl Default for V4 {
    fn default() -> Self {
        Self { src: SRC4, dst: DST4, option_words: 0, id: 0x1234, fragment: 0 }
    }
}

impl V4 {
    pub(crate) fn packet(self, protocol: u8, payload: &[u8]) -> Vec<u8> {
        let options = usize::from(self.option_words) * 4;
        let total = (20 + options + payload.len()) as u16;
        let mut packet = vec![0x45 + self.option_words, 0];
        packet.extend(total.to_be_bytes());
        packet.extend(self.id.to_be_bytes());
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([64, protocol, 0, 0]);
        packet.extend(self.src);
        packet.extend(self.dst);
        packet.extend(std::iter::repeat_n(1, options)); // no-operation
        packet.extend(payload);
        packet
    }
}

pub(crate) fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    V4::default().packet(protocol, payload)
}

/// One IPv6 extension header; numbers are the length octet as it stands in the header.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Extension {
    HopByHop(u8),
    Routing(u8),
    Destination(u8),
    Authentication(u8),
    Fragment { id: u32, offset: u16, more: bool },
}

impl Extension {
    const fn number(self) -> u8 {
        match self {
            Self::HopByHop(_) => 0,
            Self::Routing(_) => 43,
            Self::Fragment { .. } => 44,
            Self::Authentication(_) => 51,
            Self::Destination(_) => 60,
        }
    }

    fn header(self, next: u8) -> Vec<u8> {
        match self {
            Self::Fragment { id, offset, more } => {
                let mut header = vec![next, 0];
                header.extend((offset << 3 | u16::from(more)).to_be_bytes());
                header.extend(id.to_be_bytes());
                header
            }
            Self::Authentication(len) => padded(next, len, (usize::from(len) + 2) * 4),
            Self::HopByHop(len) | Self::Routing(len) | Self::Destination(len) => {
                padded(next, len, (usize::from(len) + 1) * 8)
            }
        }
    }
}

fn padded(next: u8, len: u8, octets: usize) -> Vec<u8> {
    let mut header = vec![0; octets];
    header[..2].copy_from_slice(&[next, len]);
    header
}

pub(crate) fn ipv6(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv6_chain(&[], protocol, payload)
}

/// An IPv6 packet with extension headers.
pub(crate) fn ipv6_chain(chain: &[Extension], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut next = protocol;
    let mut behind = payload.to_vec();
    for extension in chain.iter().rev() {
        let mut header = extension.header(next);
        header.extend(behind);
        behind = header;
        next = extension.number();
    }
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((behind.len() as u16).to_be_bytes());
    packet.extend([next, 64]);
    packet.extend(SRC6);
    packet.extend(DST6);
    packet.extend(behind);
    packet
}

pub(crate) fn tcp(ports: [u16; 2], flags: u8, option_words: u8, payload: usize) -> Vec<u8> {
    let mut segment = ports_of(ports);
    segment.extend([0; 8]);
    segment.extend([(5 + option_words) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.extend(std::iter::repeat_n(1, usize::from(option_words) * 4));
    segment.extend(body(payload));
    segment
}

pub(crate) fn udp(ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut datagram = ports_of(ports);
    datagram.extend(((payload.len() + 8) as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

pub(crate) fn sctp(ports: [u16; 2], payload: usize) -> Vec<u8> {
    let mut packet = ports_of(ports);
    packet.extend([0xaa; 8]);
    packet.extend(body(payload));
    packet
}

pub(crate) fn icmp(kind: u8, code: u8, payload: usize) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0, 0, 1, 0, 2];
    message.extend(body(payload));
    message
}

/// Payload that would be noticed if it were taken for a header.
pub(crate) fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8 ^ 0x5a).collect()
}

fn ports_of([src, dst]: [u16; 2]) -> Vec<u8> {
    [src.to_be_bytes(), dst.to_be_bytes()].concat()
}

pub(crate) fn vxlan(inner: &[u8]) -> Vec<u8> {
    [&[8, 0, 0, 0, 0, 0, 42, 0][..], inner].concat()
}

pub(crate) fn geneve(option_words: u8, ethertype: u16, inner: &[u8]) -> Vec<u8> {
    let [high, low] = ethertype.to_be_bytes();
    let mut packet = vec![option_words, 0, high, low, 0, 0, 42, 0];
    packet.extend(std::iter::repeat_n(0, usize::from(option_words) * 4));
    packet.extend(inner);
    packet
}

/// GRE with its optional fields: checksum, key, sequence number.
pub(crate) fn gre([checksum, key, sequence]: [bool; 3], ethertype: u16, inner: &[u8]) -> Vec<u8> {
    let flags = u16::from(checksum) << 15 | u16::from(key) << 13 | u16::from(sequence) << 12;
    let mut packet = [flags.to_be_bytes(), ethertype.to_be_bytes()].concat();
    for _ in [checksum, key, sequence].into_iter().filter(|present| *present) {
        packet.extend([0; 4]);
    }
    packet.extend(inner);
    packet
}
