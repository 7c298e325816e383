//! How wrong `fathom stamp` is and what it costs, beside another implementation.
//!
//! `cargo bench -p fathom-tests --bench stamp [-- PART…]`, as root and beside a release build of
//! `fathom`. Each part prints a table and one line of JSON. A part fails when it could not
//! run, never because of a number.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its tables")]
#![expect(clippy::unwrap_used, reason = "a part that can't go on shall stop")]

use std::process::ExitCode;
use std::time::Duration;

#[path = "stamp/accuracy.rs"]
mod accuracy;
#[path = "parts/alone.rs"]
mod alone;
#[path = "stamp/cable.rs"]
mod cable;
#[path = "stamp/cost.rs"]
mod cost;
#[path = "stamp/instrument.rs"]
mod instrument;
#[path = "stamp/reflect.rs"]
mod reflect;
#[path = "parts/report.rs"]
mod report;
#[path = "parts/run.rs"]
mod run;
#[path = "stamp/send.rs"]
mod send;
#[path = "stamp/stream.rs"]
mod stream;
#[path = "stamp/wire.rs"]
mod wire;

use instrument::Instrument;

/// What can be measured, in the order in which it is.
const PARTS: [(&str, run::Part); 3] =
    [("accuracy", accuracy), ("reflect", reflect), ("send", || send::rows(&SEND))];

fn accuracy() -> Vec<report::Row> {
    accuracy::rows(&accuracy::Plan {
        packets: 2000,
        interval: Duration::from_millis(5),
        runs: runs(),
        busy: &[0, 2],
    })
}

fn reflect() -> Vec<report::Row> {
    reflect::rows(&reflect::Plan {
        runs: runs(),
        instruments: &Instrument::ALL,
        steady: (20_000, Duration::from_secs(3)),
        high: (100_000, Duration::from_secs(10)),
        most: Duration::from_secs(2),
    })
}

const SEND: send::Plan = send::Plan {
    targets: 1000,
    interval: Duration::from_millis(100),
    window: Duration::from_secs(10),
};

fn runs() -> usize {
    run::asked("FATHOM_BENCH_ROUNDS", 5) as usize
}

fn main() -> ExitCode {
    run::parts(&PARTS)
}
