//! Both ends of test packets: `fathom stamp`, and others that speak the same.

pub mod cable;
pub mod old;
pub mod packet;
pub mod relay;
pub mod step;

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use testkit::Place;
use testkit::proc::{Command, Finished, Process, Signal, wait_until};

use crate::binary::{SOON, command_in};
use crate::daemon::ask_in;
use crate::exposition::Exposition;
use crate::kernel::{Object, held_by};

/// The port of all reflectors here.
pub const PORT: u16 = 8620;

/// Who takes the times: programs in the kernel, or sockets.
pub const BACKENDS: [&str; 2] = ["bpf", "socket"];

/// A command that goes on until it is told to end; dropping it kills it.
#[derive(Debug)]
pub struct Running {
    process: Process,
    place: Place,
}

impl Running {
    /// Starts `fathom stamp` with these words and waits until its sockets are bound and its
    /// programs attached.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(place: &Place, words: &[&str]) -> Self {
        Self::of(command_in(place).arg("stamp").args(words), place)
    }

    /// The same for a command that was made ready elsewhere.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn of(command: Command, place: &Place) -> Self {
        let started = command.spawn().and_then(|mut process| {
            process.wait_for_stderr("\"stamp.start\"", SOON)?;
            Ok(process)
        });
        let process = started.unwrap_or_else(|error| panic!("stamp: {error}"));
        Self { process, place: place.clone() }
    }

    /// Where it runs.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        self.process.stderr()
    }

    /// What the kernel keeps for it.
    ///
    /// # Panics
    ///
    /// If it is gone.
    pub fn held(&self) -> BTreeSet<Object> {
        held_by(&self.process)
    }

    /// A document of now, by its path below that of the system. It must listen where such a
    /// command listens by itself.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn show(&self, path: &str) -> Value {
        let body = self.page(&format!("/api/v1/stamp{path}"));
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {body}"))
    }

    /// Any page of now.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub fn page(&self, path: &str) -> String {
        let answer = ask_in(&self.place, LISTENER, path);
        let answer = answer.unwrap_or_else(|error| panic!("{path}: {error}: {}", self.log()));
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        answer.body
    }

    /// Its metrics.
    ///
    /// # Panics
    ///
    /// If there are none.
    pub fn metrics(&self) -> Exposition {
        Exposition::parse(&self.page("/metrics"))
    }

    /// Waits until its metrics, which are made each second, are what is wanted.
    ///
    /// # Panics
    ///
    /// If they never are.
    pub fn metrics_until(&self, holds: impl Fn(&Exposition) -> bool) -> Exposition {
        let mut last = Exposition::default();
        let shown = wait_until("expected metrics", SOON, || {
            last = self.metrics();
            holds(&last)
        });
        shown.unwrap_or_else(|error| panic!("{error}: {:?}", last.samples));
        last
    }

    /// Waits until it shows what is wanted, and hands that out.
    ///
    /// # Panics
    ///
    /// If it never does.
    pub fn until(&self, what: &'static str, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut last = Value::Null;
        let shown = wait_until(what, SOON, || {
            last = self.show(path);
            holds(&last)
        });
        shown.unwrap_or_else(|error| panic!("{error}: {last}"));
        last
    }

    /// Waits until its log has this in it.
    ///
    /// # Panics
    ///
    /// If it never has.
    pub fn wait_for_log(&mut self, what: &str) {
        let told = self.process.wait_for_stderr(what, SOON);
        told.unwrap_or_else(|error| panic!("{what}: {error}"));
    }

    /// Its end by SIGTERM.
    ///
    /// # Panics
    ///
    /// If it does not end in good order.
    pub fn stop(self) -> Finished {
        let finished = self.process.stop(SOON).and_then(Finished::success);
        finished.unwrap_or_else(|error| panic!("stamp: {error}"))
    }

    /// Its own end.
    ///
    /// # Panics
    ///
    /// If it does not come.
    pub fn end(self) -> Finished {
        self.process.finish(SOON).unwrap_or_else(|error| panic!("stamp: {error}"))
    }

    /// Its end by SIGKILL, after which nothing of it runs.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn kill(self) {
        let finished = self.process.stop_by(Signal::KILL, SOON);
        finished.unwrap_or_else(|error| panic!("stamp: {error}"));
    }

    /// What it says at its end, which it is told to come to.
    ///
    /// # Panics
    ///
    /// If it says nothing.
    pub fn summary(self) -> Value {
        let told = self.stop();
        told.json().unwrap_or_else(|error| panic!("stamp: {error}"))
    }
}

/// A reflector of ours; [`Reflector::summary`] ends it.
#[derive(Debug)]
pub struct Reflector(Running);

impl Reflector {
    /// Starts one on a device of `place`.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn on(place: &Place, device: &str, flags: &[&str]) -> Self {
        let port = PORT.to_string();
        let line = ["reflect", device, "-p", &port, "-o", "json"];
        Self(Running::start(place, &[&line, flags].concat()))
    }

    /// What it has counted: waits until that is what is wanted.
    ///
    /// # Panics
    ///
    /// If it never is.
    pub fn until(&self, what: &'static str, holds: impl Fn(&Value) -> bool) -> Value {
        self.0.until(what, "/reflector", holds)
    }

    /// What runs.
    pub const fn running(&self) -> &Running {
        &self.0
    }

    /// What it did.
    ///
    /// # Panics
    ///
    /// If it does not end in good order.
    pub fn summary(self) -> Value {
        self.0.summary()
    }
}

/// The only target of a measurement of ours, to its end.
///
/// # Panics
///
/// If it cannot be started or says nothing.
pub fn measured(place: &Place, target: IpAddr, flags: &[&str]) -> Value {
    let (target, port) = (target.to_string(), PORT.to_string());
    let line = ["stamp", "send", "auto", &target, "-s", "0", "-d", &port, "-o", "json"];
    let finished = command_in(place).args(line).args(flags).run(SOON);
    let finished = finished.unwrap_or_else(|error| panic!("sender: {error}"));
    let document: Value =
        finished.json().unwrap_or_else(|error| panic!("sender: {error}: {}", finished.stderr));
    document["targets"][0].clone()
}

/// What became of the packets to a target: sent, received and lost.
///
/// # Panics
///
/// If the document does not tell.
pub fn packets(target: &Value) -> [u64; 3] {
    ["sent", "received", "lost"].map(|name| {
        let amount = target["packets"][name].as_u64();
        amount.unwrap_or_else(|| panic!("no {name} in {target}"))
    })
}

/// A reflector of the other implementation; dropping it ends it.
#[derive(Debug)]
pub struct Peer(#[expect(dead_code, reason = "it lives as long as this")] Process);

impl Peer {
    /// Starts one on an address of `place`.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn reflect(place: &Place, address: IpAddr, flags: &[&str]) -> Self {
        let (address, port) = (address.to_string(), PORT.to_string());
        let command = place
            .command(program())
            .args(["-i", "--local-addr", &address, "--local-port", &port])
            .args(flags);
        let started = command.spawn().unwrap_or_else(|error| panic!("peer: {error}"));
        let listens = || listens(place);
        wait_until("the peer to listen", SOON, listens).unwrap_or_else(|error| panic!("{error}"));
        Self(started)
    }
}

/// Packets sent and received by the other implementation as a sender, to its end.
///
/// # Panics
///
/// If it cannot be started or says nothing.
pub fn measured_by_peer(place: &Place, from: IpAddr, target: IpAddr, flags: &[&str]) -> (u64, u64) {
    let (from, target, port) = (from.to_string(), target.to_string(), PORT.to_string());
    let line = [
        "--local-addr",
        &from,
        "--remote-addr",
        &target,
        "--remote-port",
        &port,
        "--output-format",
        "json",
    ];
    let finished = place.command(program()).args(line).args(flags).succeed(SOON);
    let text = finished.unwrap_or_else(|error| panic!("peer: {error}")).text();
    let document = text.find('{').map(|at| text.split_at(at).1).unwrap_or_default();
    let told: Value =
        serde_json::from_str(document).unwrap_or_else(|error| panic!("{error}: {text}"));
    let count = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("no {name} in {told}"));
    (count("packets_sent"), count("packets_received"))
}

/// Whether somebody has the port, by the kernel's own table.
fn listens(place: &Place) -> bool {
    let wanted = format!(":{PORT:04X} ");
    ["/proc/net/udp", "/proc/net/udp6"].iter().any(|table| {
        let read = place.command("cat").arg(table).succeed(SOON);
        read.is_ok_and(|read| read.text().lines().any(|line| line.contains(&wanted)))
    })
}

/// The program that `scripts/stamp-suite.sh` names, built now if it never was.
fn program() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/stamp-suite.sh");
    let named = Command::new(script).succeed(COLD_BUILD);
    let named = named.unwrap_or_else(|error| panic!("stamp-suite: {error}"));
    PathBuf::from(named.text().trim())
}

/// Building it takes minutes on a slow machine.
const COLD_BUILD: Duration = Duration::from_secs(15 * 60);

/// Where a command of the system listens by itself.
const LISTENER: u16 = 8080;
