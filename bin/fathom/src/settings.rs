//! Where settings come from: flags, environment, configuration file, defaults.
//!
//! There is one definition of each setting, the clap argument. The file's keys and the
//! variables are checked by that argument's own parser, all of them in one pass, and what
//! is good becomes the argument's default. So precedence needs no merging, and `--help`,
//! reference and file cannot disagree.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use clap::{ArgMatches, Command as Definition, FromArgMatches};

mod check;
mod environment;
mod file;
mod layer;
mod print;
mod section;
mod similar;

pub(crate) use self::environment::Environment;

use self::check::Problems;
use self::file::File;
use self::layer::{Layer, with_defaults, without_variables};
use self::section::{Section, Sections};
use crate::args::{self, Cli, Command};
use crate::failure::Failure;

/// Everything the process was told from outside; read again at each reload.
#[derive(Debug)]
pub(crate) struct Input {
    arguments: Vec<OsString>,
    environment: Environment,
}

/// What it was told, checked.
#[derive(Debug)]
pub(crate) struct Told {
    /// The command with its settings from every source.
    pub command: Command,
    /// Settings of the flows system when the command is not the system's own.
    pub flows: flow::Settings,
    /// Systems that the configuration file names.
    pub systems: Vec<&'static str>,
    /// Keys of the file and variables that this command does not look at.
    pub unused: Vec<String>,
}

impl Input {
    /// Arguments and environment of this process.
    pub(crate) fn of_process() -> Self {
        Self::new(std::env::args_os(), Environment::of_process())
    }

    /// Any arguments, the first being the program's name, and any environment.
    pub(crate) fn new(
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
        environment: Environment,
    ) -> Self {
        Self { arguments: arguments.into_iter().map(Into::into).collect(), environment }
    }

    /// A variable that is not a setting, such as `NO_COLOR`.
    pub(crate) fn variable(&self, name: &str) -> Option<String> {
        self.environment.text(name)
    }

    /// Reads every source. All problems of file and environment are told in one pass.
    pub(crate) fn read(&self) -> Result<Told, Failure> {
        let definition = args::definition();
        let bare = without_variables(definition.clone());
        let flags = bare.clone().try_get_matches_from(&self.arguments)?;
        let path = path_of(&flags);
        let leaf = leaf(&definition, &path);
        let sections = Sections::of(&definition);

        let mut problems = Problems::default();
        let file = self.file(&flags, leaf)?;
        let given = file.as_ref().map(|file| file.layers(&sections, &mut problems));
        let given = given.unwrap_or_default();
        let variables = self.environment.layer(leaf.get_arguments(), &mut problems);
        let flows_variables = match path.first() {
            Some(&"agent") => self.environment.layer(sections.flows.args(), &mut problems),
            _ => Layer::default(),
        };
        problems.none()?;

        let own = match path.as_slice() {
            ["flows"] => given.flows(),
            ["agent"] => given.top.clone(),
            _ => Layer::default(),
        };
        let command = with_defaults(bare, &path, &own.under(variables));
        let command =
            Cli::from_arg_matches(&command.try_get_matches_from(&self.arguments)?)?.command;
        let flows = sections.flows.settle(&given.flows().under(flows_variables))?;
        Ok(Told {
            unused: unused(&command, &given),
            command,
            flows: flow::Settings::from_arg_matches(&flows)?,
            systems: given.systems,
        })
    }

    fn file(&self, flags: &ArgMatches, leaf: &Definition) -> Result<Option<File>, Failure> {
        if !matches!(leaf.get_name(), "flows" | "agent") {
            return Ok(None);
        }
        let path = self.config_path(flags, leaf);
        path.map(|path| File::read(&path)).transpose()
    }

    fn config_path(&self, flags: &ArgMatches, leaf: &Definition) -> Option<PathBuf> {
        let mut deepest = flags;
        while let Some((_, next)) = deepest.subcommand() {
            deepest = next;
        }
        let flag = deepest.try_get_one::<PathBuf>("config").ok().flatten().cloned();
        let variable = || {
            let arg = leaf.get_arguments().find(|arg| arg.get_id() == "config")?;
            self.environment.value(arg.get_env()?.to_str()?).map(PathBuf::from)
        };
        flag.or_else(variable)
    }

    /// The effective configuration as a file, or only the defaults.
    pub(crate) fn print(&self, defaults: bool, config: Option<&Path>) -> Result<String, Failure> {
        let definition = args::definition();
        let sections = Sections::of(&definition);
        let mut problems = Problems::default();
        let file = config.filter(|_| !defaults).map(File::read).transpose()?;
        let given = file.map(|file| file.layers(&sections, &mut problems)).unwrap_or_default();
        let mut effective = |section: &Section, given: Layer| {
            if defaults {
                return Layer::default();
            }
            given.under(self.environment.layer(section.args(), &mut problems))
        };
        let top = effective(&sections.top, given.top.clone());
        let flows = effective(&sections.flows, given.flows());
        problems.none()?;
        print::document(&sections, &top, &flows)
    }
}

/// Lists every problem of a configuration file, contradictions between settings included.
pub(crate) fn check(path: &Path) -> Result<(), Failure> {
    let definition = args::definition();
    let sections = Sections::of(&definition);
    let mut problems = Problems::default();
    let given = File::read(path)?.layers(&sections, &mut problems);
    problems.none()?;
    let flows = sections.flows.settle(&given.flows())?;
    if let Err(flow::Error::Settings(found)) =
        flow::Config::new(flow::Settings::from_arg_matches(&flows)?)
    {
        for problem in found {
            problems.add(format_args!("{}: flows.", path.display()), problem);
        }
    }
    problems.none()
}

/// Names of the subcommands from the outermost to the one that runs.
fn path_of(flags: &ArgMatches) -> Vec<&str> {
    let mut path = Vec::new();
    let mut at = flags;
    while let Some((name, next)) = at.subcommand() {
        path.push(name);
        at = next;
    }
    path
}

fn leaf<'a>(definition: &'a Definition, path: &[&str]) -> &'a Definition {
    path.iter().fold(definition, |at, name| at.find_subcommand(name).unwrap_or(at))
}

fn unused(command: &Command, given: &file::Layers) -> Vec<String> {
    if !matches!(command, Command::Agent(_)) {
        return Vec::new();
    }
    let keys = given.flows_alone.keys().filter(|key| ALONE_ONLY.contains(key));
    keys.map(|key| format!("flows.{key}")).collect()
}

/// Keys that only mean something when the system runs by itself.
const ALONE_ONLY: [&str; 8] = [
    "duration",
    "listen",
    "log_format",
    "log_level",
    "metrics_port",
    "output",
    "shutdown_deadline",
    "web_config_file",
];

fn text(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}

/// Values by the id of their argument.
type Values = BTreeMap<String, layer::Given>;

#[cfg(test)]
mod tests;
