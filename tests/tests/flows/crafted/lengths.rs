//! Headers that are cut off or that lie about lengths: sums stay exact, nothing is guessed.

use fathom_tests::crafted::{everywhere, key};
use testkit::truth::Amount;

use super::{ETHERNET, FROM4, FROM6, TCP, UDP, V4, V6, assert_seen, to4, to6};

fn cut(frame: &str, length: u64) -> String {
    format!("Raw(bytes({frame})[:{length}])")
}

const OVER_V4: &str = "E/V4(1)/TCP(sport=1, dport=2)";
const OVER_V6: &str = "E/V6(1)/TCP(sport=1, dport=2)";

#[test]
#[ignore = "root: needs network namespaces"]
fn every_header_that_is_not_whole_is_unparsed() {
    let cases = [
        (OVER_V4, ETHERNET),
        (OVER_V4, ETHERNET + 1),
        (OVER_V4, V4 - 1),
        (OVER_V4, V4),
        (OVER_V4, V4 + 4),
        (OVER_V4, V4 + 19),
        (OVER_V6, ETHERNET),
        (OVER_V6, V6 - 1),
        (OVER_V6, V6),
        (OVER_V6, V6 + 19),
        ("E/V4(1)/UDP(sport=1, dport=2)", V4 + 7),
        ("E/V6(1)/UDP(sport=1, dport=2)", V6 + 4),
        ("E/V4(1)/SCTP(sport=1, dport=2)", V4 + 11),
        ("E/V4(1)/ICMP()", V4 + 1),
        ("E/V6(1)/ICMPv6EchoRequest()", V6),
        ("E/V4(1, options=[IPOption_NOP()] * 8)/UDP(sport=1, dport=2)", V4 + 7),
        ("E/V6(1)/IPv6ExtHdrHopByHop()/UDP(sport=1, dport=2)", V6 + 1),
        ("E/V6(1)/IPv6ExtHdrHopByHop()/UDP(sport=1, dport=2)", V6 + 8 + 7),
        ("E/V6(1, nh=44)/IPv6ExtHdrFragment(nh=17, m=1)/UDP(sport=1, dport=2)", V6 + 7),
    ];
    let frames: Vec<_> = cases.iter().map(|(frame, length)| cut(frame, *length)).collect();
    let bytes = cases.iter().map(|(_, length)| length).sum();
    let unparsed = Amount::new(cases.len() as u64, bytes);
    assert_seen(&everywhere(&frames), &[], &[("unparsed", unparsed)]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_last_octet_of_a_header_makes_it_whole() {
    let frames = [
        cut("E/V4(1)/TCP(sport=1, dport=2)", V4 + 20),
        cut("E/V4(2)/UDP(sport=1, dport=2)", V4 + 8),
        cut("E/V4(3)/SCTP(sport=1, dport=2)", V4 + 12),
        cut("E/V6(4)/TCP(sport=1, dport=2)", V6 + 20),
        cut("E/V6(5)/UDP(sport=1, dport=2)", V6 + 8),
        cut("E/V6(6)/SCTP(sport=1, dport=2)", V6 + 12),
    ];
    let four = |host: u8, protocol: u8, length: u64| {
        (key(FROM4, &to4(host), protocol, (1, 2)), Amount::new(1, V4 + length))
    };
    let six = |host: u8, protocol: u8, length: u64| {
        (key(FROM6, &to6(host), protocol, (1, 2)), Amount::new(1, V6 + length))
    };
    let rows = [
        four(1, TCP, 20),
        four(2, UDP, 8),
        four(3, 132, 12),
        six(4, TCP, 20),
        six(5, UDP, 8),
        six(6, 132, 12),
    ];
    assert_seen(&everywhere(&frames), &rows, &[]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn headers_that_contradict_themselves_are_unparsed() {
    let frames = [
        "E/V4(1, ihl=4)/UDP(sport=1, dport=2)/Raw(bytes(50))",
        "E/V4(1, ihl=0)/UDP(sport=1, dport=2)/Raw(bytes(50))",
        "E/V4(1, ihl=15)/UDP(sport=1, dport=2)",
        "E/V4(1, version=6)/UDP(sport=1, dport=2)/Raw(bytes(50))",
        "E/V4(1, version=0)/UDP(sport=1, dport=2)/Raw(bytes(50))",
        "E/V6(1, version=4)/UDP(sport=1, dport=2)/Raw(bytes(50))",
        "Ether(src=E.src, dst=E.dst, type=0x86dd)/V4(1)/UDP(sport=1, dport=2)/Raw(bytes(50))",
        "E/V6(1)/IPv6ExtHdrDestOpt(nh=17, len=200)/UDP(sport=1, dport=2)",
    ];
    let long = 50 + 8;
    let v4 = 4 * (V4 + long) + (V4 + 8) + (V4 + long);
    let v6 = (V6 + long) + (V6 + 8 + 8);
    let unparsed = Amount::new(8, v4 + v6);
    assert_seen(&everywhere(&frames), &[], &[("unparsed", unparsed)]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_frame_is_believed_and_not_its_length_fields() {
    let frames = [
        "E/V4(1, len=65535)/UDP(sport=1, dport=2)/Raw(bytes(10))",
        "E/V4(2, len=20)/UDP(sport=1, dport=2)/Raw(bytes(10))",
        "E/V4(3, len=0)/UDP(sport=1, dport=2)/Raw(bytes(10))",
        "E/V4(4)/UDP(sport=1, dport=2, len=9000)/Raw(bytes(10))",
        "E/V4(5)/UDP(sport=1, dport=2, len=0)/Raw(bytes(10))",
        "E/V6(6, plen=65535)/UDP(sport=1, dport=2)/Raw(bytes(10))",
        "E/V6(7, plen=0)/UDP(sport=1, dport=2)/Raw(bytes(10))",
        // Padding to the smallest frame of Ethernet belongs to the frame.
        "E/V4(8)/UDP(sport=1, dport=2)/Padding(bytes(18))",
    ];
    let four = |host: u8| (key(FROM4, &to4(host), UDP, (1, 2)), Amount::new(1, V4 + 18));
    let six = |host: u8| (key(FROM6, &to6(host), UDP, (1, 2)), Amount::new(1, V6 + 18));
    let mut rows: Vec<_> = (1..=5).map(four).collect();
    rows.extend([six(6), six(7)]);
    rows.push((key(FROM4, &to4(8), UDP, (1, 2)), Amount::new(1, 60)));
    assert_seen(&everywhere(&frames), &rows, &[]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn frames_of_every_size_are_counted_whole() {
    let sizes = [0, 1, 17, 18, 1472, 1473, 4000, 8900, 8972];
    let frames: Vec<_> = (1..)
        .zip(sizes)
        .map(|(host, size)| format!("E/V4({host})/UDP(sport=1, dport=2)/Raw(bytes({size}))"))
        .collect();
    let rows: Vec<_> = (1..)
        .zip(sizes)
        .map(|(host, size)| (key(FROM4, &to4(host), UDP, (1, 2)), Amount::new(1, V4 + 8 + size)))
        .collect();
    assert_seen(&everywhere(&frames), &rows, &[]);
}
