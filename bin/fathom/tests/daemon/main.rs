//! Whole processes: their lives, their signals and what they leave behind.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod agent;
mod measuring;
mod stamp;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, TcpStream};
use std::time::Duration;

use tempfile::TempDir;
use testkit::proc::{Command, Process, free_tcp_port, wait_for};

/// Far more than anything here takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The program in an environment that says nothing to it.
fn fathom(arguments: &[&str]) -> Command {
    quiet(Command::new(PROGRAM).args(arguments))
}

fn quiet(command: Command) -> Command {
    let foreign = ["RUST_LOG", "KUBECONFIG", "NODE_NAME", "KUBERNETES_SERVICE_HOST"];
    foreign.into_iter().fold(command, Command::env_remove)
}

const PROGRAM: &str = env!("CARGO_BIN_EXE_fathom");

/// A configuration file that can be rewritten, and a port of its own.
struct Setup {
    folder: TempDir,
    port: u16,
}

impl Setup {
    fn new() -> Self {
        let port = free_tcp_port(LOCAL).unwrap();
        Self { folder: TempDir::new().unwrap(), port }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    /// Writes the file of an agent whose flows system cannot start: pins need a bpffs.
    fn write_broken(&self, more: &str) -> String {
        let pins = self.path("");
        self.write(&format!("{more}flows: {{bpf_pin_dir: '{pins}', discover: 'on'}}\n"))
    }

    fn write(&self, content: &str) -> String {
        let path = self.path("fathom.yaml");
        std::fs::write(&path, format!("listen: 127.0.0.1:{}\n{content}", self.port)).unwrap();
        path
    }

    /// What the process answers, as soon as it does.
    fn answer(&self, path: &str) -> String {
        wait_for("an answer", PATIENCE, || request(self.port, path)).unwrap()
    }

    /// Waits until the metrics hold a line.
    fn wait_for_metric(&self, line: &str) -> String {
        let metrics =
            || request(self.port, "/metrics").filter(|text| text.lines().any(|one| one == line));
        wait_for("a line in the metrics", PATIENCE, metrics)
            .unwrap_or_else(|late| panic!("{late}: {line} in {:?}", request(self.port, "/metrics")))
    }
}

/// One answer of an HTTP server on this machine, head included.
fn request(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect((LOCAL, port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Ends a process the way an operator does and returns its log.
fn stop(process: Process) -> String {
    process.stop(PATIENCE).unwrap().success().unwrap().stderr
}
