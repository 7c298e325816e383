//! Where the program under test is, and running it to its end.

use std::env;
use std::path::PathBuf;
use std::time::Duration;

use testkit::Place;
use testkit::proc::{Command, Finished};

/// Longest time the program may take to attach or to end on a loaded machine.
pub const SOON: Duration = Duration::from_secs(40);

/// The program under test.
///
/// # Panics
///
/// If there is none: a test that was asked for never skips itself.
pub fn path() -> PathBuf {
    let named = env::var_os("FATHOM_BIN").map(PathBuf::from);
    let found = named.unwrap_or_else(beside_the_test);
    assert!(
        found.is_file(),
        "no program to test at {}; build it by `cargo build -p fathom` with the profile of the \
         tests, or name it by FATHOM_BIN",
        found.display()
    );
    found
}

/// The program with an environment that says nothing about it.
pub fn command() -> Command {
    clean(Command::new(path()))
}

/// The same inside a namespace.
pub fn command_in(place: &Place) -> Command {
    clean(place.command(path()))
}

/// Runs `fathom` with `args` to its end, whatever that is.
///
/// # Panics
///
/// If it cannot be started or does not end.
pub fn run<A: AsRef<str>>(args: impl IntoIterator<Item = A>) -> Finished {
    finish(command(), args)
}

/// The same inside a namespace.
///
/// # Panics
///
/// If it cannot be started or does not end.
pub fn run_in<A: AsRef<str>>(place: &Place, args: impl IntoIterator<Item = A>) -> Finished {
    finish(command_in(place), args)
}

fn finish<A: AsRef<str>>(mut command: Command, args: impl IntoIterator<Item = A>) -> Finished {
    for arg in args {
        command = command.arg(arg.as_ref());
    }
    command.run(SOON).unwrap_or_else(|error| panic!("the program must come to an end: {error}"))
}

/// Whoever runs the tests may have settings of their own.
fn clean(mut command: Command) -> Command {
    let ours = |name: &str| {
        PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.contains(&name)
    };
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(ours) {
            command = command.env_remove(name);
        }
    }
    command
}

/// Test executables lie in `deps` below the directory of the binaries.
fn beside_the_test() -> PathBuf {
    let mut at = env::current_exe().unwrap_or_default();
    at.pop();
    if at.ends_with("deps") {
        at.pop();
    }
    at.join("fathom")
}

const PREFIXES: [&str; 4] = ["EBPF_", "FATHOM_", "OTEL_", "DAEMONSET_"];
const NAMES: [&str; 7] = [
    "RUST_LOG",
    "NODE_NAME",
    "POD_NAME",
    "POD_NAMESPACE",
    "KUBECONFIG",
    "NO_COLOR",
    "KUBERNETES_SERVICE_HOST",
];
