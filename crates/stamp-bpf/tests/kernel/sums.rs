//! A slow reading of checksums: RFC 1071, octet by octet.

use std::net::IpAddr;

/// The one's complement sum of 16-bit words; an odd octet is the upper half of one.
pub(crate) fn sum(octets: &[u8]) -> u16 {
    let mut sum = 0_u32;
    for pair in octets.chunks(2) {
        sum += u32::from(pair[0]) << 8 | pair.get(1).copied().map_or(0, u32::from);
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

pub(crate) fn pseudo_header(source: IpAddr, destination: IpAddr, len: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    for address in [source, destination] {
        match address {
            IpAddr::V4(v4) => octets.extend(v4.octets()),
            IpAddr::V6(v6) => octets.extend(v6.octets()),
        }
    }
    octets.extend((len as u32).to_be_bytes());
    octets.extend([0, 0, 0, 17]);
    octets
}

/// True when the UDP datagram `udp` between these two has a right sum.
pub(crate) fn is_right(source: IpAddr, destination: IpAddr, udp: &[u8]) -> bool {
    sum(&[&pseudo_header(source, destination, udp.len())[..], udp].concat()) == 0xffff
}
