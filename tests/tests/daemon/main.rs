//! `fathom flows` as a daemon: what it serves, and that its counters survive everything.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod collector;
mod discovery;
mod flood;
mod life;
mod listener;
mod numbers;
mod ownership;
mod series;
mod settings;
mod vocabulary;

use std::env;

use fathom_tests::binary::SOON;
use fathom_tests::daemon::Daemon;
use fathom_tests::document::Direction;
use fathom_tests::exposition::Exposition;
use fathom_tests::measure::Edge;
use fathom_tests::site::{lab, pod};
use testkit::Segmentation;
use testkit::lab::{Fabric, Lab};
use testkit::truth::{Amount, Counters};

/// A laboratory where a buffer is a frame, so that series and interface counters compare.
fn exact_lab() -> Lab {
    lab(Fabric::Bridge, Segmentation::Off)
}

/// Pod a1 from its host side, pod a2 from inside.
fn edges(lab: &Lab) -> [Edge; 2] {
    let (a1, a2) = (pod(lab, "a1"), pod(lab, "a2"));
    [Edge::host("a1", &a1.host_device), Edge::inside("a2", &a2.device)]
}

/// The kernel's own account of the edges from now on.
struct Account<'a> {
    edges: &'a [Edge],
    before: Vec<Counters>,
}

impl<'a> Account<'a> {
    fn open(edges: &'a [Edge]) -> Self {
        Self { edges, before: edges.iter().map(read).collect() }
    }

    /// What the pods sent and received since.
    fn now(&self) -> [Amount; 2] {
        let grown: Vec<_> = self
            .edges
            .iter()
            .zip(&self.before)
            .map(|(edge, before)| (edge, edge.device().counters_since(*before).unwrap()))
            .collect();
        [Direction::Tx, Direction::Rx].map(|direction| {
            let amounts = grown.iter().map(|(edge, grown)| edge.counted(direction, *grown));
            amounts.sum()
        })
    }

    /// Scrapes until the counters are the interfaces', and insists. Between two equal readings
    /// of the interfaces nothing passed, not even a resolution of addresses.
    fn meet(&self, daemon: &Daemon) -> (Exposition, [Amount; 2]) {
        let (mut expected, mut calm) = (self.now(), true);
        let scrape = daemon.scrape_until(|scrape| {
            let now = self.now();
            calm = now == expected;
            let met = calm && told(scrape) == expected;
            expected = now;
            met
        });
        assert!(calm, "the links must be quiet in the end");
        assert_eq!(told(&scrape), expected, "sent and received by all pods");
        assert_audited(&scrape);
        (scrape, expected)
    }
}

fn read(edge: &Edge) -> Counters {
    edge.device().counters().unwrap()
}

/// What the node's counters say, sent and received.
fn told(scrape: &Exposition) -> [Amount; 2] {
    ["tx", "rx"].map(|direction| {
        let value = |unit: &str| scrape.value(&format!("fathom_flows_{direction}_{unit}_total"));
        Amount::new(value("packets"), value("bytes"))
    })
}

/// Insists that no counter of traffic shows less than `seen` did.
fn assert_never_less(scrape: &Exposition, seen: &Exposition) {
    let fallen = scrape.fallen(seen, &LASTING);
    assert!(fallen.is_empty(), "{fallen:#?}");
}

/// How long a campaign is: as the variable `name` says, else `ordinary`.
fn length(name: &str, ordinary: u64) -> u64 {
    let given = env::var(name).ok();
    given.map_or(ordinary, |text| {
        text.parse().unwrap_or_else(|error| panic!("{name}={text}: {error}"))
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

/// What continues over every end of a process.
const LASTING: [&str; 14] = [
    "fathom_flows_tx_bytes_total",
    "fathom_flows_tx_packets_total",
    "fathom_flows_rx_bytes_total",
    "fathom_flows_rx_packets_total",
    "fathom_flows_pod_tx_bytes_total",
    "fathom_flows_pod_tx_packets_total",
    "fathom_flows_pod_rx_bytes_total",
    "fathom_flows_pod_rx_packets_total",
    "fathom_flows_folded_bytes_total",
    "fathom_flows_folded_packets_total",
    "fathom_flows_retired_bytes_total",
    "fathom_flows_retired_packets_total",
    "kubeadapt_connection_traffic_bytes_total",
    "kubeadapt_connection_traffic_packets_total",
];
