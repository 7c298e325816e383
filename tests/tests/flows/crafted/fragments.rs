//! Fragments: the first one's ports if it came first, else a row of their own; never payload.

use fathom_tests::crafted::{Ports, everywhere, key};
use testkit::truth::Amount;

use super::{FROM4, FROM6, TCP, UDP, V4, V6, assert_seen, to4, to6};

/// 3008 octets of UDP as 1480, 1480 and 48.
const THREE: &str = "/UDP(sport=1000, dport=2000)/Raw(b'Q' * 3000), fragsize=1480)";
const LARGE: u64 = V4 + 1480;
const SMALL: u64 = V4 + 48;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

fn v4(host: u8, tail: &str, order: &str) -> String {
    format!("[E/f for f in fragment(V4({host}, id={host}){tail}{order}]")
}

#[test]
#[ignore = "root: needs network namespaces"]
fn fragments_of_ipv4_in_every_order() {
    let frames = [
        v4(1, THREE, ""),
        v4(2, THREE, "[::-1]"),
        v4(3, THREE, "[1:]"),
        v4(4, THREE, "[:1]"),
        v4(5, "/ICMP(type=8, code=0)/Raw(b'Q' * 3000), fragsize=1480)", ""),
        v4(6, "/TCP(sport=3000, dport=4000, flags='S')/Raw(b'Q' * 2000), fragsize=1480)", ""),
        // The same identification between other addresses is another datagram.
        "[E/f for f in fragment(V4(7, id=1)/UDP(sport=5, dport=6)/Raw(b'Q' * 3000), \
         fragsize=1480)[1:]]"
            .to_owned(),
    ];
    let udp = |host: u8, ports: Ports| key(FROM4, &to4(host), UDP, ports);
    let known = Ports::from((1000, 2000));
    let rows = [
        (udp(1, known), Amount::new(3, 2 * LARGE + SMALL)),
        (udp(2, known), Amount::new(1, LARGE)),
        (udp(2, Ports::UNKNOWN), Amount::new(2, LARGE + SMALL)),
        (udp(3, Ports::UNKNOWN), Amount::new(2, LARGE + SMALL)),
        (udp(4, known), Amount::new(1, LARGE)),
        (key(FROM4, &to4(5), ICMP, (8, 0)), Amount::new(3, 2 * LARGE + SMALL)),
        (key(FROM4, &to4(6), TCP, (3000, 4000)), Amount::new(2, LARGE + V4 + 540)),
        (udp(7, Ports::UNKNOWN), Amount::new(2, LARGE + SMALL)),
    ];
    let views = everywhere(&frames);
    assert_seen(&views, &rows, &[]);
    for view in &views {
        let document = &view.outcome.document;
        let syns: u64 = document.flows.iter().map(|row| row.tcp.syn).sum();
        assert_eq!(syns, 1, "flags stand in the first fragment only");
    }
}

/// Built by hand: 8 octets of fragment header, then a part of the datagram.
fn v6(host: u8, offset: u16, more: u8, next: u8, part: &str) -> String {
    format!(
        "E/V6({host}, nh=44)/IPv6ExtHdrFragment(nh={next}, offset={}, m={more}, id={host})\
         /Raw({part})",
        offset / 8
    )
}

#[test]
#[ignore = "root: needs network namespaces"]
fn fragments_of_ipv6_in_every_order() {
    let whole = "bytes(UDP(sport=1000, dport=2000, len=1208, chksum=1)/Raw(b'Q' * 1200))";
    let first = format!("{whole}[:800]");
    let second = format!("{whole}[800:]");
    let echo = "bytes([128, 0]) + bytes(1198)";
    let frames = [
        v6(1, 0, 1, UDP, &first),
        v6(1, 800, 0, UDP, &second),
        v6(2, 800, 0, UDP, &second),
        v6(2, 0, 1, UDP, &first),
        v6(3, 800, 0, UDP, &second),
        // An atomic fragment is the whole datagram (RFC 6946).
        v6(4, 0, 0, UDP, whole),
        v6(5, 0, 1, ICMPV6, &format!("({echo})[:800]")),
        v6(5, 800, 0, ICMPV6, &format!("({echo})[800:]")),
    ];
    let udp = |host: u8, ports: Ports| key(FROM6, &to6(host), UDP, ports);
    let known = Ports::from((1000, 2000));
    let (front, back) = (V6 + 8 + 800, V6 + 8 + 408);
    let rows = [
        (udp(1, known), Amount::new(2, front + back)),
        (udp(2, known), Amount::new(1, front)),
        (udp(2, Ports::UNKNOWN), Amount::new(1, back)),
        (udp(3, Ports::UNKNOWN), Amount::new(1, back)),
        (udp(4, known), Amount::new(1, V6 + 8 + 1208)),
        (key(FROM6, &to6(5), ICMPV6, (128, 0)), Amount::new(2, front + V6 + 8 + 400)),
    ];
    assert_seen(&everywhere(&frames), &rows, &[]);
}

/// RFC 1858 §3: eight octets of TCP hold the ports, and no more of the header.
#[test]
#[ignore = "root: needs network namespaces"]
fn a_first_fragment_without_a_whole_header_has_no_flow() {
    let frames = [
        "E/V4(1, id=1, flags='MF', proto=6)/Raw(bytes(TCP(sport=1, dport=2))[:8])",
        "E/V4(1, id=1, frag=1, proto=6)/Raw(b'Q' * 40)",
        "E/V6(2, nh=44)/IPv6ExtHdrFragment(nh=6, m=1, id=9)/Raw(bytes(TCP(sport=1, dport=2))[:16])",
    ];
    let rows = [(key(FROM4, &to4(1), TCP, Ports::UNKNOWN), Amount::new(1, V4 + 40))];
    let unparsed = Amount::new(2, (V4 + 8) + (V6 + 8 + 16));
    assert_seen(&everywhere(&frames), &rows, &[("unparsed", unparsed)]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_reused_identification_belongs_to_the_latest_first_fragment() {
    let datagram = |ports: &str| {
        format!(
            "[E/f for f in fragment(V4(1, id=77)/UDP({ports})/Raw(b'Q' * 2000), fragsize=1480)]"
        )
    };
    let frames = [datagram("sport=1, dport=2"), datagram("sport=3, dport=4")];
    let amount = Amount::new(2, LARGE + V4 + 528);
    let rows =
        [(key(FROM4, &to4(1), UDP, (1, 2)), amount), (key(FROM4, &to4(1), UDP, (3, 4)), amount)];
    assert_seen(&everywhere(&frames), &rows, &[]);
}
