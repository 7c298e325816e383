//! Ways a packet may take: tunnels, full queues, tracked connections, short cuts.

use std::time::Duration;

use fathom_tests::binary::SOON;
use fathom_tests::document::{Direction, Flow};
use fathom_tests::foreign::{Position, Program};
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Plan};
use fathom_tests::site::{exchange, lab, pod, settle, v4, v6};
use testkit::lab::{Fabric, Lab, Underlay};
use testkit::topology::Shaping;
use testkit::traffic::{Generator, Load, Path};
use testkit::truth::{Amount, Conntrack};
use testkit::{Namespace, Segmentation};

const REQUESTS: Load =
    Load::Requests { question: 1000, answer: 60_000, rate: None, limit: Some(30) };

#[test]
#[ignore = "root: needs network namespaces"]
fn a_tunnel_between_nodes_is_not_the_pods_traffic() {
    let plan = testkit::lab::Plan {
        fabric: Fabric::Routed,
        underlay: Underlay::Vxlan,
        segmentation: Segmentation::Off,
    };
    let lab = Lab::build(&plan).unwrap();
    let (a1, b1) = (pod(&lab, "a1"), pod(&lab, "b1"));
    for pod in [a1, b1] {
        settle(&pod.device);
    }
    let edges = [Edge::host("a1", &a1.host_device), Edge::inside("b1", &b1.device)];
    let running = Plan::new(lab.node_a().namespace.place(), edges).start();
    for target in [v4(b1.addresses), v6(b1.addresses)] {
        exchange(a1, b1, target, &REQUESTS);
    }
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    laws::buffers_are_frames(&outcome.document);
    let tcp = |edge: &str, direction: Direction| -> Amount {
        let rows = outcome.document.rows(edge, direction);
        rows.filter(|row| row.protocol.number() == 6).map(Flow::wire).sum()
    };
    // Σ tx − Σ rx of a pair is what the fabric lost.
    assert_eq!(tcp("a1", Direction::Tx), tcp("b1", Direction::Rx));
    assert_eq!(tcp("b1", Direction::Tx), tcp("a1", Direction::Rx));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_the_pods_own_queue_drops_was_not_sent() {
    let lab = lab(Fabric::Bridge, Segmentation::Off);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let shaping = Shaping { bits_per_second: 4_000_000, burst_bytes: 5000, limit_bytes: 10_000 };
    a1.device.shape(shaping).unwrap();
    let edge = Edge::host("a1", &a1.host_device);
    let running = Plan::new(lab.node_a().namespace.place(), [edge]).start();
    let path = Path {
        client: a1.namespace.place().clone(),
        server: a2.namespace.place().clone(),
        target: (v4(a2.addresses), 0).into(),
        lifetime: SOON,
    };
    let load = Load::Datagrams { sizes: vec![1000], rate: None, limit: Some(500) };
    let traffic = Generator::start(&load, &path).unwrap();
    let begun = || traffic.report().client.sent_messages == 500;
    testkit::proc::wait_until("end of sending", SOON, begun).unwrap();
    a1.device.quiet(Duration::from_millis(250), SOON).unwrap();
    let report = traffic.stop().unwrap();
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    let drops = a1.device.qdisc_drops().unwrap();
    assert!(drops > 100, "the queue must be too short: {drops}");
    let rows = outcome.document.rows("a1", Direction::Tx);
    let sent: u64 =
        rows.filter(|row| row.dst_port == Some(report.target.port())).map(|row| row.packets).sum();
    assert_eq!(sent, 500 - drops);
    assert_eq!(sent, report.server.received_messages);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn each_connection_has_the_bytes_that_conntrack_accounts() {
    let lab = lab(Fabric::Routed, Segmentation::Off);
    let (a1, b1) = (pod(&lab, "a1"), pod(&lab, "b1"));
    let tracking = Conntrack::enable(&lab.node_a().namespace).unwrap();
    let edge = Edge::host("a1", &a1.host_device);
    let running = Plan::new(lab.node_a().namespace.place(), [edge]).start();
    for target in [v4(b1.addresses), v6(b1.addresses)] {
        exchange(a1, b1, target, &REQUESTS);
    }
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    let connections = tracking.connections().unwrap();
    let mut compared = 0;
    for row in outcome.document.rows("a1", Direction::Tx) {
        let found = connections.iter().find(|connection| {
            connection.original.source == row.src
                && connection.original.source_port == row.src_port
                && connection.original.destination_port == row.dst_port
        });
        if row.protocol.number() != 6 {
            continue;
        }
        let accounted = found.and_then(|connection| connection.original.amount).unwrap();
        let without_link = Amount::new(row.packets, row.bytes - 14 * row.packets);
        assert_eq!(without_link, accounted, "{row:?}");
        compared += 1;
    }
    assert_eq!(compared, 60);
}

/// A data path that hands packets straight to the pod's device, past the host's end of its link.
#[test]
#[ignore = "root: needs network namespaces"]
fn a_short_cut_past_the_host_is_received_all_the_same() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let shortcut = Program::shortcut(a2.host_device.index().unwrap());
    let edges = [Edge::host("a1", &a1.host_device), Edge::inside("a2", &a2.device)];
    let running = Plan::new(lab.node_a().namespace.place(), edges).start();
    shortcut.attach_tcx(&a1.host_device, "ingress", Position::Last);
    let before = a2.host_device.counters().unwrap();
    exchange(a1, a2, v4(a2.addresses), &REQUESTS);
    let past = a2.host_device.counters_since(before).unwrap();
    assert!(past.tx.amount.packets < 10, "traffic takes the short cut: {past:?}");
    let outcome = running.stop();
    laws::hold(&outcome);
    let tcp = |edge: &str, direction: Direction| -> Amount {
        let rows = outcome.document.rows(edge, direction);
        rows.filter(|row| row.protocol.number() == 6).map(Flow::wire).sum()
    };
    assert!(tcp("a1", Direction::Tx).packets > 150);
    assert_eq!(tcp("a1", Direction::Tx), tcp("a2", Direction::Rx));
    let sent = outcome.bracket("a1", Direction::Tx).exact();
    assert_eq!(outcome.document.hook("a1", Direction::Tx).buffers(), sent);
}

/// A new pod with the address of an old one: each edge keeps its own.
#[test]
#[ignore = "root: needs network namespaces"]
fn two_pods_of_one_address_never_share_a_row() {
    let node = Namespace::create("node").unwrap();
    let pods = ["one", "two"].map(|label| Namespace::create(label).unwrap());
    let mut edges = Vec::new();
    for (pod, name) in pods.iter().zip(["one", "two"]) {
        let veth = testkit::Veth::join((node.place(), name), (pod.place(), "eth0")).unwrap();
        veth.far.address("10.31.0.2/24".parse().unwrap()).unwrap();
        veth.far.ready(SOON).unwrap();
        settle(&veth.far);
        edges.push((Edge::host(name, &veth.near), veth.far));
    }
    let named = edges.iter().map(|(edge, _)| edge.clone());
    let running = Plan::new(&node, named).start();
    for ((_, device), count) in edges.iter().zip([2, 5]) {
        let frame = "E/IP(src='10.31.0.2', dst='10.31.0.9')/UDP(sport=1, dport=2)";
        fathom_tests::crafted::send(device, [format!("[{frame}] * {count}")]);
    }
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    let key = fathom_tests::crafted::key("10.31.0.2", "10.31.0.9", 17, (1, 2));
    for (edge, packets) in [("one", 2), ("two", 5)] {
        let rows = outcome.document.by_key(edge, Direction::Tx);
        assert_eq!(rows.get(&key), Some(&Amount::new(packets, packets * 42)), "{edge}");
    }
}
