//! Where settings come from: flags, environment, configuration file, defaults.
//!
//! There is one definition of each setting, the clap argument. The file's keys and the
//! variables are checked by that argument's own parser, all of them in one pass, and what
//! is good becomes the argument's default. So precedence needs no merging, and `--help`,
//! reference and file cannot disagree.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

use ::stamp::config::Stamp as StampSection;
use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, Command as Definition, FromArgMatches};

mod check;
mod environment;
mod file;
mod layer;
mod print;
mod section;
mod similar;
mod sources;

pub(crate) use self::environment::Environment;

use self::check::{HIDDEN, Problems};
use self::file::File;
use self::layer::{Layer, with_defaults, without_variables};
use self::section::{Section, Sections};
use self::sources::Sources;
use crate::args::{self, Cli, Command};
use crate::failure::Failure;
use crate::serving::port_clash;
use crate::stamp;

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
    /// The stamp system, where the configuration file names it and does not switch it off.
    pub stamp: Option<StampSection>,
    /// Systems that the configuration file names.
    pub systems: Vec<&'static str>,
    /// Settings that were given and have no effect.
    pub unused: Vec<String>,
}

impl Input {
    /// Arguments and environment of this process.
    pub(crate) fn of_process() -> Result<Self, Failure> {
        let arguments = stamp::modernise(std::env::args_os().collect())?;
        Ok(Self::new(arguments, Environment::of_process()))
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
        let flags = bare.clone().try_get_matches_from(&self.arguments).map_err(discreet)?;
        let path = path_of(&flags);
        let leaf = leaf(&definition, &path);
        let sections = Sections::of(&definition);

        let mut problems = Problems::default();
        let file = self.file(&flags, leaf)?;
        let given = file.as_ref().map(|file| file.layers(&sections, &mut problems));
        let given = given.unwrap_or_default();
        let variables = self.environment.layer(leaf.get_arguments(), &mut problems);
        let flows_variables = match path.as_slice() {
            ["flows"] => variables.clone(),
            ["agent"] => self.environment.layer(sections.flows.args(), &mut problems),
            _ => Layer::default(),
        };
        problems.none()?;
        let flows_flags = flags.subcommand_matches("flows");
        let sources = Sources { flags: flows_flags, variables: &flows_variables, file: &given };

        let own = match path.as_slice() {
            ["flows"] => sources.layer(),
            ["agent"] => given.top.clone().under(variables),
            _ => variables,
        };
        let command = with_defaults(bare, &path, &own);
        let command =
            Cli::from_arg_matches(&command.try_get_matches_from(&self.arguments)?)?.command;
        let flows = flow::Settings::from_arg_matches(&sections.flows.settle(&sources.layer())?)?;
        Ok(Told {
            unused: sources.unused(&command, &flows),
            command,
            flows,
            stamp: given.stamp.filter(|stamp| stamp.enabled),
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
        let of_flows = self.environment.value(FLOWS_CONFIG).map(Path::new);
        let file = config.or(of_flows).filter(|_| !defaults).map(File::read).transpose()?;
        let given = file.as_ref().map(|file| file.layers(&sections, &mut problems));
        let given = given.unwrap_or_default();
        let mut variables = |section: &Section| match defaults {
            true => Layer::default(),
            false => self.environment.layer(section.args(), &mut problems),
        };
        let top = given.top.clone().under(variables(&sections.top));
        let variables = variables(&sections.flows);
        let flows = Sources { flags: None, variables: &variables, file: &given }.layer();
        problems.none()?;
        let named = file.and_then(|file| Some((file.stamp()?.ok()?, file.source())));
        let stamp = match named {
            _ if defaults => print::Stamp::Defaults,
            Some((given, source)) => print::Stamp::Given(given, source),
            None => print::Stamp::Unnamed,
        };
        print::document(&sections, &top, &flows, &stamp)
    }
}

/// Lists every problem of a configuration file, contradictions between settings included.
/// Answers whether it names a system, without which an agent has nothing to run.
pub(crate) fn check(path: &Path) -> Result<bool, Failure> {
    let definition = args::definition();
    let sections = Sections::of(&definition);
    let mut problems = Problems::default();
    let given = File::read(path)?.layers(&sections, &mut problems);
    problems.none()?;
    let sources = Sources { flags: None, variables: &Layer::default(), file: &given };
    let flows = sections.flows.settle(&sources.layer())?;
    let flows = flow::Settings::from_arg_matches(&flows)?;
    let place = format!("{}: flows.", path.display());
    // The file may be meant for either command; what only one of them takes is no problem.
    let agent = sections.top.settle(&given.top)?.get_one("listen").copied();
    let listeners = [flows.listener(), agent.and_then(args::address)];
    if let [Some(clash), Some(_)] = listeners.map(|own| port_clash(own, &flows)) {
        problems.add(&place, clash);
    }
    if let Err(flow::Error::Settings(found)) = flow::Config::new(flows) {
        found.into_iter().for_each(|problem| problems.add(&place, problem));
    }
    problems.none()?;
    Ok(!given.systems.is_empty())
}

/// clap shows the value that it refuses.
fn discreet(mut error: clap::Error) -> clap::Error {
    let of_secret = matches!(
        error.get(ContextKind::InvalidArg),
        Some(ContextValue::String(arg)) if arg.starts_with("--otlp-header ")
    );
    if of_secret {
        error.insert(ContextKind::InvalidValue, ContextValue::String(HIDDEN.into()));
    }
    error
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

/// Names the file of `fathom flows`, as `FATHOM_CONFIG` names that of the agent.
const FLOWS_CONFIG: &str = "FATHOM_FLOWS_CONFIG";

fn text(value: &OsStr) -> String {
    value.to_string_lossy().into_owned()
}

/// Values by the id of their argument.
type Values = BTreeMap<String, layer::Given>;

#[cfg(test)]
mod tests;
