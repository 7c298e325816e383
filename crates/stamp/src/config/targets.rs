//! Targets, and the senders that they share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command};
use serde_json::Value;
use stamp_proto::statistics::{Bins, Scale};

use super::fault::{Fault, Problem};
use super::keyring::{KeyFiles, Keyring};
use super::part::{BOTH, Part, settle};
use super::tree::{Mapping, join};
use crate::parse::{Target, window};
use crate::settings::{Named, Send};

/// Targets with equal settings share a sender, which spreads them over the interval.
pub(super) fn senders(
    root: &Mapping,
    shared: &[String],
    keys: &Keyring,
    problems: &mut Vec<Problem>,
) -> (Vec<Send>, Vec<Named>) {
    let command = Send::augment_args(Command::new("send").no_binary_name(true));
    let defaults = Part::section(root, "defaults");
    let usual = Plan::of(&defaults, &command, keys, problems);
    check_times(&defaults, &usual, problems);
    let top = Part { path: "", values: root };
    let mut fixed = shared.to_vec();
    // What is wrong with these was told where they are read for themselves.
    fixed.extend(top.flag("max_rate", "max-rate", &command, &mut Vec::new()));
    fixed.extend(BOTH.iter().flat_map(|key| top.flag(key, key, &command, &mut Vec::new())));
    let mut groups: Vec<Group> = Vec::new();
    for (at, given) in top.list("targets", problems).iter().enumerate() {
        let path = format!("targets[{at}]");
        let Value::Object(values) = given else {
            problems.push(Fault::NotMapping.at(path));
            continue;
        };
        let part = Part { path: &path, values };
        part.know(&[&TARGET[..], &SEND, &SPECIAL].concat(), problems);
        let plan = usual.with(Plan::of(&part, &command, keys, problems));
        let Some(aim) = Aim::of(&part, &plan, problems) else { continue };
        let group = groups.iter_mut().find(|group| group.plan == plan && !group.asks(&aim));
        match group {
            Some(group) => group.aims.push(aim),
            None => groups.push(Group { plan, aims: vec![aim] }),
        }
    }
    tell_apart(&groups, problems);
    if !problems.is_empty() {
        return Default::default();
    }
    let built = groups.iter().enumerate();
    let built: Vec<_> =
        built.filter_map(|(n, group)| group.build(n, &command, &fixed, problems)).collect();
    let (senders, named): (Vec<_>, Vec<_>) = built.into_iter().unzip();
    (senders, named.into_iter().flatten().collect())
}

/// Everything that a target is told but its address.
#[derive(Debug, Clone, Default, PartialEq)]
struct Plan {
    arguments: BTreeMap<&'static str, Vec<String>>,
    device: Option<String>,
    key: Option<KeyFiles>,
    histogram: Option<Histogram>,
}

#[derive(Debug, Clone, PartialEq)]
struct Histogram {
    arguments: Vec<String>,
    path: PathBuf,
}

impl Plan {
    /// What a mapping says; what it does not say is left out.
    fn of(part: &Part<'_>, command: &Command, keys: &Keyring, problems: &mut Vec<Problem>) -> Self {
        let given = SEND.into_iter().filter(|key| part.values.contains_key(*key));
        let arguments = given
            .map(|key| (key, part.flag(key, &key.replace('_', "-"), command, problems)))
            .collect();
        Self {
            arguments,
            device: part.text("device", problems),
            key: keys.of_sender(part, problems),
            histogram: histogram(part, problems),
        }
    }

    /// This plan with another one above it.
    fn with(&self, above: Self) -> Self {
        let mut arguments = self.arguments.clone();
        arguments.extend(above.arguments);
        Self {
            arguments,
            device: above.device.or_else(|| self.device.clone()),
            key: above.key.or_else(|| self.key.clone()),
            histogram: above.histogram.or_else(|| self.histogram.clone()),
        }
    }

    /// What one flag is told.
    fn told(&self, key: &str) -> Option<&str> {
        self.arguments.get(key)?.first()?.split_once('=').map(|(_, text)| text)
    }

    fn time(&self, key: &str) -> Option<Duration> {
        crate::parse::time(self.told(key)?).ok()
    }
}

/// Whom to measure.
#[derive(Debug)]
struct Aim {
    path: String,
    name: String,
    target: Target,
    text: String,
    node: Option<String>,
}

impl Aim {
    fn of(part: &Part<'_>, plan: &Plan, problems: &mut Vec<Problem>) -> Option<Self> {
        let text = part.text("address", problems);
        let node = part.text("node", problems);
        let name = part.text("name", problems);
        let Some(text) = text else {
            problems.push(Fault::NoValue.at(part.place("address")));
            return None;
        };
        let target = match text.parse::<Target>() {
            Ok(target) => target,
            Err(why) => {
                problems.push(Fault::Address { text, why }.at(part.place("address")));
                return None;
            }
        };
        if TIMES.iter().any(|key| part.values.contains_key(*key)) {
            check_times(part, plan, problems);
        }
        let name = name.unwrap_or_else(|| match plan.told("dest") {
            Some(port) if port != "862" => format!("{}:{port}", target.name()),
            _ => target.name(),
        });
        if !is_name(&name) {
            problems.push(Fault::Name.at(part.place("name")));
        }
        Some(Self { path: part.path.to_owned(), name, target, text, node })
    }
}

/// Targets that are told the same.
#[derive(Debug)]
struct Group {
    plan: Plan,
    aims: Vec<Aim>,
}

impl Group {
    fn asks(&self, other: &Aim) -> bool {
        self.aims.iter().any(|aim| aim.target == other.target)
    }

    fn build(
        &self,
        sender: usize,
        command: &Command,
        fixed: &[String],
        problems: &mut Vec<Problem>,
    ) -> Option<(Send, Vec<Named>)> {
        let Plan { arguments, device, key, histogram } = &self.plan;
        let mut all: Vec<String> = arguments.values().flatten().cloned().collect();
        all.extend(fixed.iter().cloned());
        all.extend(histogram.iter().flat_map(|histogram| histogram.arguments.iter().cloned()));
        let device = device.as_deref().unwrap_or(AUTO);
        let addresses = self.aims.iter().map(|aim| aim.text.as_str());
        let words: Vec<_> = std::iter::once(device).chain(addresses).collect();
        let mut settings: Send = settle(command, &all, words, problems)?;
        if let Some(key) = key {
            (settings.common.key_file, settings.common.prev_key_file) = key.clone();
        }
        settings.common.histpath = histogram.as_ref().map(|histogram| self.file(&histogram.path));
        Some((settings, self.named(sender)))
    }

    /// A sender with several targets has a file for each by itself.
    fn file(&self, path: &std::path::Path) -> PathBuf {
        match self.aims.as_slice() {
            [one] => format!("{}.{}", path.display(), one.name).into(),
            _ => path.to_owned(),
        }
    }

    fn named(&self, sender: usize) -> Vec<Named> {
        let named = |(target, aim): (usize, &Aim)| Named {
            name: aim.name.clone(),
            node: aim.node.clone(),
            sender,
            target,
        };
        self.aims.iter().enumerate().map(named).collect()
    }
}

/// Names must differ, and so must what replies can be told by.
fn tell_apart(groups: &[Group], problems: &mut Vec<Problem>) {
    let all =
        || groups.iter().flat_map(|group| group.aims.iter().map(move |aim| (&group.plan, aim)));
    for (n, (plan, aim)) in all().enumerate() {
        for (first_plan, first) in all().take(n) {
            if first.name == aim.name {
                problems.push(Fault::Twice(aim.name.clone()).at(join(&aim.path, "name")));
            }
            let is_fixed = plan.told("src") != Some("0");
            let alike = |key| plan.told(key) == first_plan.told(key);
            if is_fixed && first.target == aim.target && alike("src") && alike("dest") {
                let other = first.name.clone();
                problems.push(Fault::SameAddress { other }.at(&aim.path));
            }
        }
    }
}

fn check_times(part: &Part<'_>, plan: &Plan, problems: &mut Vec<Problem>) {
    let (Some(interval), Some(timeout)) = (plan.time("interval"), plan.time("timeout")) else {
        return;
    };
    if interval < SHORTEST {
        problems.push(Fault::Interval.at(part.place("interval")));
    } else if timeout.is_zero() {
        problems.push(Fault::Timeout.at(part.place("timeout")));
    } else if window(interval, timeout).is_none() {
        problems.push(Fault::Window.at(part.path));
    }
}

fn histogram(part: &Part<'_>, problems: &mut Vec<Problem>) -> Option<Histogram> {
    let path = part.place("histogram");
    let values = match part.value("histogram") {
        Value::Null => return None,
        Value::Object(values) => values,
        _ => {
            problems.push(Fault::NotMapping.at(path));
            return None;
        }
    };
    let inner = Part { path: &path, values };
    inner.know(&["bins", "floor", "ceiling", "scale", "path"], problems);
    let mut number = |key, usual: f64| match values.get(key) {
        None => usual,
        Some(_) => inner.number(key, 0.0..=1e9, problems),
    };
    let [bins, floor, ceiling] =
        [number("bins", 28.0), number("floor", 25.0), number("ceiling", 75.0)];
    let scale = inner.word("scale", &["linear", "log10"], problems).unwrap_or("linear");
    let kind = if scale == "linear" { Scale::Linear } else { Scale::Log10 };
    if let Err(error) = Bins::new(bins as usize, floor * 1e6, ceiling * 1e6, kind) {
        problems.push(Fault::from(error).at(&path));
    }
    let file = inner.text("path", problems).unwrap_or_else(|| "/tmp/sender-hist".to_owned());
    let arguments = vec![
        format!("--hist={},{floor},{ceiling}", bins as usize),
        format!("--hist-scale={scale}"),
    ];
    Some(Histogram { arguments, path: file.into() })
}

fn is_name(name: &str) -> bool {
    let plain = !name.contains(|sign: char| sign == '/' || sign.is_control());
    (1..=253).contains(&name.len()) && plain && !["local", "reflector"].contains(&name)
}

/// Keys of a target that are flags of `fathom stamp send` with the same name.
const SEND: [&str; 16] = [
    "interval",
    "timeout",
    "dest",
    "src",
    "schedule",
    "ssid",
    "on_zero_ssid",
    "reflector_mode",
    "ttl",
    "min_ttl",
    "dscp",
    "ecn",
    "size",
    "tlv",
    "timestamp_format",
    "peer_timescale",
];

/// Keys of a target that no flag has as they are.
const SPECIAL: [&str; 3] = ["key", "histogram", "device"];

/// Keys that only a target has.
const TARGET: [&str; 3] = ["name", "address", "node"];

/// Keys that only make sense together.
const TIMES: [&str; 2] = ["interval", "timeout"];

const AUTO: &str = "auto";
const SHORTEST: Duration = Duration::from_micros(100);
