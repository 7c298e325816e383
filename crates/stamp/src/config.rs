//! The section of a configuration file: what an agent is told of this system.
//!
//! Senders and reflectors come out as their commands would be told, and each value is checked
//! by the parser of the flag that means the same, so that file and command line can't differ.
//! The defaults, with their comments, are one text; a key that is not in it is no key.

mod fault;
mod keyring;
mod part;
mod reflector;
mod targets;
mod tree;

use std::str::FromStr;

use serde_json::Value;
use stamp_proto::offset::Settings as Offsets;

use crate::settings::{Host, Pinning, Reflect, Send};
use crate::sync::{self, Choice};

pub use fault::{Fault, Problem};
pub use tree::print;

use keyring::Keyring;
use part::{Part, scalar};
use tree::{Mapping, defaults, overlay};

/// A section without contradictions.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Whether the system runs.
    pub enabled: bool,
    /// The senders; targets with equal settings share one.
    pub senders: Vec<Send>,
    /// The reflectors, one for each device.
    pub reflectors: Vec<Reflect>,
    /// What is said of the process and its host.
    pub host: Host,
    effective: Mapping,
}

impl Stamp {
    /// Reads the section.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it, whether it is enabled or not.
    pub fn read(given: &Mapping) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut root = defaults();
        overlay(&mut root, given, "", &mut problems);
        let stamp = Self::of(root, &mut problems);
        if problems.is_empty() { Ok(stamp) } else { Err(problems) }
    }

    fn of(root: Mapping, problems: &mut Vec<Problem>) -> Self {
        let top = Part { path: "", values: &root };
        let enabled = top.switch("enabled", problems);
        let clock = Part::section(&root, "clock");
        let mut host = Host {
            pinning: Pinning {
                pin: top.switch("pin", problems),
                lease: top.time("lease", problems).unwrap_or_default(),
                ..Pinning::default()
            },
            time: daemons(&clock, problems),
            offset: offset(&Part::section(&root, "offset"), &clock, problems),
            buckets: buckets(&top, problems).into(),
            ..Host::default()
        };
        mesh(&Part::section(&root, "mesh"), problems);
        let keys = Keyring::of(&root, problems);
        let enforced = enforced(&clock, problems);
        // Each looks at all of its own, whatever is wrong with the other.
        let mut of_senders = Vec::new();
        let reflectors = reflector::reflectors(&root, &enforced, &keys, problems);
        let (senders, named) = targets::senders(&root, &enforced, &keys, &mut of_senders);
        problems.append(&mut of_senders);
        limits(&top, &senders, named.len(), problems);
        host.named = named;
        if enabled && problems.is_empty() && senders.is_empty() && reflectors.is_empty() {
            problems.push(Fault::NoRole.at("enabled"));
        }
        Self { enabled, senders, reflectors, host, effective: root }
    }
}

/// Two sections are the same when they say the same, however they are written.
impl PartialEq for Stamp {
    fn eq(&self, other: &Self) -> bool {
        self.effective == other.effective
    }
}

fn daemons(part: &Part<'_>, problems: &mut Vec<Problem>) -> sync::Settings {
    sync::Settings { chrony: daemon(part, "chrony", problems), ptp: daemon(part, "ptp", problems) }
}

/// Where a time daemon is asked for its error.
fn daemon<T: FromStr>(part: &Part<'_>, key: &str, problems: &mut Vec<Problem>) -> Choice<T> {
    let text = part.text(key, problems).unwrap_or_else(|| "auto".to_owned());
    text.parse().unwrap_or_else(|_| {
        problems.push(Fault::Daemon.at(part.place(key)));
        Choice::Auto
    })
}

fn offset(part: &Part<'_>, clock: &Part<'_>, problems: &mut Vec<Problem>) -> Offsets {
    let mut time = |key| {
        let time = part.time(key, problems).unwrap_or_default();
        if time.is_zero() {
            problems.push(Fault::Timeout.at(part.place(key)));
        }
        i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
    };
    let (window_ns, expire_ns) = (time("window"), time("expire"));
    let mut skew = |key| (clock.number(key, 0.0..=0.1, problems) * 1e9).round() as u64;
    Offsets {
        window_ns,
        expire_ns,
        max_skew: skew("max_skew"),
        max_skew_unsynced: skew("max_skew_unsynced"),
    }
}

/// What must hold of the clock before a role is played, as flags of it.
fn enforced(part: &Part<'_>, problems: &mut Vec<Problem>) -> Vec<String> {
    let mut flags = Vec::new();
    match part.word("enforce", &["none", "sync", "ptp"], problems) {
        Some("sync") => flags.push("--enforce-sync".to_owned()),
        Some("ptp") => flags.push("--enforce-ptp".to_owned()),
        _ => {}
    }
    if part.time("max_error", problems).is_some() {
        let text = scalar(part.value("max_error")).unwrap_or_default();
        flags.push(format!("--max-error={text}"));
    }
    flags
}

fn buckets(part: &Part<'_>, problems: &mut Vec<Problem>) -> Vec<f64> {
    let values = part.list("histogram_buckets", problems);
    let numbers: Vec<_> = values.iter().filter_map(Value::as_f64).collect();
    let rising = numbers.is_sorted_by(|one, next| one < next) && numbers.first() > Some(&0.0);
    if numbers.len() != values.len() || !rising || numbers.len() > MOST_BUCKETS {
        problems.push(Fault::Buckets.at(part.place("histogram_buckets")));
    }
    numbers
}

/// The nodes of a cluster can't be named yet; what is said of them must make sense all the same.
fn mesh(part: &Part<'_>, problems: &mut Vec<Problem>) {
    if part.switch("enabled", problems) {
        problems.push(Fault::NodeIndex.at(part.place("enabled")));
    }
    part.time("interval", problems);
    part.text("selector", problems);
    part.text("exclude_label", problems);
    part.word("address", &["InternalIP", "ExternalIP"], problems);
    part.word("strategy", &["full"], problems);
    part.number("full_limit", 1.0..=1_024.0, problems);
    part.number("peers", 1.0..=1_024.0, problems);
}

/// What holds for all targets together.
fn limits(part: &Part<'_>, senders: &[Send], targets: usize, problems: &mut Vec<Problem>) {
    let most = part.number("max_targets", 1.0..=1_024.0, problems) as usize;
    if targets > most {
        problems.push(Fault::TooMany { have: targets, most }.at("targets"));
    }
    let rate = |send: &Send| send.targets.len() as f64 / send.interval.as_secs_f64();
    let asked = senders.iter().map(rate).sum();
    let allowed = part.number("max_rate", 1.0..=100_000.0, problems);
    if asked > allowed {
        problems.push(Fault::Rate { asked, allowed }.at("max_rate"));
    }
}

const MOST_BUCKETS: usize = 64;

#[cfg(test)]
mod tests;
