//! IPv6 extension headers and IPv4 options: the transport header is found behind them.

use fathom_tests::crafted::{Ports, everywhere, key};
use testkit::truth::Amount;

use super::{FROM4, FROM6, TCP, UDP, V4, V6, assert_seen, to4, to6};

/// One header of 8 octets of every kind that is looked through, as scapy writes it.
const HOP: &str = "/IPv6ExtHdrHopByHop()";
const DESTINATION: &str = "/IPv6ExtHdrDestOpt()";
const ATOMIC: &str = "/IPv6ExtHdrFragment()";
const ROUTING: &str = "/IPv6ExtHdrRouting(type=4, addresses=['2001:db8::9'])";
const PORTS: &str = "/UDP(sport=1000, dport=2000)";
const ESP: u8 = 50;
const NOTHING: u8 = 59;
const MOBILITY: u8 = 135;

fn authentication(next: u8) -> String {
    // RFC 4302 §2.2: length in words of 4 octets, less 2; here 24 octets.
    format!("/Raw(bytes([{next}, 4]) + bytes(22))")
}

#[test]
#[ignore = "root: needs network namespaces"]
fn every_extension_header_is_looked_through() {
    let frames = [
        format!("E/V6(1){HOP}{PORTS}"),
        format!("E/V6(2){ROUTING}{PORTS}"),
        format!("E/V6(3){DESTINATION}{PORTS}"),
        format!("E/V6(4){ATOMIC}{PORTS}"),
        format!("E/V6(5, nh=51){}{PORTS}", authentication(UDP)),
        format!("E/V6(6){HOP}{ROUTING}{DESTINATION}/TCP(sport=3, dport=4, flags='S')"),
        format!("E/V6(7){HOP}/ICMPv6EchoRequest()"),
    ];
    let udp = |host: u8, length: u64| {
        let row = key(FROM6, &to6(host), UDP, (1000, 2000));
        (row, Amount::new(1, V6 + length + 8))
    };
    let rows = [
        udp(1, 8),
        udp(2, 24),
        udp(3, 8),
        udp(4, 8),
        udp(5, 24),
        (key(FROM6, &to6(6), TCP, (3, 4)), Amount::new(1, V6 + 40 + 20)),
        (key(FROM6, &to6(7), 58, (128, 0)), Amount::new(1, V6 + 8 + 8)),
    ];
    assert_seen(&everywhere(&frames), &rows, &[]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn six_headers_are_the_longest_chain() {
    let chain = |count: usize| DESTINATION.repeat(count);
    let frames = [
        format!("E/V6(1){HOP}{}{PORTS}", chain(5)),
        format!("E/V6(2){HOP}{}{PORTS}", chain(6)),
        format!("E/V6(3){}{PORTS}", chain(100)),
        format!("E/V6(4){HOP}{ROUTING}{}{ATOMIC}{PORTS}", chain(2)),
    ];
    let udp = |host: u8| key(FROM6, &to6(host), UDP, (1000, 2000));
    let rows = [
        (udp(1), Amount::new(1, V6 + 6 * 8 + 8)),
        (udp(4), Amount::new(1, V6 + 8 + 24 + 2 * 8 + 8 + 8)),
    ];
    let given_up = Amount::new(2, (V6 + 7 * 8 + 8) + (V6 + 100 * 8 + 8));
    assert_seen(&everywhere(&frames), &rows, &[("unparsed", given_up)]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_chain_of_the_largest_headers_is_followed() {
    // RFC 8200 §4.6: 256 words of 8 octets.
    let largest = "/IPv6ExtHdrDestOpt(nh=60, len=255, options=[], autopad=0)/Raw(bytes(2046))";
    let last = "/IPv6ExtHdrDestOpt(nh=17, len=255, options=[], autopad=0)/Raw(bytes(2046))";
    let frames = [
        format!("E/V6(1){last}{PORTS}"),
        format!("E/V6(2){largest}{largest}{largest}{last}{PORTS}"),
    ];
    let udp = |host: u8| key(FROM6, &to6(host), UDP, (1000, 2000));
    let rows =
        [(udp(1), Amount::new(1, V6 + 2048 + 8)), (udp(2), Amount::new(1, V6 + 4 * 2048 + 8))];
    assert_seen(&everywhere(&frames), &rows, &[]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_chain_may_end_without_ports() {
    let frames = [
        format!("E/V6(1){HOP}/Raw(bytes(40))").replace("HopByHop()", "HopByHop(nh=50)"),
        "E/V6(2, nh=59)".to_owned(),
        "E/V6(3, nh=59)/Raw(bytes(30))".to_owned(),
        "E/V6(4, nh=135)/Raw(bytes([59, 0, 1, 0]) + bytes(4))".to_owned(),
    ];
    let row = |host: u8, protocol: u8| key(FROM6, &to6(host), protocol, Ports::NONE);
    let rows = [
        (row(1, ESP), Amount::new(1, V6 + 8 + 40)),
        (row(2, NOTHING), Amount::new(1, V6)),
        (row(3, NOTHING), Amount::new(1, V6 + 30)),
        (row(4, MOBILITY), Amount::new(1, V6 + 8)),
    ];
    assert_seen(&everywhere(&frames), &rows, &[]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn ports_stand_behind_ipv4_options() {
    let options = |count: usize| format!("options=[IPOption_NOP()] * {count}");
    let frames = [
        format!("E/V4(1, {})/UDP(sport=1, dport=2)", options(4)),
        format!("E/V4(2, {})/TCP(sport=3, dport=4)", options(40)),
        format!("E/V4(3, {})/ICMP(type=3, code=13)", options(8)),
        // Options that look like a transport header.
        "E/V4(4, options=IPOption(b'\\x88\\x04\\x00\\x07'))/UDP(sport=5, dport=6)".to_owned(),
    ];
    let rows = [
        (key(FROM4, &to4(1), UDP, (1, 2)), Amount::new(1, V4 + 4 + 8)),
        (key(FROM4, &to4(2), TCP, (3, 4)), Amount::new(1, V4 + 40 + 20)),
        (key(FROM4, &to4(3), 1, (3, 13)), Amount::new(1, V4 + 8 + 8)),
        (key(FROM4, &to4(4), UDP, (5, 6)), Amount::new(1, V4 + 4 + 8)),
    ];
    assert_seen(&everywhere(&frames), &rows, &[]);
}
