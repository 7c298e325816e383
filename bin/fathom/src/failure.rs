//! How a command fails: what the user reads, and with which code the process ends.
//!
//! The codes are those of sysexits.h. A problem is told once, here, with its whole chain of
//! causes; daemons tell it as a log event instead, because their readers are programs.

use std::fmt;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

use anyhow::Error;
use flow::Exit;
use telemetry::admin::AdminError;

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Failure {
    /// What clap has to say: usage problems, but also help and version.
    Arguments(Box<clap::Error>),
    /// Told in the log already.
    Logged(Exit),
    /// Anything else.
    Problem(Exit, Error),
}

impl Failure {
    /// Usage or configuration, exit 64.
    pub(crate) fn usage(problem: impl Into<Error>) -> Self {
        Self::Problem(Exit::Usage, problem.into())
    }

    /// Something needed is not there, exit 69.
    pub(crate) fn unavailable(problem: impl Into<Error>) -> Self {
        Self::Problem(Exit::Unavailable, problem.into())
    }

    /// A bug, exit 70.
    pub(crate) fn bug(problem: impl Into<Error>) -> Self {
        Self::Problem(Exit::Bug, problem.into())
    }

    /// A right is missing, exit 77.
    pub(crate) fn not_permitted(problem: impl Into<Error>) -> Self {
        Self::Problem(Exit::NotPermitted, problem.into())
    }

    /// Tells the problem as a log event, so that it is not told again.
    pub(crate) fn logged(self, event: &'static str) -> Self {
        match self {
            Self::Problem(exit, problem) => {
                tracing::error!(event, error = %Chain(&problem), exit = exit as u8, "Stopped by an error");
                Self::Logged(exit)
            }
            other => other,
        }
    }

    /// The code to exit with.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::Arguments(error) if error.use_stderr() => Exit::Usage as u8,
            Self::Arguments(_) => 0,
            Self::Logged(exit) | Self::Problem(exit, _) => *exit as u8,
        }
    }

    /// Value of the `reason` label of a system that could not start.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Arguments(_) | Self::Problem(Exit::Usage, _) | Self::Logged(Exit::Usage) => {
                "configuration"
            }
            Self::Problem(Exit::Unavailable, _) | Self::Logged(Exit::Unavailable) => "unavailable",
            Self::Problem(Exit::NotPermitted, _) | Self::Logged(Exit::NotPermitted) => {
                "not_permitted"
            }
            Self::Problem(Exit::Bug, _) | Self::Logged(Exit::Bug) => "bug",
        }
    }

    /// Tells the user. A reader who went away is not a reason to fail again.
    fn tell(&self) {
        match self {
            Self::Arguments(error) => drop(error.print()),
            Self::Logged(_) => {}
            Self::Problem(_, problem) => {
                drop(writeln!(std::io::stderr(), "fathom: {}", Chain(problem)));
            }
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Arguments(error) => error.fmt(f),
            Self::Logged(_) => f.write_str("see the log"),
            Self::Problem(_, problem) => Chain(problem).fmt(f),
        }
    }
}

impl From<clap::Error> for Failure {
    fn from(error: clap::Error) -> Self {
        Self::Arguments(Box::new(error))
    }
}

impl From<flow::Error> for Failure {
    fn from(error: flow::Error) -> Self {
        Self::Problem(error.exit(), error.into())
    }
}

impl From<stamp::Error> for Failure {
    fn from(error: stamp::Error) -> Self {
        match error.exit() {
            stamp::Exit::Usage => Self::usage(error),
            stamp::Exit::Unavailable => Self::unavailable(error),
            stamp::Exit::NotPermitted => Self::not_permitted(error),
        }
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        match error {
            AdminError::NotPermitted { .. } => Self::not_permitted(error),
            AdminError::WebConfig(_) => Self::usage(error),
            AdminError::Registry(_) => Self::bug(error),
            _ => Self::unavailable(error),
        }
    }
}

/// An error with its causes. Many of our messages contain their cause; it is not repeated.
struct Chain<'a>(&'a Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut told = self.0.to_string();
        for cause in self.0.chain().skip(1).map(ToString::to_string) {
            if !told.contains(&cause) {
                told.push_str(": ");
                told.push_str(&cause);
            }
        }
        f.write_str(&told)
    }
}

/// Runs the program and turns its end into an exit code; a panic is a bug like any other.
pub(crate) fn exit_code(program: impl FnOnce() -> Result<(), Failure>) -> ExitCode {
    match catch_unwind(AssertUnwindSafe(program)) {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(failure)) => {
            failure.tell();
            ExitCode::from(failure.code())
        }
        Err(_) => ExitCode::from(Exit::Bug as u8),
    }
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::Failure;

    #[test]
    fn causes_are_told_once() {
        let cause = anyhow!("no route");
        let told = Failure::unavailable(cause.context("connect: no route").context("push"));
        assert_eq!(told.to_string(), "push: connect: no route");
    }

    #[test]
    fn every_kind_has_its_code() {
        let codes = [
            Failure::usage(anyhow!("")).code(),
            Failure::unavailable(anyhow!("")).code(),
            Failure::bug(anyhow!("")).code(),
            Failure::not_permitted(anyhow!("")).code(),
        ];
        assert_eq!(codes, [64, 69, 70, 77]);
    }
}
