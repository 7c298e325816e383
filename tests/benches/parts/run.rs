//! The parts of a benchmark, one after the other.

use std::any::Any;
use std::env;
use std::fmt::Write as _;
use std::fs;
use std::process::ExitCode;
use std::thread;

use crate::alone;
use crate::report::{self, Row};

/// Measures something, or panics when it cannot.
pub(crate) type Part = fn() -> Vec<Row>;

/// Runs those of `known` that the command line names, or all, in the order in which they stand.
pub(crate) fn parts(known: &'static [(&str, Part)]) -> ExitCode {
    // Cargo adds `--bench`.
    let wanted: Vec<_> = env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let is_known = |word: &String| known.iter().any(|(name, _)| name == word);
    if let Some(unknown) = wanted.iter().find(|word| !is_known(word)) {
        let names: Vec<_> = known.iter().map(|(name, _)| *name).collect();
        eprintln!("no part `{unknown}`; there are {}", names.join(", "));
        return ExitCode::from(USAGE);
    }
    if let Err(error) = alone::enter() {
        eprintln!("no mount namespace of its own: {error}; run it as root, with util-linux");
        return ExitCode::FAILURE;
    }
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|word| word == name);
    let chosen = known.iter().filter(|(name, _)| chosen(name));
    let ran: Vec<_> = chosen.map(|(name, part)| told(name, *part)).collect();
    if ran.iter().all(|ran| *ran) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A whole number of the environment.
pub(crate) fn asked(name: &str, default: u32) -> u32 {
    let value = env::var(name).ok().map(|text| text.parse());
    value.map_or(default, |value| value.unwrap_or_else(|_| panic!("{name} is a whole number")))
}

/// Runs one part and tells what it measured; whether it could.
fn told(name: &str, part: Part) -> bool {
    println!("{}", surroundings());
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

/// When, by which command, and how busy the machine was just before.
fn surroundings() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (release, load) = (read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    let mut text = format!("{}, kernel {}", jiff::Timestamp::now(), release.trim());
    write!(text, ", load {}", load.split(' ').take(3).collect::<Vec<_>>().join(" ")).unwrap();
    let line: Vec<_> = env::args().collect();
    write!(text, ", {}", line.join(" ")).unwrap();
    text
}

fn reason(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it panicked")
}

const USAGE: u8 = 64;
