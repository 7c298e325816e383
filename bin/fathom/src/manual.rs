//! Completions and man pages, both from the definition of the command line.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap_complete::Shell;

use crate::args;
use crate::failure::Failure;
use crate::output;

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::definition(), "fathom", &mut script);
    output::print(|out| out.write_all(&script))
}

/// Writes one man page for each command into a directory.
pub(crate) fn pages(directory: &Path) -> Result<(), Failure> {
    let definition = args::definition().mut_args(|arg| arg.hide_env_values(true));
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(definition, directory))
        .with_context(|| format!("{}: man pages can't be written there", directory.display()))
        .map_err(Failure::unavailable)
}
