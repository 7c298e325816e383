//! Valid frames with some octets changed, cut off anywhere.

use proptest::{
    collection::vec,
    prelude::{Just, Strategy, any, prop_oneof},
    sample::{Index, select},
};

use crate::frames::{
    self, CTAG, Extension, GRE, ICMP, ICMPV6, IN6, IPIP, IPV4, IPV6, MORE4, SCTP, STAG, TCP, TEB,
    UDP, V4, ethernet, ipv6_chain, tagged,
};

/// What is done to a frame before it is shown.
#[derive(Debug, Clone)]
pub(crate) struct Damage {
    octets: Vec<(Index, u8)>,
    cut: Option<Index>,
}

impl Damage {
    /// Headers live in front, so that is where most changes go.
    fn apply(&self, mut frame: Vec<u8>) -> Vec<u8> {
        for (at, octet) in &self.octets {
            let at = at.index(frame.len().min(140));
            frame[at] = *octet;
        }
        if let Some(cut) = &self.cut {
            frame.truncate(14 + cut.index(frame.len() - 13));
        }
        frame
    }
}

fn transport() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let port = || prop_oneof![any::<u16>(), select(vec![4789, 8472, 6081, 53])];
    let ports = (port(), port()).prop_map(<[u16; 2]>::from);
    let tcp = (ports.clone(), any::<u8>(), 0..=10_u8, 0..200_usize)
        .prop_map(|(ports, flags, words, len)| (TCP, frames::tcp(ports, flags, words, len)));
    let udp = (ports.clone(), 0..200_usize)
        .prop_map(|(ports, len)| (UDP, frames::udp(ports, &frames::body(len))));
    let sctp = (ports, 0..60_usize).prop_map(|(ports, len)| (SCTP, frames::sctp(ports, len)));
    let icmp = (select(vec![ICMP, ICMPV6]), any::<u8>(), any::<u8>(), 0..40_usize)
        .prop_map(|(protocol, kind, code, len)| (protocol, frames::icmp(kind, code, len)));
    let other = (any::<u8>(), 0..60_usize).prop_map(|(number, len)| (number, frames::body(len)));
    prop_oneof![tcp, udp, sctp, icmp, other]
}

fn extension() -> impl Strategy<Value = Extension> {
    prop_oneof![
        (0..4_u8).prop_map(Extension::HopByHop),
        (0..4_u8).prop_map(Extension::Routing),
        (0..4_u8).prop_map(Extension::Destination),
        (1..6_u8).prop_map(Extension::Authentication),
        (0..3_u32, select(vec![0, 0, 1, 100]), any::<bool>())
            .prop_map(|(id, offset, more)| Extension::Fragment { id, offset, more }),
    ]
}

fn packet() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let fragment = select(vec![0, 0, 0, 0x4000, MORE4, MORE4 | 3, 200]);
    let v4 = (transport(), 0..=10_u8, 0..3_u16, fragment).prop_map(
        |((protocol, payload), option_words, id, fragment)| {
            let header = V4 { option_words, id, fragment, ..V4::default() };
            (IPV4, header.packet(protocol, &payload))
        },
    );
    let v6 = (transport(), vec(extension(), 0..=8))
        .prop_map(|((protocol, payload), chain)| (IPV6, ipv6_chain(&chain, protocol, &payload)));
    let other = (any::<u16>(), 0..60_usize).prop_map(|(kind, len)| (kind, frames::body(len)));
    prop_oneof![8 => v4, 8 => v6, 1 => other]
}

fn tunnelled() -> impl Strategy<Value = (u16, Vec<u8>)> {
    let form = prop_oneof![Just(0_u8), Just(1), Just(2), Just(3), Just(4)];
    (packet(), form, 0..8_u8).prop_map(|((kind, inner), form, option)| {
        let frame = ethernet(kind, &inner);
        let bits = [option & 1 != 0, option & 2 != 0, option & 4 != 0];
        let outer = match form {
            0 => frames::ipv4(UDP, &frames::udp([9, 4789], &frames::vxlan(&frame))),
            1 => frames::ipv4(UDP, &frames::udp([9, 6081], &frames::geneve(option, TEB, &frame))),
            2 => frames::ipv4(GRE, &frames::gre(bits, kind, &inner)),
            3 => frames::ipv4(if kind == IPV6 { IN6 } else { IPIP }, &inner),
            _ => frames::ipv4(GRE, &frames::gre(bits, TEB, &frame)),
        };
        (IPV4, outer)
    })
}

/// Frames of every kind, most of them damaged.
pub(crate) fn frame() -> impl Strategy<Value = Vec<u8>> {
    let network = prop_oneof![3 => packet(), 1 => tunnelled()];
    let tags = vec(select(vec![CTAG, STAG]), 0..=3);
    let damage = (vec((any::<Index>(), any::<u8>()), 0..4), proptest::option::of(any::<Index>()))
        .prop_map(|(octets, cut)| Damage { octets, cut });
    (network, tags, damage)
        .prop_map(|((kind, packet), tags, damage)| damage.apply(tagged(&tags, kind, &packet)))
}
