//! Both ways to attach count the same and leave nothing behind.

use fathom_tests::binary::{self, SOON};
use fathom_tests::document::Direction;
use fathom_tests::kernel::{Standing, assert_gone, held_by};
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Plan};
use fathom_tests::site::{Wire, exchange, lab, pod, v4, v6};
use testkit::Segmentation;
use testkit::lab::Fabric;
use testkit::proc::Signal;
use testkit::traffic::Load;

const LANES: [&str; 2] = ["tcx", "clsact"];

fn requests() -> Load {
    Load::Requests { question: 100, answer: 30_000, rate: None, limit: Some(50) }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn both_lanes_count_the_same() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let node = lab.node_a().namespace.place();
    let edges = || [Edge::host("a1", &a1.host_device), Edge::inside("a2", &a2.device)];
    let running = LANES.map(|lane| Plan::new(node, edges()).flags(["--attach", lane]).start());
    for target in [v4(a2.addresses), v6(a2.addresses)] {
        exchange(a1, a2, target, &requests());
    }
    let outcomes = running.map(|running| running.stop());
    for (outcome, lane) in outcomes.iter().zip(LANES) {
        laws::hold(outcome);
        laws::counters_are_met(outcome);
        assert_eq!(outcome.document.host.attach, lane);
    }
    let [tcx, clsact] = outcomes;
    for edge in ["a1", "a2"] {
        for direction in [Direction::Tx, Direction::Rx] {
            let rows =
                |document: &fathom_tests::document::Document| document.by_key(edge, direction);
            assert_eq!(rows(&tcx.document), rows(&clsact.document), "{edge} {direction:?}");
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn nothing_is_left_after_the_end() {
    for lane in LANES {
        let wire = Wire::build();
        let before = [&wire.outside, &wire.inside].map(Standing::of);
        let edge = Edge::host("x", &wire.outside);
        let mut running = Plan::new(&wire.node, [edge]).flags(["--attach", lane]).start();
        assert_ne!(Standing::of(&wire.outside), before[0], "{lane} stands on the device");
        let objects = held_by(running.process());
        assert!(objects.len() >= 5, "programs and maps are held open: {objects:?}");
        running.stop();
        assert_eq!([&wire.outside, &wire.inside].map(Standing::of), before, "{lane}");
        assert_gone(&objects);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn nothing_is_left_inside_a_namespace_after_the_end() {
    for lane in LANES {
        let wire = Wire::build();
        let before = Standing::of(&wire.inside);
        let edge = Edge::inside("x", &wire.inside);
        let mut running = Plan::new(&wire.node, [edge]).flags(["--attach", lane]).start();
        assert_ne!(Standing::of(&wire.inside), before, "{lane} stands on the device");
        let objects = held_by(running.process());
        running.stop();
        assert_eq!(Standing::of(&wire.inside), before, "{lane}");
        assert_gone(&objects);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn nothing_is_left_after_a_kill() {
    let wire = Wire::build();
    let before = Standing::of(&wire.outside);
    let edge = Edge::host("x", &wire.outside);
    let mut running = Plan::new(&wire.node, [edge]).flags(["--attach", "tcx"]).start();
    let objects = held_by(running.process());
    running.process().signal(Signal::KILL).unwrap();
    running.process().wait(SOON).unwrap();
    assert_gone(&objects);
    assert_eq!(Standing::of(&wire.outside), before);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn an_edge_that_is_refused_leaves_nothing_on_the_others() {
    let wire = Wire::build();
    let before = Standing::of(&wire.outside);
    for lane in LANES {
        let args = ["flows", "--duration", "1s", "--attach", lane, "--pod-edge", "vpod=x"];
        let refused =
            binary::run_in(&wire.node, args.into_iter().chain(["--pod-edge", "nosuch=y"]));
        assert_eq!(refused.status.code(), Some(69), "{}", refused.stderr);
        assert_eq!(Standing::of(&wire.outside), before, "{lane}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_namespace_is_freed_while_it_is_counted() {
    let wire = Wire::build();
    let edge = Edge::inside("x", &wire.inside);
    let running = Plan::new(&wire.node, [edge]).start();
    let Wire { pod, node, outside, .. } = wire;
    pod.remove().unwrap();
    // A descriptor held on the namespace would keep the link alive.
    outside.gone(SOON).unwrap();
    drop(running);
    drop(node);
}
