//! Buffers of every hook equal the change of the kernel's interface counters.

use fathom_tests::document::Direction;
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Outcome, Plan};
use fathom_tests::site::{exchange, lab, pod, v4, v6};
use testkit::Segmentation;
use testkit::lab::{Fabric, Lab, Pod};
use testkit::traffic::{Iperf, Load};

const REQUESTS: Load = Load::Requests { question: 200, answer: 9000, rate: None, limit: Some(150) };

fn bulk(bytes: u64) -> Load {
    Load::Bulk { rate: None, limit: Some(bytes) }
}

fn datagrams() -> Load {
    Load::Datagrams { sizes: vec![1, 700, 1400], rate: Some(4000), limit: Some(600) }
}

/// Every kind of traffic, both ways, in both families.
fn everything(from: &Pod, to: &Pod) {
    for (from, to) in [(from, to), (to, from)] {
        for target in [v4(to.addresses), v6(to.addresses)] {
            exchange(from, to, target, &bulk(3_000_000));
            exchange(from, to, target, &REQUESTS);
            exchange(from, to, target, &datagrams());
        }
    }
}

fn host(pod: &Pod) -> Edge {
    Edge::host(pod.name, &pod.host_device)
}

fn inside(pod: &Pod) -> Edge {
    Edge::inside(pod.name, &pod.device)
}

fn check(outcome: &Outcome, segmentation: Segmentation) {
    laws::hold(outcome);
    laws::counters_are_met(outcome);
    if segmentation == Segmentation::Off {
        laws::buffers_are_frames(&outcome.document);
    }
    for hook in &outcome.document.hooks {
        assert!(hook.packets > 1000, "traffic must have passed {hook:?}");
        assert_eq!(hook.unparsed, 0, "{hook:?}");
    }
}

/// Two runs at once look at the same links, one from either side.
fn both_sides_agree(fabric: Fabric, segmentation: Segmentation) {
    let lab = lab(fabric, segmentation);
    let (a1, b1) = (pod(&lab, "a1"), pod(&lab, "b1"));
    let node = lab.node_a().namespace.place();
    let from_host = Plan::new(node, [host(a1)]).start();
    let from_inside = Plan::new(node, [inside(a1), inside(b1)]).start();
    everything(a1, b1);
    let from_host = from_host.stop();
    let from_inside = from_inside.stop();
    check(&from_host, segmentation);
    check(&from_inside, segmentation);
    for direction in [Direction::Tx, Direction::Rx] {
        let outer = from_host.document.hook("a1", direction);
        let inner = from_inside.document.hook("a1", direction);
        assert_eq!(outer.buffers(), inner.buffers(), "{direction:?}");
        assert_eq!(outer.wire(), inner.wire(), "{direction:?}");
        assert_eq!((outer.place.as_str(), inner.place.as_str()), ("host", "pod"));
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn both_sides_of_a_bridged_pod_agree_with_the_kernel() {
    both_sides_agree(Fabric::Bridge, Segmentation::On);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn both_sides_of_a_bridged_pod_agree_frame_by_frame() {
    both_sides_agree(Fabric::Bridge, Segmentation::Off);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn both_sides_of_a_routed_pod_agree_with_the_kernel() {
    both_sides_agree(Fabric::Routed, Segmentation::On);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn both_sides_of_a_routed_pod_agree_frame_by_frame() {
    both_sides_agree(Fabric::Routed, Segmentation::Off);
}

fn all_pods(lab: &Lab) -> Plan {
    let (a1, a2, b1) = (pod(lab, "a1"), pod(lab, "a2"), pod(lab, "b1"));
    Plan::new(lab.node_a().namespace.place(), [host(a1), host(a2), inside(b1)])
}

#[test]
#[ignore = "root: needs network namespaces"]
fn several_edges_at_once_are_each_exact() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2, b1) = (pod(&lab, "a1"), pod(&lab, "a2"), pod(&lab, "b1"));
    let running = all_pods(&lab).start();
    std::thread::scope(|scope| {
        scope.spawn(|| exchange(a1, a2, v4(a2.addresses), &bulk(20_000_000)));
        scope.spawn(|| exchange(a2, b1, v6(b1.addresses), &REQUESTS));
        scope.spawn(|| exchange(b1, a1, v4(a1.addresses), &datagrams()));
    });
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    assert_eq!(outcome.document.hooks.len(), 6);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn iperf_at_full_speed_is_counted_to_the_last_buffer() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let running = all_pods(&lab).start();
    let (client, server) = (a1.namespace.place(), a2.namespace.place());
    let iperf = Iperf::new(client, server, v4(a2.addresses)).streams(4).bytes(400_000_000);
    let report = iperf.clone().run().unwrap();
    iperf.reverse().run().unwrap();
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    let sent = outcome.document.hook("a1", Direction::Tx);
    assert!(sent.bytes > report.sent.bytes, "{sent:?}");
    assert!(sent.packets > sent.skbs, "buffers are larger than frames: {sent:?}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn an_idle_edge_counts_nothing() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let outcome = all_pods(&lab).start().stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    for hook in &outcome.document.hooks {
        assert_eq!(hook.packets, 0, "{hook:?}");
    }
    assert!(outcome.document.flows.is_empty());
    assert!(outcome.document.folded.is_empty());
}
