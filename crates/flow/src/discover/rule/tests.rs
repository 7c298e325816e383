//! The rule over devices that a real survey found, changed by hand.

use std::path::PathBuf;

use flow_model::flow::Direction;
use net_sys::Survey;
use testkit::Namespace as Netns;

use super::*;
use crate::engine::tests::Node;

/// What a survey in this namespace tells of the pod's device.
pub(crate) fn crossing_of(pod: &Netns) -> Crossing {
    let path = pod.place().path();
    let mut survey = Survey::open(&[path.parent().unwrap().to_owned()]).unwrap();
    let inode = pod.place().inode().unwrap();
    let there = |crossing: &Crossing| {
        crossing.namespace.as_ref().is_some_and(|namespace| namespace.inode == inode)
    };
    survey.scan().unwrap().into_iter().find(there).unwrap()
}

fn fixture() -> (Node, Crossing) {
    let node = Node::build();
    let crossing = node.inside(|| crossing_of(&node.pod));
    (node, crossing)
}

fn rule(hooks: EdgeHooks, exclude: &[&str]) -> Rule {
    let exclude = exclude.iter().map(|glob| glob.parse().unwrap()).collect();
    Rule { exclude, hooks, own: Namespace::own().unwrap() }
}

/// What becomes of a device once its namespace file is not waited for any more.
fn judged(rule: &Rule, crossing: &Crossing) -> Verdict {
    rule.judge(crossing, crossing.noticed + EARLY)
}

fn planned(rule: &Rule, crossing: &Crossing) -> EdgePlan {
    match judged(rule, crossing) {
        Verdict::Edge(plan) => *plan,
        other => panic!("{other:?}"),
    }
}

fn places(plan: &EdgePlan) -> [(Place, Hook); 2] {
    Direction::ALL.map(|direction| (plan.site(direction).place, plan.site(direction).hook))
}

const SENT_HERE: (Place, Hook) = (Place::Host, Hook::Ingress);
const RECEIVED_HERE: (Place, Hook) = (Place::Host, Hook::Egress);
const SENT_THERE: (Place, Hook) = (Place::Pod, Hook::Egress);
const RECEIVED_THERE: (Place, Hook) = (Place::Pod, Hook::Ingress);

#[test]
#[ignore = "root: makes namespaces"]
fn a_veth_is_hooked_where_the_settings_say() {
    let (_node, crossing) = fixture();
    for (hooks, expected) in [
        (EdgeHooks::Auto, [SENT_HERE, RECEIVED_THERE]),
        (EdgeHooks::Host, [SENT_HERE, RECEIVED_HERE]),
        (EdgeHooks::Pod, [SENT_THERE, RECEIVED_THERE]),
    ] {
        let plan = planned(&rule(hooks, &[]), &crossing);
        assert_eq!((places(&plan), plan.degraded), (expected, None), "{hooks:?}");
    }
}

#[test]
#[ignore = "root: makes namespaces"]
fn without_a_way_inside_both_are_counted_here_and_said_to_be() {
    let (_node, mut crossing) = fixture();
    crossing.namespace = None;
    for (hooks, degraded) in [
        (EdgeHooks::Auto, Some(Degradation::HostEgress)),
        (EdgeHooks::Host, None),
        (EdgeHooks::Pod, Some(Degradation::HostEgress)),
    ] {
        let plan = planned(&rule(hooks, &[]), &crossing);
        assert_eq!(places(&plan), [SENT_HERE, RECEIVED_HERE], "{hooks:?}");
        assert_eq!(plan.degraded, degraded, "{hooks:?}");
    }
}

#[test]
#[ignore = "root: makes namespaces"]
fn a_namespace_file_is_waited_for_a_moment_unless_it_is_not_needed() {
    let (_node, mut crossing) = fixture();
    crossing.namespace = None;
    let almost = crossing.noticed + EARLY.saturating_sub(Duration::from_millis(1));
    assert_eq!(rule(EdgeHooks::Auto, &[]).judge(&crossing, almost), Verdict::Early);
    let host = rule(EdgeHooks::Host, &[]).judge(&crossing, almost);
    assert!(matches!(host, Verdict::Edge(_)), "{host:?}");
}

#[test]
#[ignore = "root: makes namespaces"]
fn a_netkit_is_hooked_inside_alone() {
    let (_node, mut crossing) = fixture();
    for device in [&mut crossing.host, &mut crossing.pod].into_iter().flatten() {
        device.kind = Some("netkit".into());
    }
    let plan = planned(&rule(EdgeHooks::Auto, &[]), &crossing);
    assert_eq!(places(&plan), [SENT_THERE, RECEIVED_THERE]);
}

#[test]
#[ignore = "root: makes namespaces"]
fn excluded_names_are_never_edges() {
    let (_node, crossing) = fixture();
    for (globs, ignored) in
        [(&["host*"][..], true), (&["cali?", "host0"], true), (&["eth0"], false)]
    {
        let verdict = judged(&rule(EdgeHooks::Auto, globs), &crossing);
        assert_eq!(verdict == Verdict::Ignored, ignored, "{globs:?}: {verdict:?}");
    }
}

#[test]
#[ignore = "root: makes namespaces"]
fn a_device_without_a_side_here_is_an_edge_if_it_reaches_the_network() {
    let (_node, mut crossing) = fixture();
    crossing.host = None;
    for (kind, is_edge) in [
        (None, true),
        (Some("macvlan"), true),
        (Some("macvtap"), true),
        (Some("ipvlan"), true),
        (Some("bridge"), false),
        (Some("vxlan"), false),
        (Some("veth"), false),
        (Some("tun"), false),
    ] {
        crossing.pod.as_mut().unwrap().kind = kind.map(str::to_owned);
        let verdict = judged(&rule(EdgeHooks::Auto, &[]), &crossing);
        assert_eq!(matches!(verdict, Verdict::Edge(_)), is_edge, "{kind:?}");
    }
    crossing.pod.as_mut().unwrap().kind = None;
    let plan = planned(&rule(EdgeHooks::Host, &[]), &crossing);
    assert_eq!(places(&plan), [SENT_THERE, RECEIVED_THERE], "there is no other place");
    crossing.pod.as_mut().unwrap().up = false;
    assert_eq!(judged(&rule(EdgeHooks::Auto, &[]), &crossing), Verdict::Ignored);
}

#[test]
#[ignore = "root: makes namespaces"]
fn names_that_do_not_fit_the_edge_book_are_cut_between_signs() {
    let (node, mut crossing) = fixture();
    let plan = planned(&rule(EdgeHooks::Auto, &[]), &crossing);
    assert_eq!(plan.name, node.pod.place().name(), "an edge is called after its file");
    let long = format!("{}ä", "x".repeat(Text::MAX - 1));
    crossing.namespace.as_mut().unwrap().path = PathBuf::from(format!("/run/netns/{long}"));
    let plan = planned(&rule(EdgeHooks::Auto, &[]), &crossing);
    assert_eq!(plan.name, "x".repeat(Text::MAX - 1));
    crossing.namespace = None;
    assert_eq!(planned(&rule(EdgeHooks::Auto, &[]), &crossing).name, "host0");
}
