//! What is missed while processes end and begin under load: counters of the interfaces less ours.

use std::time::Duration;

use fathom_tests::binary::SOON;
use fathom_tests::daemon::{Daemon, Pins, Setup};
use fathom_tests::document::Direction;
use fathom_tests::exposition::Exposition;
use fathom_tests::measure::Edge;
use fathom_tests::site::{lab, pod, v4};
use testkit::Segmentation;
use testkit::lab::{Fabric, Lab};
use testkit::proc::wait_until;
use testkit::traffic::{Generator, Load, Path};
use testkit::truth::{Amount, Counters};

use crate::report::Row;

pub(crate) fn run() -> Vec<Row> {
    [
        missed("SIGKILL and restart", Daemon::kill),
        missed("SIGTERM and the next process on the same maps", |daemon| drop(daemon.stop())),
    ]
    .concat()
}

fn missed(what: &str, end: fn(Daemon)) -> Vec<Row> {
    // Without segmentation a buffer is a frame, so that both counters mean the same.
    let (lab, pins) = (lab(Fabric::Bridge, Segmentation::Off), Pins::new());
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let edges = [Edge::host("a1", &a1.host_device), Edge::inside("a2", &a2.device)];
    let before = edges.each_ref().map(|edge| edge.device().counters().unwrap());
    let setup = Setup::new(lab.node_a().namespace.place(), &edges, &pins);
    let mut daemon = setup.start();
    let traffic = stream(&lab);
    for _ in 0..ROUNDS {
        pass(&traffic, RATE / 4);
        end(daemon);
        pass(&traffic, RATE / 4);
        daemon = setup.start();
    }
    traffic.stop().unwrap();
    for edge in &edges {
        edge.device().quiet(CALM, SOON).unwrap();
    }
    let passed = grown(&edges, before);
    let scrape = daemon.scrape_until(|scrape| told(scrape) == passed);
    let told = told(&scrape);
    let note = format!("{ROUNDS} rounds; {} packets passed", passed.packets);
    let less = |passed: u64, told: u64| passed as f64 - told as f64;
    vec![
        Row::new(format!("missed over {what}"), less(passed.packets, told.packets), "packets")
            .exactly(0.0)
            .note(note),
        Row::new(format!("missed over {what}"), less(passed.bytes, told.bytes), "bytes")
            .exactly(0.0),
    ]
}

fn stream(lab: &Lab) -> Generator {
    let (a1, a2) = (pod(lab, "a1"), pod(lab, "a2"));
    let path = Path {
        client: a1.namespace.place().clone(),
        server: a2.namespace.place().clone(),
        target: (v4(a2.addresses), 0).into(),
        lifetime: LONGEST,
    };
    Generator::start(&Load::Bulk { rate: Some(RATE), limit: None }, &path).unwrap()
}

/// Waits until `bytes` more went through.
fn pass(traffic: &Generator, bytes: u64) {
    let goal = traffic.report().server.received_bytes + bytes;
    wait_until("traffic", SOON, || traffic.report().server.received_bytes >= goal).unwrap();
}

/// What the pods sent and received, says the kernel.
fn grown(edges: &[Edge; 2], before: [Counters; 2]) -> Amount {
    let amounts = edges.iter().zip(before).flat_map(|(edge, before)| {
        let grown = edge.device().counters_since(before).unwrap();
        [Direction::Tx, Direction::Rx].map(|direction| edge.counted(direction, grown))
    });
    amounts.sum()
}

/// What the pods sent and received, say fathom's counters.
fn told(scrape: &Exposition) -> Amount {
    let both = |unit: &str| {
        let value = |side| scrape.value(&format!("fathom_flows_{side}_{unit}_total"));
        value("tx") + value("rx")
    };
    Amount::new(both("packets"), both("bytes"))
}

const ROUNDS: usize = 5;
/// Bytes a second.
const RATE: u64 = 30_000_000;
const CALM: Duration = Duration::from_millis(250);
const LONGEST: Duration = Duration::from_secs(300);
