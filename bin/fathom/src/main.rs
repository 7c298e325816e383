//! fathom: measures what happens to packets and pods on a Kubernetes node.
//!
//! Every process reads what it was told, does one of the commands and ends with a code that
//! says how it went. What the commands do is in the modules below and in the systems' crates.
#![forbid(unsafe_code)]

mod args;
mod daemon;
mod demo;
mod doctor;
mod failure;
mod fetch;
mod logging;
mod manual;
mod oneshot;
mod output;
mod pins;
mod rights;
mod runtime;
mod serving;
mod settings;
mod stamp;
mod table;
mod version;

use std::process::ExitCode;

use crate::args::{Command, Config, Flows};
use crate::failure::Failure;
use crate::settings::{Input, Told};

fn main() -> ExitCode {
    failure::exit_code(|| {
        net_sys::host::return_large_blocks();
        serving::choose_cryptography()?;
        logging::adopt_libbpf();
        let input = Input::of_process()?;
        let told = input.read()?;
        run(&input, told)
    })
}

fn run(input: &Input, mut told: Told) -> Result<(), Failure> {
    match told.command {
        Command::Flows(ref mut flows) if flows.action.is_some() => pins::run(flows.action.take()),
        Command::Flows(flows) if flows.settings.duration.is_some() => {
            flows_once(input, *flows, &told.unused)
        }
        Command::Flows(_) | Command::Agent(_) => daemon::run(input, told),
        Command::Stamp(asked) => stamp::run(input, asked),
        Command::Doctor(asked) => doctor::run(input, &asked),
        Command::Demo(asked) => demo::run(input, &asked, told.flows),
        Command::Config(Config::Check { file }) => {
            let note = if settings::check(&file)? { "" } else { NOTHING_FOR_AGENT };
            output::print_text(&format!("{}: ok{note}\n", file.display()))
        }
        Command::Config(Config::Print { defaults, config }) => {
            output::print_text(&input.print(defaults, config.as_deref())?)
        }
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { directory } => manual::pages(&directory),
    }
}

fn flows_once(input: &Input, flows: Flows, unused: &[String]) -> Result<(), Failure> {
    let reduced = rights::reduce();
    let logs = logging::install(input, &flows.process)?;
    rights::tell(reduced);
    let document = oneshot::measure(&flows, unused)?;
    drop(logs);
    output::print_document(&document, flows.settings.output)?;
    Ok(document.law()?)
}

const NOTHING_FOR_AGENT: &str = " for fathom flows; fathom agent would refuse it, because it names no system, such as flows: {}";
