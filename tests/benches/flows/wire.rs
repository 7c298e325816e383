//! The error against the wire: under segmentation offload, and with ten times too many flows.

use std::time::Duration;

use fathom_tests::binary::SOON;
use fathom_tests::document::Direction;
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Plan};
use fathom_tests::site::{lab, pod, v4};
use testkit::Segmentation;
use testkit::lab::Fabric;
use testkit::proc::wait_until;
use testkit::traffic::Iperf;

use crate::ground::Ground;
use crate::report::Row;
use crate::spray::{Pattern, Spray};

pub(crate) fn run() -> Vec<Row> {
    [segmented(), overflowing()].concat()
}

/// Frames of a1 against what arrives behind a device where the kernel cuts its buffers.
fn segmented() -> Vec<Row> {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    a2.host_device.segmentation(Segmentation::Off).unwrap();
    let edge = Edge::host("a1", &a1.host_device);
    let running = Plan::new(lab.node_a().namespace.place(), [edge]).start();
    let before = a2.device.counters().unwrap();
    let iperf = Iperf::new(a1.namespace.place(), a2.namespace.place(), v4(a2.addresses));
    iperf.streams(8).bytes(GIGABYTE).run().unwrap();
    let outcome = running.stop();
    let wire = a2.device.counters_since(before).unwrap().rx.amount;
    let hook = outcome.document.hook("a1", Direction::Tx);
    let error = |counted: u64, truth: u64| (counted as f64 / truth as f64 - 1.0) * 100.0;
    let row = |what, counted, truth, buffers| {
        Row::new(
            format!("error against the wire, TCP with segmentation, {what}"),
            error(counted, truth),
            "%",
        )
        .exactly(0.0)
        .note(format!(
            "{counted} of {truth}; buffers alone would be {:.1} %",
            error(buffers, truth)
        ))
    };
    vec![
        row("packets", hook.packets, wire.packets, hook.skbs),
        row("bytes", hook.bytes, wire.bytes, hook.skb_bytes),
    ]
}

/// Sums of a table that is ten times too small.
fn overflowing() -> Vec<Row> {
    let ground = Ground::with_pods(1);
    let edge = Edge::host("pod", &ground.pods[0].outside);
    let plan = Plan::new(ground.node.place(), [edge]);
    let running = plan.flags(["--flow-capacity", "8192", "--edge-flow-quota", "100"]).start();
    let spray = Spray::start(&ground, FLOWS);
    wait_until("a datagram of each flow", SOON, || spray.sent() >= FLOWS.flows).unwrap();
    spray.end();
    let outcome = running.stop();
    laws::hold(&outcome);
    let hook = outcome.document.hook("pod", Direction::Tx);
    let passed = outcome.bracket("pod", Direction::Tx).exact();
    let folded: u64 = outcome.document.folded.iter().map(|row| row.packets).sum();
    let lost = |passed: u64, counted: u64| passed as f64 - counted as f64;
    vec![
        Row::new(
            "table of 8192, ten times the flows, lost",
            lost(passed.packets, hook.packets),
            "packets",
        )
        .exactly(0.0)
        .note(format!("of {}; {folded} without detail", passed.packets)),
        Row::new(
            "table of 8192, ten times the flows, lost",
            lost(passed.bytes, hook.bytes),
            "bytes",
        )
        .exactly(0.0),
    ]
}

const GIGABYTE: u64 = 1_000_000_000;
const FLOWS: Pattern = Pattern { flows: 81_920, peers: 8192, pass: Duration::from_secs(2) };
