//! Edges come, are named, go, and their slots are given again.

use flow_model::edge::{Attachment, EdgeId, EdgeSpec, EdgeState, Hook, Identity, Place, Text};
use flow_model::flow::{Direction, Slot};
use flow_model::ledger::{AddEdgeError, EdgeRefused, NameRefused, UnknownEdge};

use crate::driver::{Driver, Plan, id_in};
use crate::machine::SharedKernel;
use crate::outcome::faults;
use crate::script::{Op, geometry, traffic};

fn driver(max_edges: u32) -> Driver {
    Driver::new(&Plan::new(geometry(16, max_edges)))
}

fn named(name: &str) -> Identity {
    Identity { name: Text::new(name).unwrap(), ..Identity::default() }
}

#[test]
fn a_slot_is_given_again_only_after_two_full_epochs_without_hooks() {
    let mut driver = driver(1);
    driver.perform(&Op::Add { edge: 1, named: true });
    let first = id_in(&mut driver, 1);
    driver.perform(&Op::Drop { edge: 1 });
    let mut states = Vec::new();
    for _ in 0..4 {
        driver.perform(&Op::Drain);
        states.push(driver.ledger().edge(first).map(|edge| edge.state));
    }
    use EdgeState::{Draining, Quarantined};
    assert_eq!(states, [Some(Draining), Some(Draining), Some(Quarantined), None]);
    driver.perform(&Op::Add { edge: 2, named: true });
    assert!(id_in(&mut driver, 1) > first, "an id was given twice");
}

#[test]
fn a_full_edge_book_refuses_with_the_limit_and_takes_no_harm() {
    let mut driver = driver(1);
    driver.perform(&Op::Add { edge: 1, named: true });
    let mut kernel = SharedKernel(driver.machine().clone());
    let now = driver.machine().borrow().now();
    let refused = driver.ledger().add_edge(&mut kernel, &EdgeSpec::default(), now);
    assert!(matches!(refused, Err(AddEdgeError::Refused(EdgeRefused::Full { max: 1 }))));
    assert_eq!(driver.ledger().edges().count(), 1);
}

#[test]
fn a_new_edge_in_an_old_slot_starts_at_zero_and_the_node_keeps_the_sum() {
    let mut driver = driver(1);
    driver.perform(&Op::Add { edge: 1, named: true });
    driver.perform(&Op::Burst(traffic(1, false, 1, 5, 100)));
    driver.perform(&Op::Burst(traffic(1, true, 0, 2, 42)));
    driver.perform(&Op::Drop { edge: 1 });
    (0..4).for_each(|_| driver.perform(&Op::Drain));
    driver.perform(&Op::Add { edge: 2, named: true });
    driver.perform(&Op::Burst(traffic(2, false, 1, 1, 60)));
    driver.perform(&Op::Drain);
    let run = driver.finish();
    let [edge] = &run.last.edges[..] else { panic!("one edge") };
    assert_eq!((edge.flows[0].bytes, edge.flows[1].bytes), (60, 0));
    assert_eq!(run.last.node[0].wire.bytes, 560);
    assert_eq!(run.last.pods.retired.map(|counts| counts.bytes), [500, 84]);
    assert_eq!(faults(&run), [""; 0]);
}

#[test]
fn amounts_of_an_edge_wait_for_its_name_and_then_appear_in_full() {
    let mut driver = driver(2);
    driver.perform(&Op::Add { edge: 1, named: false });
    driver.perform(&Op::Burst(traffic(1, false, 1, 5, 100)));
    driver.perform(&Op::Drain);
    let pods = driver.ledger().snapshot().pods;
    assert_eq!((pods.rows.len(), pods.unnamed[0].bytes), (0, 500));
    driver.perform(&Op::Name { edge: 1, pod: 7 });
    let pods = driver.ledger().snapshot().pods;
    assert_eq!((pods.rows[0].name.as_str(), pods.rows[0].counts[0].bytes), ("pod-7", 500));
    assert_eq!(pods.unnamed[0].bytes, 0);
}

#[test]
fn a_pod_with_two_edges_keeps_what_the_departed_one_counted_and_its_age() {
    let mut driver = driver(3);
    driver.perform(&Op::Add { edge: 1, named: true });
    driver.perform(&Op::Wait { ns: 500 });
    driver.perform(&Op::Add { edge: 2, named: false });
    driver.perform(&Op::Name { edge: 2, pod: 1 });
    driver.perform(&Op::Burst(traffic(1, false, 1, 5, 100)));
    driver.perform(&Op::Burst(traffic(2, false, 2, 1, 100)));
    driver.perform(&Op::Drain);
    let before = driver.ledger().snapshot().pods.rows;
    driver.perform(&Op::Drop { edge: 1 });
    (0..5).for_each(|_| driver.perform(&Op::Drain));
    let run = driver.finish();
    let after = &run.last.pods.rows;
    assert_eq!((before.len(), after.len(), run.last.edges.len()), (1, 1, 1));
    assert_eq!(after[0].counts, before[0].counts);
    assert_eq!(after[0].created_ns, before[0].created_ns);
    assert!(run.last.pods.retired[0].is_zero());
    assert_eq!(faults(&run), [""; 0]);
}

#[test]
fn a_name_that_would_take_amounts_from_a_shared_pod_is_refused() {
    let mut driver = driver(2);
    driver.perform(&Op::Add { edge: 1, named: true });
    driver.perform(&Op::Add { edge: 2, named: false });
    driver.perform(&Op::Name { edge: 2, pod: 1 });
    let (id, now) = (id_in(&mut driver, 2), driver.machine().borrow().now());
    let refused = driver.ledger().name_edge(id, &named("elsewhere"), now);
    assert_eq!(refused, Err(NameRefused::Shared(id)));
    let unknown = driver.ledger().name_edge(EdgeId(99), &named("x"), now);
    assert_eq!(unknown, Err(NameRefused::Unknown(UnknownEdge(EdgeId(99)))));
}

#[test]
fn what_a_driver_notes_of_an_edge_survives_its_death() {
    let mut driver = driver(2);
    driver.perform(&Op::Add { edge: 1, named: true });
    let id = id_in(&mut driver, 1);
    let hook =
        Hook { place: Place::Host, attachment: Attachment::Clsact, preference: 1, handle: 0xfa70 };
    driver.ledger().set_hook(id, Direction::Rx, hook).unwrap();
    driver.ledger().set_devices(id, 7, 2).unwrap();
    driver.ledger().set_baseline(id, [1, 2, 3, 4, 5, 6, 7, 8]).unwrap();
    driver.kill();
    let edge = driver.ledger().edge(id).unwrap();
    assert_eq!(edge.hooks, [Hook::default(), hook]);
    assert_eq!((edge.host_ifindex, edge.pod_ifindex, edge.baseline[7]), (7, 2, 8));
    assert_eq!((edge.slot, edge.identity.name.as_str()), (Slot(1), "pod-1"));
}

#[test]
fn flows_of_a_slot_without_edge_are_counted_and_reported() {
    let mut driver = driver(2);
    driver.perform(&Op::Add { edge: 1, named: true });
    let strays: Vec<_> = traffic(1, false, 1, 3, 100).packets(Slot(2)).collect();
    driver.machine().borrow_mut().arriving.extend(strays);
    driver.machine().borrow_mut().settle();
    driver.perform(&Op::Drain);
    let last = driver.finish().last;
    assert_eq!((last.activity.stray_flows, last.node[0].wire.bytes), (1, 300));
    assert_eq!(last.pods.retired[0].bytes, 300);
    assert!(last.laws.hold());
}

#[test]
fn a_packet_on_a_resting_slot_shows_as_drift() {
    let mut driver = driver(1);
    driver.perform(&Op::Add { edge: 1, named: true });
    driver.perform(&Op::Drop { edge: 1 });
    (0..3).for_each(|_| driver.perform(&Op::Drain));
    let late: Vec<_> = traffic(1, false, 1, 1, 100).packets(Slot(1)).collect();
    driver.machine().borrow_mut().arriving.extend(late);
    driver.machine().borrow_mut().settle();
    driver.perform(&Op::Drain);
    let run = driver.finish();
    let laws = &run.commits.last().unwrap().laws;
    assert_eq!(laws.drift(flow_model::audit::Law::Flow).bytes, 100);
    assert_eq!(run.last.node[0].wire.bytes, 100);
}
