//! How many flows a core aggregates in a second, from the sink to the commit.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on shall stop")]

use std::convert::Infallible;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flow_model::edge::EdgeSpec;
use flow_model::flow::{Counts, Direction, FlowEntry, FlowKey, Folded, Parity, Slot, Totals};
use flow_model::kernel::Kernel;
use flow_model::ledger::{Ledger, Legacy, Now, Settings};
use flow_model::page::{FlowKeyMode, Geometry, Memory};

const FLOWS: u32 = 100_000;

/// A kernel in which each epoch holds the same flows.
struct Repeating(Vec<FlowEntry>);

impl Kernel for Repeating {
    type Error = Infallible;

    fn grace(&mut self) -> Result<(), Infallible> {
        Ok(())
    }

    fn read(&mut self, _: Parity, sink: &mut dyn FnMut(&FlowEntry)) -> Result<(), Infallible> {
        self.0.iter().for_each(sink);
        Ok(())
    }

    fn clear(&mut self, _: Parity) -> Result<(), Infallible> {
        Ok(())
    }

    fn totals(&mut self, _: Parity, _: &mut [[Totals; 2]]) -> Result<(), Infallible> {
        Ok(())
    }

    fn folded(&mut self, _: Parity, _: &mut [Folded]) -> Result<(), Infallible> {
        Ok(())
    }

    fn zero_slot(&mut self, _: Slot) -> Result<(), Infallible> {
        Ok(())
    }
}

fn flow(n: u32, pairs: u32) -> FlowEntry {
    let address = |bits| IpAddr::V4(Ipv4Addr::from_bits(bits));
    FlowEntry {
        key: FlowKey {
            slot: Slot(1 + (n % 100) as u16),
            direction: Direction::Tx,
            src: address(0x0a00_0000 + n % 100),
            dst: address(0x0b00_0000 + n % pairs),
            src_port: (n % 50_000) as u16,
            dst_port: 443,
            protocol: 6,
            fragment: false,
        },
        counts: Counts { packets: 10, bytes: 9000 },
        first: 0,
        last: 1,
        syn: 0,
        fin: 0,
        rst: 0,
    }
}

fn ledger(kernel: &mut Repeating) -> Ledger<Memory> {
    let geometry = Geometry {
        flow_capacity4: 131_072,
        flow_capacity6: 32_768,
        shards: 2,
        max_edges: 1024,
        pair_series: 10_000,
        flow_key: FlowKeyMode::FiveTuple,
    };
    let (settings, now) = (Settings::default(), Now::default());
    let pages = Memory::new(&geometry);
    let mut ledger = Ledger::create(pages, geometry, settings, now, Legacy::None).unwrap();
    for _ in 0..100 {
        ledger.add_edge(kernel, &EdgeSpec::default(), now).unwrap();
    }
    for _ in 0..6 {
        ledger.drain(kernel, now, &mut ()).unwrap();
    }
    ledger
}

fn drain(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("drain");
    group.throughput(Throughput::Elements(FLOWS.into())).sample_size(20);
    for (name, pairs) in [("known_pairs", 10_000), ("ten_times_too_many_pairs", FLOWS)] {
        let mut kernel = Repeating((0..FLOWS).map(|n| flow(n, pairs)).collect());
        let mut ledger = ledger(&mut kernel);
        group.bench_function(name, |bencher| {
            bencher.iter(|| black_box(ledger.drain(&mut kernel, Now::default(), &mut ()).unwrap()));
        });
    }
    group.finish();
}

criterion_group!(benches, drain);
criterion_main!(benches);
