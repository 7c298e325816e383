//! With segmentation offload, frames and bytes are those of the wire and not of the buffers.
//!
//! Two truths that share nothing with the formula: what the kernel's queueing disciplines charge
//! for a buffer, and what arrives behind a hop where the kernel itself cuts the buffers.

use fathom_tests::document::Direction;
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Plan};
use fathom_tests::site::{exchange, lab, pod, v4, v6};
use testkit::lab::Fabric;
use testkit::traffic::{Iperf, Load};
use testkit::truth::Amount;
use testkit::{Device, Segmentation};

use fathom_tests::binary::SOON;

const BULK: Load = Load::Bulk { rate: None, limit: Some(50_000_000) };
const REQUESTS: Load =
    Load::Requests { question: 20_000, answer: 70_000, rate: None, limit: Some(40) };

/// Gives `device` a queue that charges each buffer with all of its frames.
fn meter(device: &Device) {
    let words = ["qdisc", "replace", "dev", device.name(), "root", "pfifo", "limit", "20000"];
    device.place().command("tc").args(words).succeed(SOON).unwrap();
}

fn metered(device: &Device) -> Amount {
    let qdiscs = device.qdiscs().unwrap();
    let queue = qdiscs.iter().find(|qdisc| qdisc.kind == "pfifo").unwrap();
    assert_eq!(queue.drops, 0, "the queue must be long enough");
    queue.sent
}

#[test]
#[ignore = "root: needs network namespaces"]
fn frames_are_what_the_queues_charge() {
    let lab = lab(Fabric::Routed, Segmentation::On);
    let (a1, b1) = (pod(&lab, "a1"), pod(&lab, "b1"));
    for device in [&a1.device, &a1.host_device] {
        meter(device);
    }
    let before = [&a1.device, &a1.host_device].map(metered);
    let node = lab.node_a().namespace.place();
    let outer = Plan::new(node, [Edge::host("a1", &a1.host_device)]).start();
    let inner = Plan::new(node, [Edge::inside("a1", &a1.device)]).start();
    for target in [v4(b1.addresses), v6(b1.addresses)] {
        exchange(a1, b1, target, &BULK);
        exchange(a1, b1, target, &REQUESTS);
    }
    for target in [v4(a1.addresses), v6(a1.addresses)] {
        exchange(b1, a1, target, &BULK);
    }
    let outcomes = [outer.stop(), inner.stop()];
    let charged = [&a1.device, &a1.host_device].map(metered);
    let sent = charged[0].since(before[0]).unwrap();
    let received = charged[1].since(before[1]).unwrap();
    for outcome in outcomes {
        laws::hold(&outcome);
        laws::counters_are_met(&outcome);
        let [tx, rx] = [Direction::Tx, Direction::Rx].map(|d| outcome.document.hook("a1", d));
        assert_eq!(tx.wire(), sent, "sent, {} {}", tx.place, tx.hook);
        assert_eq!(rx.wire(), received, "received, {} {}", rx.place, rx.hook);
        assert!(tx.packets > 5 * tx.skbs && rx.packets > 5 * rx.skbs, "{tx:?} {rx:?}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn frames_are_what_arrives_behind_a_hop_that_cuts() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    // The node cuts here what a1 sent in one piece; nothing puts it together again.
    a2.host_device.segmentation(Segmentation::Off).unwrap();
    let node = lab.node_a().namespace.place();
    let running = Plan::new(node, [Edge::host("a1", &a1.host_device)]).start();
    let before = a2.device.counters().unwrap();
    for target in [v4(a2.addresses), v6(a2.addresses)] {
        exchange(a1, a2, target, &BULK);
        exchange(a1, a2, target, &REQUESTS);
    }
    let iperf = Iperf::new(a1.namespace.place(), a2.namespace.place(), v6(a2.addresses));
    iperf.streams(3).bytes(60_000_000).run().unwrap();
    let outcome = running.stop();
    let arrived = a2.device.counters_since(before).unwrap().rx;
    assert_eq!((arrived.errors, arrived.dropped), (0, 0));
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    let sent = outcome.document.hook("a1", Direction::Tx);
    assert!(sent.packets > 5 * sent.skbs, "{sent:?}");
    assert_eq!(sent.wire(), arrived.amount);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn an_egress_hook_before_the_cut_counts_the_frames_of_the_counter() {
    let lab = lab(Fabric::Routed, Segmentation::On);
    let (a1, b1) = (pod(&lab, "a1"), pod(&lab, "b1"));
    // Without `gso_max_segs` TCP still builds large buffers, which are cut behind the hook.
    let words = ["-K", "eth0", "tso", "off", "gso", "off", "gro", "off"];
    a1.namespace.command("ethtool").args(words).succeed(SOON).unwrap();
    let node = lab.node_a().namespace.place();
    let running = Plan::new(node, [Edge::inside("a1", &a1.device)]).start();
    exchange(a1, b1, v4(b1.addresses), &BULK);
    let outcome = running.stop();
    laws::hold(&outcome);
    let sent = outcome.document.hook("a1", Direction::Tx);
    assert!(sent.skbs < sent.packets, "the hook sees buffers: {sent:?}");
    assert_eq!(sent.wire(), outcome.bracket("a1", Direction::Tx).exact());
}
