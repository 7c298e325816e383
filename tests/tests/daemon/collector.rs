//! What is pushed to a real OpenTelemetry Collector is what `/metrics` shows.

use std::collections::BTreeMap;

use fathom_tests::collector::{Collector, Push, samples};
use fathom_tests::daemon::{Daemon, Pins, Setup};
use fathom_tests::exposition::Exposition;
use fathom_tests::site::{exchange, pod, v4, v6};
use testkit::lab::Lab;
use testkit::proc::wait_until;
use testkit::traffic::Load;

use super::{Account, SOON, assert_audited, edges, exact_lab, told};

#[test]
#[ignore = "root: needs network namespaces"]
fn a_collector_gets_by_http_what_metrics_shows() {
    pushed("http/protobuf", "http://127.0.0.1:4318/v1/metrics");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_collector_gets_by_grpc_what_metrics_shows() {
    pushed("grpc", "http://127.0.0.1:4317");
}

fn pushed(protocol: &str, endpoint: &str) {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let account = Account::open(&edges);
    let node = lab.node_a().namespace.place();
    let collector = Collector::start(node);
    // Only what is asked for is committed, so a push and two scrapes are of one commit.
    let daemon = Setup::new(node, &edges, &pins)
        .flags(["--collection-interval", "10m", "--otlp-interval", "500ms"])
        .flags(["--otlp-endpoint", endpoint, "--otlp-protocol", protocol])
        .variable("NODE_NAME", "node-7")
        .variable("DAEMONSET_POD_UID", "0b5c")
        .variable("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        .start();
    traffic(&lab);
    collector.next_push();
    commit(&daemon, &account);

    let before = daemon.scrape();
    let push = collector.next_push();
    let after = daemon.scrape();
    assert_audited(&after);
    assert_same(&before, &push, &after);
    assert_described(&push, &after);
    assert_started(&push, &daemon);
    let expected = [
        ("deployment.environment", "test"),
        ("k8s.node.name", "node-7"),
        ("k8s.pod.uid", "0b5c"),
        ("service.name", "fathom"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(push.resource, BTreeMap::from(expected));
}

fn traffic(lab: &Lab) {
    let (a1, a2) = (pod(lab, "a1"), pod(lab, "a2"));
    let load = Load::Requests { question: 300, answer: 9000, rate: None, limit: Some(30) };
    for target in [v4(a2.addresses), v6(a2.addresses)] {
        exchange(a1, a2, target, &load);
    }
}

/// Drains until the counters are those of the interfaces.
fn commit(daemon: &Daemon, account: &Account<'_>) {
    wait_until("commit of all traffic", SOON, || {
        assert_eq!(daemon.get("/api/v1/flows?fresh=1&limit=1").status, 200);
        told(&daemon.scrape()) == account.now()
    })
    .unwrap();
}

/// What belongs to the commit is equal; what tells of the process itself moved on meanwhile, and
/// is there on both sides.
fn assert_same(before: &Exposition, push: &Push, after: &Exposition) {
    let [before, pushed, after] = [samples(before), push.samples(&after.types), samples(after)];
    let missing: Vec<_> = before.keys().filter(|key| !pushed.contains_key(*key)).collect();
    assert!(missing.is_empty(), "on the page and not pushed: {missing:#?}");
    let mut compared = 0;
    for (key, value) in &pushed {
        let shown = after.get(key).unwrap_or_else(|| panic!("{key} was pushed and is not shown"));
        if !OF_THE_PROCESS.iter().any(|prefix| key.starts_with(prefix)) {
            // The reader of JSON may miss the nearest fraction by one, never a whole number.
            let apart = (value - shown).abs();
            assert!(apart <= f64::EPSILON * shown.abs(), "{key}: {value} instead of {shown}");
            compared += 1;
        }
    }
    assert!(compared > 100, "{compared} samples of one commit");
}

/// Kinds and units are those of the page.
fn assert_described(push: &Push, page: &Exposition) {
    for (name, metric) in &push.metrics {
        let total = format!("{name}_total");
        let kind = page.types.get(&total).or_else(|| page.types.get(name)).unwrap();
        let expected = match kind.as_str() {
            "counter" => ("sum", true, true),
            "histogram" => ("histogram", true, false),
            _ => ("gauge", false, false),
        };
        assert_eq!((metric.kind, metric.cumulative, metric.monotonic), expected, "{name}");
        assert!(!name.ends_with("_total"), "{name}");
        let unit = match name.rsplit('_').next() {
            Some("bytes") => "By",
            Some("packets") => "{packet}",
            Some("seconds") => "s",
            Some("percent") => "%",
            _ => continue,
        };
        assert_eq!(metric.unit, unit, "{name}");
    }
}

/// Whatever counts has begun: when its page says so, and before it was told.
fn assert_started(push: &Push, daemon: &Daemon) {
    let page = daemon.get_as("/metrics", "application/openmetrics-text; version=1.0.0");
    let created = samples(&Exposition::parse(&page.body));
    let mut compared = 0;
    for (name, metric) in &push.metrics {
        for point in &metric.points {
            assert_eq!(point.start > 0, metric.cumulative, "{name} {:?}", point.labels);
            assert!(point.start <= point.time, "{name} {:?}", point.labels);
            let key = fathom_tests::exposition::key(&format!("{name}_created"), &point.labels);
            if let Some(seconds) = created.get(&key) {
                let start = point.start as f64 / 1e9;
                assert!((start - seconds).abs() < 1e-6, "{key}: {start} instead of {seconds}");
                compared += 1;
            }
        }
    }
    assert!(compared > 20, "{compared} starts");
}

const OF_THE_PROCESS: [&str; 3] = ["fathom_http_", "fathom_otlp_", "process_"];
