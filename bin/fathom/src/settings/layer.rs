//! One source of settings, and how sources are put on top of each other.

use std::fmt;
use std::path::PathBuf;

use clap::builder::Resettable;
use clap::{Arg, Command as Definition};

use super::Values;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    Environment(String),
    File(PathBuf),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment(name) => write!(f, "environment {name}"),
            // A line break in a name would end the comment it is printed in.
            Self::File(path) => write!(f, "file {}", path.display().to_string().escape_debug()),
        }
    }
}

/// What one source says about one setting: a text for each value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) texts: Vec<String>,
    pub(super) source: Source,
}

/// What sources say, by the id of the argument.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layer(Values);

impl Layer {
    pub(super) fn insert(&mut self, id: &str, given: Given) {
        self.0.insert(id.to_owned(), given);
    }

    pub(super) fn remove(&mut self, id: &str) {
        self.0.remove(id);
    }

    pub(super) fn of(&self, id: &str) -> Option<&Given> {
        self.0.get(id)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// This layer with another one above it.
    pub(super) fn under(mut self, above: Self) -> Self {
        self.0.extend(above.0);
        self
    }
}

/// The command at `path` with the layer's values as its defaults.
pub(super) fn with_defaults(command: Definition, path: &[&str], layer: &Layer) -> Definition {
    match path {
        [] => command.mut_args(|arg| match layer.of(arg.get_id().as_str()) {
            Some(given) => arg.default_values(given.texts.clone()),
            None => arg,
        }),
        [name, rest @ ..] => {
            command.mut_subcommand(name, |command| with_defaults(command, rest, layer))
        }
    }
}

/// The same command line, which shows the names of variables but does not read them.
///
/// clap would stop at the first bad variable, and would take an empty one for a value.
pub(super) fn without_variables(command: Definition) -> Definition {
    command.mut_args(without_variable).mut_subcommands(without_variables)
}

fn without_variable(arg: Arg) -> Arg {
    let Some(name) = arg.get_env().map(super::text) else { return arg };
    let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
    arg.env(Resettable::Reset).help(format!("{help} [env: {name}]"))
}
