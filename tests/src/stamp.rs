//! Both ends of test packets: `fathom stamp`, and stamp-suite, another implementation.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use testkit::Place;
use testkit::proc::{Command, Finished, Process, wait_until};

use crate::binary::{SOON, command_in};

/// The port of all reflectors here.
pub const PORT: u16 = 8620;

/// A reflector of ours; [`Reflector::summary`] ends it.
#[derive(Debug)]
pub struct Reflector(Process);

impl Reflector {
    /// Starts one on all addresses of `place`.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(place: &Place, flags: &[&str]) -> Self {
        let port = PORT.to_string();
        let command = command_in(place)
            .args(["stamp", "reflect", "auto", "-p", &port, "-o", "json"])
            .args(flags);
        let started = command.args(["--listen", "127.0.0.1:0"]).spawn().and_then(|mut process| {
            process.wait_for_stderr("\"stamp.start\"", SOON)?;
            Ok(process)
        });
        Self(started.unwrap_or_else(|error| panic!("reflector: {error}")))
    }

    /// What it did.
    ///
    /// # Panics
    ///
    /// If it does not end in good order.
    pub fn summary(self) -> Value {
        let finished = self.0.stop(SOON).and_then(Finished::success);
        let finished = finished.unwrap_or_else(|error| panic!("reflector: {error}"));
        finished.json().unwrap_or_else(|error| panic!("reflector: {error}"))
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
    let document: Value = finished.json().unwrap_or_else(|error| panic!("sender: {error}"));
    document["targets"][0].clone()
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
