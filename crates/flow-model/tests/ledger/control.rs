//! The crash tests can fail: with a wrong order of steps they do.

use crate::driver::{Plan, run};
use crate::machine::Flaw;
use crate::outcome::{essence, faults};
use crate::script::{Op, farewell, full_life, geometry};

fn script() -> Vec<Op> {
    let mut script = full_life();
    script.extend(farewell());
    script
}

/// Crash points at which a flawed machine is caught.
fn caught(flaw: Flaw) -> u64 {
    let script = script();
    let sound = Plan::new(geometry(16, 2));
    let reference = run(&sound, &script);
    let flawed = Plan { flaw, ..sound };
    let differs = |step: &u64| {
        let other = run(&flawed.with_fuses(&[*step]), &script);
        !faults(&other).is_empty() || essence(&other.last) != essence(&reference.last)
    };
    (1..=reference.ticks).filter(differs).count() as u64
}

#[test]
fn reading_that_removes_is_caught() {
    assert!(caught(Flaw::ReadRemoves) > 0);
}

#[test]
fn emptying_the_maps_before_the_commit_needs_a_sound_log_to_be_survived() {
    // The log holds all that the maps held: this order alone loses nothing.
    assert_eq!(caught(Flaw::ClearBeforeCommit), 0);
}

#[test]
fn applying_a_log_before_it_is_declared_complete_is_caught() {
    assert!(caught(Flaw::LateJournal) > 0);
}

#[test]
fn a_journal_that_overtakes_its_log_is_caught() {
    assert!(caught(Flaw::EarlyJournal) > 0);
}

#[test]
fn a_grace_period_that_waits_for_nobody_is_caught_without_any_crash() {
    let flawed = Plan { flaw: Flaw::NoGrace, ..Plan::new(geometry(16, 2)) };
    assert!(!faults(&run(&flawed, &script())).is_empty());
}

#[test]
fn maps_that_are_never_emptied_are_caught_without_any_crash() {
    let flawed = Plan { flaw: Flaw::NeverClears, ..Plan::new(geometry(16, 2)) };
    assert!(!faults(&run(&flawed, &script())).is_empty());
}
