use flow_model::edge::{Attachment, EdgeId, EdgeState, Hook as HookRecord};

use super::*;
use crate::testing::{edge, plan};

const HERE: u32 = 11;
const THERE: u32 = 2;

/// A pair with both ends known: sent is hooked here, received there.
fn pair() -> EdgePlan {
    let plan = plan("pod-a");
    let netns_inode = plan.sites[1].namespace.inode;
    EdgePlan { netns_inode, host_ifindex: HERE, pod_ifindex: THERE, ..plan }
}

fn places(plan: &EdgePlan) -> [(Place, Hook, u32); 2] {
    plan.sites.each_ref().map(|site| (site.place, site.hook, site.ifindex))
}

const SENT_HERE: (Place, Hook, u32) = (Place::Host, Hook::Ingress, HERE);
const RECEIVED_HERE: (Place, Hook, u32) = (Place::Host, Hook::Egress, HERE);
const SENT_THERE: (Place, Hook, u32) = (Place::Pod, Hook::Egress, THERE);
const RECEIVED_THERE: (Place, Hook, u32) = (Place::Pod, Hook::Ingress, THERE);

/// The record of an edge that was hooked by a plan.
fn record(plan: &EdgePlan) -> EdgeRecord {
    let hook = |site: &Site| HookRecord {
        place: site.place,
        attachment: Attachment::Tcx,
        preference: 0,
        handle: 0,
    };
    EdgeRecord {
        id: EdgeId(1),
        netns_inode: plan.netns_inode,
        host_ifindex: plan.host_ifindex,
        pod_ifindex: plan.pod_ifindex,
        hooks: plan.sites.each_ref().map(hook),
        ..edge(1, "pod-a", EdgeState::Live).record
    }
}

#[test]
fn an_edge_hooked_in_part_on_either_side_can_go_to_one_of_them_alone() {
    let mixed = pair();
    assert_eq!(places(&mixed), [SENT_HERE, RECEIVED_THERE]);
    let outside = mixed.on_host_side(Degradation::HostEgress).unwrap();
    assert_eq!(places(&outside), [SENT_HERE, RECEIVED_HERE]);
    assert_eq!(outside.degraded, Some(Degradation::HostEgress));
    let inside = mixed.inside().unwrap();
    assert_eq!(places(&inside), [SENT_THERE, RECEIVED_THERE]);
    assert_eq!(inside.degraded, None, "inside is where it belongs");
    for one_sided in [inside, outside] {
        assert_eq!(one_sided.inside(), None);
        assert_eq!(one_sided.on_host_side(Degradation::Tampered), None);
    }
}

#[test]
fn one_direction_of_another_plan_is_taken_without_the_other() {
    let inside = pair().inside().unwrap();
    let taken = pair().on_host_side(Degradation::HostEgress).unwrap();
    let taken = taken.with(Direction::Tx, &inside);
    assert_eq!(places(&taken), [SENT_THERE, RECEIVED_HERE]);
    assert_eq!(taken.degraded, None, "the rest is as the other plan says");
}

#[test]
fn a_record_is_known_again_wherever_its_hooks_had_to_go() {
    let mixed = pair();
    let outside = mixed.on_host_side(Degradation::HostEgress).unwrap();
    for hooked in [mixed.clone(), mixed.inside().unwrap(), outside] {
        let found = mixed.as_recorded(&record(&hooked));
        assert_eq!(found, Some(hooked));
    }
}

#[test]
fn a_record_of_another_device_is_not_taken_up() {
    let (plan, known) = (pair(), record(&pair()));
    for other in [
        EdgeRecord { host_ifindex: HERE + 1, ..known },
        EdgeRecord { pod_ifindex: THERE + 1, ..known },
        EdgeRecord { netns_inode: known.netns_inode + 1, ..known },
        EdgeRecord { hooks: [HookRecord { place: Place::None, ..known.hooks[0] }; 2], ..known },
    ] {
        assert_eq!(plan.as_recorded(&other), None, "{other:?}");
    }
}

/// Also where both hooks are here and the device is the same.
#[test]
fn a_record_that_leads_to_another_namespace_is_not_taken_up() {
    let outside = pair().on_host_side(Degradation::HostEgress).unwrap();
    let known = record(&outside);
    let moved = EdgeRecord { netns_inode: known.netns_inode + 1, ..known };
    assert_eq!(outside.as_recorded(&moved), None);
    let early = EdgeRecord { netns_inode: 0, ..known };
    assert_eq!(outside.as_recorded(&early), Some(outside.clone()));
}

#[test]
fn a_name_that_sets_a_pod_apart_fits_the_edge_book() {
    let plan = EdgePlan { name: "ü".repeat(31), ..pair() };
    let apart = plan.name_apart();
    assert!(Text::new(&apart).is_ok(), "{apart}");
    assert!(apart.ends_with(&format!("ü:{}", plan.netns_inode)), "{apart}");
}

#[test]
fn a_pair_hooked_before_its_namespace_was_known_is_told_by_its_end_here() {
    let (plan, known) = (pair(), record(&pair()));
    let early = EdgeRecord { netns_inode: 0, pod_ifindex: 0, ..known };
    assert_eq!(plan.as_recorded(&early), Some(plan.clone()));
    let other = EdgeRecord { host_ifindex: HERE + 1, ..early };
    assert_eq!(plan.as_recorded(&other), None);
    let nowhere = EdgePlan { host_ifindex: 0, ..plan.inside().unwrap() };
    assert_eq!(nowhere.as_recorded(&EdgeRecord { host_ifindex: 0, ..early }), None);
}

#[test]
fn two_plans_are_one_edge_if_they_have_a_device_or_a_pair_in_common() {
    let mixed = pair();
    let inside = mixed.inside().unwrap();
    let outside = mixed.on_host_side(Degradation::HostEgress).unwrap();
    assert!(mixed.shares_device(&inside) && mixed.shares_device(&outside));
    assert!(inside.shares_device(&outside), "they are the ends of one pair");
    // The same number in another namespace is another device.
    let mut other = inside.clone();
    other.host_ifindex = HERE + 1;
    other.sites.iter_mut().for_each(|site| site.namespace.inode += 1);
    assert!(!inside.shares_device(&other));
    // Devices without an end here have no pair in common.
    let alone = |plan: &EdgePlan| EdgePlan { host_ifindex: 0, ..plan.clone() };
    assert!(!alone(&inside).shares_device(&alone(&other)));
}
