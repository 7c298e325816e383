//! `fathom flows status` and `fathom flows detach`.

use flow::Output;

use crate::args::FlowsAction;
use crate::failure::Failure;
use crate::output;

/// Does what is asked to what is pinned.
pub(crate) fn run(action: Option<FlowsAction>) -> Result<(), Failure> {
    match action {
        None => Ok(()),
        Some(FlowsAction::Status { pins, output: form }) => {
            let status = flow::status(&pins.bpf_pin_dir)?;
            match form {
                Output::Json => output::print_json(&status),
                Output::Table => output::print_text(&status.to_string()),
            }
        }
        Some(FlowsAction::Detach { pins, keep_ledger }) => {
            let detached = flow::detach(&pins.bpf_pin_dir, keep_ledger)?;
            output::print_text(&detached.to_string())
        }
    }
}
