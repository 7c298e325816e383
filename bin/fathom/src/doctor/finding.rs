//! One line of the answer.

use serde::Serialize;

/// What was found out about one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// What was examined; the name never changes.
    pub check: &'static str,
    /// How it is.
    pub state: State,
    /// What is there.
    pub found: String,
    /// What does not work because of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lost: Option<&'static str>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<&'static str>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    /// As it should be.
    Ok,
    /// Not everything will work.
    Degraded,
    /// Nothing will work.
    Missing,
}

impl Finding {
    /// As it should be.
    pub(crate) fn ok(check: &'static str, found: impl Into<String>) -> Self {
        Self { check, state: State::Ok, found: found.into(), lost: None, remedy: None }
    }

    /// Works in part.
    pub(crate) fn degraded(
        check: &'static str,
        found: impl Into<String>,
        lost: &'static str,
    ) -> Self {
        Self { state: State::Degraded, lost: Some(lost), ..Self::ok(check, found) }
    }

    /// Does not work.
    pub(crate) fn missing(
        check: &'static str,
        found: impl Into<String>,
        remedy: &'static str,
    ) -> Self {
        Self { state: State::Missing, remedy: Some(remedy), ..Self::ok(check, found) }
    }

    /// The same with something to do about it.
    pub(crate) fn with_remedy(self, remedy: &'static str) -> Self {
        Self { remedy: Some(remedy), ..self }
    }
}

impl State {
    /// The word in eight columns, in its colour.
    pub(crate) fn painted(self, colours: bool) -> String {
        let (word, colour) = match self {
            Self::Ok => ("ok", 32),
            Self::Degraded => ("degraded", 33),
            Self::Missing => ("missing", 31),
        };
        if colours { format!("\x1b[{colour}m{word:<8}\x1b[0m") } else { format!("{word:<8}") }
    }
}
