//! The keys of the section, their defaults, and what a file says above them.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::fault::{Fault, Problem};

/// Keys and values.
pub(super) type Mapping = Map<String, Value>;

/// Every key at its default. What is not in here is no key.
pub(super) fn defaults() -> Mapping {
    let mut root = Mapping::new();
    let mut open: Vec<&str> = Vec::new();
    for line in TEXT.lines().filter_map(Line::read) {
        open.truncate(line.depth);
        let value = line.value.unwrap_or_else(|| Value::Object(Mapping::new()));
        place(&mut root, &open).insert(line.key.to_owned(), value);
        open.push(line.key);
    }
    root
}

/// The section as it is in force, with its comments and the source of each value; `given` is
/// what the file says, `source` how the file is called.
pub fn print(given: Option<&Mapping>, source: &str) -> String {
    let mut out = String::new();
    let mut open: Vec<&str> = Vec::new();
    for text in TEXT.lines() {
        let shown = match Line::read(text) {
            Some(line) => {
                open.truncate(line.depth);
                let told = given.and_then(|given| at(given, &open)?.get(line.key));
                open.push(line.key);
                line.shown(told, source)
            }
            None => text.trim_start().to_owned(),
        };
        let depth = (text.len() - text.trim_start().len()) / INDENT;
        writeln!(out, "{:width$}{shown}", "", width = INDENT * (depth + 1))
            .expect("a String takes everything");
    }
    out
}

/// Puts what a file says above the defaults.
pub(super) fn overlay(
    onto: &mut Mapping,
    given: &Mapping,
    path: &str,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in given {
        let place = join(path, key);
        let known = || onto.keys().cloned().collect();
        let Some(usual) = onto.get(key) else {
            problems.push(Fault::UnknownKey { known: known() }.at(place));
            continue;
        };
        let is_section = usual.as_object().is_some_and(|keys| !keys.is_empty());
        match (onto.get_mut(key), value) {
            (Some(Value::Object(inner)), Value::Object(said)) if is_section => {
                overlay(inner, said, &place, problems);
            }
            (_, Value::Null) if is_section => {}
            _ if is_section => problems.push(Fault::NotMapping.at(place)),
            (Some(Value::Null), _) => drop(onto.insert(key.clone(), value.clone())),
            (_, Value::Null) => problems.push(Fault::NoValue.at(place)),
            _ => drop(onto.insert(key.clone(), value.clone())),
        }
    }
}

/// A key below others; keys come from files, and may hold anything.
pub(super) fn join(path: &str, key: &str) -> String {
    let key = key.escape_debug();
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

/// A line with a key.
struct Line<'a> {
    depth: usize,
    key: &'a str,
    text: &'a str,
    /// None where keys follow.
    value: Option<Value>,
}

impl<'a> Line<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let bare = line.trim_start();
        let (key, text) = bare.split_once(':').filter(|_| !bare.starts_with('#'))?;
        let text = text.trim();
        let value = match text {
            "" => None,
            _ => Some(serde_json::from_str(text).unwrap_or_else(|_| text.into())),
        };
        Some(Self { depth: (line.len() - bare.len()) / INDENT, key, text, value })
    }

    fn shown(&self, told: Option<&Value>, source: &str) -> String {
        match (&self.value, told) {
            (None, _) => format!("{}:", self.key),
            (Some(_), Some(told)) => format!("{}: {told} # {source}", self.key),
            (Some(_), None) => format!("{}: {} # default", self.key, self.text),
        }
    }
}

fn place<'a>(root: &'a mut Mapping, path: &[&str]) -> &'a mut Mapping {
    path.iter().fold(root, |at, key| {
        at[*key].as_object_mut().expect("only a mapping is put above other keys")
    })
}

fn at<'a>(root: &'a Mapping, path: &[&str]) -> Option<&'a Mapping> {
    path.iter().try_fold(root, |at, key| at.get(*key)?.as_object())
}

const TEXT: &str = include_str!("defaults.yaml");
const INDENT: usize = 2;
