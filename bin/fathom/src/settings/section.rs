//! Parts of the configuration file: the process at the top, one mapping for each system.

use clap::{Arg, ArgMatches, Command as Definition};

use super::layer::{Layer, with_defaults, without_variables};
use crate::failure::Failure;

/// The definition of one part.
#[derive(Debug)]
pub(super) struct Section {
    /// What stands before a key in messages.
    pub(super) prefix: &'static str,
    definition: Definition,
}

/// The definitions of all parts.
#[derive(Debug)]
pub(super) struct Sections {
    /// The process. It also takes what systems share; each system may say otherwise.
    pub(super) top: Section,
    /// The flows system.
    pub(super) flows: Section,
    /// Keys at the top that are meant for every system.
    pub(super) shared: Vec<String>,
}

impl Sections {
    /// Reads the parts off the command line.
    pub(super) fn of(definition: &Definition) -> Self {
        let args = |name: &str| {
            let command = definition.find_subcommand(name).into_iter();
            command
                .flat_map(Definition::get_arguments)
                .filter(|arg| arg.get_id() != "config")
                .cloned()
        };
        let shared: Vec<_> = args("flows").filter(is_shared).collect();
        let ids = shared.iter().map(|arg| arg.get_id().to_string()).collect();
        Self {
            top: Section::new("", args("agent").chain(shared)),
            flows: Section::new("flows.", args("flows")),
            shared: ids,
        }
    }
}

impl Section {
    fn new(prefix: &'static str, args: impl Iterator<Item = Arg>) -> Self {
        let args = args.map(|arg| arg.help_heading(None));
        Self { prefix, definition: Definition::new("section").args(args) }
    }

    /// Every setting.
    pub(super) fn args(&self) -> impl Iterator<Item = &Arg> {
        self.definition.get_arguments()
    }

    /// The setting behind a key.
    pub(super) fn arg(&self, key: &str) -> Option<&Arg> {
        self.args().find(|arg| arg.get_id() == key)
    }

    /// The values under a layer that was checked.
    pub(super) fn settle(&self, layer: &Layer) -> Result<ArgMatches, Failure> {
        let bare = without_variables(self.definition.clone());
        Ok(with_defaults(bare, &[], layer).try_get_matches_from(["section"])?)
    }
}

/// Settings that are about the process or its surroundings rather than about one system.
fn is_shared(arg: &Arg) -> bool {
    let id = arg.get_id().as_str();
    SHARED.iter().any(|shared| id.starts_with(shared))
}

const SHARED: [&str; 8] = [
    "daemonset_node_name",
    "enable_profiling",
    "kube",
    "node_name",
    "otlp_",
    "pod_name",
    "pod_uid",
    "profiling_",
];
