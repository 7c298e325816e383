//! What a reflector refuses is counted by its reason, to the packet, and nothing else is.

use std::collections::BTreeMap;
use std::net::UdpSocket;

use fathom_tests::stamp::cable::Cable;
use fathom_tests::stamp::packet::{put, request, signed_request};
use fathom_tests::stamp::{BACKENDS, PORT, Reflector};
use serde_json::Value;

use super::{key, number};

/// What is sent to a reflector with these flags, what it answers and what it refuses.
struct Case<'a> {
    flags: Vec<&'a str>,
    packets: Vec<Vec<u8>>,
    replies: i64,
    refused: &'a [(&'a str, i64)],
}

fn client(cable: &Cable) -> UdpSocket {
    let (from, to) = (cable.near.addresses[0], cable.far.addresses[0]);
    let socket = cable.near.place().run(|| {
        let socket = UdpSocket::bind((from, 0))?;
        socket.connect((to, PORT))?;
        Ok::<_, std::io::Error>(socket)
    });
    let socket = socket.unwrap_or_else(|error| panic!("client: {error}"));
    socket.unwrap_or_else(|error| panic!("client: {error}"))
}

/// The reasons that are not 0.
fn refused(told: &Value) -> BTreeMap<String, i64> {
    let dropped = told["dropped"].as_object().unwrap_or_else(|| panic!("{told}"));
    let all = dropped.iter().map(|(reason, amount)| (reason.clone(), number(amount)));
    all.filter(|(_, amount)| *amount != 0).collect()
}

/// Insists that metrics, which are made each second, say the same as the document.
fn hold_metrics(reflector: &Reflector, told: &Value) {
    let dropped = told["dropped"].as_object().unwrap_or_else(|| panic!("{told}"));
    let name = "fathom_stamp_reflector_dropped_total";
    reflector.running().metrics_until(|page| {
        let shown = |reason: &str| page.sum(name, &[("reason", reason)]);
        dropped.iter().all(|(reason, amount)| shown(reason) == amount.as_u64())
    });
}

fn hold(cable: &Cable, backend: &str, case: &Case<'_>) -> (Reflector, Value) {
    let flags = [&["--backend", backend], &case.flags[..]].concat();
    let reflector = Reflector::on(cable.far.place(), "eth0", &flags);
    let client = client(cable);
    for packet in &case.packets {
        client.send(packet).unwrap_or_else(|error| panic!("client: {error}"));
    }
    let sent = case.packets.len() as i64;
    let done =
        |told: &Value| number(&told["replies"]) + refused(told).values().sum::<i64>() >= sent;
    let told = reflector.until("an end of each packet", done);
    let wanted = case.refused.iter().map(|(reason, amount)| ((*reason).to_owned(), *amount));
    assert_eq!(refused(&told), wanted.collect(), "{flags:?} {told}");
    assert_eq!(number(&told["replies"]), case.replies, "{flags:?} {told}");
    (reflector, told)
}

fn each(count: u32, ssid: u16) -> Vec<Vec<u8>> {
    (0..count).map(|sequence| request(sequence, ssid)).collect()
}

/// Requests of which one octet that must be nothing is something.
fn marked(places: impl IntoIterator<Item = usize>) -> Vec<Vec<u8>> {
    let mark = |(at, sequence)| {
        let mut packet = request(sequence, 7);
        put(&mut packet, at, &[1]);
        packet
    };
    places.into_iter().zip(0..).map(mark).collect()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn each_refusal_of_an_open_reflector_has_its_reason() {
    let cable = Cable::new();
    let sessions = [each(5, 77), each(3, 78), each(2, 0)].concat();
    let cases = [
        Case {
            flags: vec!["--deny", "10.7.0.2/32"],
            packets: each(5, 7),
            replies: 0,
            refused: &[("denied", 5)],
        },
        Case {
            flags: vec!["--deny", "10.7.0.3/32"],
            packets: each(5, 7),
            replies: 5,
            refused: &[],
        },
        Case {
            flags: vec!["--min-ttl", "65"],
            packets: each(4, 7),
            replies: 0,
            refused: &[("min_ttl", 4)],
        },
        Case { flags: vec!["--min-ttl", "64"], packets: each(4, 7), replies: 4, refused: &[] },
        Case {
            flags: vec!["--admission", "provisioned", "--session", "77,10.7.0.2,10.7.0.1"],
            packets: sessions,
            replies: 5,
            refused: &[("not_provisioned", 5)],
        },
        Case {
            flags: vec![],
            packets: [0, 13, 43].map(|len| vec![0; len]).into_iter().chain(each(2, 7)).collect(),
            replies: 2,
            refused: &[("short", 3)],
        },
        Case { flags: vec![], packets: marked(16..44), replies: 0, refused: &[("loop_guard", 28)] },
    ];
    for backend in BACKENDS {
        cases.iter().for_each(|case| drop(hold(&cable, backend, case)));
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn each_refusal_of_a_signed_reflector_has_its_reason() {
    let (cable, (_folder, key)) = (Cable::new(), key());
    let only = format!("77={key}");
    let good = signed_request(1, 77);
    let mut forged = signed_request(2, 77);
    put(&mut forged, 111, &[0x55]);
    let mut looping = signed_request(3, 77);
    put(&mut looping, 32, &[1]);
    let newer = signed_request(4, 77);
    let packets =
        vec![good.clone(), forged, looping, newer, good, signed_request(5, 78), request(6, 77)];
    for backend in BACKENDS {
        let refused = &[("hmac", 1), ("loop_guard", 1), ("no_key", 1), ("replay", 1), ("short", 1)];
        let case = Case {
            flags: vec!["--key-file", &only],
            packets: packets.clone(),
            replies: 2,
            refused,
        };
        let (reflector, told) = hold(&cable, backend, &case);
        hold_metrics(&reflector, &told);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_is_beyond_a_rate_is_refused_by_whose_rate_it_is() {
    let cable = Cable::new();
    for backend in BACKENDS {
        for (flags, reason) in [
            (["--rate", "1", "--burst", "20"], "rate_source"),
            (["--rate", "0", "--global-rate", "1"], "rate_global"),
        ] {
            let flags = [&["--backend", backend], &flags[..]].concat();
            let reflector = Reflector::on(cable.far.place(), "eth0", &flags);
            let client = client(&cable);
            for packet in each(60, 7) {
                client.send(&packet).unwrap_or_else(|error| panic!("client: {error}"));
            }
            let sum = |told: &Value| number(&told["replies"]) + refused(told).values().sum::<i64>();
            reflector.until("an end of each packet", |told| sum(told) >= 60);
            let told = reflector.summary();
            assert_eq!(sum(&told), 60, "{flags:?} {told}");
            let refused = refused(&told);
            assert_eq!(refused.len(), 1, "{flags:?} {told}");
            // A packet more for each second that sending took.
            let allowed = if reason == "rate_source" { 20..=25 } else { 1..=6 };
            assert!(allowed.contains(&(60 - refused[reason])), "{flags:?} {told}");
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn sessions_that_find_no_room_are_answered_by_their_own_numbers() {
    let cable = Cable::new();
    for backend in BACKENDS {
        let flags = ["--backend", backend, "--max-sessions", "4"];
        let reflector = Reflector::on(cable.far.place(), "eth0", &flags);
        let client = client(&cable);
        for ssid in 1..=6 {
            client.send(&request(900, ssid)).unwrap_or_else(|error| panic!("client: {error}"));
        }
        reflector.until("six replies", |told| told["replies"] == 6);
        let numbers: Vec<u32> = (0..6)
            .filter_map(|_| fathom_tests::stamp::packet::receive(&client))
            .filter_map(|reply| reply.first_chunk().copied().map(u32::from_be_bytes))
            .collect();
        assert_eq!(numbers, [0, 0, 0, 0, 900, 900], "{backend}");
        let told = reflector.summary();
        assert_eq!((&told["sessions_refused"], refused(&told).len()), (&2.into(), 0), "{told}");
        assert_eq!(told["sessions"].as_array().map(Vec::len), Some(4), "{told}");
    }
}
