//! Seeded runs of laws over hostile input: every reader agrees with a slow one.
//!
//! `FATHOM_SEED` and `FATHOM_CASES` choose where they start and how far they go. A run that is
//! longer than usual and names no seed starts elsewhere each time.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

#[path = "../../../crates/flow-bpf/tests/kernel/damage.rs"]
mod damage;
mod edges;
#[path = "../../../crates/flow-bpf/tests/kernel/frames.rs"]
#[expect(dead_code, reason = "shared with tests that build more kinds of frames")]
mod frames;
mod netlink;
mod pages;
mod parser;
mod stamp;

use std::fmt::Debug;
use std::time::{SystemTime, UNIX_EPOCH};

use proptest::collection::vec;
use proptest::prelude::{Strategy, any};
use proptest::sample::Index;
use proptest::test_runner::{Config, RngSeed, TestRunner};

/// Runs a law on cases of a kind.
fn hold<T: Debug>(cases: impl Strategy<Value = T>, law: impl Fn(T)) {
    let length = number("FATHOM_CASES").and_then(|n| n.try_into().ok());
    let seed = number("FATHOM_SEED").unwrap_or_else(|| length.map_or(SEED, |_: u32| now()));
    let config = Config {
        cases: length.unwrap_or(CASES),
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    let held = TestRunner::new(config).run(&cases, |case| {
        law(case);
        Ok(())
    });
    held.unwrap_or_else(|error| panic!("FATHOM_SEED={seed}: {error}"));
}

/// `cases` as they are, with some items replaced, or cut off anywhere.
fn damaged<T: Debug + Clone>(
    cases: impl Strategy<Value = Vec<T>>,
    item: impl Strategy<Value = T>,
) -> impl Strategy<Value = Vec<T>> {
    let damage = vec((any::<Index>(), item), 0..3);
    let cut = proptest::option::weighted(0.3, any::<Index>());
    (cases, damage, cut).prop_map(|(mut items, damage, cut)| {
        for (at, item) in damage {
            if let length @ 1.. = items.len() {
                items[at.index(length)] = item;
            }
        }
        items.truncate(cut.map_or(items.len(), |cut| cut.index(items.len() + 1)));
        items
    })
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs()
}

const SEED: u64 = 0x5eed_f10e;
const CASES: u32 = 20_000;
