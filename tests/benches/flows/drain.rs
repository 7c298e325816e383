//! How fast full tables are read and cleared, without the ledger.
//!
//! The one part that uses the program's own crates: the daemon tells a drain as a whole.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use flow_bpf::testrun::{self, Frame};
use flow_bpf::{Drain, LinkLayer, Program, Scope, Sizes, Tables};
use flow_model::flow::{Direction, Parity, Slot};
use flow_model::kernel::Kernel as _;
use flow_model::page::{FlowKeyMode, Geometry};

use crate::report::{Row, spread};

pub(crate) fn run() -> Vec<Row> {
    let geometry = Geometry {
        flow_capacity4: 131_072,
        flow_capacity6: 131_072,
        shards: 1,
        max_edges: 1024,
        pair_series: 64,
        flow_key: FlowKeyMode::FiveTuple,
    };
    let sizes = Sizes { geometry, edge_quota_percent: 100, early_drain_percent: 95 };
    let tables = Arc::new(Tables::create(sizes).unwrap());
    let scope = Scope::Single { slot: Slot(1), link_layer: LinkLayer::Ethernet };
    let program = Program::load(&tables, scope, &[Direction::Rx]).unwrap();
    let mut drain = Drain::new(tables).unwrap();
    let families = [("IPv4", frame4 as fn(u32) -> Vec<u8>), ("IPv6", frame6)];
    let rows = families.map(|(family, frame)| {
        let rounds: Vec<_> = (0..ROUNDS).map(|_| round(&program, &mut drain, frame)).collect();
        rows(family, &rounds)
    });
    rows.concat()
}

struct Round {
    grace: Duration,
    read: Duration,
    clear: Duration,
}

fn round(program: &Program, drain: &mut Drain, frame: fn(u32) -> Vec<u8>) -> Round {
    let fd = program.fd(Direction::Rx).unwrap();
    for flow in 0..FLOWS {
        testrun::run(fd, &Frame::new(&frame(flow)), 1).unwrap();
    }
    let grace = timed(|| drain.grace().unwrap());
    let mut rows = 0;
    let read = timed(|| {
        let mut take = |entry: &_| {
            black_box(entry);
            rows += 1;
        };
        drain.read(Parity::Even, &mut take).unwrap();
    });
    assert_eq!(rows, FLOWS, "each flow has one row");
    Round { grace, read, clear: timed(|| drain.clear(Parity::Even).unwrap()) }
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn rows(family: &str, rounds: &[Round]) -> Vec<Row> {
    let row = |what: &str, time: fn(&Round) -> Duration| {
        let times: Vec<_> = rounds.iter().map(|round| time(round).as_secs_f64()).collect();
        let [best, median, worst] = spread(&times);
        let note = format!(
            "{:.1} ms, median of {ROUNDS}; {:.1} to {:.1}",
            median * 1e3,
            best * 1e3,
            worst * 1e3
        );
        Row::new(format!("{family}, {what}"), f64::from(FLOWS) / median / 1e6, "M rows/s")
            .note(note)
    };
    vec![
        row("read and decode", |round| round.read).at_least(2.5),
        row("clear", |round| round.clear),
        row("grace, read, clear", |round| round.grace + round.read + round.clear),
    ]
}

/// A datagram of flow `flow`.
fn frame4(flow: u32) -> Vec<u8> {
    let mut frame = [&[2; 12][..], &[8, 0]].concat();
    frame.extend([0x45, 0, 0, 100, 0, 1, 0x40, 0, 64, 17, 0, 0, 10]);
    frame.extend(&flow.to_be_bytes()[1..]);
    frame.extend([10, 255, 0, 1]);
    frame.extend([0; 80]);
    frame
}

fn frame6(flow: u32) -> Vec<u8> {
    let mut frame = [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 80, 17, 64]].concat();
    for last in [flow, u32::MAX] {
        frame.extend((0xfd01_u128 << 112 | u128::from(last)).to_be_bytes());
    }
    frame.extend([0; 80]);
    frame
}

const FLOWS: u32 = 100_000;
const ROUNDS: usize = 7;
