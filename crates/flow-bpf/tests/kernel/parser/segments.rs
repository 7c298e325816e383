//! Buffers that the kernel will cut into segments, plain and inside tunnels.

use super::Bench;
use crate::frames::{
    self, Extension, GRE, ICMP, IN6, IPIP, IPV4, IPV6, SCTP, STAG, SYN, TCP, TEB, UDP, V4,
    ethernet, geneve, gre, ipv4, ipv6, ipv6_chain, tagged, udp, vxlan,
};

/// Payloads around multiples of the segment size.
const PAYLOADS: [usize; 6] = [0, 1, 99, 100, 101, 1950];

fn check_sizes(bench: &mut Bench, frame: &[u8]) {
    for gso_size in [1, 99, 100, 1448, 0xfffe, 0xffff] {
        for gso_segs in [0, 1, 14] {
            bench.check_segmented(frame, gso_size, gso_segs);
        }
    }
}

fn check_network(wrap: impl Fn(&[u8], bool) -> Vec<u8>) {
    let mut bench = Bench::new();
    for payload in PAYLOADS {
        let tcp = frames::tcp([40_000, 443], SYN, 3, payload);
        let datagram = udp([40_000, 443], &frames::body(payload));
        for (protocol, transport) in [(TCP, &tcp), (UDP, &datagram)] {
            check_sizes(&mut bench, &wrap(&ipv4(protocol, transport), false));
            check_sizes(&mut bench, &wrap(&ipv6(protocol, transport), true));
        }
    }
}

fn ethertype(is_v6: bool) -> u16 {
    if is_v6 { IPV6 } else { IPV4 }
}

#[test]
#[ignore = "root: loads programs"]
fn plain_segments_repeat_three_headers() {
    check_network(|packet, is_v6| ethernet(ethertype(is_v6), packet));
}

#[test]
#[ignore = "root: loads programs"]
fn tags_are_repeated_too() {
    check_network(|packet, is_v6| tagged(&[STAG], ethertype(is_v6), packet));
}

#[test]
#[ignore = "root: loads programs"]
fn vxlan_segments_repeat_the_inner_headers() {
    for port in [4789, 8472] {
        check_network(|packet, is_v6| {
            let inner = vxlan(&ethernet(ethertype(is_v6), packet));
            ethernet(IPV4, &ipv4(UDP, &udp([1, port], &inner)))
        });
    }
    check_network(|packet, is_v6| {
        let inner = vxlan(&ethernet(ethertype(is_v6), packet));
        ethernet(IPV6, &ipv6(UDP, &udp([1, 4789], &inner)))
    });
}

#[test]
#[ignore = "root: loads programs"]
fn geneve_options_are_repeated_too() {
    for option_words in [0, 1, 7, 63] {
        check_network(|packet, is_v6| {
            let inner = ethernet(ethertype(is_v6), packet);
            let inner = geneve(option_words, TEB, &inner);
            ethernet(IPV6, &ipv6(UDP, &udp([1, 6081], &inner)))
        });
        check_network(|packet, is_v6| {
            let inner = geneve(option_words, ethertype(is_v6), packet);
            ethernet(IPV4, &ipv4(UDP, &udp([1, 6081], &inner)))
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn every_form_of_gre_is_repeated() {
    for fields in 0..8 {
        let fields = [fields & 1 != 0, fields & 2 != 0, fields & 4 != 0];
        check_network(|packet, is_v6| {
            ethernet(IPV4, &ipv4(GRE, &gre(fields, ethertype(is_v6), packet)))
        });
        check_network(|packet, is_v6| {
            let inner = ethernet(ethertype(is_v6), packet);
            ethernet(IPV6, &ipv6(GRE, &gre(fields, TEB, &inner)))
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn ip_in_ip_repeats_both_ip_headers() {
    check_network(|packet, is_v6| ethernet(IPV4, &ipv4(if is_v6 { IN6 } else { IPIP }, packet)));
    check_network(|packet, is_v6| ethernet(IPV6, &ipv6(if is_v6 { IN6 } else { IPIP }, packet)));
}

#[test]
#[ignore = "root: loads programs"]
fn inner_options_and_extensions_are_repeated_too() {
    let mut bench = Bench::new();
    let segment = frames::tcp([1, 2], 0, 0, 500);
    for option_words in [0, 4, 10] {
        let packet = V4 { option_words, ..V4::default() }.packet(TCP, &segment);
        check_sizes(&mut bench, &ethernet(IPV4, &ipv4(IPIP, &packet)));
    }
    for count in 0..=8 {
        for kind in [Extension::HopByHop(1), Extension::Authentication(3), ATOMIC] {
            let packet = ipv6_chain(&vec![kind; count], TCP, &segment);
            check_sizes(&mut bench, &ethernet(IPV4, &ipv4(IN6, &packet)));
        }
    }
}

const ATOMIC: Extension = Extension::Fragment { id: 1, offset: 0, more: false };

#[test]
#[ignore = "root: loads programs"]
fn sctp_buffers_trust_the_kernels_count() {
    let mut bench = Bench::new();
    let frame = ethernet(IPV4, &ipv4(SCTP, &frames::sctp([1, 2], 900)));
    check_sizes(&mut bench, &frame);
}

#[test]
#[ignore = "root: loads programs"]
fn unknown_headers_are_counted_as_such() {
    let mut bench = Bench::new();
    let body = frames::body(700);
    let frames = [
        ethernet(IPV4, &ipv4(253, &body)),
        ethernet(0x88cc, &body),
        ethernet(IPV4, &ipv4(UDP, &udp([1, 4789], &body))),
        ethernet(IPV4, &ipv4(UDP, &udp([1, 6081], &body))),
        ethernet(IPV4, &ipv4(GRE, &gre([false; 3], 0x880b, &body))),
        ethernet(IPV4, &ipv4(GRE, &gre([false; 3], 0, &body))),
        ethernet(IPV4, &ipv4(IPIP, &ipv4(ICMP, &body))),
        ethernet(IPV4, &V4 { fragment: 5, ..V4::default() }.packet(TCP, &body)),
    ];
    for frame in frames {
        check_sizes(&mut bench, &frame);
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_buffer_cut_off_in_its_headers_is_still_counted() {
    let mut bench = Bench::new();
    let inner = ethernet(IPV6, &ipv6(TCP, &frames::tcp([1, 2], 0, 1, 30)));
    for frame in [
        ethernet(IPV4, &ipv4(UDP, &udp([1, 4789], &vxlan(&inner)))),
        ethernet(IPV6, &ipv6(UDP, &udp([1, 6081], &geneve(2, TEB, &inner)))),
        ethernet(IPV4, &ipv4(GRE, &gre([true; 3], TEB, &inner))),
    ] {
        for len in 14..=frame.len() {
            bench.check_segmented(&frame[..len], 10, 3);
        }
    }
}
