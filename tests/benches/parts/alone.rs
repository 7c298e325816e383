//! A mount namespace of this program's own.
//!
//! What is pinned or named inside ends with the last process in it, whatever ends that. Its
//! /run/netns holds no pods of others, so that discovery finds ours alone.

use std::convert::Infallible;
use std::env;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

/// Starts this program again, inside; returns there.
pub(crate) fn enter() -> io::Result<()> {
    if env::var_os(INSIDE).is_some() {
        return Ok(());
    }
    again().map(|never| match never {})
}

fn again() -> io::Result<Infallible> {
    let program = env::current_exe()?;
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-ec", SCRIPT, "sh"]);
    Err(command.arg(program).args(env::args_os().skip(1)).env(INSIDE, "1").exec())
}

const INSIDE: &str = "FATHOM_BENCH_ALONE";
const SCRIPT: &str =
    r#"mount -t bpf bpf /sys/fs/bpf; mount -t tmpfs -o mode=0755 tmpfs /run; exec "$@""#;
