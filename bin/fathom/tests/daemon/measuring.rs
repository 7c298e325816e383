//! Real measurements in a laboratory, as root.

use std::path::Path;

use serde_json::Value;
use testkit::lab::Plan;
use testkit::proc::{Command, Finished, Signal, wait_until};
use testkit::{Lab, Place};

use crate::{PATIENCE, PROGRAM, Setup, fathom, quiet, stop};

const EDGES: [&str; 3] = ["flows", "--pod-edge", "veth-a1=a1,veth-a2=a2"];

fn lab() -> Lab {
    let mut lab = Lab::build(&Plan::default()).unwrap();
    lab.start_traffic().unwrap();
    lab
}

fn inside(place: &Place, arguments: &[&str]) -> Command {
    quiet(place.command(PROGRAM).args(EDGES).args(arguments))
}

fn once(lab: &Lab, arguments: &[&str]) -> Finished {
    let command = inside(lab.node_a().namespace.place(), &["--duration", "2s"]);
    command.args(arguments).run(PATIENCE).unwrap()
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn one_shot_prints_a_document_whose_sums_agree() {
    let document: Value = once(&lab(), &["-o", "json"]).success().unwrap().json().unwrap();
    assert_eq!(document["schema"], "fathom.flows/1");
    assert_eq!(document["hooks"].as_array().unwrap().len(), 4);
    assert_eq!(document["audit"]["flow_law_packets"], 0);
    assert!(document["totals"]["tx"]["packets"].as_u64().unwrap() > 0, "{}", document["totals"]);
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn one_shot_prints_tables_unless_told_otherwise() {
    let text = once(&lab(), &[]).success().unwrap().text();
    for part in [
        "Hooks\nEDGE",
        "\nFlows (",
        "a1",
        "veth-a2",
        "\nAudit\nunaccounted for: 0 packets, 0 bytes\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn a_signal_ends_the_window_early_and_the_document_is_printed() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let (lab, setup) = (lab(), Setup::new());
        let ready = setup.path("ready");
        let arguments = ["--duration", "1h", "-o", "json", "--ready-file", &ready];
        let mut process = inside(lab.node_a().namespace.place(), &arguments).spawn().unwrap();
        process.wait_for_file(Path::new(&ready), PATIENCE).unwrap();
        let document: Value =
            process.stop_by(signal, PATIENCE).unwrap().success().unwrap().json().unwrap();
        assert_eq!(document["audit"]["flow_law_packets"], 0);
        assert!(!Path::new(&ready).exists(), "the ready file goes at the end");
    }
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn two_signals_at_once_are_one_and_the_last_drain_is_made() {
    let lab = lab();
    for _ in 0..5 {
        let setup = Setup::new();
        let ready = setup.path("ready");
        let arguments = ["--no-pin", "--listen", "off", "--ready-file", &ready];
        let mut process = inside(lab.node_a().namespace.place(), &arguments).spawn().unwrap();
        process.wait_for_file(Path::new(&ready), PATIENCE).unwrap();
        process.signal(Signal::INT).unwrap();
        let ended = process.stop_by(Signal::TERM, PATIENCE).unwrap().success().unwrap();
        assert!(ended.stderr.contains("Hooks are removed"), "{}", ended.stderr);
    }
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn a_missing_capability_exits_with_77_and_is_named() {
    let dropped = ["--bounding-set=-all", "--inh-caps=-all", "--ambient-caps=-all", PROGRAM];
    let measure = ["flows", "--duration", "1s", "--pod-edge", "lo=lo"];
    let command = quiet(Command::new("setpriv").args(dropped).args(measure));
    let ended = command.run(PATIENCE).unwrap();
    assert_eq!(ended.status.code(), Some(77), "{}", ended.stderr);
    assert!(ended.stderr.contains("CAP_BPF") || ended.stderr.contains("BPF"), "{}", ended.stderr);
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn the_daemon_serves_what_it_counts_and_reloads_while_it_does() {
    let (lab, setup) = (lab(), Setup::new());
    let ready = setup.path("ready");
    let edges = "pod_edge: [veth-a1=a1], no_pin: true, kube: 'off'";
    let file = |interval: &str| {
        setup.write(&format!(
            "flows: {{{edges}, collection_interval: {interval}, ready_file: '{ready}'}}\n"
        ))
    };
    let path = file("200ms");
    let place = lab.node_a().namespace.place();
    let command = quiet(place.command(PROGRAM).args(["agent", "--config", &path]));
    let mut agent = command.spawn().unwrap();
    agent.wait_for_file(Path::new(&ready), PATIENCE).unwrap();
    let scrape = || place.run(|| setup.answer("/metrics")).unwrap();
    let sent = |metrics: &str| {
        let value =
            metrics.lines().find_map(|line| line.strip_prefix("fathom_flows_tx_packets_total "));
        value.and_then(|value| value.parse::<u64>().ok()).unwrap_or(0)
    };
    wait_until("packets in the metrics", PATIENCE, || sent(&scrape()) > 0).unwrap();
    file("300ms");
    agent.signal(Signal::HUP).unwrap();
    agent.wait_for_stderr("config.reloaded", PATIENCE).unwrap();
    let before = sent(&scrape());
    wait_until("more packets after the reload", PATIENCE, || sent(&scrape()) > before).unwrap();
    stop(agent);
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn the_demonstration_counts_and_leaves_nothing_behind() {
    let setup = Setup::new();
    let listen = format!("127.0.0.1:{}", setup.port);
    let mut demo = fathom(&["demo", "--listen", &listen]).spawn().unwrap();
    demo.wait_for_stdout("Ctrl-C", PATIENCE).unwrap();
    let counted = || {
        let metrics = setup.answer("/metrics");
        metrics
            .lines()
            .any(|line| line.starts_with("fathom_flows_rx_bytes_total ") && !line.ends_with(" 0"))
    };
    wait_until("bytes in the metrics", PATIENCE, counted).unwrap();
    let mark = format!("-{}-", demo.id());
    assert!(namespaces().iter().any(|name| name.contains(&mark)), "the laboratory has namespaces");
    demo.stop_by(Signal::HUP, PATIENCE).unwrap().success().unwrap();
    let left: Vec<_> = namespaces().into_iter().filter(|name| name.contains(&mark)).collect();
    assert!(left.is_empty(), "left behind: {left:?}");
}

fn namespaces() -> Vec<String> {
    let entries = std::fs::read_dir("/run/netns").into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn detaching_what_is_not_there_is_done_at_once() {
    let directory = format!("/sys/fs/bpf/fathom-test-{}", std::process::id());
    let detach = ["flows", "detach", "--bpf-pin-dir", &directory];
    fathom(&detach).succeed(PATIENCE).unwrap();
    let status = ["flows", "status", "-o", "json", "--bpf-pin-dir", &directory];
    let status: Value = fathom(&status).succeed(PATIENCE).unwrap().json().unwrap();
    assert!(status.is_object(), "{status}");
    assert!(!Path::new(&directory).exists(), "looking makes nothing");
}

#[test]
#[ignore = "root: becomes another user"]
fn pins_that_may_not_be_read_exit_with_77_and_say_who_may() {
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", PROGRAM];
    let folder = tempfile::tempdir().unwrap();
    let pins = folder.path().join("shut/flows");
    std::fs::create_dir_all(&pins).unwrap();
    let shut = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(folder.path().join("shut"), shut).unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).unwrap();
    for action in ["status", "detach"] {
        let asked = ["flows", action, "--bpf-pin-dir", pins.to_str().unwrap()];
        let ended = quiet(Command::new("setpriv").args(nobody).args(asked)).run(PATIENCE).unwrap();
        assert_eq!(ended.status.code(), Some(77), "{action}: {}", ended.stderr);
        assert!(ended.stderr.contains("run as root"), "{action}: {}", ended.stderr);
    }
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn one_shot_listens_only_when_asked_to() {
    let (lab, setup) = (lab(), Setup::new());
    let (ready, listen) = (setup.path("ready"), format!("127.0.0.1:{}", setup.port));
    let place = lab.node_a().namespace.place();
    let arguments = ["--duration", "1h", "--ready-file", &ready, "--listen", &listen];
    let mut process = inside(place, &arguments).spawn().unwrap();
    process.wait_for_file(Path::new(&ready), PATIENCE).unwrap();
    let answer = place.run(|| setup.answer("/health/live")).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    process.stop(PATIENCE).unwrap().success().unwrap();

    let mut silent = inside(place, &["--duration", "1h", "--ready-file", &ready]).spawn().unwrap();
    silent.wait_for_file(Path::new(&ready), PATIENCE).unwrap();
    let sockets =
        place.run(|| std::fs::read_to_string("/proc/thread-self/net/tcp")).unwrap().unwrap();
    assert!(!sockets.contains(" 0A "), "something listens in the node:\n{sockets}");
    silent.stop(PATIENCE).unwrap().success().unwrap();
}

#[test]
#[ignore = "root: needs network namespaces and BPF"]
fn a_demonstration_without_rights_or_tools_says_what_it_needs() {
    let dropped = ["--bounding-set=-all", "--inh-caps=-all", PROGRAM, "demo"];
    let powerless = quiet(Command::new("setpriv").args(dropped)).run(PATIENCE).unwrap();
    assert_eq!(powerless.status.code(), Some(77), "{}", powerless.stderr);
    assert!(powerless.stderr.contains("NET_ADMIN"), "{}", powerless.stderr);

    let toolless = fathom(&["demo"]).env("PATH", "/nowhere").run(PATIENCE).unwrap();
    assert_eq!(toolless.status.code(), Some(69), "{}", toolless.stderr);
    assert!(toolless.stderr.contains("install"), "{}", toolless.stderr);
}
