//! Everything the commands of the system can be told.
//!
//! One definition per setting: its doc comment is the help text and the reference.

mod expand;
mod roles;

use std::borrow::Cow;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Command, ValueEnum};
use stamp_bpf::Skew;
use stamp_proto::offset::Settings as Offsets;
use stamp_proto::reflector::{Disclose, Prefix, Provisioned};

use crate::kernel::Lane;
use crate::keys::KeyFile;
use crate::parse::{self, Extension, Member, Target};
use crate::sync;

pub use expand::{Histogram, Mangled, expand};
pub use roles::{Roles, RolesError, Run};

/// Gives every flag of a command the variable `FATHOM_STAMP_COMMAND_FLAG`.
pub fn with_variables(command: Command) -> Command {
    let prefix = format!("FATHOM_STAMP_{}_", command.get_name().to_uppercase());
    command.mut_args(|arg| match arg.get_long() {
        Some(long) => {
            let name = long.to_uppercase().replace(['-', '.'], "_");
            arg.env(format!("{prefix}{name}"))
        }
        None => arg,
    })
}

/// What both roles can be told.
#[derive(Debug, Clone, Args)]
pub struct Common {
    /// Log everything that is decided
    #[arg(long)]
    pub debug: bool,
    /// Write a histogram; BINS, FLOOR and CEILING may follow
    #[arg(long, value_name = "BINS,FLOOR,CEILING", num_args = 0..=1, require_equals = true, default_missing_value = "", value_parser = expand::histogram)]
    pub hist: Option<Histogram>,
    /// Bins of the histogram, 3 or more
    #[arg(long, default_value_t = 28)]
    pub bins: usize,
    /// Upper limit of the first bin, in milliseconds
    #[arg(long, value_name = "MS", default_value = "25", value_parser = parse::milliseconds)]
    pub floor: f64,
    /// Lower limit of the last bin, in milliseconds
    #[arg(long, value_name = "MS", default_value = "75", value_parser = parse::milliseconds)]
    pub ceiling: f64,
    /// How the bins between are spaced
    #[arg(long, value_enum, default_value_t = HistScale::Linear)]
    pub hist_scale: HistScale,
    /// File of the histogram [default: ./hist; for a bare --hist /tmp/sender-hist or /tmp/reflector-hist]
    #[arg(long, value_name = "PATH")]
    pub histpath: Option<PathBuf>,
    /// Do not start while the kernel's clock is not synchronised
    #[arg(long)]
    pub enforce_sync: bool,
    /// Do not start unless PTP keeps the clock
    #[arg(long)]
    pub enforce_ptp: bool,
    /// Largest error of the clock with --enforce-sync or --enforce-ptp
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub max_error: Option<Duration>,
    /// File with the key of all sessions, or of one: signed packets only
    #[arg(long, value_name = "[SSID=]PATH")]
    pub key_file: Vec<KeyFile>,
    /// File with the key before, accepted while the other end changes over
    #[arg(long, value_name = "[SSID=]PATH")]
    pub prev_key_file: Vec<KeyFile>,
    /// Smallest TTL or hop limit of what is accepted
    #[arg(long, value_name = "TTL", default_value_t = 0)]
    pub min_ttl: u8,
    /// Format of the times we write
    #[arg(long, value_enum, default_value_t = TimestampFormat::Ntp)]
    pub timestamp_format: TimestampFormat,
    /// Who takes the times: programs in the kernel, or sockets
    #[arg(long, value_enum, default_value_t = Backend::Auto)]
    pub backend: Backend,
    /// Place of the programs among those of others
    #[arg(long, value_enum, default_value_t = Attach::First)]
    pub attach: Attach,
    /// Whose times are taken
    #[arg(long, value_enum, default_value_t = Timestamps::Auto)]
    pub timestamps: Timestamps,
    /// Form of what is printed
    #[arg(short = 'o', long, value_enum, default_value_t = Format::Table)]
    pub format: Format,
}

/// Settings of `fathom stamp send`.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Send {
    /// Device the packets leave by, or auto
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// Whom to measure
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<Target>,
    /// Source port; 0 lets the kernel choose
    #[arg(short, long, value_name = "PORT", default_value_t = stamp_proto::PORT)]
    pub src: u16,
    /// Destination port
    #[arg(short, long, value_name = "PORT", default_value_t = stamp_proto::PORT, value_parser = clap::value_parser!(u16).range(1..))]
    pub dest: u16,
    /// Packets to each target; 0 is without end
    #[arg(short, long, default_value_t = 0)]
    pub count: u32,
    /// Time between two packets to one target: seconds, or with a unit such as 5ms
    #[arg(short, long, value_name = "TIME", default_value = "1", value_parser = parse::time)]
    pub interval: Duration,
    /// Time after which a packet without a reply is lost
    #[arg(short = 'w', long, value_name = "TIME", default_value = "1", value_parser = parse::time)]
    pub timeout: Duration,
    /// When packets are sent: evenly, or at random with the interval as their mean
    #[arg(long, value_enum, default_value_t = Schedule::Periodic)]
    pub schedule: Schedule,
    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = parse::time)]
    pub duration: Option<Duration>,
    /// Packets a second to all targets together
    #[arg(long, value_name = "PPS", default_value_t = 100_000)]
    pub max_rate: u32,
    /// Octets of payload, reached by padding
    #[arg(long, value_name = "OCTETS")]
    pub size: Option<u16>,
    /// Number of the session, or auto for one that is chosen at each start
    #[arg(long, default_value = "auto", value_parser = parse::ssid)]
    pub ssid: Chosen,
    /// What a reply without a session number means
    #[arg(long, value_enum, default_value_t = OnZeroSsid::Continue)]
    pub on_zero_ssid: OnZeroSsid,
    /// Whether the reflector numbers its replies
    #[arg(long, value_enum, default_value_t = ReflectorMode::Auto)]
    pub reflector_mode: ReflectorMode,
    /// How the reflector's times are read
    #[arg(long, value_enum, default_value_t = PeerTimescale::Auto)]
    pub peer_timescale: PeerTimescale,
    /// TTL or hop limit of requests
    #[arg(long, default_value_t = 255, value_parser = clap::value_parser!(u8).range(1..))]
    pub ttl: u8,
    /// DSCP of requests
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..64))]
    pub dscp: u8,
    /// ECN of requests
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(..4))]
    pub ecn: u8,
    /// DSCP, and ECN, that replies are asked to carry
    #[arg(long, value_name = "DSCP[,ECN]", value_parser = parse::class_of_service)]
    pub cos: Option<Extension>,
    /// Extensions to send, in this order
    #[arg(long, value_name = "EXTENSION", value_delimiter = ',')]
    pub tlv: Vec<Extension>,
    /// One line of JSON for each reply, to this file or to -
    #[arg(long, value_name = "PATH")]
    pub samples: Option<PathBuf>,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the help of the command")]
    pub common: Common,
}

/// Settings of `fathom stamp reflect`.
#[derive(Debug, Clone, Args)]
#[group(skip)]
pub struct Reflect {
    /// Device the packets come by, or auto
    #[arg(value_name = "DEVICE")]
    pub device: String,
    /// Port to answer on
    #[arg(short, long, value_name = "PORT", default_values_t = [stamp_proto::PORT], value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Vec<u16>,
    /// Print what is known of each session at the end
    #[arg(long)]
    pub output: bool,
    /// How replies are numbered: by session where there is one, always, or never
    #[arg(long, value_enum, default_value_t = Mode::Auto)]
    pub mode: Mode,
    /// Whom to answer beside private networks
    #[arg(long, value_name = "CIDR")]
    pub allow: Vec<Prefix>,
    /// Whom not to answer
    #[arg(long, value_name = "CIDR")]
    pub deny: Vec<Prefix>,
    /// Answer everybody
    #[arg(long)]
    pub open: bool,
    /// Peers that send TWAMP-Light requests: short ones, and with any padding
    #[arg(long, value_name = "CIDR")]
    pub twamp_light: Vec<Prefix>,
    /// Ports behind which such peers have reflectors
    #[arg(long, value_name = "PORT", value_delimiter = ',', default_values_t = [stamp_proto::PORT])]
    pub reflector_ports: Vec<u16>,
    /// Packets a second from one IPv4 address or IPv6 /64; 0 is without limit
    #[arg(long, value_name = "PPS", default_value_t = 1_000)]
    pub rate: u32,
    /// Packets beyond the rate at once
    #[arg(long, default_value_t = 2_000)]
    pub burst: u32,
    /// Packets a second from all together; 0 is without limit
    #[arg(long, value_name = "PPS", default_value_t = 50_000)]
    pub global_rate: u32,
    /// Sessions that are remembered
    #[arg(long, value_name = "N", default_value_t = 16_384)]
    pub max_sessions: usize,
    /// Time after which a silent session is forgotten
    #[arg(long, value_name = "TIME", default_value = "900s", value_parser = parse::time)]
    pub session_timeout: Duration,
    /// Which sessions are answered: any, or those that --session names
    #[arg(long, value_enum, default_value_t = Admission::Any)]
    pub admission: Admission,
    /// A session that is answered where not any is
    #[arg(long, value_name = "SSID,SRC,DST[,MICRO]", value_parser = parse::session)]
    pub session: Vec<Provisioned>,
    /// DSCP values that a sender may ask replies to carry: all, none, or a list
    #[arg(long, value_name = "LIST", default_value = "all", value_parser = parse::allowed_dscp)]
    pub allowed_dscp: u64,
    /// What a Location extension may tell: ports, ips, mac
    #[arg(long, value_name = "LIST", default_value = "ports,ips", value_parser = parse::disclose)]
    pub location_disclose: Disclose,
    /// A device that is a member link, and its number (RFC 9534)
    #[arg(long, value_name = "IFACE=ID")]
    pub member: Vec<Member>,
    /// Replies that one request may ask for by a Reflected Test Packet Control; 0 is off
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub control_max_count: u16,
    /// Octets a second that such replies may have; 0 is off
    #[arg(long, value_name = "OCTETS", default_value_t = 0)]
    pub control_max_rate: u64,
    /// Octets that the replies to one such request may have; 0 is off
    #[arg(long, value_name = "OCTETS", default_value_t = 0)]
    pub control_max_bytes: u64,
    /// Reply to the address that a Return Path names, if that is one that may ask
    #[arg(long)]
    pub return_address: bool,
    /// Answer in front of tc, by XDP; the device has to have it
    #[arg(long)]
    pub xdp: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "clap would take it for the help of the command")]
    pub common: Common,
}

/// What is said of the process and its host, rather than of a role.
#[derive(Debug, Clone)]
pub struct Host {
    /// What outlives the process.
    pub pinning: Pinning,
    /// Who is asked for the error of the clock.
    pub time: sync::Settings,
    /// How the offsets of other clocks are bound.
    pub offset: Offsets,
    /// Upper limits of the buckets of durations, in seconds.
    pub buckets: Cow<'static, [f64]>,
    /// How programs are attached; the best way that the host has when absent.
    pub lane: Option<Lane>,
    /// A wrong clock of the programs, so that tests know by how much it is wrong.
    pub skew: Skew,
    /// Names of targets.
    pub named: Vec<Named>,
}

/// What a target is called besides its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Node of the reflector, in offsets.
    pub node: Option<String>,
    /// Index of the sender.
    pub sender: usize,
    /// Index of the target there.
    pub target: usize,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            pinning: Pinning::default(),
            time: sync::Settings::default(),
            offset: Offsets::default(),
            buckets: BUCKETS.into(),
            lane: None,
            skew: Skew::default(),
            named: Vec::new(),
        }
    }
}

/// From a microsecond to seconds, three to a decade.
const BUCKETS: &[f64] = &[
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2,
    5e-2, 0.1, 0.25, 0.5, 1.0, 2.5,
];

/// What outlives the process.
#[derive(Debug, Clone, Args)]
pub struct Pinning {
    /// Let the reflector answer on when the process ends
    #[arg(long, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", default_value_t = false, action = clap::ArgAction::Set)]
    pub pin: bool,
    /// Time after which it stops answering then
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = parse::time)]
    pub lease: Duration,
    /// Directory of what is pinned, on bpffs
    #[arg(long, value_name = "DIR", default_value = PIN_DIR)]
    pub bpf_pin_dir: PathBuf,
}

impl Default for Pinning {
    /// Nothing outlives the process.
    fn default() -> Self {
        Self { pin: false, lease: Duration::from_secs(60), bpf_pin_dir: PIN_DIR.into() }
    }
}

/// Where the programs and maps of this system are pinned.
pub const PIN_DIR: &str = "/sys/fs/bpf/fathom/stamp";

/// Which sessions are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Admission {
    /// Any
    Any,
    /// Those that are listed
    Provisioned,
}

/// Who takes the times of packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Programs where the kernel takes them, else sockets
    Auto,
    /// Programs at the edge of the device
    Bpf,
    /// Sockets
    Socket,
}

/// Place in the chain of programs of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attach {
    /// Before those of others
    First,
    /// Behind those of others
    Last,
}

/// Whose times are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Timestamps {
    /// The best there are
    Auto,
    /// Those of the kernel
    Kernel,
    /// Those of the network card
    Hardware,
}

/// A session number, or none for one that is chosen.
pub type Chosen = Option<u16>;

/// How the bins of a histogram are spaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HistScale {
    /// Evenly
    Linear,
    /// Evenly in the logarithm
    Log10,
}

/// Format of a time in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TimestampFormat {
    /// Seconds since 1900 and a fraction
    Ntp,
    /// Seconds since 1970 and nanoseconds
    Ptp,
}

/// Form of what is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// For programs
    Json,
}

/// When packets are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Schedule {
    /// At even intervals (RFC 3432)
    Periodic,
    /// At random, with the interval as their mean (RFC 2330)
    Poisson,
}

/// What a reply without a session number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnZeroSsid {
    /// A reflector of before RFC 8972
    Continue,
    /// Nothing that counts
    Stop,
}

/// Whether a reflector numbers its replies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ReflectorMode {
    /// It shows
    Auto,
    /// It does
    Stateful,
    /// It does not
    Stateless,
}

/// How a reflector's times are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum PeerTimescale {
    /// NTP as UTC, PTP as TAI where the kernel knows TAI
    Auto,
    /// All as UTC
    Utc,
    /// All as TAI
    Tai,
}

/// How replies are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// By session where it has a number
    Auto,
    /// By session
    Stateful,
    /// As the requests are
    Stateless,
}

impl Common {
    /// Bins, floor and ceiling in nanoseconds, and whether a histogram is wanted.
    pub(crate) fn histogram(&self) -> Option<(usize, f64, f64)> {
        let given = self.hist?;
        Some(given.limits().unwrap_or((self.bins, self.floor, self.ceiling)))
    }
}

impl Target {
    /// What the target is called.
    pub fn name(&self) -> String {
        match self {
            Self::Address { address, device: Some(device) } => format!("{address}%{device}"),
            Self::Address { address, device: None } => address.to_string(),
            Self::Name(name) => name.clone(),
        }
    }
}
