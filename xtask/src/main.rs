//! Chores of the repository that would be more than ten lines of shell.
//!
//! Called by the Makefile, or by hand as `cargo xtask NAME`. Nothing here is shipped.
#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line tool answers on stdout")]

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};

mod bench;
mod docs;
mod licences;
mod size;
mod soak;
mod tree;

fn main() -> Result<()> {
    let root = root()?;
    match Xtask::parse().chore {
        Chore::CheckSize => size::check(&root),
        Chore::Docs { check } => docs::run(&root, check),
        Chore::Licences => licences::check(&root),
        Chore::Bench { system } => bench::run(&root, system),
        Chore::Soak { minutes } => soak::run(&root, minutes),
    }
}

/// Chores of the repository
#[derive(Parser)]
struct Xtask {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Refuse source files that have grown too long
    CheckSize,
    /// Write the references that are generated from the code
    Docs {
        /// Write nothing; fail when a file is not what the code says
        #[arg(long)]
        check: bool,
    },
    /// Hold every dependency against deny.toml
    Licences,
    /// Run the benchmarks of a system; a table and one JSON document on stdout
    Bench {
        /// Which system
        system: bench::System,
    },
    /// Repeat all tests until the time is over or one fails
    Soak {
        /// For how long to start new rounds
        #[arg(long, default_value_t = 30)]
        minutes: u64,
    },
}

/// The root of the workspace. Cargo says where at run time; at compile time it could be
/// another clone that shares the build folder.
fn root() -> Result<PathBuf> {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let root = PathBuf::from(manifest).parent().map(PathBuf::from);
    root.context("xtask lies one level below the root")
}
