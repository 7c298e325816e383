//! Damaged frames, read by the program and by the reference.

use proptest::{
    prelude::{Just, prop_oneof},
    test_runner::{Config, RngSeed, TestRunner},
};

use super::Bench;
use crate::{damage, law};

#[test]
#[ignore = "root: loads programs"]
fn damaged_frames_are_read_like_the_reference_reads_them() {
    let mut bench = Bench::new();
    let segmented = prop_oneof![2 => Just(0_u32), 1 => 1..2000_u32, 1 => Just(0xffff)];
    let case = (damage::frame(), segmented, 0..50_u16);
    let cell = std::cell::RefCell::new(&mut bench);
    runner(law::cases(4_000))
        .run(&case, |(frame, gso_size, gso_segs)| {
            cell.borrow_mut().check_segmented(&frame, gso_size, gso_segs);
            Ok(())
        })
        .unwrap();
}

/// A runner with a seed that the environment may name.
fn runner(cases: u32) -> TestRunner {
    let seed = law::seed();
    println!("FATHOM_SEED={seed}");
    let rng_seed = RngSeed::Fixed(seed);
    // A failing case panics inside the model, which shrinking would only repeat.
    TestRunner::new(Config {
        cases,
        rng_seed,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    })
}
