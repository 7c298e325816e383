//! One test per kind of frame, each cut off at every length as well.

use super::Bench;
use crate::frames::{
    self, ACK, ARP, CTAG, ESP, Extension, FIN, ICMP, ICMPV6, IPV4, IPV6, MORE4, RST, SCTP, STAG,
    SYN, TCP, UDP, V4, ethernet, ipv4, ipv6, ipv6_chain, tagged,
};

/// The frame, and the frame cut off at every length that a test run takes.
fn check_cut(bench: &mut Bench, frame: &[u8]) {
    for len in (14..=frame.len()).rev() {
        bench.check(&frame[..len]);
    }
}

fn check_transport(protocol: u8, payload: &[u8]) {
    let mut bench = Bench::new();
    check_cut(&mut bench, &ethernet(IPV4, &ipv4(protocol, payload)));
    check_cut(&mut bench, &ethernet(IPV6, &ipv6(protocol, payload)));
}

#[test]
#[ignore = "root: loads programs"]
fn tcp_has_ports_and_flags() {
    for flags in [0, SYN, SYN | ACK, FIN | ACK, RST, SYN | FIN | RST, 0xff] {
        check_transport(TCP, &frames::tcp([40_000, 443], flags, 3, 20));
    }
}

#[test]
#[ignore = "root: loads programs"]
fn udp_has_ports() {
    check_transport(UDP, &frames::udp([53, 40_000], &[1, 2, 3]));
}

#[test]
#[ignore = "root: loads programs"]
fn sctp_has_ports() {
    check_transport(SCTP, &frames::sctp([9_899, 38_412], 5));
}

#[test]
#[ignore = "root: loads programs"]
fn icmp_shows_type_and_code_as_ports() {
    for (kind, code) in [(8, 0), (0, 0), (3, 4), (255, 255)] {
        check_transport(ICMP, &frames::icmp(kind, code, 6));
        check_transport(ICMPV6, &frames::icmp(kind, code, 6));
    }
}

#[test]
#[ignore = "root: loads programs"]
fn every_protocol_number_is_kept() {
    let mut bench = Bench::new();
    for protocol in 0..=255 {
        bench.check(&ethernet(IPV4, &ipv4(protocol, &frames::body(64))));
        bench.check(&ethernet(IPV6, &ipv6(protocol, &frames::body(64))));
    }
}

#[test]
#[ignore = "root: loads programs"]
fn ipv4_options_are_stepped_over() {
    let mut bench = Bench::new();
    for option_words in 0..=10 {
        let header = V4 { option_words, ..V4::default() };
        let packet = header.packet(TCP, &frames::tcp([1, 2], ACK, 0, 4));
        check_cut(&mut bench, &ethernet(IPV4, &packet));
    }
}

#[test]
#[ignore = "root: loads programs"]
fn two_tags_are_stepped_over_and_a_third_is_not_ip() {
    let mut bench = Bench::new();
    let chains: [&[u16]; 7] =
        [&[], &[CTAG], &[STAG], &[STAG, CTAG], &[CTAG, CTAG], &[CTAG, STAG], &[CTAG, CTAG, CTAG]];
    for tags in chains {
        let v4 = ipv4(UDP, &frames::udp([7, 8], &[0; 9]));
        check_cut(&mut bench, &tagged(tags, IPV4, &v4));
        check_cut(&mut bench, &tagged(tags, IPV6, &ipv6(TCP, &frames::tcp([7, 8], 0, 0, 1))));
        check_cut(&mut bench, &tagged(tags, ARP, &[0; 28]));
    }
}

#[test]
#[ignore = "root: loads programs"]
fn what_is_not_ip_has_no_flow() {
    let mut bench = Bench::new();
    for ethertype in [0, 0x0001, 0x05ff, 0x0600, ARP, 0x8847, 0x8863, 0x88cc, 0xffff, 0x0801] {
        check_cut(&mut bench, &ethernet(ethertype, &frames::body(46)));
    }
}

const EACH: [Extension; 8] = [
    Extension::HopByHop(0),
    Extension::HopByHop(3),
    Extension::Routing(2),
    Extension::Destination(0),
    Extension::Destination(40),
    Extension::Authentication(4),
    Extension::Authentication(1),
    Extension::Fragment { id: 77, offset: 0, more: false },
];

#[test]
#[ignore = "root: loads programs"]
fn each_extension_header_is_stepped_over() {
    let mut bench = Bench::new();
    for extension in EACH {
        let packet = ipv6_chain(&[extension], UDP, &frames::udp([500, 501], &[9; 12]));
        check_cut(&mut bench, &ethernet(IPV6, &packet));
    }
    for longest in [Extension::Routing(255), Extension::Authentication(255)] {
        let packet = ipv6_chain(&[longest], UDP, &frames::udp([500, 501], &[9; 12]));
        bench.check(&ethernet(IPV6, &packet));
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_chain_of_six_is_followed_and_of_seven_given_up() {
    let mut bench = Bench::new();
    for len in 0..=8 {
        for extension in EACH {
            let chain = vec![extension; len];
            for protocol in [TCP, UDP, ICMPV6, 59, ESP] {
                let payload = frames::tcp([1, 2], SYN, 0, 0);
                bench.check(&ethernet(IPV6, &ipv6_chain(&chain, protocol, &payload)));
            }
        }
    }
    let mixed = [EACH[0], EACH[2], EACH[5], EACH[7], EACH[3], EACH[1]];
    let packet = ipv6_chain(&mixed, TCP, &frames::tcp([1, 2], SYN, 2, 7));
    check_cut(&mut bench, &ethernet(IPV6, &packet));
}

#[test]
#[ignore = "root: loads programs"]
fn later_fragments_find_the_ports_of_the_first() {
    for protocol in [TCP, UDP, SCTP, ICMP, ESP] {
        let mut bench = Bench::new();
        let payload = frames::tcp([80, 40_000], SYN, 0, 44);
        let part = |fragment, id| V4 { id, fragment, ..V4::default() }.packet(protocol, &payload);
        bench.check(&ethernet(IPV4, &part(100, 1)));
        bench.check(&ethernet(IPV4, &part(MORE4, 1)));
        bench.check(&ethernet(IPV4, &part(MORE4 | 8, 1)));
        bench.check(&ethernet(IPV4, &part(100, 1)));
        bench.check(&ethernet(IPV4, &part(100, 2)));
        bench.check(&ethernet(IPV4, &part(0x4000, 3))); // may not be fragmented
    }
}

#[test]
#[ignore = "root: loads programs"]
fn later_ipv6_fragments_find_the_ports_of_the_first() {
    for protocol in [TCP, UDP, ICMPV6, ESP] {
        let mut bench = Bench::new();
        let payload = frames::tcp([80, 40_000], FIN, 0, 44);
        let before = Extension::HopByHop(1);
        let within = Extension::Destination(0);
        let part = |id, offset, more| {
            let fragment = Extension::Fragment { id, offset, more };
            ethernet(IPV6, &ipv6_chain(&[before, fragment, within], protocol, &payload))
        };
        for frame in [part(1, 50, false), part(1, 0, true), part(1, 6, true), part(1, 50, false)] {
            bench.check(&frame);
        }
        bench.check(&part(2, 50, false));
        check_cut(&mut bench, &part(3, 50, true));
        check_cut(&mut bench, &part(4, 0, true));
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_first_fragment_without_its_whole_transport_header_is_short() {
    let mut bench = Bench::new();
    let packet = V4 { fragment: MORE4, ..V4::default() }.packet(TCP, &[0, 80, 0, 81, 0, 0, 0, 0]);
    bench.check(&ethernet(IPV4, &packet));
    let later = V4 { fragment: 1, ..V4::default() }.packet(TCP, &[0; 8]);
    bench.check(&ethernet(IPV4, &later));
}

#[test]
#[ignore = "root: loads programs"]
fn lying_headers_are_bad_headers() {
    let mut bench = Bench::new();
    let good4 = ethernet(IPV4, &ipv4(TCP, &frames::tcp([1, 2], SYN, 0, 30)));
    let good6 = ethernet(IPV6, &ipv6(TCP, &frames::tcp([1, 2], SYN, 0, 30)));
    for first in 0..=255 {
        for good in [&good4, &good6] {
            let mut frame = good.clone();
            frame[14] = first; // version and header length
            bench.check(&frame);
        }
        let mut frame = good4.clone();
        frame[34 + 12] = first; // data offset of TCP
        bench.check(&frame);
    }
}

#[test]
#[ignore = "root: loads programs"]
fn length_fields_of_ip_are_not_believed() {
    let mut bench = Bench::new();
    for length in [0_u16, 1, 20, 39, 0xffff] {
        let mut frame = ethernet(IPV4, &ipv4(UDP, &frames::udp([1, 2], &[3; 40])));
        frame[16..18].copy_from_slice(&length.to_be_bytes());
        bench.check(&frame);
        let mut frame = ethernet(IPV6, &ipv6(UDP, &frames::udp([1, 2], &[3; 40])));
        frame[18..20].copy_from_slice(&length.to_be_bytes());
        bench.check(&frame);
    }
}
