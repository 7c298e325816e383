//! Protocols with and without ports, and everything that is not IP.

use fathom_tests::crafted::{Ports, everywhere, key};
use fathom_tests::document::Flags;
use testkit::truth::Amount;

use super::{ETHERNET, FROM4, FROM6, TCP, UDP, V4, V6, assert_seen, to4, to6};

#[test]
#[ignore = "root: needs network namespaces"]
fn protocols_without_ports_have_none() {
    // IGMP, IPIP, DCCP, 6in4, GRE, ESP, OSPF, UDP-Lite, reserved.
    let protocols = [2, 4, 33, 41, 47, 50, 89, 136, 255];
    let mut frames = Vec::new();
    let mut rows = Vec::new();
    for protocol in protocols {
        frames.push(format!("E/V4(1, proto={protocol})/Raw(bytes(range(64)))"));
        let row = key(FROM4, &to4(1), protocol, Ports::NONE);
        rows.push((row, Amount::new(1, V4 + 64)));
    }
    for protocol in [47, 50, 89, 136, 254] {
        frames.push(format!("E/V6(1, nh={protocol})/Raw(bytes(range(64)))"));
        let row = key(FROM6, &to6(1), protocol, Ports::NONE);
        rows.push((row, Amount::new(1, V6 + 64)));
    }
    assert_seen(&everywhere(&frames), &rows, &[]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn types_and_codes_of_icmp_stand_for_ports() {
    let frames = [
        "E/V4(1)/ICMP(type=8, code=0, id=1, seq=1)",
        "E/V4(1)/ICMP(type=8, code=0, id=2, seq=9)",
        "E/V4(1)/ICMP(type=0, code=0)",
        "E/V4(1)/ICMP(type=3, code=4)/V4(9)/UDP(sport=7, dport=8)",
        "E/V6(1)/ICMPv6EchoRequest()",
        "E/V6(1)/ICMPv6DestUnreach(code=4)/V6(9)/UDP(sport=7, dport=8)",
        "E/V6(1)/ICMPv6ND_NS(tgt='2001:db8::5')",
    ];
    let four = |kind, code| key(FROM4, &to4(1), 1, (kind, code));
    let six = |kind, code| key(FROM6, &to6(1), 58, (kind, code));
    let rows = [
        (four(8, 0), Amount::new(2, 2 * (V4 + 8))),
        (four(0, 0), Amount::new(1, V4 + 8)),
        (four(3, 4), Amount::new(1, V4 + 8 + 28)),
        (six(128, 0), Amount::new(1, V6 + 8)),
        (six(1, 4), Amount::new(1, V6 + 8 + 48)),
        (six(135, 0), Amount::new(1, V6 + 24)),
    ];
    assert_seen(&everywhere(&frames), &rows, &[]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn everything_else_on_a_link_is_not_ip() {
    let other = |kind: &str, rest: &str| format!("Ether(src=E.src, dst=E.dst, type={kind}){rest}");
    let frames = [
        "E/ARP()".to_owned(),
        other("0x88cc", "/Raw(bytes(40))"),
        other("0x88b5", ""),
        other("0x8847", "/Raw(bytes(4))/V4(1)/UDP(sport=1, dport=2)"),
        other("0x8864", "/Raw(bytes(8))/V4(1)/UDP(sport=1, dport=2)"),
        other("0x9100", "/Raw(bytes(4))/V4(1)/UDP(sport=1, dport=2)"),
        // A length instead of a type: spanning tree over LLC.
        other("38", "/Raw(b'\\x42\\x42\\x03' + bytes(43))"),
    ];
    let v4 = 20 + 8;
    let bytes = 7 * ETHERNET + 28 + 40 + (4 + v4) + (8 + v4) + (4 + v4) + 46;
    assert_seen(&everywhere(&frames), &[], &[("non_ip", Amount::new(7, bytes))]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn each_flag_of_tcp_is_counted_by_packet() {
    let tcp = |flags: &str| format!("E/V4(1)/TCP(sport=1, dport=2, flags='{flags}')");
    let mut frames: Vec<_> =
        ["S", "SA", "A", "PA", "FA", "R", "RA", "FSRPAUEC", ""].map(tcp).to_vec();
    frames.push("E/V6(2)/TCP(sport=1, dport=2, flags='A')".to_owned());
    let row = key(FROM4, &to4(1), TCP, (1, 2));
    let quiet = key(FROM6, &to6(2), TCP, (1, 2));
    let views = everywhere(&frames);
    let rows = [(row, Amount::new(9, 9 * (V4 + 20))), (quiet, Amount::new(1, V6 + 20))];
    assert_seen(&views, &rows, &[]);
    for view in &views {
        let flows = &view.outcome.document.flows;
        let flags = |key| flows.iter().find(|flow| flow.key() == key).unwrap().tcp;
        assert_eq!(flags(row), Flags { syn: 3, fin: 2, rst: 3 });
        assert_eq!(flags(quiet), Flags::default());
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn addresses_ports_and_protocols_each_make_a_flow() {
    let frames = [
        "E/V4(1)/UDP(sport=1, dport=2)",
        "E/V4(1)/UDP(sport=2, dport=1)",
        "E/V4(1)/UDP(sport=0, dport=0)",
        "E/V4(1)/UDP(sport=65535, dport=65535)",
        "E/V4(1)/TCP(sport=1, dport=2)",
        "E/V4(1)/SCTP(sport=1, dport=2)",
        "E/V4(2)/UDP(sport=1, dport=2)",
        "E/IP(src='198.51.100.1', dst='192.0.2.1')/UDP(sport=1, dport=2)",
        "E/V4(1)/UDP(sport=1, dport=2)/Raw(b'again')",
    ];
    let udp = |ports: (u16, u16)| key(FROM4, &to4(1), UDP, ports);
    let one = |length| Amount::new(1, V4 + length);
    let rows = [
        (udp((1, 2)), Amount::new(2, 2 * (V4 + 8) + 5)),
        (udp((2, 1)), one(8)),
        (udp((0, 0)), one(8)),
        (udp((65535, 65535)), one(8)),
        (key(FROM4, &to4(1), TCP, (1, 2)), one(20)),
        (key(FROM4, &to4(1), 132, (1, 2)), one(12)),
        (key(FROM4, &to4(2), UDP, (1, 2)), one(8)),
        (key(&to4(1), FROM4, UDP, (1, 2)), one(8)),
    ];
    assert_seen(&everywhere(&frames), &rows, &[]);
}
