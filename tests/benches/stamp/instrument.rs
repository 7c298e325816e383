//! Either implementation, as a reflector and as a sender.

use std::collections::BTreeMap;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fathom_tests::binary::{SOON, command_in};
use fathom_tests::stamp::PORT;
use serde_json::Value;
use tempfile::TempDir;
use testkit::Place;
use testkit::proc::{Command, Process, wait_until};

use crate::cable::{Cable, FAR, NEAR};
use crate::report::Row;

/// Who measures, open or signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Instrument {
    Fathom,
    FathomSigned,
    Peer,
    PeerSigned,
}

/// A reflector at the far end that refuses nobody for his rate; dropping it ends it.
pub(crate) struct Reflector {
    process: Process,
    key: Option<Key>,
}

/// What a sender says of one packet.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Said {
    /// Round trip without residence, in nanoseconds.
    pub(crate) net: i64,
    /// T4, in nanoseconds since 1970; absent where only durations are told.
    pub(crate) t4: Option<i64>,
    /// T4 - T1, in nanoseconds.
    pub(crate) gross: i64,
    /// T1, T2 and T3, in nanoseconds since 1970, where told.
    pub(crate) times: Option<[i64; 3]>,
    /// Whether a clock that is the same at both ends is inside of what is called certain.
    pub(crate) certain: Option<bool>,
}

/// What a sender says.
#[derive(Debug, Default)]
pub(crate) struct Account {
    pub(crate) packets: BTreeMap<u32, Said>,
    /// Half the width of the interval for the offset, and how old its last sample is, in
    /// nanoseconds.
    pub(crate) bound: Option<(i64, i64)>,
}

impl Instrument {
    /// In the order in which a round measures them.
    pub(crate) const ALL: [Self; 4] =
        [Self::Fathom, Self::Peer, Self::FathomSigned, Self::PeerSigned];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Fathom => "fathom",
            Self::FathomSigned => "fathom, signed",
            Self::Peer => "stamp-suite",
            Self::PeerSigned => "stamp-suite, signed",
        }
    }

    pub(crate) const fn is_signed(self) -> bool {
        matches!(self, Self::FathomSigned | Self::PeerSigned)
    }

    /// What should be reached is said of ours only.
    pub(crate) fn reach(self, row: Row, reach: impl FnOnce(Row) -> Row) -> Row {
        if self.is_ours() { reach(row) } else { row }
    }

    pub(crate) const fn is_ours(self) -> bool {
        matches!(self, Self::Fathom | Self::FathomSigned)
    }

    /// Starts its reflector and waits until it answers, by `prefix`: nothing, or a program
    /// that starts it.
    pub(crate) fn reflect(self, cable: &Cable, prefix: &[&str]) -> Reflector {
        let key = self.is_signed().then(Key::new);
        let place = cable.far.place();
        let (address, port) = (FAR.to_string(), PORT.to_string());
        let line: Vec<&str> = if self.is_ours() {
            // Without statistics of its own: those have a process woken up for each request.
            [&["stamp", "reflect", "eth0", "-p", &port][..], &FREE].concat()
        } else {
            vec!["-i", "--local-addr", &address, "--local-port", &port]
        };
        let command = self.command(place, prefix).args(line).args(self.key_flags(key.as_ref()));
        let mut process = command.spawn().unwrap();
        if self.is_ours() {
            process.wait_for_stderr("\"stamp.start\"", SOON).unwrap();
        } else {
            wait_until("the peer to listen", SOON, || listens(place)).unwrap();
        }
        Reflector { process, key }
    }

    /// Sends `count` packets, one each `interval`, to `reflector`.
    pub(crate) fn send(
        self,
        cable: &Cable,
        reflector: &Reflector,
        count: u32,
        interval: Duration,
    ) -> Account {
        let (near, far, port) = (NEAR.to_string(), FAR.to_string(), PORT.to_string());
        let (count, gap) = (count.to_string(), format!("{}us", interval.as_micros()));
        let line: Vec<&str> = if self.is_ours() {
            let line = ["stamp", "send", "eth0", &far, "-s", "0", "-d", &port, "-c", &count];
            [&line[..], &["-i", &gap, "--samples", "-", "-o", "json"]].concat()
        } else {
            let line = ["--local-addr", &near, "--remote-addr", &far, "--remote-port", &port];
            [&line[..], &["--count", &count, "--send-delay", &gap, "-L", "1", "-R"]].concat()
        };
        let command = self.command(cable.near.place(), &[]).args(line);
        let command = command.args(self.key_flags(reflector.key.as_ref()));
        let text = command.succeed(LONGEST).unwrap().text();
        if self.is_ours() { ours(&text) } else { theirs(&text) }
    }

    fn command(self, place: &Place, prefix: &[&str]) -> Command {
        let program = if self.is_ours() { fathom_tests::binary::path() } else { peer() };
        match prefix.split_first() {
            Some((first, rest)) => place.command(first).args(rest).arg(program),
            None if self.is_ours() => command_in(place),
            None => place.command(program),
        }
    }

    fn key_flags(self, key: Option<&Key>) -> Vec<String> {
        let Some(key) = key else { return Vec::new() };
        let theirs = (!self.is_ours()).then_some(["-A", "A", "--hmac-key-file"]);
        let words = theirs.map_or_else(|| vec!["--key-file"], |words| words.to_vec());
        let words = words.into_iter().map(str::to_owned);
        words.chain([key.path.display().to_string()]).collect()
    }
}

impl Reflector {
    pub(crate) const fn process(&self) -> &Process {
        &self.process
    }
}

/// A key in a file that nobody else can read.
struct Key {
    path: PathBuf,
    _folder: TempDir,
}

impl Key {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, SECRET).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        Self { path, _folder: folder }
    }
}

/// One line of JSON for each reply, and the summary in the last.
fn ours(text: &str) -> Account {
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let mut account = Account::default();
    for line in lines {
        if line["schema"] == "fathom.stamp.sample/1" {
            account.packets.extend(said(&line));
        } else {
            let offset = &line["targets"][0]["offset"];
            account.bound = offset["bound_ns"].as_i64().zip(offset["age_ns"].as_i64());
        }
    }
    account
}

fn said(line: &Value) -> Option<(u32, Said)> {
    let time = |name: &str| line[name].as_str()?.parse::<i64>().ok();
    let number = |name: &str| line[name].as_i64();
    let certain = |way: &str| {
        let [low, raw, high] =
            ["lower", "raw", "upper"].map(|what| number(&format!("{way}_{what}_ns")));
        Some((low?..=high?).contains(&raw?))
    };
    let said = Said {
        net: number("rtt_ns")?,
        t4: time("t4"),
        gross: number("rtt_gross_ns")?,
        times: Some([time("t1")?, time("t2")?, time("t3")?]),
        certain: certain("near").zip(certain("far")).map(|(near, far)| near && far),
    };
    Some((u32::try_from(number("seq")?).ok()?, said))
}

/// Lines such as `seq=0 rtt=0.225ms ttl=255 reflector_recv_ts=1 reflector_send_ts=2`.
fn theirs(text: &str) -> Account {
    let packets = text.lines().filter(|line| line.starts_with("seq=")).map(|line| {
        let word = |name: &str| {
            let value = line.split(' ').find_map(|word| word.strip_prefix(name));
            value.unwrap_or_else(|| panic!("no {name} in {line}"))
        };
        let milliseconds: f64 = word("rtt=").trim_end_matches("ms").parse().unwrap();
        let gross = (milliseconds * 1e6).round() as i64;
        let [t2, t3] = ["reflector_recv_ts=", "reflector_send_ts="]
            .map(|name| i128::from(word(name).parse::<u64>().unwrap()));
        // In units of 2⁻³² s. Its round trip holds the reflector's time.
        let residence = ((t3 - t2) * 1_000_000_000) >> 32;
        let net = gross - residence as i64;
        let said = Said { net, t4: None, gross, times: None, certain: None };
        (word("seq=").parse().unwrap(), said)
    });
    Account { packets: packets.collect(), bound: None }
}

/// Whether somebody has the port, by the kernel's own table.
fn listens(place: &Place) -> bool {
    let table = place.run(|| fs::read_to_string("/proc/thread-self/net/udp")).unwrap().unwrap();
    table.contains(&format!(":{PORT:04X} "))
}

/// The program that `scripts/stamp-suite.sh` names.
fn peer() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/stamp-suite.sh");
    let named = Command::new(script).succeed(COLD_BUILD).unwrap();
    PathBuf::from(named.text().trim())
}

/// The key of both, in hexadecimal digits.
const SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// Answers whoever asks, how often he likes.
pub(crate) const FREE: [&str; 7] =
    ["--open", "--rate", "0", "--global-rate", "0", "--listen", "127.0.0.1:0"];
const LONGEST: Duration = Duration::from_secs(60);
const COLD_BUILD: Duration = Duration::from_secs(15 * 60);
