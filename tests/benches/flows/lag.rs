//! How long a hundred pods that are made at once wait for their hooks.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use fathom_tests::binary::SOON;
use fathom_tests::daemon::{Pins, Setup};
use fathom_tests::exposition::Exposition;
use testkit::Namespace;
use testkit::proc::wait_until;

use crate::report::Row;

pub(crate) fn run() -> Vec<Row> {
    let (node, pins) = (Namespace::create("node").unwrap(), Pins::new());
    let pods: Vec<_> = (0..PODS).map(|_| Namespace::create("pod").unwrap()).collect();
    let flags = ["--discover", "on", "--kube", "off", "--netns-dir", "/run/netns"];
    let mut daemon = Setup::new(node.place(), &[], &pins).flags(flags).start();
    let began = Instant::now();
    make_links(&node, &pods);
    let made = began.elapsed();
    // Not by scrapes: to answer them would slow down what is measured.
    let hooked = r#""event":"edge.attached""#;
    wait_until("hooks of all pods", PATIENCE, || {
        daemon.process().stderr().matches(hooked).count() >= pods.len()
    })
    .unwrap();
    let all = began.elapsed();
    let counted = format!("{LAG}_count");
    let scrape = daemon.scrape_until(|scrape| scrape.value(&counted) == PODS);
    rows(&scrape, made, all)
}

/// One pair of devices for each pod. The pod's end cannot be up before it has another.
fn make_links(node: &Namespace, pods: &[Namespace]) {
    let mut batch = String::new();
    for (number, pod) in pods.iter().enumerate() {
        let peer = format!("peer name eth0 netns {}", pod.name());
        writeln!(batch, "link add name veth{number} up type veth {peer}").unwrap();
    }
    node.command("ip").args(["-batch", "-"]).input(batch).succeed(SOON).unwrap();
    let up = node.command("sh").args(["-ec", UP, "sh"]).args(pods.iter().map(|pod| pod.name()));
    up.succeed(SOON).unwrap();
}

fn rows(scrape: &Exposition, made: Duration, all: Duration) -> Vec<Row> {
    let sum = |name: &str| scrape.sum(name, &[]).unwrap_or(0) as f64;
    let mean = scrape.matching(&format!("{LAG}_sum"), &[]).next().unwrap().value / PODS as f64;
    let bound = |quantile: f64| at_most(scrape, quantile) * 1e3;
    let missed = |unit: &str| sum(&format!("fathom_flows_missed_before_attach_{unit}_total"));
    let packets = ["tx", "rx"].map(|side| sum(&format!("fathom_flows_{side}_packets_total")));
    let note = "upper bound of the histogram's bucket";
    vec![
        Row::new("attach lag of 100 pods, p50, at most", bound(0.5), "ms").note(note),
        Row::new("attach lag of 100 pods, p99, at most", bound(0.99), "ms")
            .at_most(50.0)
            .note(note),
        Row::new("attach lag of 100 pods, longest, at most", bound(1.0), "ms").note(note),
        Row::new("attach lag of 100 pods, mean", mean * 1e3, "ms"),
        Row::new("from the first link to the last hook", all.as_secs_f64() * 1e3, "ms")
            .note(format!("of which the links took {:.0} ms to be made", made.as_secs_f64() * 1e3)),
        Row::new("missed before the hook, both ways", missed("packets"), "packets").note(format!(
            "{:.0} bytes; counted meanwhile: {:.0} packets",
            missed("bytes"),
            packets[0] + packets[1]
        )),
    ]
}

/// The least bound of the histogram below which a share of `quantile` lies.
fn at_most(scrape: &Exposition, quantile: f64) -> f64 {
    let name = format!("{LAG}_bucket");
    let reached = |value: f64| value >= quantile * PODS as f64;
    let mut buckets = scrape.matching(&name, &[]).filter(|bucket| reached(bucket.value));
    buckets.next().unwrap().labels["le"].parse().unwrap()
}

const LAG: &str = "fathom_flows_attach_lag_seconds";
const UP: &str = r#"for pod; do ip -n "$pod" link set eth0 up; done"#;
const PODS: u64 = 100;
const PATIENCE: Duration = Duration::from_secs(120);
