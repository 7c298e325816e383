//! What can be wrong with the section of a configuration file.

use std::error::Error as _;

use clap::error::{ContextKind, ContextValue};
use serde_json::Value;
use stamp_proto::statistics::BinsError;

use crate::parse::Refused;

/// One thing that is wrong, and where.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {fault}")]
pub struct Problem {
    /// Keys from the section inwards, joined by dots.
    pub path: String,
    /// What is wrong there.
    pub fault: Fault,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Fault {
    /// A key that nobody reads.
    #[error("unknown key")]
    UnknownKey {
        /// Those that could have been meant.
        known: Vec<String>,
    },
    /// A key without anything behind it.
    #[error("has no value; give it one or remove the key")]
    NoValue,
    /// Something else than keys and values.
    #[error("must be a mapping such as {{}}")]
    NotMapping,
    /// One value where any number is taken.
    #[error("must be a list, such as [{0}]")]
    NotList(Value),
    /// Neither true nor false.
    #[error("must be true or false")]
    NotSwitch,
    /// A list or a mapping in the place of one value.
    #[error("takes a text or a number")]
    NotScalar,
    /// A value that the flag of the same meaning refuses.
    #[error("{text:?} {}", reason(source))]
    Refused {
        /// The value.
        text: String,
        /// What the flag's parser says.
        source: clap::Error,
    },
    /// A word that has no meaning there.
    #[error("{text:?} must be one of {}", valid.join(", "))]
    OneOf {
        /// The word.
        text: String,
        /// Those that have.
        valid: &'static [&'static str],
    },
    /// Not an address, nor a name.
    #[error("{text:?} {why}")]
    Address {
        /// What it is.
        text: String,
        /// Why it is none.
        why: Refused,
    },
    /// Neither a word for it nor the address of a time daemon.
    #[error(
        "must be auto, off, or where the daemon is: ADDRESS:PORT of chronyd, the socket of ptp4l"
    )]
    Daemon,
    /// Not a length of time.
    #[error("{text:?} {why}")]
    Time {
        /// What it is.
        text: String,
        /// Why it is none.
        why: Refused,
    },
    /// A number that is none or too small or too large.
    #[error("{value} must be a number from {least} to {most}")]
    Range {
        /// What it is.
        value: Value,
        /// The smallest.
        least: f64,
        /// The largest.
        most: f64,
    },
    /// What this release can't do.
    #[error("{value} is not part of this release; leave it at {usual}")]
    Later {
        /// What was asked for.
        value: Value,
        /// What there is.
        usual: Value,
    },
    /// Targets that nobody names here.
    #[error("needs the node index, which is not part of this release; name the nodes in targets")]
    NodeIndex,
    /// Limits of buckets that do not rise.
    #[error("must be 1 to 64 numbers above 0, each larger than the one before it")]
    Buckets,
    /// Bins that can't be.
    #[error(transparent)]
    Histogram(#[from] BinsError),
    /// A number that no key has.
    #[error("no key has the number {0}; add it to keys")]
    NoKey(u64),
    /// A word or number that must be unique.
    #[error("{0} stands there twice; choose another")]
    Twice(String),
    /// A name that metrics or files can't bear.
    #[error("must be 1 to 253 characters without a slash, and neither local nor reflector")]
    Name,
    /// Two targets whose replies could not be told apart.
    #[error(
        "is {other} once more, asked from one port; leave one out, or give it a src of its own"
    )]
    SameAddress {
        /// The first of the two.
        other: String,
    },
    /// More of something than there may be.
    #[error("{have} are too many, at most {most}; leave some out")]
    TooMany {
        /// How many there are.
        have: usize,
        /// How many there may be.
        most: usize,
    },
    /// Packets in too close a succession.
    #[error("must be at least 100us")]
    Interval,
    /// No time for a reply.
    #[error("must be longer than 0")]
    Timeout,
    /// More requests open than can be remembered.
    #[error(
        "leaves more requests open than can be remembered; shorten timeout or lengthen interval"
    )]
    Window,
    /// All targets together.
    #[error(
        "all targets together are sent {asked:.0} packets a second, more than {allowed}; lengthen interval or raise the limit"
    )]
    Rate {
        /// What intervals and targets amount to.
        asked: f64,
        /// The limit.
        allowed: f64,
    },
    /// A system that would do nothing.
    #[error("there is nothing to do; enable the reflector, name targets, or set enabled to false")]
    NoRole,
}

impl Fault {
    pub(super) fn at(self, path: impl Into<String>) -> Problem {
        Problem { path: path.into(), fault: self }
    }
}

/// What clap says, without the flag that nobody used.
fn reason(error: &clap::Error) -> String {
    if let Some(cause) = error.source() {
        return cause.to_string();
    }
    match error.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(valid)) => format!("must be one of {}", valid.join(", ")),
        _ => "must not be empty".to_owned(),
    }
}
