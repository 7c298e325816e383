//! Names, types and labels: what dashboards and scrape configurations rely on.

use std::collections::BTreeSet;

use fathom_tests::daemon::{Pins, Setup};
use fathom_tests::exposition::Exposition;
use fathom_tests::measure::Edge;
use fathom_tests::site::{Wire, exchange, pod, v4, v6};
use testkit::traffic::Load;
use testkit::truth::promtool_complaints;

use super::{edges, exact_lab};

/// The twelve families of the tool this replaces.
const INHERITED: [(&str, &str); 12] = [
    ("kubeadapt_connection_traffic_bytes_total", "counter"),
    ("kubeadapt_connection_traffic_packets_total", "counter"),
    ("kubeadapt_active_connections", "gauge"),
    ("kubeadapt_bpf_load_status", "gauge"),
    ("kubeadapt_bpf_load_attempts_total", "counter"),
    ("kubeadapt_bpf_load_duration_seconds", "gauge"),
    ("kubeadapt_bpf_map_utilization_percent", "gauge"),
    ("kubeadapt_overflow_flows_total", "counter"),
    ("kubeadapt_ip_pairs_batch_size", "gauge"),
    ("kubeadapt_ebpf_collection_duration_seconds", "histogram"),
    ("kubeadapt_collector_errors_total", "counter"),
    ("kubeadapt_connection_tracking_info", "gauge"),
];

/// Labels with all of their values.
type ClosedSets = &'static [(&'static str, &'static [&'static str])];

/// Families that are there from the first scrape on, with their labels and every closed set.
const FROM_THE_START: [(&str, &str, ClosedSets); 26] = [
    ("fathom_flows_tx_bytes_total", "counter", &[]),
    ("fathom_flows_tx_packets_total", "counter", &[]),
    ("fathom_flows_rx_bytes_total", "counter", &[]),
    ("fathom_flows_rx_packets_total", "counter", &[]),
    ("fathom_flows_retired_bytes_total", "counter", &[("family", SERIES), ("direction", &["tx"])]),
    ("fathom_flows_retired_packets_total", "counter", &[("family", &["pair", "pod"])]),
    ("fathom_flows_series", "gauge", &[("family", SERIES)]),
    ("fathom_flows_series_refused_total", "counter", &[("family", SERIES)]),
    ("fathom_flows_folded_bytes_total", "counter", FOLDED),
    ("fathom_flows_folded_packets_total", "counter", FOLDED),
    (
        "fathom_flows_unparsed_packets_total",
        "counter",
        &[(
            "reason",
            &["short", "bad_header", "ext_chain", "non_linear", "link_type", "gso_headers"],
        )],
    ),
    ("fathom_flows_audit_drift_bytes", "gauge", LAWS),
    ("fathom_flows_audit_drift_packets", "gauge", LAWS),
    ("fathom_flows_missed_before_attach_bytes_total", "counter", DIRECTIONS),
    ("fathom_flows_missed_before_attach_packets_total", "counter", DIRECTIONS),
    ("fathom_flows_bypassed_bytes_total", "counter", &[]),
    ("fathom_flows_bypassed_packets_total", "counter", &[]),
    ("fathom_flows_unnamed_bytes", "gauge", DIRECTIONS),
    (
        "fathom_flows_attach_errors_total",
        "counter",
        &[(
            "reason",
            &["edge_limit", "no_netns", "no_capability", "device_gone", "foreign_filter", "kernel"],
        )],
    ),
    ("fathom_flows_epochs_total", "counter", &[]),
    ("fathom_flows_drained_flows_total", "counter", &[]),
    ("fathom_flows_early_drains_total", "counter", &[("cause", &["fill", "fresh", "takeover"])]),
    ("fathom_flows_drain_overruns_total", "counter", &[]),
    ("fathom_flows_unslotted_packets_total", "counter", &[]),
    (
        "fathom_flows_recovered_epochs_total",
        "counter",
        &[("how", &["redrained", "replayed", "cleared", "foreign"])],
    ),
    ("fathom_flows_ambiguous_peer_bytes_total", "counter", &[]),
];
const DIRECTIONS: ClosedSets = &[("direction", &["tx", "rx"])];
const SERIES: &[&str] = &["pair", "pod", "workload", "zone"];
const LAWS: ClosedSets = &[("law", &["flow", "ledger", "series", "interface"])];
const FOLDED: ClosedSets = &[
    ("direction", &["tx", "rx"]),
    ("class", &["overflow_tcp", "overflow_udp", "overflow_other", "quota", "non_ip", "unparsed"]),
];

fn has_sample(scrape: &Exposition, family: &str) -> bool {
    [family.to_owned(), format!("{family}_count")]
        .iter()
        .any(|name| scrape.matching(name, &[]).next().is_some())
}

#[test]
#[ignore = "root: needs network namespaces"]
fn an_idle_daemon_already_shows_every_family() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let edge = [Edge::host("x", &wire.outside)];
    let daemon = Setup::new(&wire.node, &edge, &pins).start();
    let scrape = daemon.scrape_until(|scrape| has_sample(scrape, INHERITED[0].0));
    let mut missing = Vec::new();
    for (family, kind) in INHERITED {
        assert_eq!(scrape.types.get(family).map(String::as_str), Some(kind), "{family}");
        assert!(has_sample(&scrape, family), "{family} always has a sample");
    }
    for (family, kind, sets) in FROM_THE_START {
        if scrape.types.get(family).map(String::as_str) != Some(kind)
            || !has_sample(&scrape, family)
        {
            missing.push(family.to_owned());
            continue;
        }
        for (label, values) in sets {
            for value in *values {
                if scrape.matching(family, &[(label, value)]).next().is_none() {
                    missing.push(format!("{family}{{{label}=\"{value}\"}}"));
                }
            }
        }
    }
    assert!(missing.is_empty(), "exposed from the start: {missing:#?}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn closed_labels_take_only_their_values() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let edge = [Edge::host("x", &wire.outside)];
    let daemon = Setup::new(&wire.node, &edge, &pins).start();
    let scrape = daemon.scrape();
    for (family, _, sets) in FROM_THE_START {
        for (label, values) in sets.iter().filter(|(label, _)| *label != "direction") {
            let known: BTreeSet<_> = values.iter().copied().chain(SERIES.iter().copied()).collect();
            for sample in scrape.matching(family, &[]) {
                let value = sample.labels[*label].as_str();
                assert!(known.contains(value), "{family} {label}={value}");
            }
        }
    }
    let old: BTreeSet<_> = INHERITED.iter().map(|(family, _)| *family).collect();
    for family in scrape.types.keys() {
        let prefix = ["kubeadapt_", "fathom_", "process_"];
        assert!(prefix.iter().any(|prefix| family.starts_with(prefix)), "{family}");
        assert!(!family.starts_with("kubeadapt_") || old.contains(family.as_str()), "{family}");
    }
    let types = scrape.matching("kubeadapt_collector_errors_total", &[]);
    let types: BTreeSet<_> = types.map(|sample| sample.labels["type"].as_str()).collect();
    let expected =
        ["flip", "read", "journal", "clear", "attach", "netlink", "kube", "dump", "otlp", "ring"];
    assert_eq!(types, BTreeSet::from(expected));
    let bounds = scrape.matching("kubeadapt_ebpf_collection_duration_seconds_bucket", &[]);
    let bounds: Vec<_> = bounds.map(|sample| sample.labels["le"].as_str()).collect();
    let expected = [
        "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "5",
        "10", "+Inf",
    ];
    assert_eq!(bounds, expected);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn promtool_has_nothing_to_say() {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let node = lab.node_a().namespace.place();
    let daemon = Setup::new(node, &edges, &pins).start();
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let load = Load::Requests { question: 10, answer: 10, rate: None, limit: Some(20) };
    for target in [v4(a2.addresses), v6(a2.addresses)] {
        exchange(a1, a2, target, &load);
    }
    let pairs = "kubeadapt_connection_traffic_bytes_total";
    daemon.scrape_until(|scrape| scrape.matching(pairs, &[("protocol", "tcp")]).count() >= 4);
    let answer = daemon.get("/metrics");
    assert!(
        answer.headers.contains("content-type: text/plain; version=0.0.4"),
        "{}",
        answer.headers
    );
    assert_eq!(promtool_complaints(answer.body).unwrap(), Vec::<String>::new());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn openmetrics_is_spoken_to_those_who_ask() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let edge = [Edge::host("x", &wire.outside)];
    let daemon = Setup::new(&wire.node, &edge, &pins).start();
    let answer = daemon.get_as("/metrics", "application/openmetrics-text; version=1.0.0");
    assert_eq!(answer.status, 200);
    let kind = "content-type: application/openmetrics-text; version=1.0.0";
    assert!(answer.headers.contains(kind), "{}", answer.headers);
    assert!(answer.body.ends_with("# EOF\n"), "the end is marked");
    // The family of a counter has no suffix there, its samples do.
    assert!(answer.body.contains("# TYPE fathom_flows_tx_bytes counter\n"));
    assert!(answer.body.contains("\nfathom_flows_tx_bytes_total "));
}
