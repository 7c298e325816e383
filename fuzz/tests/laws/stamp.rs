//! Test packets and the small languages of stamp.

use fathom_fuzz::stamp;
use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use serde_json::Value;
use stamp_proto::tlv::PacketControl;

use crate::{damaged, hold};

/// Packets of other implementations, by their names.
fn seeds() -> Vec<(String, Vec<u8>)> {
    let document: Value = serde_json::from_str(VECTORS).unwrap();
    let named = |about: &Value| {
        let octets = ::stamp::decode::unhex(about["hex"].as_str().unwrap()).unwrap();
        (about["id"].as_str().unwrap().to_owned(), octets)
    };
    document["vectors"].as_array().unwrap().iter().map(named).collect()
}

/// Extensions of every kind, of lengths that are right or nearly so.
fn extension() -> impl Strategy<Value = Vec<u8>> {
    let kind = prop_oneof![8 => 0..14_u8, 1 => any::<u8>()];
    let len = prop_oneof![select(vec![0, 3, 4, 8, 12, 16, 20, 24, 36]), 0..40_usize];
    let value = len.prop_flat_map(|len| {
        let octet = prop_oneof![3 => select(vec![0, 1, 2, 4, 8, 10, 11]), 1 => any::<u8>()];
        vec(octet, len)
    });
    let control = control().prop_map(|value| (12, value));
    let named = prop_oneof![6 => (kind, value), 1 => control];
    (any::<u8>(), named).prop_map(|(flags, (kind, value))| {
        let [high, low] = (value.len() as u16).to_be_bytes();
        [&[flags, kind, high, low], &value[..]].concat()
    })
}

/// A request for several replies, or for replies of another length, that may be granted.
fn control() -> impl Strategy<Value = Vec<u8>> {
    (0..1_600_u16, 0..6_u16, any::<u32>()).prop_map(|(reply_len, count, interval_ns)| {
        PacketControl { reply_len, count, interval_ns }.emit(&[])
    })
}

fn packet() -> impl Strategy<Value = (String, Vec<u8>)> {
    let areas = vec(extension(), 0..5).prop_map(|extensions| extensions.concat());
    (select(seeds()), areas).prop_flat_map(|((name, octets), area)| {
        let packet = damaged(Just([octets, area].concat()), any::<u8>());
        packet.prop_map(move |packet| (name.clone(), packet))
    })
}

#[test]
fn packets_of_other_implementations_hold_every_law_at_every_length() {
    let seeds = seeds();
    assert!(["V1", "V9", "V13"].iter().all(|id| seeds.iter().any(|(name, _)| name == id)));
    for (name, octets) in seeds {
        for len in 0..=octets.len() {
            let held = std::panic::catch_unwind(|| stamp::packet(&octets[..len]));
            assert!(held.is_ok(), "{name} at {len} octets");
        }
    }
}

#[test]
fn damaged_packets_hold_every_law() {
    hold(packet(), |(_, packet)| stamp::packet(&packet));
}

#[test]
fn noise_holds_every_law() {
    let zeros = (vec(any::<u8>(), 0..200), any::<[Index; 2]>()).prop_map(|(mut noise, ends)| {
        let [from, to] = ends.map(|end| end.index(noise.len() + 1));
        noise[from.min(to)..from.max(to)].fill(0);
        noise
    });
    hold(zeros, |noise| stamp::packet(&noise));
}

#[test]
fn every_error_estimate_says_what_its_bits_say() {
    for bits in 0..=u16::MAX {
        stamp::estimate(bits, u64::from(bits) << 48, 0);
    }
    hold(any::<(u16, u64, i64)>(), |(bits, time, near)| stamp::estimate(bits, time, near));
}

/// What texts may consist of.
fn pieces() -> impl Strategy<Value = &'static str> {
    let addresses = select(vec!["10.0.0.0", "fd00::", "::ffff:10.0.0.1", "10.0.0.256"]);
    let numbers =
        select(vec!["0", "8", "15", "16", "+33", "63", "128", "255", "300", "65535", "65536"]);
    let signs = select(vec!["/", ":", " ", "=", ",", "%", ".", "é", "-"]);
    let words =
        select(vec!["0x", "1f", "G", "auto", "eth0", "5ms", "0.5", "none", "same-link", ":zero"]);
    prop_oneof![1 => addresses, 2 => numbers, 2 => signs, 1 => words]
}

#[test]
fn texts_are_read_by_their_grammar() {
    hold(vec(pieces(), 0..5), |pieces| stamp::text::text(&pieces.concat()));
    hold(any::<String>(), |text| stamp::text::text(&text));
}

#[test]
fn extensions_are_read_by_their_grammar() {
    let names = select(vec![
        "timestamp-info",
        "location",
        "direct-measurement",
        "follow-up",
        "access-report",
        "dest-node",
        "return-path",
        "micro-session",
        "padding",
        "hmac",
    ]);
    let argument = vec(pieces(), 1..4).prop_map(|pieces| format!("={}", pieces.concat()));
    let argument = proptest::option::weighted(0.9, argument);
    hold((names, argument), |(name, argument)| {
        stamp::text::text(&format!("{name}{}", argument.unwrap_or_default()));
    });
}

const VECTORS: &str = include_str!("../../../crates/stamp-proto/testdata/vectors.json");
