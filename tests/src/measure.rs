//! A one-shot run between two readings of the kernel's own counters.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testkit::proc::{Finished, Process, Signal};
use testkit::truth::{Amount, Counters};
use testkit::{Device, Place};

use crate::binary::{self, SOON};
use crate::document::{Direction, Document};

/// One interface that the program is told to count at.
#[derive(Debug, Clone)]
pub struct Edge {
    name: String,
    device: Device,
    side: Side,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Host,
    Inside,
}

impl Edge {
    /// The host's end of a pod's link, called `name`.
    pub fn host(name: &str, device: &Device) -> Self {
        Self::new(name, device, Side::Host)
    }

    /// The pod's own device, called `name`.
    pub fn inside(name: &str, device: &Device) -> Self {
        Self::new(name, device, Side::Inside)
    }

    fn new(name: &str, device: &Device, side: Side) -> Self {
        Self { name: name.to_owned(), device: device.clone(), side }
    }

    /// The device that is counted at.
    pub const fn device(&self) -> &Device {
        &self.device
    }

    /// What the edge is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The flag that names it.
    pub fn flag(&self) -> [String; 2] {
        let (device, name) = (self.device.name(), &self.name);
        let path = self.device.place().path().display();
        match self.side {
            Side::Host => ["--pod-edge".into(), format!("{device}={name}")],
            Side::Inside => ["--netns".into(), format!("{path}:{device}={name}")],
        }
    }

    /// The counter that the contract compares `direction` with.
    pub fn counted(&self, direction: Direction, counters: Counters) -> Amount {
        match (self.side, direction) {
            (Side::Host, Direction::Tx) | (Side::Inside, Direction::Rx) => counters.rx.amount,
            (Side::Host, Direction::Rx) | (Side::Inside, Direction::Tx) => counters.tx.amount,
        }
    }

    fn read(&self) -> Counters {
        let counters = self.device.counters();
        counters.unwrap_or_else(|error| panic!("counters of {}: {error}", self.device.name()))
    }
}

/// How to run the program.
#[derive(Debug, Clone)]
pub struct Plan {
    place: Place,
    edges: Vec<Edge>,
    flags: Vec<String>,
}

impl Plan {
    /// A run inside `place`, where `--pod-edge` names devices.
    pub fn new(place: &Place, edges: impl IntoIterator<Item = Edge>) -> Self {
        Self { place: place.clone(), edges: edges.into_iter().collect(), flags: Vec::new() }
    }

    /// Adds flags.
    #[must_use]
    pub fn flags<'a>(mut self, flags: impl IntoIterator<Item = &'a str>) -> Self {
        self.flags.extend(flags.into_iter().map(str::to_owned));
        self
    }

    /// Starts it on a quiet link: what passed between attaching and being ready is nobody's.
    ///
    /// # Panics
    ///
    /// If it does not become ready, or if the link never is quiet.
    pub fn start(&self) -> Measurement {
        for _ in 0..ATTEMPTS {
            let before = self.read();
            let made = self.launch();
            if made.ready == before {
                return made;
            }
        }
        panic!("the links must be quiet when a measurement begins");
    }

    /// Starts it on a link with traffic; comparisons are brackets then.
    ///
    /// # Panics
    ///
    /// If it does not become ready.
    pub fn start_under_load(&self) -> Measurement {
        let before = self.read();
        let mut made = self.launch();
        made.before = before;
        made
    }

    fn read(&self) -> Vec<Counters> {
        self.edges.iter().map(Edge::read).collect()
    }

    fn launch(&self) -> Measurement {
        let scratch = TempDir::new().unwrap_or_else(|error| panic!("scratch directory: {error}"));
        let file = scratch.path().join("ready");
        let mut command = binary::command_in(&self.place)
            .args(["flows", "--duration", LONGEST, "-o", "json", "--ready-file"])
            .arg(&file)
            .args(self.edges.iter().flat_map(Edge::flag))
            .args(&self.flags);
        command = command.output_limit(LARGEST_DOCUMENT);
        let mut process = command.spawn().unwrap_or_else(|error| panic!("start: {error}"));
        if let Err(error) = process.wait_for_file(&file, SOON) {
            panic!("the program must become ready: {error}");
        }
        let ready = self.read();
        Measurement {
            plan: self.clone(),
            process,
            file,
            before: ready.clone(),
            ready,
            _scratch: scratch,
        }
    }
}

/// A run that counts; dropping it kills it.
#[derive(Debug)]
pub struct Measurement {
    plan: Plan,
    process: Process,
    file: PathBuf,
    before: Vec<Counters>,
    ready: Vec<Counters>,
    _scratch: TempDir,
}

impl Measurement {
    /// Ends it by SIGTERM once the links are quiet.
    ///
    /// # Panics
    ///
    /// If it fails or prints no document.
    pub fn stop(self) -> Outcome {
        self.stop_by(Signal::TERM)
    }

    /// Ends it by `signal` once the links are quiet.
    ///
    /// # Panics
    ///
    /// If it fails or prints no document.
    pub fn stop_by(self, signal: Signal) -> Outcome {
        for edge in &self.plan.edges {
            let quiet = edge.device.quiet(CALM, SOON);
            quiet.unwrap_or_else(|error| panic!("{}: {error}", edge.device.name()));
        }
        self.stop_now(signal)
    }

    /// Ends it by `signal` at once.
    ///
    /// # Panics
    ///
    /// If it fails or prints no document.
    pub fn stop_now(self, signal: Signal) -> Outcome {
        let end = self.plan.read();
        let finished = self.process.stop_by(signal, SOON);
        let finished = finished.unwrap_or_else(|error| panic!("the program must end: {error}"));
        let after = self.plan.read();
        let mut brackets = BTreeMap::new();
        let spans = self.before.iter().zip(&self.ready).zip(end.iter().zip(&after));
        for (edge, ((before, ready), (end, after))) in self.plan.edges.iter().zip(spans) {
            for direction in [Direction::Tx, Direction::Rx] {
                let counted = |counters: &Counters| edge.counted(direction, *counters);
                let least = counted(end).since(counted(ready)).unwrap_or_default();
                let most = counted(after).since(counted(before)).unwrap_or_default();
                brackets.insert((edge.name.clone(), direction), Bracket { least, most });
            }
        }
        let outcome = Outcome::new(finished, brackets);
        assert!(!self.file.exists(), "the ready file must go at exit");
        outcome
    }

    /// The file that told of readiness.
    pub const fn ready_file(&self) -> &PathBuf {
        &self.file
    }

    /// The running program.
    pub const fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// What a counter says about a window whose ends lie between two readings each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bracket {
    /// Between the inner readings.
    pub least: Amount,
    /// Between the outer readings.
    pub most: Amount,
}

impl Bracket {
    /// The one value it allows.
    ///
    /// # Panics
    ///
    /// If something passed while the program attached or detached.
    pub fn exact(&self) -> Amount {
        assert_eq!(self.least, self.most, "the link must be quiet at both ends");
        self.least
    }

    /// Whether `amount` lies between its ends.
    pub const fn holds(&self, amount: Amount) -> bool {
        let (least, most) = (self.least, self.most);
        least.packets <= amount.packets
            && amount.packets <= most.packets
            && least.bytes <= amount.bytes
            && amount.bytes <= most.bytes
    }
}

/// A finished run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// What it printed.
    pub document: Document,
    /// The same, unread.
    pub raw: Value,
    /// How it ended.
    pub finished: Finished,
    /// What the kernel counted meanwhile.
    pub brackets: BTreeMap<(String, Direction), Bracket>,
}

impl Outcome {
    fn new(finished: Finished, brackets: BTreeMap<(String, Direction), Bracket>) -> Self {
        assert_eq!(
            finished.status.code(),
            Some(0),
            "a one-shot run ends with 0: {}",
            finished.stderr
        );
        let raw: Value = finished
            .json()
            .unwrap_or_else(|error| panic!("standard output is one document: {error}"));
        let document = serde_json::from_value(raw.clone());
        let document =
            document.unwrap_or_else(|error| panic!("the document has its form: {error}: {raw:#}"));
        Self { document, raw, finished, brackets }
    }

    /// What the kernel counted for `edge` in `direction`.
    ///
    /// # Panics
    ///
    /// If the edge is not part of the plan.
    pub fn bracket(&self, edge: &str, direction: Direction) -> Bracket {
        let found = self.brackets.get(&(edge.to_owned(), direction));
        *found.unwrap_or_else(|| panic!("{edge} is an edge of this run"))
    }
}

/// Every run is ended by the test long before.
const LONGEST: &str = "120s";
const CALM: Duration = Duration::from_millis(250);
const ATTEMPTS: usize = 6;
const LARGEST_DOCUMENT: u64 = 512 << 20;
