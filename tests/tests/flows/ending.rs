//! How a run ends: by its time or by a signal, with its document and nothing else on stdout.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use fathom_tests::binary::{self, SOON};
use fathom_tests::document::{Direction, Document};
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Plan};
use fathom_tests::site::{Wire, exchange, lab, pod, v4};
use serde_json::Value;
use testkit::Segmentation;
use testkit::lab::Fabric;
use testkit::proc::Signal;
use testkit::traffic::{Generator, Load, Path};

#[test]
#[ignore = "root: needs network namespaces"]
fn either_signal_prints_the_document_and_ends_with_0() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let load = Load::Datagrams { sizes: vec![100], rate: None, limit: Some(50) };
    for signal in [Signal::TERM, Signal::INT] {
        let edge = Edge::host("a1", &a1.host_device);
        let running = Plan::new(lab.node_a().namespace.place(), [edge]).start();
        exchange(a1, a2, v4(a2.addresses), &load);
        let outcome = running.stop_by(signal);
        laws::hold(&outcome);
        laws::counters_are_met(&outcome);
        assert!(outcome.document.hook("a1", Direction::Tx).packets >= 50);
        assert!(outcome.document.window.duration_ns < 60_000_000_000);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_signal_under_load_still_balances() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let path = Path {
        client: a1.namespace.place().clone(),
        server: a2.namespace.place().clone(),
        target: (v4(a2.addresses), 0).into(),
        lifetime: SOON,
    };
    let load = Load::Bulk { rate: None, limit: None };
    let traffic = Generator::start(&load, &path).unwrap();
    let edges = [Edge::host("a1", &a1.host_device), Edge::inside("a2", &a2.device)];
    let plan = Plan::new(lab.node_a().namespace.place(), edges);
    let running = plan.flags(["--collection-interval", "200ms"]).start_under_load();
    let begun = traffic.report().server.received_bytes;
    testkit::proc::wait_until("more traffic", SOON, || {
        traffic.report().server.received_bytes > begun + 300_000_000
    })
    .unwrap();
    let outcome = running.stop_now(Signal::TERM);
    drop(traffic);
    laws::hold(&outcome);
    for ((edge, direction), bracket) in &outcome.brackets {
        let hook = outcome.document.hook(edge, *direction);
        assert!(bracket.holds(hook.buffers()), "{hook:?} in {bracket:?}");
    }
    assert!(outcome.document.hook("a1", Direction::Tx).bytes > 290_000_000);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_window_is_as_long_as_asked() {
    let wire = Wire::build();
    let args = ["flows", "--duration", "700ms", "-o", "json", "--pod-edge", "vpod=x"];
    let finished = binary::run_in(&wire.node, args);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let document: Document = finished.json().unwrap();
    let window = Duration::from_nanos(document.window.duration_ns);
    assert!(window >= Duration::from_millis(700), "{window:?}");
    assert!(window < Duration::from_secs(5), "{window:?}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_ready_file_tells_who_is_ready() {
    let wire = Wire::build();
    let plan = Plan::new(&wire.node, [Edge::host("x", &wire.outside)]);
    let mut running = plan.start();
    let text = std::fs::read_to_string(running.ready_file()).unwrap();
    let ready: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(ready["pid"], running.process().id());
    assert_eq!(ready["edges"], 1);
    assert_eq!(ready.get("listen"), None, "a one-shot run does not listen: {ready}");
    running.stop();
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_run_that_is_killed_leaves_traffic_alone() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let edge = Edge::host("a1", &a1.host_device);
    let mut running = Plan::new(lab.node_a().namespace.place(), [edge]).start();
    running.process().signal(Signal::KILL).unwrap();
    running.process().wait(SOON).unwrap();
    let target: IpAddr = v4(a2.addresses);
    let load = Load::Datagrams { sizes: vec![100], rate: None, limit: Some(50) };
    exchange(a1, a2, target, &load);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn people_get_a_table_without_asking() {
    let wire = Wire::build();
    let begun = Instant::now();
    let args = ["flows", "--duration", "300ms", "--pod-edge", "vpod=green"];
    let finished = binary::run_in(&wire.node, args);
    assert!(begun.elapsed() < SOON);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let text = finished.text();
    assert!(text.contains("green"), "{text}");
    assert!(serde_json::from_str::<Value>(&text).is_err(), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours outside a terminal: {text:?}");
}
