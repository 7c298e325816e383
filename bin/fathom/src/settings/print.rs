//! The configuration as a file, with help texts as comments and the source of each value.

use std::fmt::Write;

use clap::{Arg, ArgMatches};
use serde_json::{Map, Value};

use super::check::{HIDDEN, is_list, is_secret};
use super::layer::{Layer, Source};
use super::section::{Section, Sections};
use super::text;
use crate::failure::Failure;

/// The whole file.
pub(super) fn document(
    sections: &Sections,
    top: &Layer,
    flows: &Layer,
    stamp: &Stamp,
) -> Result<String, Failure> {
    let mut out = String::from(HEAD);
    part(&mut out, &sections.top, top, "", |id| {
        !sections.shared.iter().any(|shared| shared == id)
    })?;
    out.push_str("\nflows:\n");
    part(&mut out, &sections.flows, flows, "  ", |_| true)?;
    out.push_str("\nstamp:\n");
    out.push_str(&stamp.text());
    Ok(out)
}

/// What is shown of the stamp system.
#[derive(Debug)]
pub(super) enum Stamp {
    /// Its defaults.
    Defaults,
    /// That it does not run, because nobody named it.
    Unnamed,
    /// What a file says.
    Given(Map<String, Value>, Source),
}

impl Stamp {
    fn text(&self) -> String {
        match self {
            Self::Defaults => stamp::config::print(None, ""),
            Self::Unnamed => {
                let off = Map::from_iter([("enabled".to_owned(), false.into())]);
                stamp::config::print(Some(&off), "not named in a file")
            }
            Self::Given(given, source) => stamp::config::print(Some(given), &source.to_string()),
        }
    }
}

fn part(
    out: &mut String,
    section: &Section,
    layer: &Layer,
    indent: &str,
    shown: impl Fn(&str) -> bool,
) -> Result<(), Failure> {
    let values = section.settle(layer)?;
    let known = |arg: &&Arg| !arg.is_hide_set() || layer.of(arg.get_id().as_str()).is_some();
    for arg in section.args().filter(known).filter(|arg| shown(arg.get_id().as_str())) {
        setting(out, arg, &values, layer, indent);
    }
    Ok(())
}

fn setting(out: &mut String, arg: &Arg, values: &ArgMatches, layer: &Layer, indent: &str) {
    let id = arg.get_id().as_str();
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    let source =
        layer.of(id).map_or_else(|| "default".to_owned(), |given| given.source.to_string());
    let line = match value(arg, values) {
        Some(value) => format!("{indent}{id}: {value} # {source}"),
        None => format!("{indent}# {id}: not set"),
    };
    let put = writeln!(out, "{indent}# {}\n{line}", help.replace('\n', " "));
    put.expect("a String takes everything");
}

/// The value as YAML, if there is one.
fn value(arg: &Arg, values: &ArgMatches) -> Option<String> {
    let id = arg.get_id().as_str();
    let raw = values.get_raw(id).into_iter().flatten();
    let texts: Vec<_> = raw.map(|raw| shown(id, text(raw))).map(|text| scalar(&text)).collect();
    if is_list(arg) {
        return Some(format!("[{}]", texts.join(", ")));
    }
    texts.into_iter().next()
}

/// Headers carry credentials, which don't belong into what people paste into reports.
fn shown(id: &str, text: String) -> String {
    match text.split_once('=') {
        Some((key, _)) if is_secret(id) => format!("{key}={HIDDEN}"),
        _ => text,
    }
}

/// Text that YAML could take for anything else is quoted. JSON quoting is YAML quoting.
fn scalar(text: &str) -> String {
    let plain = text.chars().all(|sign| sign.is_ascii_alphanumeric() || "_./-".contains(sign));
    let first = text.chars().next().is_some_and(|sign| sign.is_ascii_alphanumeric() || sign == '/');
    let word = text.chars().any(|sign| "ghijklmnpqrstuvwyzGHIJKLMNPQRSTUVWYZ/".contains(sign));
    let number = text.parse::<u64>().is_ok_and(|number| number.to_string() == text);
    let switch = matches!(text, "true" | "false");
    if number
        || switch
        || (plain && first && word && !RESERVED.contains(&text.to_lowercase().as_str()))
    {
        return text.to_owned();
    }
    Value::from(text).to_string()
}

/// Words that some YAML reader takes for a boolean or for nothing, and numbers in words.
const RESERVED: [&str; 8] = ["y", "n", "yes", "no", "on", "off", "null", "true"];

const HEAD: &str = "\
# Configuration of fathom. Each line shows its source: a flag overrides the environment,
# the environment this file, this file the default.
";

#[cfg(test)]
mod tests {
    use super::scalar;

    #[test]
    fn only_unmistakable_text_is_left_bare() {
        for bare in ["25s", "5tuple", "9090", "true", "/sys/fs/bpf", "http/protobuf", "auto"] {
            assert_eq!(scalar(bare), bare);
        }
        for quoted in
            ["off", "No", "0x1f", "1e3", "0755", "a: b", "", "-1", "~", "[x]", "#x", ".inf"]
        {
            assert_eq!(scalar(quoted), serde_json::Value::from(quoted).to_string());
        }
    }
}
