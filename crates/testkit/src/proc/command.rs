//! Building a command and starting it in its place.

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, ChildStdin, Stdio};
use std::thread;
use std::time::Duration;

use super::process::{Finished, Process, ProcessError};
use crate::namespace::{Owner, Place};

/// A program to run, here or inside a namespace.
///
/// The child is the leader of its own process group, so that a terminal's Ctrl-C reaches only the
/// laboratory, which then ends its children in order.
#[derive(Debug)]
pub struct Command {
    inner: std::process::Command,
    place: Option<Place>,
    input: Vec<u8>,
    limit: u64,
}

impl Command {
    /// A command that runs in the namespace of this process.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        Self {
            inner: std::process::Command::new(program),
            place: None,
            input: Vec::new(),
            limit: OUTPUT_LIMIT,
        }
    }

    /// A command that runs inside `place`.
    pub fn inside(place: &Place, program: impl AsRef<OsStr>) -> Self {
        Self { place: Some(place.clone()), ..Self::new(program) }
    }

    /// Adds an argument.
    #[must_use]
    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.inner.arg(arg);
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.inner.args(args);
        self
    }

    /// Sets an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.inner.env(name, value);
        self
    }

    /// Removes an environment variable that would be inherited.
    #[must_use]
    pub fn env_remove(mut self, name: impl AsRef<OsStr>) -> Self {
        self.inner.env_remove(name);
        self
    }

    /// Starts the child in `directory`.
    #[must_use]
    pub fn current_dir(mut self, directory: impl AsRef<Path>) -> Self {
        self.inner.current_dir(directory);
        self
    }

    /// What the child reads from standard input; without it, nothing.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Bytes kept of each output stream, 8 MiB without this.
    #[must_use]
    pub const fn output_limit(mut self, bytes: u64) -> Self {
        self.limit = bytes;
        self
    }

    /// Starts the child.
    pub fn spawn(mut self) -> Result<Process, ProcessError> {
        let owner = Owner::current().map_err(|source| ProcessError::Scratch { source })?;
        let scratch = owner.scratch().map_err(|source| ProcessError::Scratch { source })?;
        let mut child = self.start(owner)?;
        if let Some(stdin) = child.stdin.take() {
            feed(stdin, std::mem::take(&mut self.input));
        }
        Process::adopt(child, self.line(), scratch, self.limit)
    }

    /// Runs the child to its end and kills it when that takes longer than `within`.
    pub fn run(self, within: Duration) -> Result<Finished, ProcessError> {
        self.spawn()?.finish(within)
    }

    /// The same, and anything but exit code 0 is an error with the child's own words.
    pub fn succeed(self, within: Duration) -> Result<Finished, ProcessError> {
        self.run(within)?.success()
    }

    fn start(&mut self, owner: &Owner) -> Result<Child, ProcessError> {
        let stdin = if self.input.is_empty() { Stdio::null() } else { Stdio::piped() };
        let inner = &mut self.inner;
        inner.stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        inner.env(Owner::VARIABLE, owner.to_string());
        let spawned = match &self.place {
            // The thread enters, spawns and ends: no helper process stays between us and the child.
            Some(place) => place.run(|| inner.spawn())?,
            None => inner.spawn(),
        };
        spawned.map_err(|source| self.spawn_error(source))
    }

    fn spawn_error(&self, source: io::Error) -> ProcessError {
        let program = self.inner.get_program().to_string_lossy().into_owned();
        if source.kind() == io::ErrorKind::NotFound {
            let package = package_of(&program);
            return ProcessError::NotInstalled { program, package };
        }
        ProcessError::Spawn { program, source }
    }

    fn line(&self) -> String {
        let words = std::iter::once(self.inner.get_program()).chain(self.inner.get_args());
        words.collect::<Vec<_>>().join(&OsString::from(" ")).to_string_lossy().into_owned()
    }
}

/// The Debian package that holds `program`.
pub(crate) fn package_of(program: &str) -> &'static str {
    let name = Path::new(program).file_name().and_then(OsStr::to_str).unwrap_or(program);
    match name {
        "ip" | "tc" | "bridge" | "ss" => "iproute2",
        "nft" => "nftables",
        "iperf3" => "iperf3",
        "tcpdump" => "tcpdump",
        "tshark" => "tshark",
        "ethtool" => "ethtool",
        "conntrack" => "conntrack",
        "bpftool" => "bpftool",
        "promtool" | "prometheus" => "prometheus",
        "sh" => "dash",
        _ if program.starts_with("/usr/lib/cni/") => "containernetworking-plugins",
        _ => "that provides it",
    }
}

/// Feeding runs beside the child: an input larger than a pipe would block both forever.
fn feed(mut stdin: ChildStdin, input: Vec<u8>) {
    // A child that does not read its input to the end is its own affair: its exit status tells.
    thread::spawn(move || stdin.write_all(&input).is_ok());
}

const OUTPUT_LIMIT: u64 = 8 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(20);

    #[test]
    fn a_missing_program_names_its_package() {
        let error = Command::new("/nonexistent/tshark").run(SOON).unwrap_err();
        assert!(error.to_string().contains("package tshark"), "{error}");
    }

    #[test]
    fn input_larger_than_a_pipe_comes_back_whole() {
        let input = vec![b'z'; 1 << 20];
        let finished = Command::new("cat").input(input.clone()).succeed(SOON).unwrap();
        assert_eq!(finished.stdout, input);
    }

    #[test]
    fn arguments_environment_and_directory_reach_the_child() {
        let finished = Command::new("sh")
            .args(["-c", r#"echo "$0 $WHO $(pwd)""#, "zero"])
            .env("WHO", "me")
            .current_dir("/")
            .succeed(SOON)
            .unwrap();
        assert_eq!(finished.text(), "zero me /\n");
    }
}
