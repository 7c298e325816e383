//! Whether a text is a value of a setting, and everything that was found wrong.

use std::any::TypeId;
use std::error::Error as _;
use std::fmt::Display;
use std::num::ParseIntError;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::builder::{PossibleValue, ValueParser};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, ArgAction, Command as Definition};

use super::similar;
use crate::failure::Failure;

/// Everything that is wrong, in the order it was found.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    pub(super) fn add(&mut self, place: impl Display, problem: impl Display) {
        if self.0.len() < LISTED {
            self.0.push(format!("{place}{problem}"));
        }
    }

    /// Fails if there are any.
    pub(super) fn none(&self) -> Result<(), Failure> {
        match self.0.as_slice() {
            [] => Ok(()),
            [one] => Err(Failure::usage(anyhow!("configuration: {one}"))),
            many => {
                let list = many.join("\n  ");
                Err(Failure::usage(anyhow!(
                    "{} problems in the configuration:\n  {list}",
                    many.len()
                )))
            }
        }
    }
}

/// Why a text is not a value of the argument, if it is not.
pub(super) fn refusal(arg: &Arg, text: &str) -> Option<String> {
    let lone = Arg::new("value")
        .long("value")
        .action(ArgAction::Set)
        .allow_hyphen_values(true)
        .value_parser(arg.get_value_parser().clone());
    let command = Definition::new("check").no_binary_name(true).arg(lone);
    command.try_get_matches_from(["--value", text]).err().map(|error| reason(&error, text))
}

fn reason(error: &clap::Error, text: &str) -> String {
    if let (ErrorKind::ValueValidation, Some(cause)) = (error.kind(), error.source()) {
        if cause.is::<ParseIntError>() {
            return format!("{text:?} must be a whole number");
        }
        return with_value(text, &cause.to_string());
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => {
            let hint = similar::hint(text, valid.iter().map(String::as_str));
            format!("{text:?} must be one of {}{hint}", valid.join(", "))
        }
        _ => "must not be empty".to_owned(),
    }
}

/// The message behind the value, unless it names the value already.
fn with_value(text: &str, message: &str) -> String {
    if message.contains(text) { message.to_owned() } else { format!("{text:?} {message}") }
}

/// Whether an argument takes any number of values.
pub(super) fn is_list(arg: &Arg) -> bool {
    matches!(arg.get_action(), ArgAction::Append)
}

/// Whether an argument takes any text, so that a number in the file may be a slip: `0x10`
/// and `1e3` would not arrive as they were written.
pub(super) fn is_text(arg: &Arg) -> bool {
    let parser: &ValueParser = arg.get_value_parser();
    [TypeId::of::<String>(), TypeId::of::<PathBuf>()].iter().any(|text| parser.type_id() == *text)
}

/// Names of the values that an argument takes, if they are a closed set.
pub(super) fn names(arg: &Arg) -> Vec<String> {
    arg.get_possible_values().iter().map(PossibleValue::get_name).map(str::to_owned).collect()
}

/// More would not help anybody.
const LISTED: usize = 200;
