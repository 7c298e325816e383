//! Pages full of anything: what is read keeps its laws, and nothing stops the agent.

use flow_model::flow::Slot;
use flow_model::ledger::{Found, Ledger, Settings, inspect};
use flow_model::page::{Geometry, Memory, Pages, Region};
use flow_model::redo::Log;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use crate::driver::{Driver, Plan};
use crate::machine::SharedKernel;
use crate::script::{Op, geometry, traffic};

fn region() -> impl proptest::strategy::Strategy<Value = Region> {
    proptest::sample::select(Region::ALL.to_vec())
}

/// A ledger with something in every region.
fn seeded() -> Driver {
    let mut driver = Driver::new(&Plan::new(geometry(6, 3)));
    for edge in 1..=2 {
        driver.perform(&Op::Add { edge, named: true });
        driver.perform(&Op::Burst(traffic(edge, false, edge, 3, 100)));
    }
    driver.perform(&Op::Drain);
    driver
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn a_log_that_is_believed_was_written_for_this_geometry_and_epoch(
        damage in proptest::collection::vec((0_usize..60, any::<u64>()), 0..3), epoch in 0_u64..3,
    ) {
        let mut driver = seeded();
        driver.kill();
        let mut pages = driver.machine().borrow().memory.clone();
        let sound = Log::read(&pages, &geometry(6, 3), 1).unwrap();
        for (word, value) in &damage {
            pages.store(Region::Redo, *word, *value);
        }
        let written = 6 * (1 + sound.images().len());
        let harmed = damage.iter().any(|(word, _)| {
            let now = pages.load(Region::Redo, *word);
            // Two words of the header mean nothing.
            ![4, 5].contains(word) && *word < written
                && now != driver.machine().borrow().memory.load(Region::Redo, *word)
        });
        match Log::read(&pages, &geometry(6, 3), epoch) {
            Ok(log) => {
                prop_assert!(epoch == 1 && !harmed);
                prop_assert_eq!(log, sound);
            }
            Err(_) => prop_assert!(epoch != 1 || harmed),
        }
    }

    #[test]
    fn every_after_image_of_any_believed_log_stays_inside_its_record(
        words in proptest::collection::vec(any::<u64>(), 64), small in any::<bool>(),
    ) {
        let geometry = geometry(2, 2);
        let mut pages = Memory::new(&geometry);
        for (target, word) in pages.words_mut(Region::Redo).iter_mut().zip(&words) {
            *target = if small { word % 8 } else { *word };
        }
        if let Ok(log) = Log::read(&pages, &geometry, words[1]) {
            for image in log.images() {
                let ((region, record), (offset, words)) = (image.place(), image.words());
                prop_assert!(record < geometry.records(region));
                prop_assert!(offset + words.len() <= region.record_words());
            }
        }
    }

    #[test]
    fn whatever_happens_to_the_pages_opening_ends_and_edges_are_unique(
        damage in proptest::collection::vec((region(), any::<usize>(), any::<u64>(), any::<bool>()), 1..6),
    ) {
        let mut driver = seeded();
        driver.kill();
        for (region, word, value, small) in &damage {
            let mut machine = driver.machine().borrow_mut();
            let words = machine.memory.words(*region);
            let value = if *small { value % 5 } else { *value };
            machine.memory.store(*region, word % words, value);
        }
        let pages = driver.machine().borrow().memory.clone();
        let plan = geometry(6, 3);
        let found = inspect(&pages, &plan);
        let mut kernel = SharedKernel(driver.machine().clone());
        let now = driver.machine().borrow().now();
        let opened = Ledger::open(pages, plan, Settings::default(), &mut kernel, now, &mut ());
        prop_assert_eq!(opened.is_ok(), found == Found::Ours);
        if let Ok((mut ledger, _)) = opened {
            let mut ids: Vec<_> = ledger.edges().map(|edge| edge.id).collect();
            ids.dedup();
            prop_assert_eq!(ids.len(), ledger.edges().count());
            let drained = ledger.drain(&mut kernel, now, &mut ()).unwrap();
            prop_assert!(drained.snapshot.edges.iter().all(|edge| edge.record.slot != Slot(0)));
        }
    }

    #[test]
    fn a_stored_geometry_is_within_the_flags(words in proptest::collection::vec(any::<u64>(), 16)) {
        let mut pages = Memory::new(&geometry(1, 1));
        for (target, word) in pages.words_mut(Region::Control).iter_mut().zip(&words) {
            *target = word % 40_000;
        }
        if let Some(stored) = Geometry::stored(&pages) {
            prop_assert!(stored.max_edges <= 32_768 && stored.pair_series <= 262_144);
        }
    }
}
