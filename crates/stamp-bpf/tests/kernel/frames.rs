//! Frames with a datagram in them, built octet by octet, and taken apart again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::sums;

/// That of the loopback device, on which frames of a test run arrive.
pub(crate) const NEAR_MAC: [u8; 6] = [0; 6];
pub(crate) const FAR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 7];

/// What stands in the checksum field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sum {
    Right,
    Wrong,
    Zero,
    /// That of the pseudo header alone, for a device to complete.
    Offloaded,
}

/// A datagram to the reflector, and how it is wrapped.
#[derive(Debug, Clone)]
pub(crate) struct Datagram {
    pub(crate) source: SocketAddr,
    pub(crate) destination: SocketAddr,
    pub(crate) ttl: u8,
    pub(crate) tos: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) sum: Sum,
    /// Octets behind the packet, as short Ethernet frames have them.
    pub(crate) padding: usize,
    /// Words of IPv4 options, or IPv6 destination options of eight octets.
    pub(crate) options: usize,
    /// The fragment field of IPv4, without the don't-fragment bit.
    pub(crate) fragment: u16,
    /// Added to the length that the UDP header tells.
    pub(crate) longer: i32,
    pub(crate) link: bool,
}

impl Datagram {
    pub(crate) fn v4(payload: &[u8]) -> Self {
        Self::between("10.0.0.2:1001".parse().unwrap(), "10.0.0.1:862".parse().unwrap(), payload)
    }

    pub(crate) fn v6(payload: &[u8]) -> Self {
        Self::between("[fd00::2]:1001".parse().unwrap(), "[fd00::1]:862".parse().unwrap(), payload)
    }

    pub(crate) fn between(source: SocketAddr, destination: SocketAddr, payload: &[u8]) -> Self {
        Self {
            source,
            destination,
            ttl: 250,
            tos: 46 << 2 | 1,
            payload: payload.to_vec(),
            sum: Sum::Right,
            padding: 0,
            options: 0,
            fragment: 0,
            longer: 0,
            link: true,
        }
    }

    pub(crate) fn frame(&self) -> Vec<u8> {
        let udp = self.udp();
        let packet = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.v4_packet(source, destination, &udp)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.v6_packet(source, destination, &udp)
            }
            mixed => panic!("{mixed:?} are of two families"),
        };
        let mut frame = Vec::new();
        if self.link {
            frame.extend(NEAR_MAC);
            frame.extend(FAR_MAC);
            frame.extend(if self.source.is_ipv4() { [8, 0] } else { [0x86, 0xdd] });
        }
        frame.extend(packet);
        frame.extend(std::iter::repeat_n(0xcc, self.padding));
        frame
    }

    fn udp(&self) -> Vec<u8> {
        let len = (self.payload.len() + 8) as i32 + self.longer;
        let mut udp =
            [self.source.port().to_be_bytes(), self.destination.port().to_be_bytes()].concat();
        udp.extend((len as u16).to_be_bytes());
        udp.extend([0, 0]);
        udp.extend(&self.payload);
        let pseudo = sums::pseudo_header(self.source.ip(), self.destination.ip(), udp.len());
        let whole = [&pseudo[..], &udp].concat();
        let sum = match self.sum {
            Sum::Right => Some(!sums::sum(&whole)).filter(|&sum| sum != 0).unwrap_or(0xffff),
            Sum::Wrong => (!sums::sum(&whole)).wrapping_add(0x1234) | 1,
            Sum::Zero => 0,
            Sum::Offloaded => sums::sum(&pseudo),
        };
        udp[6..8].copy_from_slice(&sum.to_be_bytes());
        udp
    }

    fn v4_packet(&self, source: Ipv4Addr, destination: Ipv4Addr, udp: &[u8]) -> Vec<u8> {
        let len = 20 + 4 * self.options;
        let mut packet = vec![0x40 | (len / 4) as u8, self.tos];
        packet.extend(((len + udp.len()) as u16).to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, 17, 0, 0]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        packet.extend(std::iter::repeat_n(1, 4 * self.options));
        let sum = !sums::sum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(udp);
        packet
    }

    fn v6_packet(&self, source: Ipv6Addr, destination: Ipv6Addr, udp: &[u8]) -> Vec<u8> {
        let options = self.options * 8;
        let next = if options == 0 { 17 } else { 60 };
        let mut packet = vec![0x60 | self.tos >> 4, self.tos << 4 | 0xa, 0xbc, 0xde];
        packet.extend(((options + udp.len()) as u16).to_be_bytes());
        packet.extend([next, self.ttl]);
        packet.extend(source.octets());
        packet.extend(destination.octets());
        for n in 1..=self.options {
            let next = if n == self.options { 17 } else { 60 };
            packet.extend([next, 0, 1, 4, 0, 0, 0, 0]);
        }
        packet.extend(udp);
        packet
    }

    /// Where the payload starts in the frame.
    pub(crate) fn payload_at(&self) -> usize {
        let link = if self.link { 14 } else { 0 };
        let network =
            if self.source.is_ipv4() { 20 + 4 * self.options } else { 40 + 8 * self.options };
        link + network + 8
    }

    /// The frame that answers this one, but for octets that `payload` and the sum have.
    pub(crate) fn answered_by(&self, payload: &[u8], traffic_class: u8, sum: [u8; 2]) -> Vec<u8> {
        let back = Self {
            source: self.destination,
            destination: self.source,
            ttl: 255,
            tos: traffic_class,
            payload: payload.to_vec(),
            fragment: 0x4000,
            ..self.clone()
        };
        let mut frame = back.frame();
        if self.link {
            frame[..6].copy_from_slice(&FAR_MAC);
            frame[6..12].copy_from_slice(&NEAR_MAC);
        }
        let at = self.payload_at();
        frame[at - 2..at].copy_from_slice(&sum);
        frame
    }

    /// The payload of a frame that is wrapped as this one is.
    pub(crate) fn payload_of<'a>(&self, frame: &'a [u8]) -> &'a [u8] {
        let at = self.payload_at();
        &frame[at..at + self.payload.len()]
    }

    /// Whether the sum of such a frame is right.
    pub(crate) fn is_sum_right(&self, frame: &[u8]) -> bool {
        let at = self.payload_at();
        let udp = &frame[at - 8..at + self.payload.len()];
        sums::is_right(self.source.ip(), self.destination.ip(), udp)
    }
}
