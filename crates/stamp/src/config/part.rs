//! Values of one mapping, each read for what it must be.

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::{Arg, ArgAction, Command, FromArgMatches};
use serde_json::Value;

use super::fault::{Fault, Problem};
use super::tree::{Mapping, defaults, join};
use crate::parse;

/// A mapping and where it stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) path: &'a str,
    pub(super) values: &'a Mapping,
}

/// A value that is not there: what a target leaves out.
static NOTHING: Value = Value::Null;

impl<'a> Part<'a> {
    /// A section of the whole, which overlaying made a mapping.
    pub(super) fn section(root: &'a Mapping, path: &'a str) -> Self {
        let values = path.split('.').try_fold(root, |at, key| at.get(key)?.as_object());
        Self { path, values: values.unwrap_or(root) }
    }

    pub(super) fn value(&self, key: &str) -> &'a Value {
        self.values.get(key).unwrap_or(&NOTHING)
    }

    pub(super) fn place(&self, key: &str) -> String {
        join(self.path, key)
    }

    /// The value as text; none where it is null or no single value.
    pub(super) fn text(&self, key: &str, problems: &mut Vec<Problem>) -> Option<String> {
        let value = self.value(key);
        let text = scalar(value);
        if text.is_none() && !value.is_null() {
            problems.push(Fault::NotScalar.at(self.place(key)));
        }
        text
    }

    pub(super) fn switch(&self, key: &str, problems: &mut Vec<Problem>) -> bool {
        let switch = self.value(key).as_bool();
        if switch.is_none() {
            problems.push(Fault::NotSwitch.at(self.place(key)));
        }
        switch.unwrap_or_default()
    }

    pub(super) fn number(
        &self,
        key: &str,
        range: RangeInclusive<f64>,
        problems: &mut Vec<Problem>,
    ) -> f64 {
        let value = self.value(key);
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => number,
            None => {
                let (least, most) = range.into_inner();
                problems
                    .push(Fault::Range { value: value.clone(), least, most }.at(self.place(key)));
                least
            }
        }
    }

    pub(super) fn time(&self, key: &str, problems: &mut Vec<Problem>) -> Option<Duration> {
        let text = self.text(key, problems)?;
        let refused =
            |why| problems.push(Fault::Time { text: text.clone(), why }.at(self.place(key)));
        parse::time(&text).map_err(refused).ok()
    }

    /// One of some words; none where it is null or another one.
    pub(super) fn word(
        &self,
        key: &str,
        valid: &'static [&'static str],
        problems: &mut Vec<Problem>,
    ) -> Option<&'static str> {
        let text = self.text(key, problems)?;
        let found = valid.iter().copied().find(|word| *word == text);
        if found.is_none() {
            problems.push(Fault::OneOf { text, valid }.at(self.place(key)));
        }
        found
    }

    pub(super) fn list(&self, key: &str, problems: &mut Vec<Problem>) -> &'a [Value] {
        let value = self.value(key);
        let list = value.as_array().map(Vec::as_slice);
        if list.is_none() && !value.is_null() {
            problems.push(Fault::NotList(value.clone()).at(self.place(key)));
        }
        list.unwrap_or_default()
    }

    /// Tells of keys that are none of these.
    pub(super) fn know(&self, known: &[&str], problems: &mut Vec<Problem>) {
        for key in self.values.keys().filter(|key| !known.contains(&key.as_str())) {
            let known = known.iter().map(|key| (*key).to_owned()).collect();
            problems.push(Fault::UnknownKey { known }.at(self.place(key)));
        }
    }

    /// A value as arguments of the flag that means the same, checked by that flag's parser.
    /// What no flag of this release means may only be what it is by default.
    pub(super) fn flag(
        &self,
        key: &str,
        flag: &str,
        command: &Command,
        problems: &mut Vec<Problem>,
    ) -> Vec<String> {
        let value = self.value(key);
        let Some(arg) = command.get_arguments().find(|arg| arg.get_long() == Some(flag)) else {
            problems.extend(self.later(key, value));
            return Vec::new();
        };
        match (value, arg.get_action()) {
            (Value::Null, _) => Vec::new(),
            (Value::Bool(given), ArgAction::SetTrue) => {
                given.then(|| format!("--{flag}")).into_iter().collect()
            }
            (_, ArgAction::SetTrue) => {
                problems.push(Fault::NotSwitch.at(self.place(key)));
                Vec::new()
            }
            (Value::Array(items), ArgAction::Append) => {
                let each = items.iter().enumerate();
                let place = |at| format!("{}[{at}]", self.place(key));
                each.filter_map(|(at, item)| argument(arg, flag, item, place(at), problems))
                    .collect()
            }
            (_, ArgAction::Append) => {
                problems.push(Fault::NotList(value.clone()).at(self.place(key)));
                Vec::new()
            }
            (Value::Array(items), _) if JOINED.contains(&flag) => {
                let all: Vec<_> = items.iter().filter_map(scalar).collect();
                let joined = all.join(",").into();
                argument(arg, flag, &joined, self.place(key), problems).into_iter().collect()
            }
            _ => argument(arg, flag, value, self.place(key), problems).into_iter().collect(),
        }
    }

    fn later(&self, key: &str, value: &Value) -> Option<Problem> {
        let place = self.place(key);
        let usual =
            Value::Object(defaults()).pointer(&format!("/{}", place.replace('.', "/"))).cloned();
        let usual = usual.filter(|usual| usual != value)?;
        Some(Fault::Later { value: value.clone(), usual }.at(place))
    }
}

/// Flags whose one value is a list.
const JOINED: [&str; 2] = ["allowed-dscp", "location-disclose"];

/// The text of a single value.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        // YAML of before 1.2 takes a bare off for a boolean.
        Value::Bool(false) => Some("off".to_owned()),
        _ => None,
    }
}

fn argument(
    arg: &Arg,
    flag: &str,
    value: &Value,
    place: String,
    problems: &mut Vec<Problem>,
) -> Option<String> {
    let Some(text) = scalar(value) else {
        problems.push(Fault::NotScalar.at(place));
        return None;
    };
    let lone = Arg::new("value").long("value").value_parser(arg.get_value_parser().clone());
    let check = Command::new("check").no_binary_name(true).arg(lone);
    match check.try_get_matches_from([format!("--value={text}")]) {
        Ok(_) => Some(format!("--{flag}={text}")),
        Err(source) => {
            problems.push(Fault::Refused { text, source }.at(place));
            None
        }
    }
}

/// Each value was checked by itself; what is left is said of the whole.
pub(super) fn settle<'a, S: FromArgMatches>(
    command: &Command,
    arguments: &'a [String],
    words: impl IntoIterator<Item = &'a str>,
    problems: &mut Vec<Problem>,
) -> Option<S> {
    let flags = arguments.iter().map(String::as_str);
    let line = flags.chain(["--"]).chain(words);
    let settled =
        command.clone().try_get_matches_from(line).and_then(|told| S::from_arg_matches(&told));
    let refused =
        |source| problems.push(Fault::Refused { text: arguments.join(" "), source }.at(""));
    settled.map_err(refused).ok()
}

/// Keys at the top that are flags of both commands.
pub(super) const BOTH: [&str; 3] = ["backend", "attach", "timestamps"];
