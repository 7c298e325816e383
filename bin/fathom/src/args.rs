//! The command line.
//!
//! What a system can be told is defined by the system itself; here is what belongs to the
//! process, and how everything is arranged. Variables of the environment are named here but
//! read by `settings`, which knows the other sources as well.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};
use clap_complete::Shell;
use flow::parse::{Listen, duration, listen};
use flow::{Output, PinSettings, Settings};
use telemetry::logs::{Format, parse_format, parse_level};
use tracing::Level;

mod heading;
mod stamp;

pub(crate) use stamp::{Decode, Service, Stamp, StampStatus};

use crate::version;

/// Measures what happens to packets and pods on a Kubernetes node
#[derive(Debug, Parser)]
#[command(
    name = "fathom",
    version,
    long_version = version::long(),
    after_help = AFTER_HELP,
    max_term_width = 100,
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Count every byte and packet of each pod, in the kernel, exactly once
    Flows(Box<Flows>),
    /// Measure delay, loss and clock offset between nodes
    #[command(subcommand)]
    Stamp(Stamp),
    /// Run the systems of a configuration file in one process on a node
    Agent(Agent),
    /// Tell what this host can do before anything runs
    Doctor(Doctor),
    /// Show everything on a small laboratory of network namespaces
    Demo(Demo),
    /// Check or show the configuration
    #[command(subcommand)]
    Config(Config),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write a man page for each command
    Man {
        /// Where to; the directory is made if it is missing
        directory: PathBuf,
    },
}

/// `fathom flows`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Flows {
    #[command(subcommand)]
    pub action: Option<FlowsAction>,
    #[command(flatten)]
    pub settings: Settings,
    #[command(flatten)]
    pub process: Process,
}

/// What can be done to flows that are counted already.
#[derive(Debug, Subcommand)]
pub(crate) enum FlowsAction {
    /// Show what is pinned and who counts, without touching it
    Status {
        #[command(flatten)]
        pins: PinSettings,
        /// Form of the answer
        #[arg(short, long, env = "FATHOM_FLOWS_OUTPUT", value_enum, default_value_t = Output::Table)]
        output: Output,
    },
    /// Stop counting and remove everything that is pinned
    Detach {
        #[command(flatten)]
        pins: PinSettings,
        /// Keep the amounts counted so far, for a later start
        #[arg(long)]
        keep_ledger: bool,
    },
}

/// Settings of the process, whatever it measures.
#[derive(Debug, Clone, PartialEq, Eq, Args)]
pub(crate) struct Process {
    /// Configuration file, in YAML; flags and environment override it
    #[arg(long, env = "FATHOM_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Least severe level that is logged: trace, debug, info, warn or error; RUST_LOG overrides it
    #[arg(long, env = "FATHOM_LOG_LEVEL", value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: Level,
    /// Form of the log on stderr: json or console
    #[arg(long, env = "FATHOM_LOG_FORMAT", value_name = "FORMAT", default_value = "json", value_parser = parse_format)]
    pub log_format: Format,
    /// TLS and basic auth of the listener, in the format of the Prometheus exporter toolkit
    #[arg(long = "web.config.file", env = "FATHOM_WEB_CONFIG_FILE", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
}

/// `fathom agent`.
#[derive(Debug, Args)]
pub(crate) struct Agent {
    /// Address and port of the listener, or off
    #[arg(long, env = "FATHOM_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:9090", value_parser = listen)]
    pub listen: Listen,
    /// Bound on the end of all systems, the last drain and the last push
    #[arg(long, env = "FATHOM_SHUTDOWN_DEADLINE", value_name = "DURATION", default_value = "10s", value_parser = duration("1s", "5m"))]
    pub shutdown_deadline: Duration,
    #[command(flatten)]
    pub process: Process,
}

/// `fathom doctor`.
#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Form of the answer
    #[arg(short, long, env = "FATHOM_DOCTOR_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub output: Output,
    #[command(flatten)]
    pub pins: PinSettings,
    /// Listener that should be free
    #[arg(long, env = "FATHOM_LISTEN", value_name = "ADDR:PORT", default_value = "0.0.0.0:9090", value_parser = listen)]
    pub listen: Listen,
    /// Socket of containerd
    #[arg(
        long,
        env = "FATHOM_DOCTOR_CONTAINERD",
        value_name = "PATH",
        default_value = "/run/containerd/containerd.sock"
    )]
    pub containerd: PathBuf,
    /// Credentials for Kubernetes
    #[arg(long, env = "KUBECONFIG", value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// Root of the file tree in which /proc, /sys and /run are looked up
    #[arg(long, env = "FATHOM_DOCTOR_ROOT", value_name = "PATH", default_value = "/")]
    pub root: PathBuf,
    /// API server of a pod
    #[arg(long, env = "KUBERNETES_SERVICE_HOST", value_name = "HOST", hide = true)]
    pub api_host: Option<String>,
    /// Port of the API server of a pod
    #[arg(
        long,
        env = "KUBERNETES_SERVICE_PORT",
        value_name = "PORT",
        default_value_t = 443,
        hide = true
    )]
    pub api_port: u16,
}

/// `fathom demo`.
#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Address and port of the listener
    #[arg(long, env = "FATHOM_DEMO_LISTEN", value_name = "ADDR:PORT", default_value = "127.0.0.1:9090", value_parser = listen)]
    pub listen: Listen,
    /// End by itself after this long [default: at Ctrl-C]
    #[arg(long, env = "FATHOM_DEMO_DURATION", value_name = "DURATION", value_parser = duration("1s", "24h"))]
    pub duration: Option<Duration>,
    /// Least severe level that is logged: trace, debug, info, warn or error; RUST_LOG overrides it
    #[arg(long, env = "FATHOM_LOG_LEVEL", value_name = "LEVEL", default_value = "warn", value_parser = parse_level)]
    pub log_level: Level,
}

/// `fathom config`.
#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// List every problem of a configuration file
    Check {
        /// The file
        file: PathBuf,
    },
    /// Print the configuration as a file, with the source of each value
    Print {
        /// Only the defaults, whatever the environment says
        #[arg(long, conflicts_with = "config")]
        defaults: bool,
        /// Configuration file, in YAML; without FATHOM_CONFIG that of FATHOM_FLOWS_CONFIG
        #[arg(long, env = "FATHOM_CONFIG", value_name = "FILE")]
        config: Option<PathBuf>,
    },
}

/// The definition of the whole command line.
pub(crate) fn definition() -> clap::Command {
    let command = Cli::command()
        .mut_subcommand("stamp", |stamp| stamp.mut_subcommands(::stamp::settings::with_variables));
    command.mut_subcommand("flows", |flows| {
        let replaced = |flows: clap::Command, (id, name): (&'static str, &'static str)| {
            flows.mut_arg(id, |arg| arg.env(name))
        };
        let flows = FLOWS_VARIABLES.into_iter().fold(flows, replaced);
        flows.mut_args(|arg| match heading::of(arg.get_id().as_str()) {
            Some(heading) => arg.help_heading(heading),
            None => arg,
        })
    })
}

/// The address to listen on, unless listening is off.
pub(crate) const fn address(listen: Listen) -> Option<std::net::SocketAddr> {
    match listen {
        Listen::Off => None,
        Listen::At(address) => Some(address),
    }
}

/// Settings of the process that the flows command reads elsewhere than the agent does.
const FLOWS_VARIABLES: [(&str, &str); 4] = [
    ("config", "FATHOM_FLOWS_CONFIG"),
    ("log_level", "EBPF_LOG_LEVEL"),
    ("log_format", "EBPF_LOG_FORMAT"),
    ("web_config_file", "FATHOM_FLOWS_WEB_CONFIG_FILE"),
];

/// What holds for every command.
pub(crate) const AFTER_HELP: &str = "\
Every flag can also be set by its environment variable or in the file of --config; a flag
overrides the environment, the environment the file, the file the default.

Exit codes: 0 done, 64 usage or configuration, 69 something needed is unavailable, 70 a bug,
77 not permitted.";

#[cfg(test)]
mod tests {
    use super::definition;

    #[test]
    fn the_definition_holds_together() {
        definition().debug_assert();
    }

    #[test]
    fn every_flag_has_a_variable() {
        let definition = definition();
        let flows = definition.find_subcommand("flows").unwrap();
        let agent = definition.find_subcommand("agent").unwrap();
        for arg in flows.get_arguments().chain(agent.get_arguments()) {
            assert!(arg.get_env().is_some(), "{} has no variable", arg.get_id());
        }
    }
}
