use std::{collections::BTreeSet, time::Duration};

use flow_bpf::Event;
use telemetry::expose::{Format, render};
use testkit::truth::promtool_complaints;

use super::*;
use crate::{
    catalogue::CATALOGUE,
    tally::{ATTACH_REASONS, Cause, Fault},
    testing::{counts, snapshot},
};

fn tally() -> Tally {
    let mut tally = Tally::default();
    tally.load(Duration::from_millis(250));
    tally.fault(Fault::Attach);
    tally.early(Cause::Fill);
    tally.attach_failed("no_netns");
    tally.collection.observe(0.004);
    tally.grace.observe(0.002);
    tally.missed = [counts(2, 120), counts(0, 0)];
    tally.bypassed = counts(1, 60);
    tally.dumped = 4;
    tally
}

fn info() -> Info {
    Info {
        enabled: true,
        flow_key: "5tuple",
        node: "worker-1".into(),
        pod_uid: "8a5f".into(),
        attach: "tcx",
    }
}

/// The families of a whole commit, by name.
fn families(active: Option<Active>) -> Vec<Family> {
    let (snapshot, tally, info) = (snapshot(), tally(), info());
    let facts = Facts {
        snapshot: &snapshot,
        tally: &tally,
        active,
        untracked: 0,
        fill: [0.5, 0.0],
        limits: [16, 8],
        events: Event::ALL.into_iter().zip(1..).collect(),
        memory: vec![("control", 4096), ("totals", 8192)],
        interface_drift: counts(0, 0),
        degraded: vec![Degradation::HostEgress],
        refused: vec!["no_netns"],
        info: &info,
    };
    let mut families = facts.families();
    families.sort_by_key(|family| family.metric().name);
    families
}

fn text() -> String {
    let mut text = Vec::new();
    render(Format::Text, &families(Some(Active { tcp: 3, udp: 1 })), &mut text);
    String::from_utf8(text).unwrap()
}

#[test]
fn the_exposition_of_a_commit_is_as_reviewed() {
    let golden = include_str!("golden.txt");
    for (line, (found, expected)) in text().lines().zip(golden.lines()).enumerate() {
        assert_eq!(found, expected, "line {} of golden.txt", line + 1);
    }
    assert_eq!(text().lines().count(), golden.lines().count());
}

#[test]
fn every_metric_of_the_catalogue_is_exposed_from_the_start() {
    let exposed = families(Some(Active::default()));
    let names: BTreeSet<_> = exposed.iter().map(|family| family.metric().name).collect();
    let described: BTreeSet<_> = CATALOGUE.metrics.iter().map(|metric| metric.name).collect();
    assert_eq!(names, described);
    assert_eq!(exposed.len(), described.len(), "no family comes twice");
    let empty: Vec<_> = exposed
        .iter()
        .filter(|family| family.points().is_empty())
        .map(|f| f.metric().name)
        .collect();
    assert_eq!(empty, Vec::<&str>::new(), "each has a sample");
}

#[test]
fn connections_that_can_not_be_told_are_absent_and_not_zero() {
    let exposed = families(None);
    let gauge = |family: &&Family| family.metric().name == metric::ACTIVE_CONNECTIONS.name;
    assert!(!exposed.iter().any(|family| gauge(&family)));
}

#[test]
fn every_state_of_an_edge_is_exposed_from_the_start_and_each_edge_has_one() {
    let exposed = families(None);
    let edges = exposed.iter().find(|f| f.metric().name == metric::EDGES.name).unwrap();
    assert_eq!(edges.points().len(), 2 + 1 + Degradation::ALL.len() + ATTACH_REASONS.len());
    let ones: Vec<String> = text()
        .lines()
        .filter(|line| line.starts_with("fathom_flows_edges{") && line.ends_with(" 1"))
        .map(str::to_owned)
        .collect();
    let state = |state: &str, reason: &str| {
        format!("fathom_flows_edges{{state=\"{state}\",reason=\"{reason}\"}} 1")
    };
    let expected =
        [state("draining", "none"), state("degraded", "host_egress"), state("refused", "no_netns")];
    assert_eq!(ones, expected, "the one live edge is the degraded one");
}

#[test]
fn promtool_finds_fault_only_with_names_that_had_to_stay() {
    let mut said = promtool_complaints(text()).unwrap();
    said.retain(|line| !line.starts_with("kubeadapt_"));
    assert_eq!(said, Vec::<String>::new());
}
