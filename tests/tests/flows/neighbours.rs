//! Foreign programs before and after ours keep their order and their verdict.

use std::net::SocketAddr;

use fathom_tests::binary::SOON;
use fathom_tests::document::Direction;
use fathom_tests::foreign::{Position, Program, tcx_programs};
use fathom_tests::kernel::Standing;
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Measurement, Outcome, Plan};
use fathom_tests::site::{lab, pod, v4};
use testkit::lab::{Fabric, Lab};
use testkit::proc::wait_until;
use testkit::traffic::{Generator, Load, Path};
use testkit::truth::Amount;
use testkit::{Device, Segmentation};

/// Datagrams of two sizes in turn: half of them are too long for the policy.
const EACH: u64 = 40;
const SHORT: u64 = 14 + 20 + 8 + 100;
const LONG: u64 = 14 + 20 + 8 + 1000;

fn host(lab: &Lab, name: &str) -> Device {
    pod(lab, name).host_device.clone()
}

fn start(lab: &Lab, edge: &str, lane: &str) -> Measurement {
    let named = Edge::host(edge, &host(lab, edge));
    let node = lab.node_a().namespace.place();
    Plan::new(node, [named]).flags(["--attach", lane]).start()
}

/// Sends from a1 to a2; how many datagrams of the two sizes arrived.
fn arrived(lab: &Lab) -> (u64, u64) {
    let (a1, a2) = (pod(lab, "a1"), pod(lab, "a2"));
    let path = Path {
        client: a1.namespace.place().clone(),
        server: a2.namespace.place().clone(),
        target: SocketAddr::new(v4(a2.addresses), 0),
        lifetime: SOON,
    };
    let load = Load::Datagrams { sizes: vec![100, 1000], rate: None, limit: Some(2 * EACH) };
    let running = Generator::start(&load, &path).unwrap();
    wait_until("end of sending", SOON, || running.report().client.sent_messages == 2 * EACH)
        .unwrap();
    a2.device.quiet(std::time::Duration::from_millis(150), SOON).unwrap();
    let server = running.stop().unwrap().server;
    let long = (server.received_bytes - 100 * server.received_messages) / 900;
    (server.received_messages - long, long)
}

/// UDP of `edge` in `direction`.
fn counted(outcome: &Outcome, edge: &str, direction: Direction) -> Amount {
    let rows = outcome.document.rows(edge, direction);
    rows.filter(|row| row.protocol.number() == 17).map(fathom_tests::document::Flow::wire).sum()
}

const fn everything() -> Amount {
    Amount::new(2 * EACH, EACH * (SHORT + LONG))
}

const fn short_only() -> Amount {
    Amount::new(EACH, EACH * SHORT)
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_a_pod_sends_is_counted_before_a_policy_drops_it() {
    for lane in ["tcx", "clsact"] {
        let lab = lab(Fabric::Bridge, Segmentation::On);
        let (device, policy) = (host(&lab, "a1"), Program::policy());
        match lane {
            "tcx" => policy.attach_tcx(&device, "ingress", Position::Last),
            _ => policy.attach_clsact(&device, "ingress", 10),
        }
        let before = Standing::of(&device);
        let running = start(&lab, "a1", lane);
        if lane == "tcx" {
            let order = tcx_programs(&device, "ingress");
            assert_eq!(order.len(), 2, "{order:?}");
            assert_eq!(order.last(), Some(&policy.number()), "ours is first");
        }
        assert_eq!(arrived(&lab), (EACH, 0), "the verdict stands with {lane}");
        let outcome = running.stop();
        laws::hold(&outcome);
        laws::counters_are_met(&outcome);
        assert_eq!(counted(&outcome, "a1", Direction::Tx), everything(), "{lane}");
        assert_eq!(Standing::of(&device), before, "{lane}");
        assert_eq!(arrived(&lab), (EACH, 0), "also afterwards");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_a_policy_dropped_was_not_received() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (device, policy) = (host(&lab, "a2"), Program::policy());
    policy.attach_tcx(&device, "egress", Position::First);
    let before = Standing::of(&device);
    let running = start(&lab, "a2", "tcx");
    let order = tcx_programs(&device, "egress");
    assert_eq!((order.len(), order.first()), (2, Some(&policy.number())));
    assert_eq!(arrived(&lab), (EACH, 0));
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    assert_eq!(counted(&outcome, "a2", Direction::Rx), short_only());
    assert_eq!(Standing::of(&device), before);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_program_that_goes_in_front_of_ours_stays_there() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (device, policy) = (host(&lab, "a1"), Program::policy());
    let running = start(&lab, "a1", "tcx");
    policy.attach_tcx(&device, "ingress", Position::First);
    assert_eq!(tcx_programs(&device, "ingress").first(), Some(&policy.number()));
    assert_eq!(arrived(&lab), (EACH, 0));
    let outcome = running.stop();
    laws::hold(&outcome);
    assert_eq!(counted(&outcome, "a1", Direction::Tx), short_only());
    assert_eq!(tcx_programs(&device, "ingress"), [policy.number()]);
    assert_eq!(arrived(&lab), (EACH, 0));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn our_tcx_runs_before_foreign_filters() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (device, policy) = (host(&lab, "a1"), Program::policy());
    policy.attach_clsact(&device, "ingress", 1);
    let before = Standing::of(&device);
    let running = start(&lab, "a1", "tcx");
    assert_eq!(arrived(&lab), (EACH, 0));
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    assert_eq!(counted(&outcome, "a1", Direction::Tx), everything());
    assert_eq!(Standing::of(&device), before);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn our_filter_runs_behind_foreign_tcx() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (device, policy) = (host(&lab, "a1"), Program::policy());
    policy.attach_tcx(&device, "ingress", Position::First);
    let before = Standing::of(&device);
    let running = start(&lab, "a1", "clsact");
    assert_eq!(arrived(&lab), (EACH, 0));
    let outcome = running.stop();
    laws::hold(&outcome);
    assert_eq!(counted(&outcome, "a1", Direction::Tx), short_only());
    assert_eq!(Standing::of(&device), before);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_foreign_filter_of_the_first_preference_keeps_it() {
    let lab = lab(Fabric::Bridge, Segmentation::On);
    let (device, policy) = (host(&lab, "a1"), Program::policy());
    policy.attach_clsact(&device, "ingress", 1);
    policy.attach_clsact(&device, "egress", 1);
    let before = Standing::of(&device);
    let running = start(&lab, "a1", "clsact");
    let number = format!("id {} ", policy.number());
    let held = Standing::of(&device).filters().matches(&number).count();
    assert_eq!(held, 2, "both foreign filters stay: {:?}", Standing::of(&device));
    assert_eq!(arrived(&lab), (EACH, 0), "the verdict stands");
    let outcome = running.stop();
    laws::hold(&outcome);
    assert_eq!(Standing::of(&device), before);
    assert_eq!(arrived(&lab), (EACH, 0));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_foreign_qdisc_stays() {
    for kind in ["clsact", "ingress"] {
        let lab = lab(Fabric::Bridge, Segmentation::On);
        let device = host(&lab, "a1");
        let add = ["qdisc", "add", "dev", device.name(), kind];
        device.place().command("tc").args(add).succeed(SOON).unwrap();
        let before = Standing::of(&device);
        for lane in ["tcx", "clsact"] {
            // The old `ingress` has no egress side: that lane may be refused, never forced.
            if (kind, lane) == ("ingress", "clsact") {
                let args = ["flows", "--duration", "300ms", "--attach", lane, "--pod-edge"];
                let args = args.into_iter().chain([device.name()]);
                let finished = fathom_tests::binary::run_in(device.place(), args);
                assert!(matches!(finished.status.code(), Some(0 | 69)), "{finished:?}");
            } else {
                laws::hold(&start(&lab, "a1", lane).stop());
            }
            assert_eq!(Standing::of(&device), before, "{kind} with {lane}");
        }
    }
}
