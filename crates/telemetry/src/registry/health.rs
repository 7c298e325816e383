//! Answers to the probes of an orchestrator.

use std::borrow::Cow;
use std::fmt;

/// The verdict on all checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// True when every check passed.
    pub good: bool,
    /// Each check with its outcome, in order of registration.
    pub checks: Vec<Check>,
}

impl Health {
    pub(super) fn of(checks: Vec<Check>) -> Self {
        Self { good: checks.iter().all(|check| check.passed), checks }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.good { "ok\n" } else { "not ok\n" })?;
        self.checks.iter().try_for_each(|check| writeln!(f, "{check}"))
    }
}

/// One thing that must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Whose it is.
    pub collector: &'static str,
    /// What it is.
    pub name: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// More about it, for the operator; may be empty.
    pub detail: Cow<'static, str>,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.passed { '+' } else { '-' };
        write!(f, "[{mark}] {}/{}", self.collector, self.name)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, ": {}", self.detail) }
    }
}
