//! Every row equals what tshark reads back from a capture of the same frames.

use std::collections::BTreeMap;
use std::time::Duration;

use fathom_tests::document::{Direction, Document, Flags, since_1970};
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Plan};
use fathom_tests::site::{exchange, lab, pod, v4, v6};
use testkit::Segmentation;
use testkit::lab::Fabric;
use testkit::traffic::Load;
use testkit::truth::{Amount, Capture, CaptureOptions, FlowKey, Frames, Heard, Seen};

fn options(heard: Heard) -> CaptureOptions {
    CaptureOptions { heard, ..CaptureOptions::default() }
}

/// Rows of `document` that a capture of the same direction must repeat.
fn compare(document: &Document, direction: Direction, frames: &Frames) {
    let rows: BTreeMap<FlowKey, _> =
        document.rows("a1", direction).map(|row| (row.key(), row)).collect();
    let expected: Vec<_> = frames.flows.keys().collect();
    assert_eq!(rows.keys().collect::<Vec<_>>(), expected, "{direction:?}");
    let slack = Duration::from_nanos(2 * document.window.tick_ns) + Duration::from_millis(5);
    for (key, seen) in &frames.flows {
        let row = rows[key];
        assert_eq!(row.wire(), seen.amount, "{key:?}");
        assert_eq!(row.tcp, flags(seen), "{key:?}");
        for (told, stamp) in [(row.first_seen, seen.first), (row.last_seen, seen.last)] {
            let error = since_1970(told).abs_diff(stamp);
            assert!(error <= slack, "{key:?}: {told} is {error:?} off");
        }
    }
    let folded: Amount = document.classes("a1", direction).into_values().sum();
    assert_eq!(folded, frames.other(), "what is not IP");
}

const fn flags(seen: &Seen) -> Flags {
    Flags { syn: seen.syn, fin: seen.fin, rst: seen.rst }
}

fn traffic(fabric: Fabric) {
    let lab = lab(fabric, Segmentation::Off);
    let (a1, b1) = (pod(&lab, "a1"), pod(&lab, "b1"));
    let edge = Edge::inside("a1", &a1.device);
    let running = Plan::new(lab.node_a().namespace.place(), [edge]).start();
    let sent = Capture::start_with(&a1.device, &options(Heard::Out)).unwrap();
    let received = Capture::start_with(&a1.device, &options(Heard::In)).unwrap();
    let requests = Load::Requests { question: 300, answer: 5000, rate: None, limit: Some(100) };
    let datagrams = Load::Datagrams { sizes: vec![10, 1200], rate: Some(2000), limit: Some(300) };
    for target in [v4(b1.addresses), v6(b1.addresses)] {
        exchange(a1, b1, target, &requests);
        exchange(a1, b1, target, &datagrams);
    }
    exchange(b1, a1, v6(a1.addresses), &requests);
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    laws::buffers_are_frames(&outcome.document);
    let (sent, received) = (sent.stop().unwrap(), received.stop().unwrap());
    compare(&outcome.document, Direction::Tx, &sent.frames().unwrap());
    compare(&outcome.document, Direction::Rx, &received.frames().unwrap());
    let syns: u64 = outcome.document.flows.iter().map(|row| row.tcp.syn).sum();
    assert!(syns >= 600, "{syns}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn rows_of_a_bridged_pod_are_those_of_a_capture() {
    traffic(Fabric::Bridge);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn rows_of_a_routed_pod_are_those_of_a_capture() {
    traffic(Fabric::Routed);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_refused_connection_shows_its_reset() {
    let lab = lab(Fabric::Bridge, Segmentation::Off);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let edge = Edge::host("a1", &a1.host_device);
    let running = Plan::new(lab.node_a().namespace.place(), [edge]).start();
    let target = std::net::SocketAddr::new(v4(a2.addresses), 9);
    let refused = a1.namespace.run(|| std::net::TcpStream::connect(target)).unwrap();
    assert!(refused.is_err(), "nobody listens there");
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    let answer =
        outcome.document.rows("a1", Direction::Rx).find(|row| row.src_port == Some(9)).unwrap();
    assert_eq!((answer.packets, answer.tcp.rst), (1, 1));
    assert_eq!((answer.tcp.syn, answer.tcp.fin), (0, 0));
    // Resolution of addresses went both ways and has no flow.
    let other = outcome.document.classes("a1", Direction::Tx);
    assert!(other.keys().all(|class| class == "non_ip"), "{other:?}");
}
