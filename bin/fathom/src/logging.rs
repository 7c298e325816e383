//! The process's log as its settings want it.

use std::io::{IsTerminal, stderr};

use libbpf_rs::{PrintLevel, set_print};
use telemetry::logs::{Config, Logs, colours};

use crate::args::Process;
use crate::failure::Failure;
use crate::settings::Input;

/// Installs the log for the rest of the process; what is returned must live as long.
pub(crate) fn install(input: &Input, process: &Process) -> Result<Logs, Failure> {
    let no_color = input.variable("NO_COLOR");
    let config = Config {
        format: process.log_format,
        level: process.log_level,
        directives: input.variable("RUST_LOG"),
        colours: colours(no_color.as_deref(), stderr().is_terminal()),
    };
    Logs::install(&config).map_err(Failure::usage)
}

/// Takes what libbpf would print to stderr. It warns of every fallback it finds by itself, so
/// that nothing of it is news to an operator; errors that matter come back as errors.
pub(crate) fn adopt_libbpf() {
    set_print(Some((PrintLevel::Debug, told_by_libbpf)));
}

fn told_by_libbpf(level: PrintLevel, text: String) {
    let text = text.trim_end();
    match level {
        PrintLevel::Warn => tracing::debug!(event = "libbpf.message", text, "Told by libbpf"),
        _ => tracing::trace!(event = "libbpf.message", text, "Told by libbpf"),
    }
}
