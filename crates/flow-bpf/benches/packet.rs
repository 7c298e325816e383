//! What one packet costs, above a program that does nothing.
//!
//! `cargo bench -p flow-bpf --bench packet`, as root. Programs take turns within each of
//! seven rounds, so that whatever else the machine does falls on all of them; the
//! minimum and the median of a program less those of the empty one are told.
//!
//! *hot*: one frame a million times in one test run. *round robin* and *insert*: 50 000
//! frames, a test run each, the kernel's stopwatch summed up; every run then starts with
//! caches that a system call has just used, which is nearer to a busy node than a loop.
//!
//! Beside ours: eight look-ups in one hash table, and NetObserv's program where
//! `FATHOM_PEER_NETOBSERV` names its object file (`bpf_x86_bpfel.o`).
#![expect(clippy::print_stdout, reason = "a benchmark prints its table")]

#[path = "packet/others.rs"]
mod others;

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use flow_bpf::{
    Drain, LinkLayer, Program, Scope, Sizes, Tables,
    testrun::{self, Frame},
};
use flow_model::{
    flow::{Direction, Parity, Slot, Totals},
    kernel::Kernel as _,
    page::{FlowKeyMode, Geometry},
};

const ROUNDS: usize = 7;
const REPEAT: u32 = 1_000_000;
const FLOWS: u16 = 50_000;
const SLOT: Slot = Slot(1);

fn main() {
    let ours = Ours::load();
    let netobserv = std::env::var_os("FATHOM_PEER_NETOBSERV").map(others::netobserv);
    let empty = others::empty();
    let eight = others::eight_lookups();
    let mut contenders = vec![
        ("empty", empty.as_fd()),
        ("fathom", ours.program.fd(Direction::Rx).expect("loaded for this direction")),
        ("eight look-ups", eight.program.as_fd()),
    ];
    contenders.extend(netobserv.as_ref().map(|peer| ("netobserv", peer.as_fd())));

    let mut rows = Vec::new();
    for (family, frames) in [("v4", frames4()), ("v6", frames6())] {
        let hot = |program: BorrowedFd<'_>| hot(program, &frames[7]);
        rows.push(measure(&ours, format!("{family} hot"), &contenders, hot, REPEAT.into()));
        let robin = |program: BorrowedFd<'_>| round_robin(program, &frames);
        let runs = frames.len() as u64;
        // The first pass inserts; what is inserted stays.
        round_robin(contenders[1].1, &frames);
        rows.push(measure(&ours, format!("{family} 50 000 flows"), &contenders, robin, runs));
        let inserting = contenders.iter().filter(|(name, _)| *name != "eight look-ups");
        let inserting: Vec<_> = inserting.copied().collect();
        let insert = |program: BorrowedFd<'_>| {
            ours.clear();
            if let Some(peer) = &netobserv {
                peer.clear();
            }
            round_robin(program, &frames)
        };
        rows.push(measure(&ours, format!("{family} insert"), &inserting, insert, runs));
        ours.clear();
    }
    if let Some(peer) = &netobserv {
        assert!(peer.flows() > usize::from(FLOWS) / 2, "NetObserv counted flows, too");
    }
    report(&rows);
}

/// The product, on tables of the default size.
struct Ours {
    tables: Arc<Tables>,
    program: Program,
}

impl Ours {
    fn load() -> Self {
        let geometry = Geometry {
            flow_capacity4: 131_072,
            flow_capacity6: 131_072,
            shards: 2,
            max_edges: 1024,
            pair_series: 64,
            flow_key: FlowKeyMode::FiveTuple,
        };
        let sizes = Sizes { geometry, edge_quota_percent: 100, early_drain_percent: 95 };
        let tables = Arc::new(Tables::create(sizes).expect("this benchmark runs as root"));
        let scope = Scope::Single { slot: SLOT, link_layer: LinkLayer::Ethernet };
        let program = Program::load(&tables, scope, &[Direction::Rx]).expect("the kernel takes it");
        Self { tables, program }
    }

    fn drain(&self) -> Drain {
        Drain::new(Arc::clone(&self.tables)).expect("the number of CPUs can be read")
    }

    fn clear(&self) {
        self.drain().clear(Parity::Even).expect("a table can be cleared");
    }

    fn counted(&self) -> u64 {
        let mut totals = [[Totals::default(); 2]; SLOT.0 as usize + 1];
        self.drain().totals(Parity::Even, &mut totals).expect("totals can be read");
        totals[usize::from(SLOT.0)][Direction::Rx as usize].wire.packets
    }
}

/// One frame over and over: mean nanoseconds.
fn hot(program: BorrowedFd<'_>, frame: &[u8]) -> f64 {
    let outcome = testrun::run(program, &Frame::new(frame), REPEAT).expect("a whole frame");
    outcome.each.as_nanos() as f64
}

/// Each frame once: mean nanoseconds.
fn round_robin(program: BorrowedFd<'_>, frames: &[Vec<u8>]) -> f64 {
    let spent: Duration = frames
        .iter()
        .map(|frame| testrun::run(program, &Frame::new(frame), 1).expect("a whole frame").each)
        .sum();
    spent.as_nanos() as f64 / frames.len() as f64
}

struct Row {
    what: String,
    /// Name, minimum, median.
    programs: Vec<(&'static str, f64, f64)>,
}

fn measure(
    ours: &Ours,
    what: String,
    contenders: &[(&'static str, BorrowedFd<'_>)],
    mut run: impl FnMut(BorrowedFd<'_>) -> f64,
    runs: u64,
) -> Row {
    let mut samples = vec![Vec::new(); contenders.len()];
    for _ in 0..ROUNDS {
        for ((name, program), samples) in contenders.iter().zip(&mut samples) {
            let before = ours.counted();
            samples.push(run(*program));
            let expected = if *name == "fathom" { runs } else { 0 };
            assert_eq!(ours.counted() - before, expected, "{name} counts what it was shown");
        }
    }
    let programs = contenders
        .iter()
        .zip(samples)
        .map(|((name, _), mut samples)| {
            samples.sort_by(f64::total_cmp);
            (*name, samples[0], samples[ROUNDS / 2])
        })
        .collect();
    Row { what, programs }
}

fn report(rows: &[Row]) {
    println!("{:<16} {:<16} {:>10} {:>10}   ns above empty", "packet", "program", "min", "median");
    for Row { what, programs } in rows {
        let (_, least, middle) = programs[0];
        for (name, min, median) in &programs[1..] {
            println!("{what:<16} {name:<16} {:>10.1} {:>10.1}", min - least, median - middle);
        }
    }
    let rows: Vec<_> = rows.iter().map(Row::json).collect();
    println!("{}", serde_json::json!({ "machine": machine(), "unit": "ns", "rows": rows }));
}

impl Row {
    fn json(&self) -> serde_json::Value {
        let programs: Vec<_> = self
            .programs
            .iter()
            .map(|(name, min, median)| {
                serde_json::json!({ "program": name, "min": min, "median": median })
            })
            .collect();
        serde_json::json!({ "packet": self.what, "programs": programs })
    }
}

fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name\t: "));
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, kernel {}", model.unwrap_or("unknown CPU"), kernel.trim())
}

/// TCP segments of 100 octets from as many addresses as there are flows.
fn frames4() -> Vec<Vec<u8>> {
    (0..FLOWS)
        .map(|flow| {
            let [high, low] = flow.to_be_bytes();
            let mut frame = [&[2; 12][..], &[8, 0]].concat();
            frame.extend([0x45, 0, 0, 100, 0, 1, 0x40, 0, 64, 6, 0, 0]);
            frame.extend([10, 1, high, low, 10, 2, 0, 9]);
            frame.extend(segment());
            frame
        })
        .collect()
}

fn frames6() -> Vec<Vec<u8>> {
    (0..FLOWS)
        .map(|flow| {
            let mut frame = [&[2; 12][..], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 80, 6, 64]].concat();
            let address = |last: u16| (0xfd01_u128 << 112 | u128::from(last)).to_be_bytes();
            frame.extend(address(flow));
            frame.extend(address(9));
            frame.extend(segment());
            frame
        })
        .collect()
}

fn segment() -> Vec<u8> {
    let mut segment = vec![0; 80];
    segment[..4].copy_from_slice(&[0x9c, 0x40, 1, 0xbb]);
    segment[12..14].copy_from_slice(&[0x50, 0x10]);
    segment
}
