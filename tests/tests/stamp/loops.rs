//! One packet with a false source never makes two reflectors talk to each other.

use fathom_tests::crafted;
use fathom_tests::stamp::cable::{Cable, Host};
use fathom_tests::stamp::packet::{request, signed_request};
use fathom_tests::stamp::{BACKENDS, PORT, Peer, Reflector};
use serde_json::Value;
use testkit::truth::{Capture, CaptureOptions};

use super::key;

/// Ports that a false source may have: that of a reflector, of an echo service, any.
const SOURCES: [u16; 3] = [PORT, 7, 40_123];

/// Requests of which each is spoofed once, over both families.
const REQUESTS: u64 = 2 * SOURCES.len() as u64;

/// Has one request arrive at the far host from each of these ports and from each address of
/// the near one, which never sent any.
fn spoof(cable: &Cable, signed: bool) {
    let (near, far) = (&cable.near, &cable.far);
    let mac = |host: &Host| host.device.mac().ok().flatten().unwrap_or_default();
    let ends = near.addresses.into_iter().zip(far.addresses);
    let ends = ends.flat_map(|ends| SOURCES.map(|port| (ends, port)));
    let frames = ends.zip(0..).map(|(((source, target), port), sequence)| {
        let header = if source.is_ipv4() { "IP" } else { "IPv6" };
        let payload = if signed { signed_request(sequence, 7) } else { request(sequence, 7) };
        let payload: String = payload.iter().map(|octet| format!("{octet:02x}")).collect();
        format!(
            "Ether(src='{}', dst='{}')/{header}(src='{source}', dst='{target}')\
             /UDP(sport={port}, dport={PORT})/Raw(bytes.fromhex('{payload}'))",
            mac(near),
            mac(far)
        )
    });
    crafted::send(&near.device, frames);
}

fn listen(cable: &Cable) -> Capture {
    let filter = Some("udp".to_owned());
    let options = CaptureOptions { filter, ..CaptureOptions::default() };
    Capture::start_with(&cable.near.device, &options)
        .unwrap_or_else(|error| panic!("capture: {error}"))
}

fn frames(capture: Capture) -> u64 {
    capture.stop().unwrap_or_else(|error| panic!("capture: {error}")).count()
}

fn flags<'a>(backend: &'a str, key: &'a str, signed: bool) -> Vec<&'a str> {
    let mut flags = vec!["--backend", backend];
    if signed {
        flags.extend(["--key-file", key]);
    }
    flags
}

/// Replies that a reflector gave.
fn replies(told: &Value) -> u64 {
    told["replies"].as_u64().unwrap_or_else(|| panic!("{told}"))
}

/// Waits until replies of both families have come to their end at a reflector that never
/// may answer more than so much.
fn wait_for_guard(reflector: &Reflector, most: u64) {
    reflector.until("end of the replies", |told| {
        assert!(replies(told) <= most, "a loop: {told}");
        told["dropped"]["loop_guard"] == 2
    });
}

#[test]
#[ignore = "root: needs network namespaces"]
fn two_of_our_reflectors_exchange_one_reply_and_no_more() {
    let (cable, (_folder, key)) = (Cable::new(), key());
    for backend in BACKENDS {
        for signed in [false, true] {
            let flags = flags(backend, &key, signed);
            let [near, far] =
                [&cable.near, &cable.far].map(|host| Reflector::on(host.place(), "eth0", &flags));
            let capture = listen(&cable);
            spoof(&cable, signed);
            wait_for_guard(&near, 0);
            far.until("all replies", |told| replies(told) == REQUESTS);
            let what = format!("{backend} signed {signed}");
            assert_eq!(frames(capture), 2 * REQUESTS, "requests and replies, {what}");
            let (near, far) = (near.summary(), far.summary());
            assert_eq!((replies(&near), replies(&far)), (0, REQUESTS), "{what} {near} {far}");
            assert_eq!(far["dropped"]["loop_guard"], 0, "{what} {far}");
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_reflector_that_answers_anything_gets_one_reply_of_ours_and_no_more() {
    let (cable, (_folder, key)) = (Cable::new(), key());
    for backend in BACKENDS {
        for signed in [false, true] {
            let theirs = ["-A", "A", "--hmac-key-file", &key];
            let theirs: &[&str] = if signed { &theirs } else { &[] };
            let _peers = peers(&cable.near, theirs);
            let far = Reflector::on(cable.far.place(), "eth0", &flags(backend, &key, signed));
            let capture = listen(&cable);
            spoof(&cable, signed);
            wait_for_guard(&far, REQUESTS);
            far.until("all replies", |told| replies(told) == REQUESTS);
            let what = format!("{backend} signed {signed}");
            let theirs = 2;
            assert_eq!(frames(capture), 2 * REQUESTS + theirs, "and two of theirs, {what}");
            assert_eq!(replies(&far.summary()), REQUESTS, "{what}");
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn replies_of_theirs_that_nobody_asked_for_are_not_answered() {
    let (cable, (_folder, key)) = (Cable::new(), key());
    for backend in BACKENDS {
        let _peers = peers(&cable.far, &["-A", "A", "--hmac-key-file", &key]);
        let near = Reflector::on(cable.near.place(), "eth0", &flags(backend, &key, true));
        let capture = listen(&cable);
        spoof(&cable, true);
        wait_for_guard(&near, 0);
        // The last of their replies may still be on its way, to a port where nobody is.
        let frames = frames(capture);
        assert!((REQUESTS + 2..=2 * REQUESTS).contains(&frames), "{backend}: {frames}");
        assert_eq!(replies(&near.summary()), 0, "{backend}");
    }
}

/// Reflectors of the other implementation on both addresses of a host.
fn peers(host: &Host, flags: &[&str]) -> [Peer; 2] {
    host.addresses.map(|address| Peer::reflect(host.place(), address, flags))
}
