use std::time::Duration;

use serde_json::{Value, json};

use super::tree::{Mapping, defaults};
use super::{Offsets, Stamp, print};
use crate::sync::{Choice, Settings};

fn mapping(value: Value) -> Mapping {
    match value {
        Value::Object(mapping) => mapping,
        other => panic!("{other} is no mapping"),
    }
}

fn read(value: Value) -> Stamp {
    let told = |problems: Vec<_>| problems.iter().map(|problem| format!("{problem}\n")).collect();
    Stamp::read(&mapping(value)).map_err(told).unwrap_or_else(|told: String| panic!("{told}"))
}

fn problems(value: Value) -> Vec<String> {
    let problems = Stamp::read(&mapping(value)).unwrap_err();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn an_empty_section_is_a_reflector_with_the_defaults_of_its_command() {
    let stamp = read(json!({}));
    assert!(stamp.enabled && stamp.host.pinning.pin && stamp.senders.is_empty());
    assert_eq!(
        (stamp.host.pinning.lease, stamp.host.time),
        (Duration::from_secs(60), Settings::default())
    );
    assert_eq!(stamp.host.offset, Offsets::default());
    assert_eq!(stamp.host.buckets.len(), 20);
    let [reflector] = stamp.reflectors.as_slice() else { panic!("{:?}", stamp.reflectors) };
    assert_eq!((reflector.device.as_str(), reflector.port.as_slice()), ("auto", &[862_u16][..]));
    assert_eq!((reflector.rate, reflector.burst, reflector.global_rate), (1_000, 2_000, 50_000));
    assert_eq!(reflector.session_timeout, Duration::from_secs(900));
    assert!(!reflector.open && reflector.common.key_file.is_empty());
}

#[test]
fn every_key_that_a_flag_means_reaches_it() {
    let stamp = read(json!({
        "clock": {"enforce": "sync", "max_error": "5ms", "chrony": "off", "ptp": "/run/p"},
        "reflector": {
            "interfaces": ["eth0", "eth1"], "ports": [862, 8620], "mode": "stateful",
            "allow": ["192.0.2.0/24"], "deny": ["10.1.0.0/16"], "open": true,
            "twamp_light": ["10.2.0.0/16"], "reflector_ports": [1, 2], "rate": 5, "burst": 6,
            "global_rate": 7, "max_sessions": 8, "session_timeout": "9s", "min_ttl": 250,
        },
        "defaults": {
            "interval": 0.5, "timeout": "2s", "dest": 8620, "src": 9, "schedule": "poisson",
            "ssid": 7, "on_zero_ssid": "stop", "reflector_mode": "stateful", "ttl": 64,
            "min_ttl": 3, "dscp": 46, "ecn": 2, "size": 200, "tlv": ["location", "padding=8"],
            "timestamp_format": "ptp", "peer_timescale": "tai", "device": "eth2",
        },
        "targets": [{"name": "a", "address": "10.0.0.2"}],
    }));
    assert_eq!(
        (&stamp.host.time.chrony, &stamp.host.time.ptp),
        (&Choice::Off, &Choice::At("/run/p".into()))
    );
    let devices: Vec<_> =
        stamp.reflectors.iter().map(|settings| settings.device.as_str()).collect();
    assert_eq!(devices, ["eth0", "eth1"]);
    let told = format!("{:?}", stamp.reflectors[0]);
    for part in [
        "port: [862, 8620]",
        "mode: Stateful",
        "192.0.2.0",
        "10.1.0.0",
        "open: true",
        "10.2.0.0",
        "reflector_ports: [1, 2]",
        "rate: 5",
        "burst: 6",
        "global_rate: 7",
        "max_sessions: 8",
        "session_timeout: 9s",
        "min_ttl: 250",
        "enforce_sync: true",
        "max_error: Some(5ms)",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    let told = format!("{:?}", stamp.senders[0]);
    for part in [
        "interval: 500ms",
        "timeout: 2s",
        "dest: 8620",
        "src: 9",
        "schedule: Poisson",
        "ssid: Some(7)",
        "on_zero_ssid: Stop",
        "reflector_mode: Stateful",
        "ttl: 64",
        "min_ttl: 3",
        "dscp: 46",
        "ecn: 2",
        "size: Some(200)",
        "kind: Location",
        "kind: ExtraPadding",
        "timestamp_format: Ptp",
        "peer_timescale: Tai",
        "device: \"eth2\"",
        "enforce_sync: true",
    ] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
}

#[test]
fn targets_with_equal_settings_share_a_sender_and_keep_their_names() {
    let stamp = read(json!({
        "reflector": {"enabled": false},
        "targets": [
            {"name": "one", "address": "10.0.0.1", "node": "n1"},
            {"name": "slow", "address": "10.0.0.2", "interval": "5s"},
            {"address": "10.0.0.3"},
            {"name": "another way", "address": "10.0.0.1"},
            {"address": "10.0.0.4", "dest": 8620},
        ],
    }));
    assert!(stamp.reflectors.is_empty());
    let sizes: Vec<_> = stamp.senders.iter().map(|sender| sender.targets.len()).collect();
    assert_eq!(sizes, [2, 1, 1, 1], "equal settings, but one address once in a sender");
    let named: Vec<_> = stamp
        .host
        .named
        .iter()
        .map(|peer| (peer.name.as_str(), peer.sender, peer.target))
        .collect();
    assert_eq!(
        named,
        [
            ("one", 0, 0),
            ("10.0.0.3", 0, 1),
            ("slow", 1, 0),
            ("another way", 2, 0),
            ("10.0.0.4:8620", 3, 0),
        ]
    );
    assert_eq!(stamp.host.named[0].node.as_deref(), Some("n1"));
    assert_eq!(stamp.senders[0].src, 0, "an agent lets the kernel choose the port");
}

#[test]
fn keys_are_files_by_number() {
    let keys = json!([
        {"id": 1, "file": "/k/one", "previous_file": "/k/old"},
        {"id": 2, "file": "/k/two", "ssid": [7, 8]},
    ]);
    let stamp = read(json!({
        "keys": keys,
        "reflector": {"key": 1},
        "defaults": {"key": 1},
        "targets": [{"address": "10.0.0.1"}, {"address": "10.0.0.2", "key": 2}],
    }));
    let files = |files: &[crate::keys::KeyFile]| -> Vec<_> {
        files.iter().map(|file| (file.ssid, file.path.display().to_string())).collect()
    };
    let reflector = &stamp.reflectors[0].common;
    let all = [
        (None, "/k/one".to_owned()),
        (Some(7), "/k/two".to_owned()),
        (Some(8), "/k/two".to_owned()),
    ];
    assert_eq!(files(&reflector.key_file), all);
    assert_eq!(files(&reflector.prev_key_file), [(None, "/k/old".to_owned())]);
    let [one, two] = stamp.senders.as_slice() else { panic!("{:?}", stamp.senders) };
    assert_eq!(files(&one.common.key_file), [(None, "/k/one".to_owned())]);
    assert_eq!(files(&two.common.key_file), [(None, "/k/two".to_owned())]);
    assert!(two.common.prev_key_file.is_empty());
}

#[test]
fn each_target_has_a_histogram_file_of_its_own() {
    let stamp = read(json!({
        "defaults": {"histogram": {"floor": 0.5, "ceiling": 9, "path": "/h"}},
        "targets": [
            {"address": "10.0.0.1"}, {"address": "10.0.0.2"},
            {"name": "slow", "address": "10.0.0.3", "interval": "5s"},
        ],
    }));
    let paths: Vec<_> =
        stamp.senders.iter().map(|sender| sender.common.histpath.clone().unwrap()).collect();
    assert_eq!(paths, ["/h".to_owned(), "/h.slow".to_owned()].map(std::path::PathBuf::from));
    assert_eq!(stamp.senders[0].common.histogram(), Some((28, 0.5e6, 9e6)));
}

#[test]
fn every_problem_is_told_with_its_path_in_one_pass() {
    let told = problems(json!({
        "colour": 1,
        "lease": "soon",
        "pin": "yes",
        "clock": {"enforce": "gps", "max_skew": 3},
        "histogram_buckets": [1, 1],
        "keys": [{"id": 1, "file": "/k", "ssid": [0]}, {"id": 1, "file": "/l"}, {"id": 2}],
        "reflector": {"ports": [0], "allow": "10.0.0.0/8", "mode": "sateful", "open": 1, "key": 9,
            "rate": null, "interfaces": [], "control": 3},
        "defaults": {"ttl": 0, "tlv": ["location", "colour"], "src": [1], "colour": 1},
        "targets": [
            3, {}, {"address": "10.0.0.256"}, {"address": "10.0.0.1", "name": "local"},
            {"address": "10.0.0.1", "interval": "1us"}, {"address": "10.0.0.2", "colour": 1},
            {"address": "10.0.0.3", "histogram": {"bins": 2}},
        ],
        "mesh": {"enabled": true, "strategy": "ring"},
    }));
    for part in [
        "colour: unknown key",
        "lease: \"soon\" is no time",
        "pin: must be true or false",
        "clock.enforce: \"gps\" must be one of none, sync, ptp",
        "clock.max_skew: 3 must be a number from 0 to 0.1",
        "histogram_buckets: must be 1 to 64 numbers",
        "keys[0].ssid[0]: 0 must be a number from 1 to 65535",
        "keys[1].id: 1 stands there twice",
        "keys[2].file: has no value",
        "reflector.ports[0]: \"0\"",
        "reflector.allow: must be a list, such as [\"10.0.0.0/8\"]",
        "reflector.mode: \"sateful\" must be one of auto, stateful, stateless",
        "reflector.open: must be true or false",
        "reflector.key: no key has the number 9",
        "reflector.rate: has no value",
        "reflector.interfaces: has no value",
        "reflector.control: must be a mapping",
        "defaults.ttl: \"0\"",
        "defaults.tlv[1]: \"colour\" is no extension",
        "defaults.src: takes a text or a number",
        "defaults.colour: unknown key",
        "targets[0]: must be a mapping",
        "targets[1].address: has no value",
        "targets[2].address: \"10.0.0.256\" is no target",
        "targets[3].name: must be 1 to 253",
        "targets[4].interval: must be at least 100us",
        "targets[5].colour: unknown key",
        "targets[6].histogram: ",
        "mesh.enabled: needs the node index",
        "mesh.strategy: \"ring\" must be one of full",
    ] {
        assert!(told.iter().any(|line| line.starts_with(part)), "{part:?} is not in {told:#?}");
    }
}

#[test]
fn a_section_whose_parts_do_not_fit_is_refused() {
    for (value, part) in [
        (json!({"reflector": {"enabled": false}}), "enabled: there is nothing to do"),
        (
            json!({"targets": [{"name": "a", "address": "10.0.0.1"}, {"name": "a", "address": "10.0.0.2"}]}),
            "targets[1].name: a stands there twice",
        ),
        (
            json!({"defaults": {"src": 862}, "targets": [{"name": "a", "address": "10.0.0.1"}, {"name": "b", "address": "10.0.0.1"}]}),
            "targets[1]: is a once more",
        ),
        (
            json!({"max_rate": 9, "defaults": {"interval": "0.1"}, "targets": [{"address": "10.0.0.1"}]}),
            "max_rate: all targets together are sent 10 packets a second, more than 9",
        ),
        (
            json!({"max_targets": 1, "targets": [{"address": "10.0.0.1"}, {"address": "10.0.0.2"}]}),
            "targets: 2 are too many, at most 1",
        ),
        (json!({"defaults": {"timeout": 0}}), "defaults.timeout: must be longer than 0"),
        (json!({"reflector": {"ports": (1..18).collect::<Vec<_>>()}}), "reflector.ports: 17 are"),
        (json!({"defaults": {"interval": "100us", "timeout": "1h"}}), "defaults: leaves more"),
        (json!({"reflector": {"xdp": 7}}), "reflector.xdp: "),
    ] {
        let told = problems(value);
        assert!(told.iter().any(|line| line.starts_with(part)), "{part:?} is not in {told:#?}");
    }
}

#[test]
fn a_section_that_is_not_enabled_is_checked_all_the_same() {
    assert!(!read(json!({"enabled": false, "reflector": {"enabled": false}})).enabled);
    let told = problems(json!({"enabled": false, "reflector": {"rate": "fast"}}));
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[test]
fn sections_are_equal_when_they_say_the_same() {
    let short = read(json!({}));
    assert_eq!(short, read(json!({"lease": "60s", "reflector": {"ports": [862]}})));
    assert_ne!(short, read(json!({"reflector": {"ports": [863]}})));
}

#[test]
fn no_value_can_break_out_of_the_printed_text() {
    let nasty =
        mapping(json!({"mesh": {"selector": "a\nb: [c # d"}, "targets": [{"address": "x"}]}));
    let text = print(Some(&nasty), "file /x");
    assert!(text.contains("    selector: \"a\\nb: [c # d\" # file /x\n"), "{text}");
    assert!(text.contains("  targets: [{\"address\":\"x\"}] # file /x\n"), "{text}");
    assert!(text.contains("  lease: 60s # default\n"), "{text}");
    assert!(text.lines().all(|line| line.starts_with("  ")), "{text}");
}

#[test]
fn every_key_has_a_default_and_a_comment() {
    let text = print(None, "");
    let lines: Vec<_> = text.lines().map(str::trim_start).collect();
    for (n, line) in lines.iter().enumerate().filter(|(_, line)| line.ends_with("# default")) {
        assert!(lines[n - 1].starts_with("# "), "{line} has no comment");
    }
    assert_eq!(defaults()["reflector"]["control"]["max_rate"], 0);
    assert_eq!(defaults()["clock"]["max_skew"], 15e-6);
}
