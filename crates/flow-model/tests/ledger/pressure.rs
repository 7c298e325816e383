//! More pairs, pods and flows than there is room for.

use flow_model::audit::Law;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use crate::driver::{Driver, Plan, run};
use crate::outcome::{essence, faults};
use crate::script::{IDLE_NS, Op, farewell, geometry, random_script, traffic};

/// Two edges, four records, twelve peers; then one peer outweighs the others for long.
fn crowded() -> Vec<Op> {
    let mut ops = vec![Op::Add { edge: 1, named: true }, Op::Add { edge: 2, named: true }];
    for round in 0..8 {
        ops.extend((1..=6).map(|peer| Op::Burst(traffic(1, false, peer, 1, 50))));
        ops.extend((7..=12).map(|peer| Op::Burst(traffic(2, false, peer, 1, 60 + round))));
        if round > 0 {
            ops.push(Op::Burst(traffic(2, false, 20, 5, 5000)));
            ops.push(Op::Trickle(traffic(1, false, 30, 5, 5)));
        }
        ops.push(Op::Drain);
    }
    ops.push(Op::Drop { edge: 1 });
    for _ in 0..4 {
        ops.extend([
            Op::Wait { ns: IDLE_NS / 3 },
            Op::Trickle(traffic(2, false, 20, 2, 9)),
            Op::Drain,
        ]);
    }
    ops.extend([Op::Drain, Op::Drain]);
    ops
}

#[test]
fn promotion_and_retirement_lose_nothing_wherever_the_process_dies() {
    let plan = Plan::new(geometry(4, 3));
    let script = crowded();
    let reference = run(&plan, &script);
    assert_eq!(faults(&reference), [""; 0]);
    assert!(reference.last.pairs.retired.packets > 0, "nothing was retired or promoted");
    for step in 1..=reference.ticks {
        let other = run(&plan.with_fuses(&[step]), &script);
        assert_eq!(faults(&other), [""; 0], "stopped after {step}");
        assert_eq!(other.last.node, reference.last.node, "stopped after {step}");
    }
}

#[test]
fn a_heavy_pair_takes_the_record_of_a_light_one_and_starts_at_zero() {
    let plan = Plan::new(geometry(4, 3));
    let run = run(&plan, &crowded());
    let heavy = |snapshot: &flow_model::snapshot::Snapshot| {
        let rows = snapshot.pairs.rows.iter();
        rows.filter(|row| row.dst.to_string() == "10.0.200.20").map(|row| row.counts).next()
    };
    let first = run.commits.iter().position(|commit| heavy(commit).is_some()).unwrap();
    assert!(first >= 5, "promoted after {first} drains, before five could be compared");
    assert_eq!(heavy(&run.commits[first]).unwrap().packets, 0);
    assert!(run.commits[first].pairs.retired.packets > 0);
    assert!(run.commits[first].pairs.other.bytes >= 5 * 5 * 5000);
}

#[test]
fn one_edge_never_owns_more_than_a_quarter_of_the_records() {
    let mut driver = Driver::new(&Plan::new(geometry(16, 3)));
    driver.perform(&Op::Add { edge: 1, named: true });
    driver.perform(&Op::Add { edge: 2, named: true });
    for _ in 0..8 {
        for peer in 1..=40 {
            driver.perform(&Op::Burst(traffic(1, false, peer, 1, 100 * u64::from(peer))));
        }
        driver.perform(&Op::Burst(traffic(2, false, 50, 1, 40)));
        driver.perform(&Op::Drain);
    }
    let run = driver.finish();
    for commit in &run.commits {
        let owned = |id| commit.pairs.rows.iter().filter(|row| row.owner.0 == id).count();
        assert_eq!((owned(1), owned(2)), (4, 1));
    }
    assert!(run.last.pairs.refused >= 36 * 8);
    assert_eq!(faults(&run), [""; 0]);
}

#[test]
fn pods_beyond_the_limit_stay_in_other_even_when_room_appears() {
    let mut driver = Driver::new(&Plan { pod_series: 1, ..Plan::new(geometry(16, 4)) });
    driver.perform(&Op::Add { edge: 1, named: true });
    driver.perform(&Op::Add { edge: 2, named: true });
    driver.perform(&Op::Burst(traffic(2, false, 1, 4, 100)));
    driver.perform(&Op::Drop { edge: 1 });
    (0..5).for_each(|_| driver.perform(&Op::Drain));
    driver.perform(&Op::Name { edge: 2, pod: 2 });
    let pods = driver.ledger().snapshot().pods;
    assert_eq!((pods.rows.len(), pods.other[0].packets, pods.refused), (0, 4, 1));
    driver.perform(&Op::Drop { edge: 2 });
    (0..5).for_each(|_| driver.perform(&Op::Drain));
    let run = driver.finish();
    assert_eq!((run.last.pods.other[0].packets, run.last.pods.retired[0].packets), (4, 0));
    assert_eq!(faults(&run), [""; 0]);
}

#[test]
fn a_full_flow_table_costs_detail_and_no_packet() {
    let plan = Plan { capacity: 2, ..Plan::new(geometry(16, 3)) };
    let mut script = crowded();
    script.extend(farewell());
    let run = run(&plan, &script);
    assert_eq!(faults(&run), [""; 0]);
    let folded: u64 = run.last.folded[0].iter().map(|cell| cell.packets).sum();
    assert!(folded > 0 && run.last.pairs.other.packets >= folded);
}

#[test]
fn silent_pairs_give_their_records_back() {
    let mut driver = Driver::new(&Plan::new(geometry(8, 3)));
    driver.perform(&Op::Add { edge: 1, named: true });
    driver.perform(&Op::Burst(traffic(1, false, 1, 2, 100)));
    driver.perform(&Op::Burst(traffic(1, false, 2, 2, 100)));
    driver.perform(&Op::Drain);
    driver.perform(&Op::Wait { ns: IDLE_NS - 1 });
    driver.perform(&Op::Burst(traffic(1, false, 2, 1, 100)));
    driver.perform(&Op::Drain);
    assert_eq!(driver.ledger().snapshot().pairs.rows.len(), 2);
    driver.perform(&Op::Wait { ns: 1 });
    driver.perform(&Op::Drain);
    let pairs = driver.ledger().snapshot().pairs;
    assert_eq!((pairs.rows.len(), pairs.retired.packets), (1, 2));
    assert_eq!(pairs.rows[0].dst.to_string(), "10.0.200.2");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn the_laws_hold_for_any_traffic_under_any_pressure(
        script in random_script(),
        fuses in proptest::collection::vec(1_u64..300, 0..5),
        records in 1_u32..6, slots in 1_u32..4, flows in 0_usize..12, pods in 0_usize..4,
    ) {
        let mut script = script;
        script.extend(farewell());
        let plan = Plan {
            capacity: flows, pod_series: pods, ..Plan::new(geometry(records, slots))
        };
        let reference = run(&plan, &script);
        prop_assert_eq!(faults(&reference), [""; 0]);
        prop_assert!(reference.last.pairs.rows.len() <= records as usize);
        prop_assert!(reference.last.pods.rows.len() <= pods);
        let other = run(&plan.with_fuses(&fuses), &script);
        prop_assert_eq!(faults(&other), [""; 0]);
        prop_assert!(other.last.laws.drift(Law::Series).is_zero());
        if fuses.is_empty() {
            prop_assert_eq!(essence(&other.last), essence(&reference.last));
        }
    }
}
