//! What only the source of a value can tell: which of two spellings counts, and what was given
//! for nothing.

use clap::ArgMatches;
use clap::parser::ValueSource;
use flow::settings::FlowKey;

use super::file::Layers;
use super::layer::Layer;
use crate::args::Command;

/// Where the settings of the flows system come from.
#[derive(Debug)]
pub(super) struct Sources<'a> {
    /// Flags of the system's own command.
    pub(super) flags: Option<&'a ArgMatches>,
    /// Variables that are read.
    pub(super) variables: &'a Layer,
    /// The file.
    pub(super) file: &'a Layers,
}

impl Sources<'_> {
    /// Variables above the file. The listener has two spellings, and the one from the stronger
    /// source counts: an address must not hide a port that was given above it. Of one source
    /// the address counts.
    pub(super) fn layer(&self) -> Layer {
        let mut layer = self.file.flows().under(self.variables.clone());
        if self.rank("metrics_port") < self.rank("listen") {
            layer.remove("listen");
        }
        layer
    }

    /// Smaller is stronger.
    fn rank(&self, id: &str) -> usize {
        let sources: [bool; NOWHERE] = [
            self.is_flag(id),
            self.variables.of(id).is_some(),
            self.file.flows_alone.of(id).is_some(),
            self.file.top.of(id).is_some(),
        ];
        sources.iter().position(|given| *given).unwrap_or(NOWHERE)
    }

    /// Settings that were given to a command and have no effect there.
    pub(super) fn unused(&self, command: &Command, shared: &flow::Settings) -> Vec<String> {
        match command {
            Command::Flows(flows) => self.useless(&flows.settings).map(str::to_owned).collect(),
            Command::Agent(_) => {
                let alone = self.file.flows_alone.keys().filter(|key| ALONE_ONLY.contains(key));
                let all = alone.map(str::to_owned).chain(self.useless(shared).map(str::to_owned));
                all.map(|key| format!("flows.{key}")).collect()
            }
            _ => Vec::new(),
        }
    }

    fn useless(&self, settings: &flow::Settings) -> impl Iterator<Item = &'static str> {
        // The environment of many shells and pods names one, which is no wish of anybody.
        let by_file = self.file.flows().of("kubeconfig").is_some();
        let kubeconfig = self.is_flag("kubeconfig") || by_file;
        let ports = self.rank("flow_key") < NOWHERE && settings.flow_key != FlowKey::Pair;
        let flow_key = ports && !settings.connection_tracking;
        let useless = [("kubeconfig", kubeconfig), ("flow_key", flow_key)];
        useless.into_iter().filter(|(_, useless)| *useless).map(|(key, _)| key)
    }

    fn is_flag(&self, id: &str) -> bool {
        let source = self.flags.and_then(|flags| flags.value_source(id));
        source == Some(ValueSource::CommandLine)
    }
}

/// The rank of a default, behind all sources.
const NOWHERE: usize = 4;

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
