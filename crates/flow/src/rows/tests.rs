use super::*;
use crate::testing::{CLOCK, counts, flow, key};

/// One committed epoch with these flows of edge 1.
fn commit(rows: &mut Rows, flows: &[FlowEntry]) {
    let epoch: Vec<_> = flows.iter().map(|flow| (EdgeId(1), *flow)).collect();
    rows.add_epoch(&epoch, &CLOCK);
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
