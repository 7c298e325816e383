use flow_model::ledger::Observer as _;

use super::*;
use crate::testing::{CLOCK, counts, flow, key, snapshot};

/// One epoch with these flows of edge 1, committed.
fn commit(rows: &mut Rows, flows: &[FlowEntry]) {
    rows.set_clock(CLOCK);
    rows.begin(1);
    for flow in flows {
        rows.flow(Some(EdgeId(1)), flow);
    }
    rows.committed(&Arc::new(snapshot()));
}

#[test]
fn a_flow_of_several_epochs_is_one_row() {
    let mut rows = Rows::new(10);
    commit(&mut rows, &[flow(key(), counts(1, 100), [500, 600])]);
    commit(&mut rows, &[flow(key(), counts(2, 300), [550, 900])]);
    let all: Vec<_> = rows.iter().collect();
    assert_eq!(all.len(), 1);
    let (_, _, row) = all[0];
    assert_eq!((row.counts, row.syn), (counts(3, 400), 2));
    assert_eq!((row.first, row.last), (Duration::from_secs(95), Duration::from_secs(99)));
}

#[test]
fn a_slot_that_was_given_to_the_same_edge_anew_changes_nothing() {
    let mut rows = Rows::new(10);
    let moved = FlowKey { slot: Slot(7), ..key() };
    commit(&mut rows, &[flow(key(), counts(1, 100), [0, 0])]);
    commit(&mut rows, &[flow(moved, counts(1, 100), [0, 0])]);
    assert_eq!(rows.iter().count(), 1);
}

#[test]
fn an_epoch_that_is_read_again_counts_once() {
    let mut rows = Rows::new(10);
    rows.set_clock(CLOCK);
    rows.begin(1);
    rows.flow(Some(EdgeId(1)), &flow(key(), counts(5, 500), [0, 0]));
    commit(&mut rows, &[flow(key(), counts(1, 100), [0, 0])]);
    assert_eq!(rows.iter().next().unwrap().2.counts, counts(1, 100));
}

#[test]
fn flows_without_an_edge_are_left_to_the_ledger() {
    let mut rows = Rows::new(10);
    rows.set_clock(CLOCK);
    rows.begin(1);
    rows.flow(None, &flow(key(), counts(5, 500), [0, 0]));
    rows.committed(&Arc::new(snapshot()));
    assert_eq!(rows.iter().count(), 0);
}

#[test]
fn beyond_the_limit_known_rows_grow_and_new_ones_are_summed() {
    let mut rows = Rows::new(1);
    let second = FlowKey { src_port: 1, ..key() };
    let third = FlowKey { src_port: 2, direction: Direction::Rx, ..key() };
    let all = [key(), second, third].map(|key| flow(key, counts(1, 100), [0, 0]));
    commit(&mut rows, &all);
    commit(&mut rows, &all);
    assert_eq!(rows.iter().next().unwrap().2.counts, counts(2, 200), "the first keeps its row");
    let mut beyond: Vec<_> = rows.beyond().collect();
    beyond.sort_by_key(|(_, direction, _)| *direction);
    let sum = counts(2, 200);
    assert_eq!(beyond, [(EdgeId(1), Direction::Tx, sum), (EdgeId(1), Direction::Rx, sum)]);
}
