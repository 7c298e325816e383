//! What `fathom flows` costs and what it misses, measured on the whole program.
//!
//! `cargo bench -p fathom-tests --bench flows [-- PART…]`, as root and beside a release build of
//! `fathom`. Each part prints a table and one line of JSON. A part fails when it could not
//! run, never because of a number.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its tables")]
#![expect(clippy::unwrap_used, reason = "a part that can't go on shall stop")]

use std::process::ExitCode;

#[path = "parts/alone.rs"]
mod alone;
#[path = "flows/continuity.rs"]
mod continuity;
#[path = "flows/drain.rs"]
mod drain;
#[path = "flows/ground.rs"]
mod ground;
#[path = "flows/lag.rs"]
mod lag;
#[path = "flows/load.rs"]
mod load;
#[path = "flows/process.rs"]
mod process;
#[path = "parts/report.rs"]
mod report;
#[path = "parts/run.rs"]
mod run;
#[path = "flows/spray.rs"]
mod spray;
#[path = "flows/throughput.rs"]
mod throughput;
#[path = "flows/wire.rs"]
mod wire;

/// What can be measured, in the order in which it is.
const PARTS: [(&str, run::Part); 6] = [
    ("throughput", throughput::run),
    ("load", load::run),
    ("drain", drain::run),
    ("lag", lag::run),
    ("continuity", continuity::run),
    ("wire", wire::run),
];

fn main() -> ExitCode {
    run::parts(&PARTS)
}
