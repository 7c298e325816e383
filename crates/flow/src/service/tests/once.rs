//! One measurement, looked at while it runs.

use std::thread;

use axum::{Router, body::Body, http::Request};
use http_body_util::BodyExt as _;
use testkit::proc::{wait_for, wait_until};
use tower::ServiceExt as _;

use super::{shown::has_the_raw_families, *};
use crate::{
    Controls, System,
    document::{Document, InterfaceLaw},
};

fn ask(routes: &Router, target: &str) -> serde_json::Value {
    let request = Request::get(target).body(Body::empty()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let answer = routes.clone().oneshot(request).await.unwrap();
        assert!(answer.status().is_success(), "{target}: {}", answer.status());
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&body).unwrap()
    })
}

/// Ends the measurement, also when the test fails before its end.
struct Ending(Controls);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn measurement(flags: &[&str], registry: &Registry) -> System {
    let usual = ["--duration", "10m", "--collection-interval", "200ms", "--discover", "off"];
    let usual = usual.chunks(2).filter(|pair| !flags.contains(&pair[0])).flatten();
    let flags: Vec<&str> = usual.chain(flags).copied().collect();
    System::alone(config(&flags), registry).unwrap()
}

fn measured(flags: &[&str]) -> Document {
    measurement(flags, &registry()).measure().unwrap()
}

#[test]
#[ignore = "root: loads programs"]
fn a_measurement_shows_its_numbers_while_it_runs() {
    let (node, folder, registry) = (Node::build(), tempfile::tempdir().unwrap(), registry());
    let ready = folder.path().join("ready");
    let file = ready.display().to_string();
    node.inside(|| {
        let system = measurement(&["--pod-edge", "host0=pod-a", "--ready-file", &file], &registry);
        system.listening("127.0.0.1:4242".parse().unwrap());
        let (routes, controls) = (system.routes(), Ending(system.controls()));
        let document = thread::scope(|scope| {
            let running = scope.spawn(|| system.measure());
            let told = wait_for("the ready file", PATIENCE, || fs::read(&ready).ok()).unwrap();
            let told: serde_json::Value = serde_json::from_slice(&told).unwrap();
            assert_eq!((&told["listen"], &told["edges"]), (&"127.0.0.1:4242".into(), &1.into()));
            node.send(300);
            let received = || value_in(&exposed(&registry), "fathom_flows_rx_packets_total ");
            wait_until("traffic in the metrics", PATIENCE, || received() >= 300).unwrap();
            let text = exposed(&registry);
            has_the_raw_families(&text);
            assert_eq!(value_in(&text, "fathom_flows_audit_drift_packets{"), 0);
            assert_eq!(value_in(&text, "fathom_flows_hooks{"), 2);
            let flows = ask(&routes, "/api/v1/flows?fresh=1");
            assert!(flows["flows"].is_array(), "{flows}");
            assert_eq!(ask(&routes, "/api/v1/flows/edges")[0]["edge"], "pod-a");
            assert!(registry.readiness().good, "{:?}", registry.readiness());
            drop(controls);
            running.join().unwrap().unwrap()
        });
        document.law().unwrap();
        let text = exposed(&registry);
        let shown = |name: &str| value_in(&text, &format!("fathom_flows_{name}_total "));
        assert_eq!(shown("rx_packets"), document.totals.rx.packets);
        assert_eq!(shown("tx_bytes"), document.totals.tx.bytes);
        assert!(document.totals.rx.packets >= 300);
        assert!(!ready.exists(), "the file goes with the measurement");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_measurement_ends_by_itself_and_pins_nothing() {
    let (node, bpffs) = (Node::build(), crate::testing::Bpffs::mount());
    let pins = bpffs.path().join("flows");
    let flag = pins.display().to_string();
    node.inside(|| {
        let document =
            measured(&["--duration", "500ms", "--pod-edge", "host0=a", "--bpf-pin-dir", &flag]);
        assert!(document.window.duration_ns >= 500_000_000, "{}", document.window.duration_ns);
        assert!(document.window.epochs >= 3, "{}", document.window.epochs);
        assert_eq!((document.audit.interface_law, document.hooks.len()), (InterfaceLaw::Ok, 2));
        assert!(!pins.exists());
    });
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_that_a_measurement_can_not_have_is_noted() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let second = second_pod(&node);
        files.add(second.place());
        let found = ["--discover", "on", "--netns-dir", files.path(), "--duration", "200ms"];
        let document = measured(&[&found[..], &["--max-edges", "1"]].concat());
        assert_eq!(document.audit.notes, ["edges_refused"]);
        assert_eq!(document.hooks.len(), 2);
        let document = measured(&found);
        assert_eq!(document.audit.notes, Vec::<&str>::new());
        assert_eq!(document.hooks.len(), 4);
        files.remove(second.place());
    });
}

#[test]
#[ignore = "root: loads programs"]
fn hooks_that_may_miss_packets_are_noted() {
    let (node, files) = (Node::build(), Files::new());
    node.inside(|| {
        let found = ["--discover", "on", "--netns-dir", files.path(), "--duration", "200ms"];
        assert_eq!(measured(&found).audit.notes, ["host_egress"]);
        forbid_everything(&node);
        let clsact = ["--attach", "clsact", "--edge-hooks", "host"];
        let notes = measured(&[&found[..], &clsact[..]].concat()).audit.notes;
        assert!(notes.contains(&"behind_foreign_filter"), "{notes:?}");
        testkit::Device::named(node.node.place(), "host0").remove().unwrap();
        assert_eq!(measured(&found).audit.notes, ["no_edges"]);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_measurement_dumps_each_of_its_epochs() {
    let (node, folder) = (Node::build(), tempfile::tempdir().unwrap());
    let dumps = folder.path().display().to_string();
    node.inside(|| {
        let flags = ["--pod-edge", "host0=a", "--duration", "700ms", "--dump-keep", "100"];
        let flags = [&flags[..], &["--dump-bpf-maps", "true", "--dump-dir", &dumps]].concat();
        let document = measured(&flags);
        let written = fs::read_dir(folder.path()).unwrap().count() as u64;
        assert_eq!(written, document.window.epochs, "the last one as well");
    });
}
