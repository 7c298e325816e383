//! The document's form: every field, absent rather than null, times to the nanosecond.

use fathom_tests::laws;
use fathom_tests::measure::{Edge, Outcome, Plan};
use fathom_tests::site::{exchange, lab, pod, v4, v6};
use serde_json::Value;
use testkit::Segmentation;
use testkit::lab::Fabric;
use testkit::traffic::Load;

fn measured() -> (testkit::Lab, Outcome) {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let edges = [Edge::host("a1", &a1.host_device), Edge::inside("a2", &a2.device)];
    let running = Plan::new(lab.node_a().namespace.place(), edges).start();
    let load = Load::Requests { question: 10, answer: 10, rate: None, limit: Some(20) };
    for target in [v4(a2.addresses), v6(a2.addresses)] {
        exchange(a1, a2, target, &load);
    }
    let outcome = running.stop();
    laws::hold(&outcome);
    (lab, outcome)
}

fn has(object: &Value, keys: &[&str]) {
    for key in keys {
        assert!(object.get(key).is_some(), "`{key}` is missing in {object:#}");
    }
}

fn no_null(value: &Value, path: &str) {
    match value {
        Value::Null => panic!("{path} is null; what is not known is absent"),
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                no_null(item, &format!("{path}[{at}]"));
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                no_null(field, &format!("{path}.{name}"));
            }
        }
        _ => {}
    }
}

/// `2026-01-31T12:00:00.123456789Z`
fn is_stamp(text: &str) -> bool {
    const FORM: &str = "dddd-dd-ddTdd:dd:dd.dddddddddZ";
    text.len() == FORM.len()
        && text.bytes().zip(FORM.bytes()).all(|(have, want)| match want {
            b'd' => have.is_ascii_digit(),
            _ => have == want,
        })
}

#[test]
#[ignore = "root: needs network namespaces"]
fn every_field_is_there_and_none_is_null() {
    let (lab, outcome) = measured();
    let raw = &outcome.raw;
    no_null(raw, "document");
    has(raw, &["schema", "host", "window", "hooks", "flows", "folded", "totals", "audit"]);
    has(&raw["host"], &["node", "kernel", "attach", "cpus"]);
    has(&raw["window"], &["ready_at", "stopped_at", "duration_ns", "epochs", "tick_ns"]);
    has(
        &raw["audit"],
        &[
            "flow_law_packets",
            "flow_law_bytes",
            "interface_law",
            "early_drains",
            "lost_events",
            "notes",
        ],
    );
    for sum in ["tx", "rx"] {
        has(&raw["totals"][sum], &["packets", "bytes", "skbs", "skb_bytes"]);
    }
    for hook in raw["hooks"].as_array().unwrap() {
        has(
            hook,
            &[
                "edge",
                "direction",
                "interface",
                "ifindex",
                "netns_inode",
                "hook",
                "place",
                "packets",
                "bytes",
                "skbs",
                "skb_bytes",
                "unparsed",
                "counter",
                "drift_packets",
                "drift_bytes",
            ],
        );
        has(&hook["counter"], &["name", "packets_min", "packets_max", "bytes_min", "bytes_max"]);
    }
    for flow in raw["flows"].as_array().unwrap() {
        has(
            flow,
            &[
                "edge",
                "direction",
                "family",
                "src",
                "dst",
                "protocol",
                "packets",
                "bytes",
                "first_seen",
                "last_seen",
                "local",
            ],
        );
        assert_eq!(flow["protocol"] == "tcp", flow.get("tcp").is_some(), "{flow:#}");
    }
    drop(lab);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn hooks_say_where_they_are() {
    let (lab, outcome) = measured();
    let document = &outcome.document;
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let seen: Vec<_> = document
        .hooks
        .iter()
        .map(|h| (h.edge.as_str(), h.interface.as_str(), h.hook.as_str(), h.counter.name.as_str()))
        .collect();
    for expected in [
        ("a1", "veth-a1", "ingress", "rx"),
        ("a1", "veth-a1", "egress", "tx"),
        ("a2", "eth0", "egress", "tx"),
        ("a2", "eth0", "ingress", "rx"),
    ] {
        assert!(seen.contains(&expected), "{expected:?} in {seen:?}");
    }
    for hook in &document.hooks {
        let (device, namespace) = match hook.edge.as_str() {
            "a1" => (&a1.host_device, lab.node_a().namespace.place()),
            _ => (&a2.device, a2.namespace.place()),
        };
        assert_eq!(hook.ifindex, device.index().unwrap(), "{hook:?}");
        assert_eq!(hook.netns_inode, namespace.inode().unwrap(), "{hook:?}");
        let counter = &hook.counter;
        assert!(counter.packets_min <= hook.skbs && hook.skbs <= counter.packets_max);
        assert!(counter.bytes_min <= hook.skb_bytes && hook.skb_bytes <= counter.bytes_max);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn times_are_to_the_nanosecond_and_inside_the_window() {
    let (_lab, outcome) = measured();
    let window = &outcome.document.window;
    for stamp in [&outcome.raw["window"]["ready_at"], &outcome.raw["window"]["stopped_at"]] {
        assert!(is_stamp(stamp.as_str().unwrap()), "{stamp}");
    }
    let told = window.stopped_at.as_nanosecond() - window.ready_at.as_nanosecond();
    let error = told.abs_diff(i128::from(window.duration_ns));
    assert!(error < 50_000_000, "{error} ns between two clocks of one window");
    assert!((1_000_000..=10_000_000).contains(&window.tick_ns), "{window:?}");
    assert!(window.epochs >= 1);
    let slack = i128::from(2 * window.tick_ns) + 5_000_000;
    for flow in outcome.raw["flows"].as_array().unwrap() {
        assert!(is_stamp(flow["first_seen"].as_str().unwrap()), "{flow:#}");
        assert!(is_stamp(flow["last_seen"].as_str().unwrap()), "{flow:#}");
    }
    for flow in &outcome.document.flows {
        assert!(flow.first_seen <= flow.last_seen, "{flow:?}");
        let early = window.ready_at.as_nanosecond() - flow.first_seen.as_nanosecond();
        let late = flow.last_seen.as_nanosecond() - window.stopped_at.as_nanosecond();
        assert!(early <= slack && late <= slack, "{flow:?} in {window:?}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_host_is_described() {
    let (_lab, outcome) = measured();
    let host = &outcome.document.host;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let node = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(host.kernel, release.trim());
    assert_eq!(host.node, node.trim());
    assert!(["tcx", "clsact"].contains(&host.attach.as_str()), "{host:?}");
    assert!(host.cpus >= 1);
}
