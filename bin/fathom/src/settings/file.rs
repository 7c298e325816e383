//! The configuration file.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::anyhow;
use clap::Arg;
use serde_json::{Map, Value};
use stamp::config::{Fault as SectionFault, Problem, Stamp};
use telemetry::yaml::Fault;

use super::check::{HIDDEN, Problems, is_list, is_secret, is_text, refusal};
use super::layer::{Given, Layer, Source};
use super::section::{Section, Sections};
use super::similar;
use crate::failure::Failure;

/// A file that is YAML with a mapping at the top.
#[derive(Debug)]
pub(super) struct File {
    path: PathBuf,
    root: Map<String, Value>,
}

/// What a file says about each part.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// The process, and what systems share.
    pub(super) top: Layer,
    /// The flows system, without what is shared.
    pub(super) flows_alone: Layer,
    /// The stamp system.
    pub(super) stamp: Option<Stamp>,
    /// Systems that are named, and not switched off.
    pub(super) systems: Vec<&'static str>,
}

impl Layers {
    /// The flows system: its own values above the shared ones.
    pub(super) fn flows(&self) -> Layer {
        self.top.clone().under(self.flows_alone.clone())
    }
}

impl File {
    /// Reads a file; what is no YAML is one problem.
    pub(super) fn read(path: &Path) -> Result<Self, Failure> {
        let refused =
            |why: &dyn std::fmt::Display| Failure::usage(anyhow!("{}: {why}", path.display()));
        let mut text = String::new();
        let read =
            fs::File::open(path).and_then(|file| file.take(LONGEST + 1).read_to_string(&mut text));
        let length =
            read.map_err(|error| refused(&format_args!("{error}; name a file that can be read")))?;
        if length as u64 > LONGEST {
            return Err(refused(&"longer than 1 MiB, which no configuration is"));
        }
        let root = match parse(&text).map_err(|error| refused(&Fault::from(&error)))? {
            Value::Object(root) => root,
            Value::Null => Map::new(),
            _ => return Err(refused(&"must be a mapping such as `flows: {}`")),
        };
        Ok(Self { path: path.to_owned(), root })
    }

    /// Checks every key. What is wrong goes to the problems, the rest into layers.
    pub(super) fn layers(&self, sections: &Sections, problems: &mut Problems) -> Layers {
        let mut layers = Layers::default();
        let mut process = self.root.clone();
        match process.remove(FLOWS) {
            None => {}
            Some(Value::Null) => layers.systems.push(FLOWS),
            Some(Value::Object(mapping)) => {
                layers.systems.push(FLOWS);
                layers.flows_alone = self.layer(&sections.flows, &mapping, &[], problems);
            }
            Some(_) => problems.add(self.place(""), "flows: must be a mapping such as `flows: {}`"),
        }
        process.remove(STAMP);
        match self.stamp() {
            None => {}
            Some(Ok(mapping)) => layers.stamp = self.read_stamp(&mapping, problems),
            Some(Err(NoMapping)) => {
                problems.add(self.place(""), "stamp: must be a mapping such as `stamp: {}`");
            }
        }
        if layers.stamp.as_ref().is_some_and(|stamp| stamp.enabled) {
            layers.systems.push(STAMP);
        }
        layers.top = self.layer(&sections.top, &process, &[FLOWS, STAMP], problems);
        layers
    }

    /// The section of the stamp system as it was written, if there is one.
    pub(super) fn stamp(&self) -> Option<Result<Map<String, Value>, NoMapping>> {
        Some(match self.root.get(STAMP)? {
            Value::Null => Ok(Map::new()),
            Value::Object(mapping) => Ok(mapping.clone()),
            _ => Err(NoMapping),
        })
    }

    /// What comes from this file, as comments show it.
    pub(super) fn source(&self) -> Source {
        Source::File(self.path.clone())
    }

    fn read_stamp(&self, mapping: &Map<String, Value>, problems: &mut Problems) -> Option<Stamp> {
        let tell = |problem: Problem| {
            let hint = match &problem.fault {
                SectionFault::UnknownKey { known } => {
                    let last = problem.path.rsplit('.').next().unwrap_or_default();
                    similar::hint(last, known.iter().map(String::as_str))
                }
                _ => String::new(),
            };
            problems.add(self.place("stamp."), format_args!("{problem}{hint}"));
        };
        Stamp::read(mapping).map_err(|found| found.into_iter().for_each(tell)).ok()
    }

    fn layer(
        &self,
        section: &Section,
        mapping: &Map<String, Value>,
        also: &[&str],
        problems: &mut Problems,
    ) -> Layer {
        let mut layer = Layer::default();
        for (key, value) in mapping {
            let place = self.place(section.prefix);
            let Some(arg) = section.arg(key) else {
                let known =
                    section.args().map(|arg| arg.get_id().as_str()).chain(also.iter().copied());
                problems.add(
                    place,
                    format_args!(
                        "{}: unknown key{}",
                        key.escape_debug(),
                        similar::hint(key, known)
                    ),
                );
                continue;
            };
            match texts(arg, value) {
                Ok(texts) => {
                    layer.insert(key, Given { texts, source: self.source() });
                }
                Err(refusals) => {
                    for why in refusals {
                        problems.add(&place, format_args!("{key}{why}"));
                    }
                }
            }
        }
        layer
    }

    fn place(&self, prefix: &str) -> String {
        format!("{}: {prefix}", self.path.display())
    }
}

/// Numbers that YAML 1.1 and 1.2 read differently stay as they were written.
fn parse(text: &str) -> Result<Value, serde_saphyr::Error> {
    if text.lines().all(|line| line.trim_start().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Value::Null);
    }
    let options = serde_saphyr::options! {
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    serde_saphyr::from_str_with_options(text, options)
}

/// The texts of a value, or everything that is wrong with it.
fn texts(arg: &Arg, value: &Value) -> Result<Vec<String>, Vec<String>> {
    match (value, is_list(arg)) {
        (Value::Null, _) => Err(vec![": has no value; give it one or remove the key".into()]),
        (Value::Object(_), false) => Err(vec![": takes a value, not a mapping".into()]),
        (Value::Object(_), true) => Err(vec![": takes a list, not a mapping".into()]),
        (Value::Array(_), false) => Err(vec![": takes one value, not a list".into()]),
        (Value::Array(items), true) => items_of(arg, items),
        (_, true) if is_secret(arg.get_id().as_str()) => {
            Err(vec![format!(": must be a list, such as [{HIDDEN}]")])
        }
        (scalar, true) => Err(vec![format!(": must be a list, such as [{scalar}]")]),
        (scalar, false) => match text(arg, scalar) {
            Ok(text) => Ok(vec![text]),
            Err(why) => Err(vec![format!(": {why}")]),
        },
    }
}

fn items_of(arg: &Arg, items: &[Value]) -> Result<Vec<String>, Vec<String>> {
    let (mut texts, mut refusals) = (Vec::new(), Vec::new());
    let separator = arg.get_value_delimiter();
    for (at, item) in items.iter().enumerate() {
        match text(arg, item) {
            Ok(text) if separator.is_none_or(|sign| !text.contains(sign)) => texts.push(text),
            Ok(text) if is_percent_decoded(arg) => texts.push(text.replace(',', "%2C")),
            Ok(text) => {
                refusals.push(format!("[{at}]: {text:?} holds a comma; write one item for each"));
            }
            Err(why) => refusals.push(format!("[{at}]: {why}")),
        }
    }
    if refusals.is_empty() { Ok(texts) } else { Err(refusals) }
}

/// Whether a comma can be told from a separator.
fn is_percent_decoded(arg: &Arg) -> bool {
    ["otlp_header", "otlp_resource_attributes"].contains(&arg.get_id().as_str())
}

fn text(arg: &Arg, value: &Value) -> Result<String, String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(switch) => switch_name(arg, *switch),
        Value::Number(_) if is_text(arg) => {
            return Err(format!("{value} must be text; put it into quotes"));
        }
        Value::Number(number) => number.to_string(),
        _ => return Err("takes a text, a number or a switch".into()),
    };
    refusal(arg, &text).map_or(Ok(text), Err)
}

/// YAML 1.1 readers take a bare `on` or `off` for a boolean.
fn switch_name(arg: &Arg, switch: bool) -> String {
    let (boolean, word) = (switch.to_string(), if switch { "on" } else { "off" });
    let means_word = refusal(arg, &boolean).is_some() && refusal(arg, word).is_none();
    if means_word { word.to_owned() } else { boolean }
}

/// Something else stands where keys and values should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoMapping;

const FLOWS: &str = "flows";
const STAMP: &str = "stamp";
const LONGEST: u64 = 1 << 20;
