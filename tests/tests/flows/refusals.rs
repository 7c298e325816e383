//! Bad input: the exit code, the cause and the remedy.

use fathom_tests::binary::{self, SOON};
use fathom_tests::crafted::send;
use fathom_tests::document::{Direction, Document};
use fathom_tests::site::Wire;
use testkit::proc::{Command, Finished};
use testkit::{FakeRoot, Place};

const USAGE: i32 = 64;
const UNAVAILABLE: i32 = 69;
const FORBIDDEN: i32 = 77;

/// The exit code and every one of `words` in what it says; nothing on standard output.
fn assert_refused(finished: &Finished, code: i32, words: &[&str]) {
    let said = &finished.stderr;
    assert_eq!(finished.status.code(), Some(code), "{}: {said}", finished.command);
    for word in words {
        assert!(said.contains(word), "`{word}` is missing: {}: {said}", finished.command);
    }
    assert!(!said.contains("panicked"), "{said}");
    assert_eq!(finished.text(), "", "{}", finished.command);
}

fn oneshot<'a>(flags: impl IntoIterator<Item = &'a str>) -> Finished {
    binary::run(["flows", "--duration", "300ms"].into_iter().chain(flags))
}

fn oneshot_in<'a>(place: &Place, flags: impl IntoIterator<Item = &'a str>) -> Finished {
    binary::run_in(place, ["flows", "--duration", "300ms"].into_iter().chain(flags))
}

#[test]
fn a_bare_number_is_no_duration() {
    for (flag, given, corrected) in [
        ("--duration", "10", "10s"),
        ("--collection-interval", "25", "25s"),
        ("--series-idle", "900", "900s"),
    ] {
        let refused = binary::run(["flows", flag, given, "--pod-edge", "nosuch"]);
        assert_refused(&refused, USAGE, &[flag, corrected]);
    }
}

#[test]
fn values_out_of_range_are_usage() {
    for (flag, value) in [
        ("--duration", "199ms"),
        ("--duration", "0s"),
        ("--duration", "-1s"),
        ("--duration", "soon"),
        ("--collection-interval", "199ms"),
        ("--collection-interval", "11m"),
        ("--resync-interval", "4s"),
        ("--resync-interval", "2h"),
        ("--flow-capacity", "1023"),
        ("--flow-capacity", "4194305"),
        ("--flow-capacity6", "0"),
        ("--edge-flow-quota", "0"),
        ("--edge-flow-quota", "101"),
        ("--max-edges", "0"),
        ("--max-edges", "32769"),
        ("--shards", "3"),
        ("--shards", "16"),
        ("--early-drain-percent", "9"),
        ("--early-drain-percent", "96"),
        ("--takeover-wait", "11m"),
        ("--shutdown-deadline", "0s"),
        ("--pair-series-max", "15"),
        ("--pair-series-max", "262145"),
        ("--pod-series-max", "0"),
        ("--series-idle", "59s"),
        ("--connection-idle", "2h"),
        ("--metrics-port", "65536"),
        ("--metrics-port", "-1"),
    ] {
        let given = format!("{flag}={value}");
        let refused = oneshot([given.as_str(), "--pod-edge", "nosuch"]);
        assert_refused(&refused, USAGE, &[flag]);
    }
}

#[test]
fn words_that_are_none_of_the_choices_are_usage() {
    for (flag, value) in [
        ("--attach", "kprobe"),
        ("--flow-key", "3tuple"),
        ("--discover", "perhaps"),
        ("--edge-hooks", "both"),
        ("--host-traffic", "all"),
        ("--on-exit", "stay"),
        ("--conntrack", "on"),
        ("--decap", "all"),
        ("--kube", "maybe"),
        ("--output", "xml"),
        ("--log-level", "loud"),
        ("--log-format", "xml"),
        ("--otlp-protocol", "http/json"),
        ("--signals", "rtt,weather"),
        ("--connection-tracking", "perhaps"),
        ("--listen", "everywhere"),
        ("--ignore-peer", "10.0.0.0/33"),
        ("--ignore-peer", "here"),
        ("--peer-cidr", "10.0.0.0/8"),
        ("--peer-cidr", "office=10.0.0.0/64"),
    ] {
        let given = format!("{flag}={value}");
        let refused = oneshot([given.as_str(), "--pod-edge", "nosuch"]);
        assert_refused(&refused, USAGE, &[flag]);
    }
}

#[test]
fn flags_and_commands_that_do_not_exist_are_usage() {
    for args in [
        vec!["flows", "--no-such-flag"],
        vec!["flows", "--duration"],
        vec!["flows", "surplus"],
        vec!["no-such-command"],
        vec!["flows", "--duration", "1s", "--duration", "2s"],
    ] {
        let refused = binary::run(args);
        assert_refused(&refused, USAGE, &[]);
        assert!(!refused.stderr.is_empty());
    }
}

#[test]
fn variables_are_judged_like_flags() {
    for (name, value) in [
        ("EBPF_COLLECTION_INTERVAL", "25"),
        ("EBPF_METRICS_PORT", "http"),
        ("EBPF_CONNECTION_TRACKING", "perhaps"),
        ("FATHOM_FLOWS_SHARDS", "5"),
        ("FATHOM_FLOWS_FLOW_CAPACITY", "1"),
    ] {
        let command = binary::command().env(name, value);
        let args = ["flows", "--duration", "300ms", "--pod-edge", "nosuch"];
        let refused = command.args(args).run(SOON).unwrap();
        assert_refused(&refused, USAGE, &[]);
        let flag = name.trim_start_matches("EBPF_").trim_start_matches("FATHOM_FLOWS_");
        let flag = flag.to_lowercase().replace('_', "-");
        let said = &refused.stderr;
        assert!(said.contains(name) || said.contains(&flag), "{name}: {said}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_flag_wins_over_its_variable() {
    let wire = Wire::build();
    let args = ["flows", "--duration", "200ms", "--pod-edge", "vpod", "--attach", "tcx"];
    let command = binary::command_in(&wire.node)
        .env("FATHOM_FLOWS_ATTACH", "clsact")
        .env("FATHOM_FLOWS_OUTPUT", "json");
    let document: Document = command.args(args).run(SOON).unwrap().json().unwrap();
    assert_eq!(document.host.attach, "tcx");
}

#[test]
fn help_and_version_are_answers() {
    for args in [vec!["--help"], vec!["flows", "--help"], vec!["--version"]] {
        let answer = binary::run(&args);
        assert_eq!(answer.status.code(), Some(0), "{args:?}: {}", answer.stderr);
        assert!(!answer.text().is_empty(), "{args:?}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn an_interface_that_is_not_there_is_unavailable() {
    let wire = Wire::build();
    let refused = oneshot_in(&wire.node, ["--pod-edge", "vpad=x"]);
    assert_refused(&refused, UNAVAILABLE, &["vpad"]);
    let inside = format!("{}:eth7", wire.pod.name());
    let refused = oneshot(["--netns", &inside]);
    assert_refused(&refused, UNAVAILABLE, &["eth7", wire.pod.name()]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_namespace_that_is_not_there_is_unavailable() {
    let refused = oneshot(["--netns", "no-such-namespace"]);
    assert_refused(&refused, UNAVAILABLE, &["/run/netns/no-such-namespace"]);
    let refused = oneshot(["--netns", "/proc/0/ns/net"]);
    assert_refused(&refused, UNAVAILABLE, &["/proc/0/ns/net"]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_file_that_is_no_namespace_is_unavailable() {
    let root = FakeRoot::new().unwrap().file("pod", "x").unwrap();
    let root = root.directory("directory").unwrap();
    for name in ["pod", "directory"] {
        let path = root.path().join(name).display().to_string();
        let refused = oneshot(["--netns", &path]);
        assert_refused(&refused, UNAVAILABLE, &[&path]);
    }
    // A namespace of another kind is none either.
    let refused = oneshot(["--netns", "/proc/self/ns/mnt"]);
    assert_refused(&refused, UNAVAILABLE, &["/proc/self/ns/mnt"]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn one_edge_named_twice_is_usage_and_both_names_are_told() {
    let wire = Wire::build();
    let refused = oneshot_in(&wire.node, ["--pod-edge", "vpod=red", "--pod-edge", "vpod=blue"]);
    assert_refused(&refused, USAGE, &["red", "blue"]);
    let path = wire.pod.path().display().to_string();
    let (by_path, by_name) = (format!("{path}=red"), format!("{}:eth0=blue", wire.pod.name()));
    let refused = oneshot(["--netns", &by_path, "--netns", &by_name]);
    assert_refused(&refused, USAGE, &["red", "blue"]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn both_ends_of_one_link_are_one_edge() {
    let wire = Wire::build();
    let inside = format!("{}=inner", wire.pod.name());
    let refused = oneshot_in(&wire.node, ["--pod-edge", "vpod=outer", "--netns", &inside]);
    assert_refused(&refused, USAGE, &["outer", "inner"]);
    let other = Wire::build();
    let inside = format!("{}=inner", other.pod.name());
    let accepted = oneshot_in(&wire.node, ["--pod-edge", "vpod=outer", "--netns", &inside]);
    assert_eq!(accepted.status.code(), Some(0), "{}", accepted.stderr);
}

/// Rows are told apart by the edge's name: a second edge of it is refused or made one with it.
#[test]
#[ignore = "root: needs network namespaces"]
fn a_name_never_stands_for_two_rows_of_one_key() {
    let (one, two) = (Wire::build(), Wire::build());
    let [first, second] = [&one, &two].map(|wire| format!("{}=same", wire.pod.name()));
    let args = ["flows", "--duration", "4s", "-o", "json", "--netns", &first, "--netns", &second];
    let running = binary::command().args(args).spawn().unwrap();
    for wire in [&one, &two] {
        send(&wire.inside, ["[E/V4(1)/UDP(sport=1, dport=2)] * 3"]);
    }
    let finished = running.finish(SOON).unwrap();
    if finished.status.code() == Some(USAGE) {
        assert_refused(&finished, USAGE, &["same"]);
        return;
    }
    let document: Document = finished.json().unwrap();
    let rows = document.rows("same", Direction::Tx).count();
    let hooks = document.hooks.iter().filter(|hook| hook.direction == Direction::Tx);
    assert_eq!((rows, hooks.count()), (1, 1), "{document:#?}");
}

/// Root without the capabilities `without`, as a container would have it.
fn confined<'a>(
    place: &Place,
    without: &str,
    flags: impl IntoIterator<Item = &'a str>,
) -> Finished {
    let mut command: Command = place.command("setpriv");
    command = command.args(["--inh-caps=-all", &format!("--bounding-set={without}")]);
    command = command.arg(binary::path()).args(["flows", "--duration", "300ms"]);
    command.args(flags).run(SOON).unwrap()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_missing_capability_is_named() {
    let wire = Wire::build();
    let refused = confined(&wire.node, "-all", ["--pod-edge", "vpod"]);
    assert_refused(&refused, FORBIDDEN, &["CAP_"]);
    let refused = confined(&wire.node, "-net_admin,-sys_admin", ["--pod-edge", "vpod"]);
    assert_refused(&refused, FORBIDDEN, &["NET_ADMIN"]);
    let refused = confined(&wire.node, "-bpf,-sys_admin", ["--pod-edge", "vpod"]);
    assert_refused(&refused, FORBIDDEN, &["BPF"]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_namespace_that_may_not_be_entered_is_named_with_its_path() {
    let wire = Wire::build();
    let path = wire.pod.path().display().to_string();
    let refused = confined(&wire.node, "-sys_admin", ["--netns", &path]);
    assert_refused(&refused, FORBIDDEN, &[&path, "SYS_ADMIN"]);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn three_capabilities_are_enough_for_a_host_side_edge() {
    let wire = Wire::build();
    let kept = "-all,+bpf,+net_admin,+perfmon";
    let finished = confined(&wire.node, kept, ["--pod-edge", "vpod"]);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
}
