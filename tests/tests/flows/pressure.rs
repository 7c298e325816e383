//! Small tables and many flows: detail is lost and said so, sums never are.

use std::collections::BTreeSet;

use fathom_tests::crafted::{everywhere, send};
use fathom_tests::document::{Direction, Document};
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Outcome, Plan};
use fathom_tests::site::{Wire, exchange, lab, pod, v4};
use testkit::Segmentation;
use testkit::lab::Fabric;
use testkit::traffic::{Iperf, Load};
use testkit::truth::Amount;

const FLOWS: u64 = 10_240;
const SMALL: [&str; 4] = ["--flow-capacity", "1024", "--flow-capacity6", "1024"];

/// As many flows as `FLOWS`, one frame each: built once, with another port each time.
fn spray(frame: &str, port_at: usize) -> String {
    format!(
        "[f[:{port_at}] + p.to_bytes(2, 'big') + f[{port_at} + 2:] for f in [bytes({frame})] \
         for p in range(1, {FLOWS} + 1)]"
    )
}

fn v4_udp() -> String {
    spray("E/V4(1)/UDP(dport=2)", 34)
}

fn sprayed(frames: &[String], flags: &[&str]) -> Outcome {
    let wire = Wire::build();
    let plan = Plan::new(&wire.node, [Edge::host("x", &wire.outside)]);
    let running = plan.flags(SMALL).flags(flags.iter().copied()).start();
    send(&wire.inside, frames);
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    outcome
}

fn classes(document: &Document) -> BTreeSet<&str> {
    document.folded.iter().map(|row| row.class.as_str()).collect()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn ten_times_the_table_keeps_exact_sums() {
    let frames = [v4_udp(), spray("E/V4(2)/TCP(dport=2)", 34), spray("E/V6(3)/UDP(dport=2)", 54)];
    let outcome = sprayed(&frames, &["--edge-flow-quota", "100"]);
    let document = &outcome.document;
    let sent = document.hook("x", Direction::Tx);
    assert_eq!(sent.packets, 3 * FLOWS);
    assert_eq!(sent.bytes, FLOWS * (42 + 54 + 62));
    // One edge that may have everything meets its share and the end of the table together.
    let known = BTreeSet::from(["overflow_tcp", "overflow_udp", "quota"]);
    assert!(classes(document).is_subset(&known), "{:?}", classes(document));
    let rows = document.flows.len() as u64;
    assert!((1024..=3 * FLOWS).contains(&rows), "{rows} rows");
    // The table was full several times over: either it was emptied early or amounts were folded.
    let pressed = document.audit.early_drains > 0 || !document.folded.is_empty();
    assert!(pressed, "{:?}", document.audit);
    for row in &document.flows {
        assert_eq!(row.packets, 1, "each flow had one frame: {row:?}");
    }
}

/// Two edges see each frame: together they fill the table before either has all of its share.
#[test]
#[ignore = "root: needs network namespaces"]
fn each_kind_of_traffic_overflows_into_its_own_class() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let edges = [Edge::host("a1", &a1.host_device), Edge::host("a2", &a2.host_device)];
    let flags = ["--edge-flow-quota", "100", "--early-drain-percent", "95"];
    let plan = Plan::new(lab.node_a().namespace.place(), edges);
    let running = plan.flags(SMALL).flags(flags).start();
    // To everybody on the link; ICMP has its type and code where others have ports.
    let to_all = |rest: &str| spray(&format!("Ether(dst='ff:ff:ff:ff:ff:ff')/{rest}"), 34);
    let frames = [
        to_all("V4(1)/UDP(dport=2)"),
        to_all("V4(2)/TCP(dport=2, flags='S')"),
        to_all("V4(3)/ICMP()"),
    ];
    send(&a1.device, frames);
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    for (edge, direction) in [("a1", Direction::Tx), ("a2", Direction::Rx)] {
        let classes = outcome.document.classes(edge, direction);
        for class in ["overflow_tcp", "overflow_udp", "overflow_other"] {
            assert!(classes.contains_key(class), "{edge}: {class} in {classes:?}");
        }
        assert!(!classes.contains_key("quota"), "{edge}: {classes:?}");
        let udp = classes["overflow_udp"];
        assert_eq!(udp.bytes, udp.packets * 42);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn an_edge_stays_within_its_share_of_the_table() {
    let outcome = sprayed(&[v4_udp()], &["--edge-flow-quota", "1"]);
    let document = &outcome.document;
    let folded = document.classes("x", Direction::Tx);
    assert_eq!(folded.keys().collect::<Vec<_>>(), ["quota"]);
    let rows = document.flows.len() as u64;
    let share = 1024 / 100 + 1;
    assert!(rows >= 1 && rows <= share * document.window.epochs, "{rows} rows");
    assert_eq!(folded["quota"], Amount::new(FLOWS - rows, (FLOWS - rows) * 42));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_spraying_pod_leaves_its_neighbour_the_detail() {
    let (noisy, calm) = (Wire::build(), Wire::build());
    let edges = [Edge::inside("noisy", &noisy.inside), Edge::inside("calm", &calm.inside)];
    let running = Plan::new(&noisy.node, edges).flags(SMALL).start();
    send(&noisy.inside, [v4_udp()]);
    send(&calm.inside, ["[E/V4(1)/UDP(sport=p, dport=2) for p in range(1, 101)]"]);
    send(&noisy.inside, [spray("E/V4(9)/UDP(dport=2)", 34)]);
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    assert_eq!(outcome.document.rows("calm", Direction::Tx).count(), 100);
    assert!(outcome.document.classes("calm", Direction::Tx).is_empty());
    assert!(!outcome.document.classes("noisy", Direction::Tx).is_empty());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn every_number_of_shards_counts_the_same() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let node = lab.node_a().namespace.place();
    let running = ["1", "2", "8"].map(|shards| {
        let edges = [Edge::host("a1", &a1.host_device), Edge::inside("a2", &a2.device)];
        Plan::new(node, edges).flags(["--shards", shards]).start()
    });
    let requests = Load::Requests { question: 100, answer: 4000, rate: None, limit: Some(300) };
    exchange(a1, a2, v4(a2.addresses), &requests);
    let iperf = Iperf::new(a1.namespace.place(), a2.namespace.place(), v4(a2.addresses));
    iperf.streams(4).bytes(100_000_000).run().unwrap();
    let outcomes = running.map(|running| running.stop());
    for outcome in &outcomes {
        laws::hold(outcome);
        laws::counters_are_met(outcome);
        assert!(outcome.document.folded.iter().all(|row| row.class == "non_ip"));
    }
    let rows = outcomes.map(|outcome| {
        ["a1", "a2"].map(|edge| {
            [Direction::Tx, Direction::Rx].map(|direction| outcome.document.by_key(edge, direction))
        })
    });
    assert_eq!(rows[0], rows[1], "one shard and two");
    assert_eq!(rows[0], rows[2], "one shard and eight");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn frequent_drains_lose_nothing() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let edges = [Edge::host("a1", &a1.host_device), Edge::inside("a2", &a2.device)];
    let plan = Plan::new(lab.node_a().namespace.place(), edges);
    let running = plan.flags(["--collection-interval", "200ms"]).start();
    let iperf = Iperf::new(a1.namespace.place(), a2.namespace.place(), v4(a2.addresses));
    iperf.streams(8).seconds(3).run().unwrap();
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    let window = &outcome.document.window;
    assert!(window.epochs >= 8, "{window:?}");
    // Eight streams and one control connection, whatever the number of drains.
    let streams = outcome.document.rows("a1", Direction::Tx);
    let streams = streams.filter(|row| row.protocol.number() == 6);
    assert_eq!(streams.count(), 9);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_least_capacity_still_sees_hostile_frames_whole() {
    let frames = ["[Raw(bytes(E) + RandString(n)._fix()) for n in range(0, 400)]"];
    for view in everywhere(&frames) {
        assert_eq!(view.total(), view.counted());
        assert_eq!(view.total().packets, 400);
    }
}
