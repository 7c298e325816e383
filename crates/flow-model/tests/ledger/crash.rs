//! Wherever a run stops, it ends like the one that did not.

use flow_model::ledger::Progress;
use proptest::prelude::{ProptestConfig, prop_assert_eq, proptest};

use crate::driver::{Driver, Plan, Run, run};
use crate::machine::Fault;
use crate::outcome::{essence, faults};
use crate::script::{Op, farewell, full_life, geometry, random_script, traffic};

/// Up to the moment when the edges leave, and to the very end.
fn halves(script: Vec<Op>) -> [Vec<Op>; 2] {
    let mut settled = script.clone();
    settled.extend([Op::Burst(traffic(1, true, 0, 0, 0)), Op::Drain, Op::Drain]);
    let mut whole = script;
    whole.extend(farewell());
    [settled, whole]
}

fn assert_same(reference: &Run, other: &Run, fuses: &[u64]) {
    assert_eq!(faults(other), [""; 0], "stopped after {fuses:?}");
    assert_eq!(essence(&other.last), essence(&reference.last), "stopped after {fuses:?}");
}

#[test]
fn a_run_that_dies_after_any_single_step_ends_like_one_that_does_not() {
    for script in halves(full_life()) {
        let plan = Plan::new(geometry(16, 2));
        let reference = run(&plan, &script);
        assert_eq!(faults(&reference), [""; 0]);
        for step in 1..=reference.ticks {
            assert_same(&reference, &run(&plan.with_fuses(&[step]), &script), &[step]);
        }
    }
}

#[test]
fn a_run_that_dies_again_while_it_recovers_ends_the_same() {
    let [settled, _] = halves(full_life());
    let plan = Plan::new(geometry(16, 2));
    let reference = run(&plan, &settled);
    for step in (1..=reference.ticks).step_by(3) {
        for again in [1, 2, 5, 11, 23, 47] {
            let fuses = [step, again, again];
            assert_same(&reference, &run(&plan.with_fuses(&fuses), &settled), &fuses);
        }
    }
}

#[test]
fn a_kernel_that_refuses_any_single_call_changes_nothing() {
    for script in halves(full_life()) {
        let plan = Plan { fault: Fault::Refusal, ..Plan::new(geometry(16, 2)) };
        let reference = run(&plan, &script);
        for step in 1..=reference.ticks {
            assert_same(&reference, &run(&plan.with_fuses(&[step]), &script), &[step]);
        }
    }
}

#[test]
fn the_steps_of_a_drain_leave_each_of_the_four_states() {
    let script = full_life();
    let plan = Plan::new(geometry(16, 2));
    let ticks = run(&plan, &script).ticks;
    let mut seen = [0_u64; 4];
    for step in 1..=ticks {
        let recovered = run(&plan.with_fuses(&[step]), &script).last.recovered;
        let counts =
            [recovered.redrained, recovered.replayed, recovered.cleared, recovered.foreign];
        for (seen, count) in seen.iter_mut().zip(counts) {
            *seen += count;
        }
    }
    let [redrained, replayed, cleared, foreign] = seen;
    assert!(redrained > 0 && replayed > 0 && cleared > 0, "{seen:?}");
    assert_eq!(foreign, 0, "a crash alone never makes a ledger foreign");
}

#[test]
fn after_a_refused_call_the_next_drain_finishes_the_same_epoch_first() {
    let mut driver = Driver::new(&Plan::new(geometry(16, 2)));
    driver.perform(&Op::Add { edge: 1, named: true });
    driver.perform(&Op::Burst(traffic(1, false, 1, 3, 100)));
    let machine = driver.machine().clone();
    machine.borrow_mut().fault = Fault::Refusal;
    machine.borrow_mut().fuses = [3].into();
    let mut kernel = crate::machine::SharedKernel(machine.clone());
    let now = machine.borrow().now();
    let epoch = driver.epoch();
    assert!(driver.ledger().drain(&mut kernel, now, &mut ()).is_err());
    assert_eq!(driver.ledger().progress(), Progress::Closing);
    let drained = driver.ledger().drain(&mut kernel, now, &mut ()).unwrap();
    assert_eq!((drained.epoch, drained.resumed), (epoch, Some(Progress::Closing)));
    let drained = driver.ledger().drain(&mut kernel, now, &mut ()).unwrap();
    assert_eq!((drained.epoch, drained.resumed), (epoch + 1, None));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn random_lives_with_random_deaths_end_like_uninterrupted_ones(
        script in random_script(), fuses in proptest::collection::vec(1_u64..400, 1..6),
    ) {
        for script in halves(script) {
            let plan = Plan::new(geometry(32, 4));
            let reference = run(&plan, &script);
            prop_assert_eq!(faults(&reference), [""; 0]);
            let other = run(&plan.with_fuses(&fuses), &script);
            prop_assert_eq!(faults(&other), [""; 0]);
            prop_assert_eq!(essence(&other.last), essence(&reference.last));
        }
    }
}
