//! Every inherited variable works, and a file can be read again.

use std::fs;
use std::net::Ipv4Addr;

use fathom_tests::daemon::{Pins, Setup};
use fathom_tests::exposition::Exposition;
use fathom_tests::kernel::Standing;
use fathom_tests::measure::Edge;
use fathom_tests::site::Wire;
use testkit::proc::{Signal, wait_until};

use super::SOON;

fn edge(wire: &Wire) -> [Edge; 1] {
    [Edge::host("x", &wire.outside)]
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_variables_of_the_old_agent_are_obeyed() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let setup = Setup::new(&wire.node, &edge(&wire), &pins).port(9123);
    let setup = [
        ("EBPF_METRICS_PORT", "9123"),
        ("EBPF_COLLECTION_INTERVAL", "300ms"),
        ("EBPF_LOG_LEVEL", "debug"),
        ("EBPF_LOG_FORMAT", "console"),
        ("EBPF_CONNECTION_TRACKING", "false"),
        ("EBPF_ENABLE_PROFILING", "false"),
        ("NODE_NAME", "node-7"),
        ("DAEMONSET_POD_UID", "0b5c"),
    ]
    .into_iter()
    .fold(setup, |setup, (name, value)| setup.variable(name, value));
    let daemon = setup.start();
    assert_eq!(daemon.ready()["listen"], "0.0.0.0:9123");
    let info = [
        ("enabled", "false"),
        ("flow_key", "pair"),
        ("drain", "epoch"),
        ("overflow", "fold"),
        ("node", "node-7"),
        ("daemonset_pod_uid", "0b5c"),
    ];
    let scrape = daemon.scrape();
    assert_eq!(scrape.sum("kubeadapt_connection_tracking_info", &info), Some(1));
    assert_eq!(scrape.matching("kubeadapt_active_connections", &[]).count(), 0);
    let log = daemon.stop().stderr;
    assert!(!log.lines().any(|line| line.starts_with('{')), "console is no JSON: {log}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_log_is_json_with_one_event_a_line() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let daemon = Setup::new(&wire.node, &edge(&wire), &pins).start();
    let log = daemon.stop().stderr;
    let mut events = Vec::new();
    for line in log.lines() {
        let event: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        events.extend(event["event"].as_str().map(str::to_owned));
    }
    for event in ["flows.start", "edge.attached", "flows.ready", "flows.stop"] {
        assert!(events.iter().any(|found| found == event), "{event} in {events:?}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn profiles_are_served_on_request_and_only_then() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let setup = Setup::new(&wire.node, &edge(&wire), &pins)
        .variable("EBPF_ENABLE_PROFILING", "true")
        .variable("EBPF_PROFILING_PORT", "6070");
    let daemon = setup.start();
    assert_ne!(daemon.get("/debug/pprof/cmdline").status, 200, "not on the open listener");
    let status = |path: &str| {
        let asked = fathom_tests::daemon::ask_in(&wire.node, 6070, path);
        asked.unwrap().status
    };
    assert_eq!(status("/debug/pprof/cmdline"), 200);
    assert_eq!(status("/debug/pprof/heap"), 501);
    let outside =
        wire.node.run(|| std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 6070)).is_err());
    assert!(outside.unwrap(), "it listens on loopback");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn each_closed_epoch_can_be_dumped() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let scratch = tempfile::TempDir::new().unwrap();
    let directory = scratch.path().display().to_string();
    let setup = Setup::new(&wire.node, &edge(&wire), &pins)
        .variable("EBPF_DUMP_BPF_MAPS", "true")
        .flags(["--dump-dir", &directory, "--dump-keep", "3"]);
    let daemon = setup.start();
    fathom_tests::crafted::send(&wire.inside, ["E/V4(1)/UDP(sport=7777, dport=53)"]);
    let mut text = String::new();
    wait_until("dump with the flow", SOON, || {
        let files = fs::read_dir(scratch.path()).unwrap().flatten();
        text = files.filter_map(|file| fs::read_to_string(file.path()).ok()).collect();
        text.contains("7777")
    })
    .unwrap();
    let line = text.lines().find(|line| line.contains("7777")).unwrap();
    let row: serde_json::Value = serde_json::from_str(line).unwrap();
    assert!(row.is_object(), "{row}");
    let epochs = daemon.scrape().value("fathom_flows_epochs_total");
    daemon.scrape_until(|scrape| scrape.value("fathom_flows_epochs_total") > epochs + 4);
    let kept = fs::read_dir(scratch.path()).unwrap().count();
    assert!((1..=3).contains(&kept), "{kept} files");
}

fn reloads(scrape: &Exposition, result: &str) -> Option<u64> {
    scrape.sum("fathom_config_reloads_total", &[("result", result)])
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_hangup_reads_the_file_again_and_a_bad_one_changes_nothing() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &str| fs::write(file.path(), text).unwrap();
    write("flows:\n  series_idle: 10m\n");
    let path = file.path().display().to_string();
    let setup = Setup::new(&wire.node, &edge(&wire), &pins).flags(["--config", &path]);
    let mut daemon = setup.start();

    write("flows:\n  series_idle: 5m\n  flow_capacity: 2048\n");
    daemon.process().signal(Signal::HUP).unwrap();
    daemon.process().wait_for_stderr("config.reloaded", SOON).unwrap();
    let scrape = daemon.scrape_until(|scrape| reloads(scrape, "success") == Some(1));
    assert_eq!(reloads(&scrape, "success"), Some(1));
    daemon.process().wait_for_stderr("restart", SOON).unwrap();
    assert!(daemon.process().stderr().contains("flow_capacity"));

    write("flows:\n  series_idle: 5\n  no_such_key: 1\n");
    daemon.process().signal(Signal::HUP).unwrap();
    daemon.process().wait_for_stderr("config.rejected", SOON).unwrap();
    let said = daemon.process().stderr();
    for problem in ["series_idle", "no_such_key"] {
        assert!(said.contains(problem), "all problems in one pass: {said}");
    }
    let scrape = daemon.scrape_until(|scrape| reloads(scrape, "failure") == Some(1));
    assert_eq!(scrape.value("fathom_config_last_reload_successful"), 0);
    assert_eq!(daemon.get("/health/live").status, 200);
}

/// Named edges are among what a hangup applies.
#[test]
#[ignore = "root: needs network namespaces"]
fn a_hangup_adds_and_removes_named_edges() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let other = testkit::Veth::join((wire.node.place(), "vlate"), (wire.pod.place(), "eth1"));
    let other = other.unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    let write = |text: &str| fs::write(file.path(), text).unwrap();
    write("flows:\n  pod_edge: [vpod=early]\n");
    let path = file.path().display().to_string();
    let setup = Setup::new(&wire.node, &[], &pins).flags(["--config", &path]);
    let mut daemon = setup.start();
    let before = Standing::of(&other.near).programs();
    assert_eq!(before, [0, 0]);

    write("flows:\n  pod_edge: [vpod=early, vlate=late]\n");
    daemon.process().signal(Signal::HUP).unwrap();
    let hooked = || Standing::of(&other.near).programs() == [1, 1];
    wait_until("hooks of the new edge", SOON, hooked).unwrap();
    fathom_tests::crafted::send(&other.far, ["[E/V4(1)/UDP(sport=1, dport=2)] * 5"]);
    let name = "fathom_flows_pod_tx_packets_total";
    let of_late = |scrape: &Exposition| scrape.sum(name, &[("pod", "late")]);
    let scrape = daemon.scrape_until(|scrape| of_late(scrape) == Some(5));
    assert_eq!(of_late(&scrape), Some(5));

    write("flows:\n  pod_edge: [vpod=early]\n");
    daemon.process().signal(Signal::HUP).unwrap();
    let left = || Standing::of(&other.near).programs() == [0, 0];
    wait_until("end of the removed edge's hooks", SOON, left).unwrap();
    assert_eq!(Standing::of(&wire.outside).programs(), [1, 1]);
    let scrape = daemon.scrape();
    assert_eq!(scrape.value("fathom_flows_tx_packets_total"), 5, "its amounts stay");
}

#[test]
fn every_problem_of_a_file_is_told_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "flows:\n  series_idle: 5\n  no_such_key: 1\n  flow_capacity: lots\n  pod_edge: 3\n";
    fs::write(file.path(), text).unwrap();
    let path = file.path().display().to_string();
    let refused = fathom_tests::binary::run(["flows", "--duration", "1s", "--config", &path]);
    assert_eq!(refused.status.code(), Some(64), "{}", refused.stderr);
    for problem in ["flows.series_idle", "flows.no_such_key", "flows.flow_capacity"] {
        assert!(refused.stderr.contains(problem), "{problem}: {}", refused.stderr);
    }
}
