//! Moving to maps of other sizes, and what happens to a ledger that is not ours any more.

use std::cell::RefCell;
use std::rc::Rc;

use flow_model::flow::{Counts, Totals};
use flow_model::ledger::{Found, How, Ledger, Legacy, Now, Settings, inspect};
use flow_model::page::{Geometry, Memory, Mismatch, Pages, Region, control};

use crate::driver::{Driver, Plan};
use crate::machine::{Flaw, Machine, SharedKernel, SharedPages};
use crate::outcome::essence;
use crate::script::{Op, geometry, traffic};

fn busy(plan: &Plan) -> Driver {
    let mut driver = Driver::new(plan);
    for edge in 1..=3 {
        driver.perform(&Op::Add { edge, named: edge != 3 });
        driver.perform(&Op::Burst(traffic(edge, false, edge, 3, 100 * u64::from(edge))));
        driver.perform(&Op::Burst(traffic(edge, true, 0, 2, 42)));
        driver.perform(&Op::Wait { ns: 5 });
    }
    driver.perform(&Op::Drain);
    driver.perform(&Op::Burst(traffic(1, false, 1, 1, 1000)));
    driver.perform(&Op::Drain);
    driver
}

fn moved(driver: &mut Driver, to: Geometry) -> Ledger<Memory> {
    let past = driver.ledger().snapshot();
    let now = Now { wall_ns: u64::MAX, monotonic_ns: 1 };
    let legacy = Legacy::Ledger(&past);
    Ledger::create(Memory::new(&to), to, Settings::default(), now, legacy).unwrap()
}

#[test]
fn a_move_to_other_sizes_changes_no_number() {
    let mut driver = busy(&Plan::new(geometry(16, 4)));
    let past = driver.ledger().snapshot();
    let next = moved(&mut driver, geometry(32, 8)).snapshot();
    assert!(next.laws.hold(), "{:?}", next.laws);
    assert_eq!(essence(&next).without_edges(), essence(&past).without_edges());
    assert_eq!((next.epoch, next.created_ns), (past.epoch, past.created_ns));
    let ids = |edges: &[flow_model::snapshot::EdgeRow]| -> Vec<_> {
        edges.iter().map(|edge| (edge.record.id, edge.record.identity)).collect()
    };
    assert_eq!(ids(&next.edges), ids(&past.edges));
    assert_eq!(next.next_edge_id, past.next_edge_id);
}

#[test]
fn a_move_to_smaller_sizes_retires_the_lightest_and_keeps_every_sum() {
    let mut driver = busy(&Plan::new(geometry(16, 4)));
    let past = driver.ledger().snapshot();
    let next = moved(&mut driver, geometry(1, 1)).snapshot();
    assert!(next.laws.hold(), "{:?}", next.laws);
    assert_eq!((next.pairs.rows.len(), next.edges.len()), (1, 1));
    assert_eq!(next.node, past.node);
    let heaviest = past.pairs.rows.iter().map(|row| row.counts.bytes).max();
    assert_eq!(next.pairs.rows.first().map(|row| row.counts.bytes), heaviest);
}

#[test]
fn a_moved_ledger_goes_on_counting() {
    let mut driver = busy(&Plan::new(geometry(16, 4)));
    let past = driver.ledger().snapshot();
    let to = geometry(8, 4);
    let machine = Rc::new(RefCell::new(Machine::new(&to, Flaw::None, 100)));
    let (pages, mut kernel) = (SharedPages(machine.clone()), SharedKernel(machine.clone()));
    let legacy = Legacy::Ledger(&past);
    let now = machine.borrow().now();
    let mut ledger = Ledger::create(pages, to, Settings::default(), now, legacy).unwrap();
    let slot = ledger.edges().next().unwrap().slot;
    machine.borrow_mut().arriving.extend(traffic(1, false, 1, 2, 500).packets(slot));
    machine.borrow_mut().settle();
    let next = ledger.drain(&mut kernel, now, &mut ()).unwrap().snapshot;
    assert!(next.laws.hold());
    assert_eq!(next.node[0].wire.bytes, past.node[0].wire.bytes + 1000);
    assert_eq!(next.epoch, past.epoch + 1);
}

#[test]
fn maps_of_which_only_totals_are_known_go_on_as_retired() {
    let to = geometry(8, 2);
    let wire = Counts { packets: 5, bytes: 900 };
    let totals = Totals { wire, skb: Counts { packets: 1, bytes: 800 } };
    let legacy = Legacy::Totals([totals, Totals::default()]);
    let now = Now::default();
    let ledger = Ledger::create(Memory::new(&to), to, Settings::default(), now, legacy).unwrap();
    let snapshot = ledger.snapshot();
    assert!(snapshot.laws.hold());
    assert_eq!(snapshot.node, [totals, Totals::default()]);
    assert_eq!((snapshot.pairs.retired, snapshot.pods.retired[0]), (wire, wire));
}

/// Breaks pages while the process is dead; what the ledger says before and after.
fn after_tampering(break_pages: impl Fn(&mut Memory)) {
    let mut driver = busy(&Plan::new(geometry(16, 4)));
    driver.perform(&Op::Trickle(traffic(2, false, 2, 9, 70)));
    let before = driver.ledger().snapshot();
    driver.kill();
    break_pages(&mut driver.machine().borrow_mut().memory);
    driver.perform(&Op::Burst(traffic(2, false, 7, 1, 70)));
    let after = driver.ledger().snapshot();
    assert!(after.recovered.foreign > 0);
    driver.perform(&Op::Burst(traffic(2, false, 8, 1, 71)));
    driver.perform(&Op::Drain);
    let run = driver.finish();
    let (flows, last) = (run.last.node[0].wire, &run.last);
    assert_eq!([last.node[0].wire, last.node[1].wire], run.offered);
    assert!(last.laws.hold(), "{:?}", last.laws);
    assert!(flows.bytes > before.node[0].wire.bytes);
    assert_eq!(last.pairs.rows.len(), 1, "only what was seen since has a series");
    assert!(last.pairs.retired.bytes >= before.node[0].wire.bytes - before.pairs.other.bytes);
    for (pod, then) in last.pods.rows.iter().zip(&before.pods.rows) {
        assert!(pod.counts[0].bytes >= then.counts[0].bytes);
    }
}

#[test]
fn a_pair_region_without_header_is_rebuilt_from_totals() {
    after_tampering(|memory| memory.words_mut(Region::Pairs)[0] ^= 1);
}

#[test]
fn an_impossible_pair_is_rebuilt_from_totals() {
    after_tampering(|memory| memory.words_mut(Region::Pairs)[3 * 8 + 4] = 0xff);
}

#[test]
fn a_log_that_is_needed_and_broken_is_rebuilt_from_totals() {
    let script = [
        Op::Add { edge: 1, named: true },
        Op::Burst(traffic(1, false, 1, 5, 100)),
        Op::Burst(traffic(1, true, 1, 5, 100)),
    ];
    let plan = Plan::new(geometry(4, 2));
    let mut broken = 0;
    for step in 1..200 {
        let mut driver = Driver::new(&plan);
        script.iter().for_each(|op| driver.perform(op));
        driver.machine().borrow_mut().fuses = [step].into();
        // A wait after the crash, so that the ledger is not opened before it is broken.
        let died = driver.drain_until_death();
        if !died || driver.progress_of_pages() != flow_model::ledger::Progress::Journalled {
            continue;
        }
        driver.machine().borrow_mut().memory.words_mut(Region::Redo)[3] ^= 1;
        broken += 1;
        driver.perform(&Op::Drain);
        let run = driver.finish();
        assert_eq!(run.last.node.map(|totals| totals.wire), run.offered);
        assert_eq!(run.last.recovered.foreign, 2, "the broken epoch and the open one");
        assert_eq!(run.last.pairs.retired.bytes, 500);
        assert!(run.last.laws.hold());
    }
    assert!(broken > 0);
}

#[test]
fn a_rebuild_that_dies_at_any_step_ends_the_same() {
    let mut step = 0;
    loop {
        step += 1;
        let mut driver = busy(&Plan::new(geometry(4, 4)));
        driver.kill();
        driver.machine().borrow_mut().memory.words_mut(Region::Pairs)[0] = 7;
        let before = driver.machine().borrow().ticks;
        driver.machine().borrow_mut().fuses = [step, 9].into();
        driver.perform(&Op::Drain);
        let spent = driver.machine().borrow().ticks - before;
        driver.machine().borrow_mut().fuses.clear();
        let run = driver.finish();
        assert_eq!(run.last.node.map(|totals| totals.wire), run.offered, "died after {step}");
        assert!(run.last.laws.hold(), "died after {step}");
        assert_eq!(run.last.pairs.retired + run.last.pairs.other, run.offered[0]);
        if spent < step {
            break;
        }
    }
    assert!(step > 40, "the rebuild took only {step} steps");
}

#[test]
fn pages_are_told_apart_before_anything_is_written() {
    let mut driver = busy(&Plan::new(geometry(4, 4)));
    driver.kill();
    let ours = driver.machine().borrow().memory.clone();
    let after = |word: usize, value: u64| {
        let mut pages = ours.clone();
        pages.store(Region::Control, word, value);
        inspect(&pages, &geometry(4, 4))
    };
    assert_eq!(after(control::MAGIC, 0), Found::Fresh);
    assert_eq!(after(control::CREATED_NS, 1), Found::Ours);
    for (word, value) in
        [(control::MAGIC, 1), (control::ABI, 77), (control::EPOCH, 900), (control::NEXT_EDGE_ID, 2)]
    {
        assert!(matches!(after(word, value), Found::Foreign(_)), "word {word}");
    }
    let mismatch = Mismatch { item: "shards", found: 8, wanted: 1 };
    assert_eq!(after(control::SHARDS, 8), Found::OtherGeometry(mismatch));
    assert_eq!(Geometry::stored(&ours), Some(geometry(4, 4)));
    assert_eq!(How::Foreign.as_str(), "foreign");
}
