//! `fathom stamp` and its commands.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use flow::parse::{Listen, listen};
use stamp::decode::{Protection, Role};
use stamp::settings::{Format as Form, PIN_DIR, Pinning, Reflect, Run, Send};
use telemetry::logs::{Format, parse_format, parse_level};
use tracing::Level;

use super::Process;

/// What to measure, or to answer.
#[derive(Debug, Subcommand)]
pub(crate) enum Stamp {
    /// Measure delay and loss to reflectors
    Send {
        #[command(flatten)]
        settings: Box<Send>,
        #[command(flatten)]
        service: Service,
    },
    /// Answer the test packets of others
    Reflect {
        #[command(flatten)]
        settings: Box<Reflect>,
        #[command(flatten)]
        pinning: Pinning,
        #[command(flatten)]
        service: Service,
    },
    /// Play several roles in one process
    #[command(mut_arg("pin", |pin| pin.default_value("true")))]
    Run {
        #[command(flatten)]
        roles: Run,
        #[command(flatten)]
        pinning: Pinning,
        /// Form of what is printed
        #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
        format: Form,
        #[command(flatten)]
        service: Service,
    },
    /// Show what a running instance knows
    Status(StampStatus),
    /// Remove what reflectors that ended left in the kernel
    Detach {
        /// Only that of reflectors of this device
        #[arg(long, value_name = "DEVICE")]
        device: Option<String>,
        /// Directory of what is pinned, on bpffs
        #[arg(long, value_name = "DIR", default_value = PIN_DIR)]
        bpf_pin_dir: PathBuf,
    },
    /// Take one test packet apart
    Decode(Decode),
}

/// What serves and logs, whatever the role.
#[derive(Debug, Clone, Args)]
pub(crate) struct Service {
    /// Address and port of the listener, or off [default: 0.0.0.0:8080 where there is no end]
    #[arg(long, value_name = "ADDR:PORT", value_parser = listen)]
    pub listen: Option<Listen>,
    /// Least severe level that is logged: trace, debug, info, warn or error; RUST_LOG overrides it
    #[arg(long, value_name = "LEVEL", default_value = "info", value_parser = parse_level)]
    pub log_level: Level,
    /// Form of the log on stderr: json or console
    #[arg(long, value_name = "FORMAT", default_value = "json", value_parser = parse_format)]
    pub log_format: Format,
    /// TLS and basic auth of the listener, in the format of the Prometheus exporter toolkit
    #[arg(long = "web.config.file", value_name = "FILE")]
    pub web_config_file: Option<PathBuf>,
}

impl Service {
    /// The same as settings of the process; `debug` is how the replaced commands asked for
    /// more.
    pub(crate) fn process(&self, debug: bool) -> Process {
        let log_level = if debug { self.log_level.max(Level::DEBUG) } else { self.log_level };
        Process {
            config: None,
            log_level,
            log_format: self.log_format,
            web_config_file: self.web_config_file.clone(),
        }
    }
}

/// `fathom stamp status`.
#[derive(Debug, Args)]
pub(crate) struct StampStatus {
    /// Only the target of this name
    #[arg(value_name = "TARGET")]
    pub target: Option<String>,
    /// Where the instance serves; an agent's port is 9090
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Form of what is printed
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    pub format: Form,
}

/// `fathom stamp decode`.
#[derive(Debug, Args)]
pub(crate) struct Decode {
    /// The UDP payload as hexadecimal digits, or - to read them from standard input
    #[arg(value_name = "HEX")]
    pub hex: String,
    /// How the packet is protected
    #[arg(long, value_enum, default_value_t = Protection::Auto)]
    pub mode: Protection,
    /// Who sent it
    #[arg(long, value_enum, default_value_t = Role::Auto)]
    pub role: Role,
    /// File with the key, to verify signatures
    #[arg(long, value_name = "PATH")]
    pub key_file: Option<PathBuf>,
    /// Form of what is printed
    #[arg(short = 'o', long, value_enum, default_value_t = Form::Table)]
    pub format: Form,
}
