//! What `fathom flows` costs and what it misses, measured on the whole program.
//!
//! `cargo bench -p fathom-tests --bench flows [-- PART…]`, as root and beside a release build of
//! `fathom`. Each part prints a table and one line of JSON. A part fails when it could not
//! run, never because of a number.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints its tables")]
#![expect(clippy::unwrap_used, reason = "a part that can't go on shall stop")]

use std::any::Any;
use std::env;
use std::process::ExitCode;
use std::thread;

#[path = "flows/alone.rs"]
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
#[path = "flows/report.rs"]
mod report;
#[path = "flows/spray.rs"]
mod spray;
#[path = "flows/throughput.rs"]
mod throughput;
#[path = "flows/wire.rs"]
mod wire;

use report::Row;

/// Measures something, or panics when it cannot.
type Part = fn() -> Vec<Row>;

/// What can be measured, in the order in which it is.
const PARTS: [(&str, Part); 6] = [
    ("throughput", throughput::run),
    ("load", load::run),
    ("drain", drain::run),
    ("lag", lag::run),
    ("continuity", continuity::run),
    ("wire", wire::run),
];

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let wanted: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let known = |word: &String| PARTS.iter().any(|(name, _)| name == word);
    if let Some(unknown) = wanted.iter().find(|word| !known(word)) {
        eprintln!("no part `{unknown}`; there are {}", PARTS.map(|(name, _)| name).join(", "));
        return ExitCode::from(USAGE);
    }
    if let Err(error) = alone::enter() {
        eprintln!("no mount namespace of its own: {error}; run it as root, with util-linux");
        return ExitCode::FAILURE;
    }
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let ran: Vec<_> = PARTS
        .iter()
        .filter(|(name, _)| chosen(name))
        .map(|(name, part)| told(name, *part))
        .collect();
    if ran.iter().all(|ran| *ran) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one part and tells what it measured; whether it could.
fn told(name: &str, part: Part) -> bool {
    // The name of the thread stands in the message of its panic.
    match thread::Builder::new().name(name.into()).spawn(part).unwrap().join() {
        Ok(rows) => println!("{}", report::of(name, &rows)),
        Err(panic) => {
            println!("{}", serde_json::json!({ "part": name, "failed": reason(&*panic) }));
            return false;
        }
    }
    true
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

const USAGE: u8 = 64;
