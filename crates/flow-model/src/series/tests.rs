use super::{PairSeries, amount, reserved};
use crate::edge::EdgeId;
use crate::flow::{Counts, Direction, FlowEntry, FlowKey, Slot};
use crate::ledger::Now;
use crate::page::{FlowKeyMode, Geometry, Memory, Pages, Region};
use crate::prefix::{Prefix, Prefixes};
use crate::redo::Log;
use crate::series::PAIRS_MAGIC;
use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
use std::net::IpAddr;

fn geometry(pair_series: u32) -> Geometry {
    Geometry {
        flow_capacity4: 1,
        flow_capacity6: 1,
        shards: 1,
        max_edges: 8,
        pair_series,
        flow_key: FlowKeyMode::FiveTuple,
    }
}

fn flow(peer: u16, port: u16, direction: Direction, bytes: u64) -> FlowEntry {
    let address = |n: u16| IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, n]);
    FlowEntry {
        key: FlowKey {
            slot: Slot(1),
            direction,
            src: address(1),
            dst: address(peer),
            src_port: port,
            dst_port: 443,
            protocol: 6,
            fragment: false,
        },
        counts: Counts { packets: 1, bytes },
        first: 0,
        last: 0,
        syn: 0,
        fin: 0,
        rst: 0,
    }
}

/// The family on its own: pages, and one drain at a time.
struct Bench {
    pages: Memory,
    series: PairSeries,
    ignored: Prefixes,
    offered: Counts,
    now_ns: u64,
}

impl Bench {
    fn new(pair_series: u32) -> Self {
        let geometry = geometry(pair_series);
        let mut pages = Memory::new(&geometry);
        pages.store(Region::Pairs, 0, PAIRS_MAGIC);
        let series = PairSeries::load(&pages, &geometry, 0).unwrap();
        let ignored = "fd00::ff00/120".parse::<Prefix>().unwrap();
        let (offered, now_ns) = (Counts::ZERO, 0);
        Self { pages, series, ignored: [ignored].into_iter().collect(), offered, now_ns }
    }

    fn drain(&mut self, flows: &[(EdgeId, FlowEntry)], idle_ns: u64) {
        self.series.begin_epoch();
        for (edge, flow) in flows {
            self.series.absorb(flow, *edge, &self.ignored);
            if flow.key.direction == Direction::Tx {
                self.offered += flow.counts;
            }
        }
        self.now_ns += 1;
        let now = Now { wall_ns: self.now_ns, monotonic_ns: self.now_ns };
        let mut log = Log::default();
        self.series.plan(&mut log, &mut self.pages, now, idle_ns);
        log.apply(&mut self.pages);
    }

    fn reserved(&self, record: usize) -> Counts {
        amount(&self.pages, record)
    }

    fn exposed(&self) -> Counts {
        self.series.records().map(|record| amount(&self.pages, record)).sum()
    }
}

#[test]
fn flows_of_one_pair_with_any_ports_share_a_series_and_only_sent_ones_count() {
    let mut bench = Bench::new(4);
    let tx = Direction::Tx;
    let flows = [flow(2, 1, tx, 10), flow(2, 2, tx, 20), flow(2, 1, Direction::Rx, 40)];
    bench.drain(&flows.map(|flow| (EdgeId(1), flow)), 100);
    assert_eq!(bench.series.records().count(), 1);
    assert_eq!(bench.exposed(), Counts { packets: 2, bytes: 30 });
}

#[test]
fn ignored_peers_have_one_amount_and_no_series() {
    let mut bench = Bench::new(4);
    let flows = [0xff01, 0xff02, 0xfe01].map(|peer| (EdgeId(1), flow(peer, 1, Direction::Tx, 10)));
    bench.drain(&flows, 100);
    assert_eq!(bench.reserved(reserved::IGNORED).packets, 2);
    assert_eq!(bench.series.records().count(), 1);
}

#[test]
fn the_heaviest_newcomers_get_the_free_records() {
    let mut bench = Bench::new(4);
    // Four edges, so that no quota decides.
    let flows: Vec<_> = (1..=9_u16)
        .map(|peer| (EdgeId(u32::from(peer) % 5), flow(peer, 1, Direction::Tx, peer.into())))
        .collect();
    bench.drain(&flows, 100);
    assert_eq!(bench.exposed().bytes, 9 + 8 + 7 + 6);
    assert_eq!(bench.reserved(reserved::OTHER).bytes, 1 + 2 + 3 + 4 + 5);
    assert_eq!(bench.series.refused(), 5);
}

#[test]
fn an_abandoned_reading_of_an_epoch_leaves_nothing_behind() {
    let mut bench = Bench::new(4);
    bench.series.absorb(&flow(2, 1, Direction::Tx, 10), EdgeId(1), &Prefixes::default());
    bench.drain(&[(EdgeId(1), flow(3, 1, Direction::Tx, 5))], 100);
    assert_eq!((bench.exposed().bytes, bench.reserved(reserved::OTHER).bytes), (5, 0));
}

proptest! {
    #[test]
    fn any_arrivals_promotions_and_retirements_keep_the_sum(
        drains in proptest::collection::vec(
            proptest::collection::vec((1_u32..6, 1_u16..40, 1_u64..10_000), 0..60), 1..25),
        records in 1_u32..12, idle_ns in 1_u64..6,
    ) {
        let mut bench = Bench::new(records);
        let (mut other, mut retired) = (Counts::ZERO, Counts::ZERO);
        for drain in &drains {
            let flows: Vec<_> = drain.iter().map(|(edge, peer, bytes)| {
                let peer = if *peer > 35 { 0xff00 + peer } else { *peer };
                (EdgeId(*edge), flow(peer, 1, Direction::Tx, *bytes))
            }).collect();
            bench.drain(&flows, idle_ns);
            let rest = [reserved::OTHER, reserved::IGNORED, reserved::RETIRED];
            let rest: Counts = rest.into_iter().map(|record| bench.reserved(record)).sum();
            prop_assert_eq!(bench.exposed() + rest, bench.offered);
            prop_assert!(bench.series.records().count() <= records as usize);
            prop_assert!(bench.reserved(reserved::OTHER).bytes >= other.bytes);
            prop_assert!(bench.reserved(reserved::RETIRED).bytes >= retired.bytes);
            (other, retired) =
                (bench.reserved(reserved::OTHER), bench.reserved(reserved::RETIRED));
            let quota = (records as usize / 4).max(1);
            prop_assert!(bench.series.owned.values().all(|owned| *owned <= quota));
            let again = PairSeries::load(&bench.pages, &geometry(records), 0).unwrap();
            prop_assert_eq!(&again.index, &bench.series.index);
            prop_assert_eq!(&again.owned, &bench.series.owned);
            prop_assert_eq!(again.free.len(), bench.series.free.len());
        }
    }
}
