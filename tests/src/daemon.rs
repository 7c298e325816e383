//! The program as a daemon: its pins, its listener, its life.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testkit::Place;
use testkit::proc::{Command, Finished, Process, Signal, wait_for};

use crate::binary::{self, SOON};
use crate::exposition::Exposition;
use crate::measure::Edge;

/// A pin directory of a test's own; dropping it removes whatever is pinned there.
#[derive(Debug)]
pub struct Pins {
    path: PathBuf,
}

impl Pins {
    /// A directory that does not exist yet, on bpffs.
    pub fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("/sys/fs/bpf/fathom-tests-pins-{}-{number}", process::id());
        Self { path: PathBuf::from(name).join("flows") }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The flag that names it.
    pub fn flag(&self) -> [String; 2] {
        ["--bpf-pin-dir".to_owned(), self.path.display().to_string()]
    }

    /// Runs `fathom flows detach`.
    pub fn detach(&self) -> Finished {
        let words = ["flows", "detach"].map(str::to_owned);
        binary::run(words.into_iter().chain(self.flag()))
    }

    /// Runs `fathom flows status` and reads it.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn status(&self) -> Value {
        let words = ["flows", "status", "-o", "json"].map(str::to_owned);
        let told = binary::run(words.into_iter().chain(self.flag()));
        let told = told.success().and_then(|told| told.json());
        told.unwrap_or_else(|error| panic!("status: {error}"))
    }
}

impl Default for Pins {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        // A failed test may leave links whose devices are gone; nothing more can be done then.
        if let Some(parent) = self.path.parent()
            && parent.exists()
        {
            Command::new("rm").arg("-rf").arg(parent).run(SOON).ok();
        }
    }
}

/// How to start a daemon.
#[derive(Debug, Clone)]
pub struct Setup {
    place: Place,
    words: Vec<String>,
    variables: Vec<(String, String)>,
    port: u16,
}

impl Setup {
    /// A daemon inside `place` that counts at `edges`, pins under `pins` and drains often.
    pub fn new(place: &Place, edges: &[Edge], pins: &Pins) -> Self {
        let mut words = vec!["flows".to_owned()];
        words.extend(edges.iter().flat_map(Edge::flag));
        words.extend(pins.flag());
        Self { place: place.clone(), words, variables: Vec::new(), port: 9090 }
            .variable("EBPF_COLLECTION_INTERVAL", "200ms")
    }

    /// Adds flags.
    #[must_use]
    pub fn flags<'a>(mut self, flags: impl IntoIterator<Item = &'a str>) -> Self {
        self.words.extend(flags.into_iter().map(str::to_owned));
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Expects the listener on another port.
    #[must_use]
    pub const fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Runs it to its end, which must come by itself.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn run(&self) -> Finished {
        let finished = self.command().run(SOON);
        finished.unwrap_or_else(|error| panic!("it must end by itself: {error}"))
    }

    /// Starts it and does not wait.
    ///
    /// # Panics
    ///
    /// If it cannot be started.
    pub fn launch(&self) -> Daemon {
        let scratch = TempDir::new().unwrap_or_else(|error| panic!("scratch: {error}"));
        let ready = scratch.path().join("ready");
        let command = self.command().arg("--ready-file").arg(&ready);
        let process = command.spawn();
        Daemon {
            process: process.unwrap_or_else(|error| panic!("start: {error}")),
            place: self.place.clone(),
            port: self.port,
            ready,
            _scratch: scratch,
        }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub fn start(&self) -> Daemon {
        let mut daemon = self.launch();
        daemon.wait_ready();
        daemon
    }

    fn command(&self) -> Command {
        let mut command = binary::command_in(&self.place).args(&self.words);
        for (name, value) in &self.variables {
            command = command.env(name, value);
        }
        command
    }
}

/// A running daemon; dropping it kills it, and the kernel goes on counting.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    place: Place,
    port: u16,
    ready: PathBuf,
    _scratch: TempDir,
}

impl Daemon {
    /// Waits until every named hook is attached.
    ///
    /// # Panics
    ///
    /// If that does not come true.
    pub fn wait_ready(&mut self) {
        let ready = self.process.wait_for_file(&self.ready, SOON);
        ready.unwrap_or_else(|error| panic!("the daemon must become ready: {error}"));
    }

    /// The content of the ready file.
    ///
    /// # Panics
    ///
    /// If it is not JSON.
    pub fn ready(&self) -> Value {
        let text = fs::read_to_string(&self.ready).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("ready file: {error}: {text}"))
    }

    /// The process.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Asks for `path` once.
    ///
    /// # Errors
    ///
    /// If nobody answers.
    ///
    /// # Panics
    ///
    /// If the namespace cannot be entered.
    pub fn ask(&self, path: &str) -> io::Result<Answer> {
        ask_in(&self.place, self.port, path)
    }

    /// The answer to `path` in the form that `accept` asks for.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn get_as(&self, path: &str, accept: &str) -> Answer {
        let headers = format!("Accept: {accept}\r\n");
        let asked = self.place.run(|| ask(self.port, path, &headers));
        let answered = asked.unwrap_or_else(|error| panic!("{error}"));
        answered.unwrap_or_else(|error| panic!("{path} on port {}: {error}", self.port))
    }

    /// The answer to `path`.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn get(&self, path: &str) -> Answer {
        self.ask(path).unwrap_or_else(|error| panic!("{path} on port {}: {error}", self.port))
    }

    /// One scrape.
    ///
    /// # Panics
    ///
    /// If it is refused.
    pub fn scrape(&self) -> Exposition {
        let answer = self.get("/metrics");
        assert_eq!(answer.status, 200, "{}", answer.body);
        Exposition::parse(&answer.body)
    }

    /// A scrape for which `holds`, or the last one before the deadline.
    ///
    /// # Panics
    ///
    /// If no scrape succeeds.
    pub fn scrape_until(&self, mut holds: impl FnMut(&Exposition) -> bool) -> Exposition {
        let mut last = None;
        let found = wait_for("expected scrape", Duration::from_secs(15), || {
            let answer = self.ask("/metrics").ok()?;
            if answer.status != 200 {
                return None;
            }
            let scrape = Exposition::parse(&answer.body);
            let done = holds(&scrape);
            last = Some(scrape);
            done.then_some(())
        });
        // The caller compares in detail, with both sides in its message.
        drop(found);
        last.unwrap_or_else(|| panic!("/metrics must answer"))
    }

    /// Ends it by SIGTERM.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn stop(self) -> Finished {
        let finished = self.process.stop_by(Signal::TERM, SOON);
        finished.unwrap_or_else(|error| panic!("SIGTERM must end it: {error}"))
    }

    /// Ends it by SIGKILL.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn kill(self) {
        let finished = self.process.stop_by(Signal::KILL, SOON);
        finished.unwrap_or_else(|error| panic!("SIGKILL must end it: {error}"));
    }
}

/// An answer over HTTP.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header lines in lower case.
    pub headers: String,
    /// Body.
    pub body: String,
}

/// Asks whoever listens on `port` of loopback inside `place`.
///
/// # Errors
///
/// If nobody answers.
///
/// # Panics
///
/// If the namespace cannot be entered.
pub fn ask_in(place: &Place, port: u16, path: &str) -> io::Result<Answer> {
    let asked = place.run(|| ask(port, path, ""));
    asked.unwrap_or_else(|error| panic!("{error}"))
}

/// Asks the listener of the namespace that the thread is in. HTTP/1.0: bodies come in one piece.
fn ask(port: u16, path: &str, headers: &str) -> io::Result<Answer> {
    let target = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&target, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n{headers}\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(cut)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Ok(Answer {
        status: status.ok_or_else(cut)?,
        headers: head.to_lowercase(),
        body: body.to_owned(),
    })
}

static NUMBER: AtomicU32 = AtomicU32::new(0);
const PATIENCE: Duration = Duration::from_secs(15);
