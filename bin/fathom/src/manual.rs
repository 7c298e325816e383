//! Completions and man pages, both from the definition of the command line.

use std::path::Path;
use std::{fs, io};

use anyhow::Context;
use clap::Command as Definition;
use clap_complete::Shell;
use clap_mangen::Man;

use crate::args;
use crate::failure::Failure;
use crate::{output, version};

/// Prints completions for a shell.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::definition(), "fathom", &mut script);
    output::print(|out| out.write_all(&script))
}

/// Writes one man page for each command into a directory.
pub(crate) fn pages(directory: &Path) -> Result<(), Failure> {
    let mut definition = args::definition();
    definition.build();
    fs::create_dir_all(directory)
        .and_then(|()| pages_of(definition, directory))
        .with_context(|| format!("{}: man pages can't be written there", directory.display()))
        .map_err(Failure::unavailable)
}

fn pages_of(command: Definition, directory: &Path) -> io::Result<()> {
    for below in command.get_subcommands() {
        pages_of(below.clone(), directory)?;
    }
    let page = Man::new(command.after_help(args::AFTER_HELP)).date(version::built());
    let page = page.source(format!("fathom {}", version::build().version)).manual("fathom");
    page.generate_to(directory).map(drop)
}
