use std::time::Duration;

use super::*;
use crate::testing::{config, settings};

fn problems_of(arguments: &[&str]) -> Vec<String> {
    match Config::new(settings(arguments)) {
        Err(Error::Settings(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_problem_is_told_in_one_pass() {
    let ranges: Vec<String> = (0..65).map(|n| format!("10.{n}.0.0/16")).collect();
    let ignored = ranges.join(",");
    let names: Vec<String> = (0..33).map(|n| format!("n{n}=10.{n}.0.0/16")).collect();
    let named = names.join(",");
    let problems = problems_of(&[
        "--pod-edge",
        "veth1,veth2",
        "--max-edges",
        "1",
        "--ignore-peer",
        &ignored,
        "--peer-cidr",
        &named,
        "--host-traffic",
        "nic",
        "--kube",
        "on",
    ]);
    let keys = ["max_edges", "peer_cidr", "ignore_peer", "host_traffic", "kube"];
    assert_eq!(problems.len(), keys.len(), "{problems:?}");
    for (problem, key) in problems.iter().zip(keys) {
        assert!(problem.starts_with(&format!("{key}: ")), "{problem}");
    }
}

#[test]
fn edges_that_are_one_by_what_is_given_are_refused() {
    for (arguments, key, cause) in [
        (&["--pod-edge", "va=p,va=q"][..], "pod_edge: ", "va=p and va=q are the same edge"),
        (&["--pod-edge", "va=p,vb=p"], "pod_edge: ", "have one name"),
        (&["--netns", "/n/a=p,/n/a=q"], "netns: ", "the same edge"),
        (&["--pod-edge", "va=p", "--netns", "/n/a=p"], "netns: ", "have one name"),
    ] {
        let problems = problems_of(arguments);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with(key) && problems[0].contains(cause), "{problems:?}");
    }
    let two_devices = settings(&["--netns", "/n/a:eth0=p,/n/a:eth1=q"]);
    assert!(Config::new(two_devices).is_ok());
}

#[test]
fn no_signal_and_some_signal_contradict_each_other() {
    assert!(problems_of(&["--signals", "none,rtt"])[0].starts_with("signals: none"));
}

#[test]
fn an_agent_that_could_count_nothing_is_refused() {
    let problems = problems_of(&["--discover", "off"]);
    assert!(problems[0].contains("nothing would be counted"), "{problems:?}");
    assert!(Config::new(settings(&["--discover", "off", "--pod-edge", "veth1"])).is_ok());
}

#[test]
fn edges_are_looked_for_unless_one_is_named() {
    assert!(Config::new(settings(&[])).unwrap().discovers());
    assert!(!Config::new(settings(&["--netns", "a"])).unwrap().discovers());
    let both = settings(&["--netns", "a", "--discover", "on"]);
    assert!(Config::new(both).unwrap().discovers());
}

#[test]
fn without_connection_tracking_ports_are_not_kept() {
    let config = config(&["--connection-tracking", "false", "--flow-key", "5tuple"]);
    assert_eq!(config.flow_key(), FlowKeyMode::Pair);
    assert!(!config.counts_connections());
}

#[test]
fn the_first_name_of_the_node_that_is_not_empty_is_taken() {
    let named = config(&["--node-name", "", "--daemonset-node-name", "worker-1"]);
    assert_eq!(named.node_name(), "worker-1");
    let named = config(&["--node-name", "worker-2", "--daemonset-node-name", "worker-1"]);
    assert_eq!(named.node_name(), "worker-2");
}

#[test]
fn a_reload_takes_what_can_change() {
    let old = config(&[]);
    let new = config(&[
        "--collection-interval",
        "5s",
        "--resync-interval",
        "10s",
        "--series-idle",
        "2m",
        "--connection-idle",
        "7s",
        "--ignore-peer",
        "10.0.0.0/8",
        "--peer-cidr",
        "lab=192.0.2.0/24",
        "--dump-bpf-maps",
        "true",
        "--dump-keep",
        "3",
        "--otlp-interval",
        "1s",
        "--signals",
        "none",
        "--pod-edge",
        "veth1=pod-a",
    ]);
    let (merged, waiting) = old.with_reloadable(new);
    assert!(waiting.is_empty(), "{waiting:?}");
    let settings = merged.settings();
    assert_eq!(merged.interval(), Duration::from_secs(5));
    assert_eq!(settings.resync_interval, Duration::from_secs(10));
    assert_eq!(merged.ledger().series_idle_ns, 120_000_000_000);
    assert_eq!(settings.connection_idle, Duration::from_secs(7));
    assert_eq!((settings.ignore_peer.len(), settings.peer_cidr.len()), (1, 1));
    assert!(settings.dump_bpf_maps && settings.dump_keep == 3);
    assert_eq!(settings.pod_edge.len(), 1);
}

#[test]
fn a_reload_names_what_waits_for_a_restart_and_keeps_it() {
    let old = config(&[]);
    let mut changed = config(&[
        "--collection-interval",
        "5s",
        "--attach",
        "clsact",
        "--bpf-pin-dir",
        "/elsewhere",
        "--discover-exclude",
        "tap*",
        "--on-exit",
        "detach",
        "--pod-series-max",
        "7",
    ])
    .settings()
    .clone();
    changed.flow_capacity = 2048;
    let new = Config::new(changed).unwrap();
    let (merged, waiting) = old.with_reloadable(new);
    let expected =
        ["discover_exclude", "attach", "flow_capacity", "on_exit", "pod_series_max", "bpf_pin_dir"];
    assert_eq!(waiting, expected);
    assert_eq!(merged.sizes(1), old.sizes(1));
    assert_eq!(merged.settings().pins.bpf_pin_dir, old.settings().pins.bpf_pin_dir);
    assert_eq!(merged.ledger().pod_series, 1024);
    assert_eq!(merged.interval(), Duration::from_secs(5), "the rest is in force");
}

#[test]
fn what_is_given_and_does_nothing_is_named_and_defaults_are_not() {
    assert_eq!(config(&[]).without_effect(), Vec::<&str>::new());
    for (name, value) in [
        ("host_cgroup", "/sys/fs/cgroup/system.slice"),
        ("nic", "eth0"),
        ("workload_series_max", "7"),
        ("zone_series_max", "7"),
        ("peer_cidr", "office=192.0.2.0/24"),
        ("conntrack", "off"),
        ("decap", "inner"),
        ("kube_sync_timeout", "31s"),
        ("signals", "rtt"),
    ] {
        let flag = format!("--{}", name.replace('_', "-"));
        assert_eq!(config(&[&flag, value]).without_effect(), [name], "{flag} {value}");
    }
}

#[test]
fn what_has_an_effect_is_not_named() {
    let given = ["--ignore-peer", "10.0.0.0/8", "--pod-series-max", "9", "--attach", "clsact"];
    assert_eq!(config(&given).without_effect(), Vec::<&str>::new());
    let of_every_pod = ["--pod-name", "agent-x", "--pod-namespace", "kubeadapt"];
    assert_eq!(config(&of_every_pod).without_effect(), Vec::<&str>::new());
    assert_eq!(
        config(&["--kubeconfig", "/root/.kube/config"]).without_effect(),
        Vec::<&str>::new()
    );
    assert_eq!(config(&["--signals", "none"]).without_effect(), Vec::<&str>::new());
    let refused_elsewhere = ["--kube", "off", "--host-traffic", "off", "--pod-uid", "8a5f"];
    assert_eq!(config(&refused_elsewhere).without_effect(), Vec::<&str>::new());
}
