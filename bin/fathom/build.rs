//! Tells the program which source and which compiler it was made from.
//!
//! Nothing here may differ between two builds of one commit: the date is that of
//! `SOURCE_DATE_EPOCH`, else of the commit, never of the clock.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    for name in ["FATHOM_REVISION", "SOURCE_DATE_EPOCH"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    watch_commits();
    tell("FATHOM_BUILD_REVISION", given("FATHOM_REVISION").or_else(revision));
    tell("FATHOM_BUILD_EPOCH", given("SOURCE_DATE_EPOCH").or_else(commit_time));
    tell("FATHOM_BUILD_RUSTC", compiler());
    tell("FATHOM_BUILD_TARGET", given("TARGET"));
}

fn tell(name: &str, value: Option<String>) {
    println!("cargo::rustc-env={name}={}", value.as_deref().unwrap_or("unknown"));
}

fn given(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn revision() -> Option<String> {
    output("git", &["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn commit_time() -> Option<String> {
    output("git", &["log", "-1", "--format=%ct"])
}

fn compiler() -> Option<String> {
    let version = output(&given("RUSTC")?, &["--version"])?;
    Some(version.split(' ').nth(1)?.to_owned())
}

/// A commit moves the branch, which the log of HEAD notes; HEAD itself only changes with the
/// branch. A path that does not exist would run this script at each build.
fn watch_commits() {
    let Some(folder) = output("git", &["rev-parse", "--absolute-git-dir"]) else {
        println!("cargo::rerun-if-changed=build.rs");
        return;
    };
    for file in ["HEAD", "logs/HEAD"] {
        let path = Path::new(&folder).join(file);
        if path.exists() {
            println!("cargo::rerun-if-changed={}", path.display());
        }
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let done = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(done.stdout).ok()?;
    (done.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
