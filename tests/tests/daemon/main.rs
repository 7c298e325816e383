//! `fathom flows` as a daemon: what it serves, and that its counters survive everything.

#![expect(
    clippy::unwrap_used,
    reason = "a test fails by panicking, also in its helpers"
)]

mod life;
mod listener;
mod numbers;
mod ownership;
mod settings;
mod vocabulary;

use fathom_tests::binary::SOON;
use fathom_tests::exposition::Exposition;
use fathom_tests::measure::Edge;
use fathom_tests::site::{lab, pod};
use testkit::Segmentation;
use testkit::lab::{Fabric, Lab};
use testkit::truth::Amount;
use fathom_tests::document::Direction;

/// A laboratory where a buffer is a frame, so that series and interface counters compare.
fn exact_lab() -> Lab {
    lab(Fabric::Bridge, Segmentation::Off)
}

/// Pod a1 from its host side, pod a2 from inside.
fn edges(lab: &Lab) -> [Edge; 2] {
    let (a1, a2) = (pod(lab, "a1"), pod(lab, "a2"));
    [
        Edge::host("a1", &a1.host_device),
        Edge::inside("a2", &a2.device),
    ]
}

/// The kernel's own account of the edges from now on.
struct Account<'a> {
    edges: &'a [Edge],
    before: Vec<testkit::truth::Counters>,
}

impl<'a> Account<'a> {
    fn open(edges: &'a [Edge]) -> Self {
        let before = edges.iter().map(|edge| edge.device().counters().unwrap()).collect();
        Self { edges, before }
    }

    /// What the pods sent or received since, once nothing is on its way any more.
    fn close(&self, direction: Direction) -> Amount {
        let since = |(edge, before): (&Edge, &testkit::truth::Counters)| {
            edge.device().quiet(std::time::Duration::from_millis(200), SOON).unwrap();
            edge.counted(direction, edge.device().counters_since(*before).unwrap())
        };
        self.edges.iter().zip(&self.before).map(since).sum()
    }

    fn both(&self) -> [Amount; 2] {
        // Closed twice: the second waits for what the first one's direction answered.
        self.close(Direction::Tx);
        [Direction::Tx, Direction::Rx].map(|direction| self.close(direction))
    }
}

/// What the node's counters say, sent and received.
fn told(scrape: &Exposition) -> [Amount; 2] {
    ["tx", "rx"].map(|direction| {
        let value = |unit: &str| scrape.value(&format!("fathom_flows_{direction}_{unit}_total"));
        Amount::new(value("packets"), value("bytes"))
    })
}

/// Every law of the program's own audit.
fn assert_audited(scrape: &Exposition) {
    for law in ["flow", "ledger", "series"] {
        for unit in ["bytes", "packets"] {
            let name = format!("fathom_flows_audit_drift_{unit}");
            assert_eq!(scrape.sum(&name, &[("law", law)]), Some(0), "{law} {unit}");
        }
    }
    assert_eq!(scrape.value("fathom_flows_unslotted_packets_total"), 0);
}
