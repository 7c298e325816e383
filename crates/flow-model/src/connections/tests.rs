use super::{Active, Connections, TickClock};
use crate::flow::{Counts, Direction, FlowEntry, FlowKey, Slot};
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

const CLOCK: TickClock = TickClock { tick: 1000, monotonic_ns: 1_000_000, tick_ns: 1000 };

fn flow(from: (u8, u16), to: (u8, u16), protocol: u8, last: u32) -> FlowEntry {
    let address = |n| IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
    FlowEntry {
        key: FlowKey {
            slot: Slot(1),
            direction: Direction::Tx,
            src: address(from.0),
            dst: address(to.0),
            src_port: from.1,
            dst_port: to.1,
            protocol,
            fragment: false,
        },
        counts: Counts { packets: 1, bytes: 60 },
        first: last,
        last,
        syn: 0,
        fin: 0,
        rst: 0,
    }
}

const CLIENT: (u8, u16) = (1, 40_000);
const SERVER: (u8, u16) = (2, 443);

fn tcp(from: (u8, u16), to: (u8, u16)) -> FlowEntry {
    flow(from, to, 6, 1000)
}

/// The clock as it was read some epochs later, within a tick.
fn later(epochs: u64) -> TickClock {
    TickClock { monotonic_ns: CLOCK.monotonic_ns + epochs, ..CLOCK }
}

fn active(table: &mut Connections) -> u64 {
    table.sweep(1_000_000, 60_000).tcp
}

#[test]
fn both_directions_and_both_ends_are_one_connection() {
    let mut table = Connections::new(10);
    let elsewhere = FlowEntry {
        key: FlowKey { slot: Slot(2), direction: Direction::Rx, ..tcp(CLIENT, SERVER).key },
        ..tcp(CLIENT, SERVER)
    };
    for flow in
        [tcp(CLIENT, SERVER), tcp(SERVER, CLIENT), elsewhere, flow(CLIENT, SERVER, 17, 1000)]
    {
        table.observe(&flow, &CLOCK);
    }
    assert_eq!(table.sweep(1_000_000, 60_000), Active { tcp: 1, udp: 1 });
}

#[test]
fn a_reset_ends_it_and_so_does_a_fin_from_both_sides_but_not_from_one() {
    let mut table = Connections::new(10);
    table.observe(&tcp(CLIENT, SERVER), &CLOCK);
    table.observe(&FlowEntry { fin: 1, ..tcp(CLIENT, SERVER) }, &CLOCK);
    assert_eq!(active(&mut table), 1);
    table.observe(&FlowEntry { fin: 1, ..tcp(SERVER, CLIENT) }, &CLOCK);
    assert_eq!(active(&mut table), 0);
    let other = (9, 9);
    table.observe(&FlowEntry { rst: 1, ..tcp(CLIENT, other) }, &CLOCK);
    assert_eq!(active(&mut table), 0);
}

#[test]
fn late_segments_do_not_revive_an_ended_connection_but_a_new_one_with_its_ports_does() {
    let mut table = Connections::new(10);
    table.observe(&FlowEntry { rst: 1, ..tcp(SERVER, CLIENT) }, &CLOCK);
    table.observe(&tcp(CLIENT, SERVER), &later(1));
    assert_eq!(active(&mut table), 0);
    table.observe(&FlowEntry { syn: 1, ..tcp(CLIENT, SERVER) }, &later(2));
    assert_eq!(active(&mut table), 1);
}

#[test]
fn a_connection_that_begins_and_ends_within_an_epoch_is_over_in_whatever_order_its_flows_come() {
    let refused =
        [FlowEntry { syn: 1, ..tcp(CLIENT, SERVER) }, FlowEntry { rst: 1, ..tcp(SERVER, CLIENT) }];
    let closed = [
        FlowEntry { syn: 1, fin: 1, ..tcp(CLIENT, SERVER) },
        FlowEntry { syn: 1, fin: 1, ..tcp(SERVER, CLIENT) },
    ];
    for [first, second] in [refused, closed] {
        for flows in [[first, second, first, second], [second, first, second, first]] {
            let mut table = Connections::new(10);
            flows.iter().for_each(|flow| table.observe(flow, &CLOCK));
            assert_eq!(active(&mut table), 0, "{flows:?}");
        }
    }
}

#[test]
fn a_connection_that_takes_the_ports_of_an_ended_one_keeps_the_end_that_its_epoch_saw() {
    let mut table = Connections::new(10);
    table.observe(&FlowEntry { rst: 1, ..tcp(SERVER, CLIENT) }, &CLOCK);
    table.observe(&FlowEntry { rst: 1, ..tcp(SERVER, CLIENT) }, &later(1));
    table.observe(&FlowEntry { syn: 1, ..tcp(CLIENT, SERVER) }, &later(1));
    assert_eq!(active(&mut table), 0);
}

#[test]
fn a_connection_silent_for_longer_than_the_idle_time_is_forgotten() {
    let mut table = Connections::new(10);
    table.observe(&flow(CLIENT, SERVER, 17, 1000), &CLOCK);
    assert_eq!(table.sweep(1_060_000, 60_000).udp, 1);
    assert_eq!(table.sweep(1_060_001, 60_000).udp, 0);
    assert!(table.is_empty());
}

#[test]
fn what_has_no_ports_of_its_own_is_no_connection() {
    let mut table = Connections::new(10);
    table.observe(&flow(CLIENT, SERVER, 1, 1000), &CLOCK);
    let mut fragment = tcp(CLIENT, SERVER);
    fragment.key.fragment = true;
    table.observe(&fragment, &CLOCK);
    assert_eq!((table.len(), table.untracked()), (0, 0));
}

#[test]
fn a_full_table_keeps_what_it_has_and_counts_the_rest() {
    let mut table = Connections::new(1);
    table.observe(&tcp(CLIENT, SERVER), &CLOCK);
    table.observe(&tcp((3, 3), SERVER), &CLOCK);
    table.observe(&tcp(SERVER, CLIENT), &CLOCK);
    assert_eq!((table.len(), table.untracked(), active(&mut table)), (1, 1, 1));
}

#[test]
fn ticks_become_times_across_the_wrap_of_their_counter() {
    let clock = TickClock { tick: 5, monotonic_ns: 1_000_000, tick_ns: 4_000 };
    assert_eq!(clock.monotonic_ns(5), 1_000_000);
    assert_eq!(clock.monotonic_ns(u32::MAX), 1_000_000 - 6 * 4_000);
    assert_eq!(clock.monotonic_ns(7), 1_008_000);
    let early = TickClock { tick: 5, monotonic_ns: 10, tick_ns: 4_000 };
    assert_eq!(early.monotonic_ns(1), 0);
}

/// Ends of a connection: FIN from the low and from the high end, RST.
type Ends = [bool; 3];

const fn over([low, high, reset]: Ends) -> bool {
    reset || low && high
}

proptest! {
    #[test]
    fn the_gauge_equals_a_count_made_by_hand(
        epochs in proptest::collection::vec(
            proptest::collection::vec(
                (0_u8..4, 0_u8..4, 0_u32..3, 0_u32..2, 0_u32..2, 0_u32..200), 0..20,
            ),
            0..5,
        ),
    ) {
        let mut tables = [Connections::new(1000), Connections::new(1000)];
        let mut truth = BTreeMap::<(u8, u8), (u32, Ends)>::new();
        for (epoch, flows) in (0..).zip(epochs) {
            let mut ends = BTreeMap::<(u8, u8), (bool, Ends)>::new();
            for &(from, to, syn, fin, rst, last) in &flows {
                let pair = (from.min(to), from.max(to));
                let (opened, ends) = ends.entry(pair).or_default();
                *opened |= syn > 0;
                ends[usize::from(from > to)] |= fin > 0;
                ends[2] |= rst > 0;
                let seen = &mut truth.entry(pair).or_default().0;
                *seen = (*seen).max(900 + last);
            }
            for (pair, (opened, now)) in ends {
                let before = &mut truth.entry(pair).or_default().1;
                if opened && over(*before) {
                    *before = Ends::default();
                }
                *before = std::array::from_fn(|i| before[i] | now[i]);
            }
            let flows = flows.iter().map(|&(from, to, syn, fin, rst, last)| {
                FlowEntry { syn, fin, rst, ..flow((from, 1), (to, 1), 6, 900 + last) }
            });
            flows.clone().for_each(|flow| tables[0].observe(&flow, &later(epoch)));
            flows.rev().for_each(|flow| tables[1].observe(&flow, &later(epoch)));
        }
        let expected = truth.values().filter(|(last, ends)| *last >= 1040 && !over(*ends));
        let expected = Active { tcp: expected.count() as u64, udp: 0 };
        for table in &mut tables {
            prop_assert_eq!(table.sweep(1_100_004, 60_004), expected);
            prop_assert!(table.len() <= truth.len());
        }
    }
}
