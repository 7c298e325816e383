//! Whether a text is a value of a setting, and everything that was found wrong.

use std::any::TypeId;
use std::error::Error as _;
use std::fmt::Display;
use std::num::ParseIntError;
use std::path::PathBuf;

use anyhow::anyhow;
use clap::builder::ValueParser;
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

/// Whether values of a setting carry credentials, which belong into no log.
pub(crate) fn is_secret(id: &str) -> bool {
    id == "otlp_header"
}

/// Why a text is not a value of the argument, if it is not.
pub(super) fn refusal(arg: &Arg, text: &str) -> Option<String> {
    let lone = Arg::new("value")
        .long("value")
        .action(ArgAction::Set)
        .allow_hyphen_values(true)
        .value_parser(arg.get_value_parser().clone());
    let command = Definition::new("check").no_binary_name(true).arg(lone);
    let shown = if is_secret(arg.get_id().as_str()) { HIDDEN } else { text };
    command.try_get_matches_from(["--value", text]).err().map(|error| reason(&error, shown))
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
    let quoted = format!("{text:?}");
    let begins = message.strip_prefix(text).is_some_and(|rest| rest.starts_with(' '));
    match text {
        HIDDEN => format!("{HIDDEN} {message}"),
        _ if begins || message.contains(&quoted) => message.to_owned(),
        _ => format!("{quoted} {message}"),
    }
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

/// What is shown in the place of credentials.
pub(super) const HIDDEN: &str = "<hidden>";

/// More would not help anybody.
const LISTED: usize = 200;
