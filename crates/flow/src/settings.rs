//! Everything `fathom flows` can be told, as flags, environment and file keys.
//!
//! One definition per setting: its doc comment is the help text, the reference and the
//! comment of the printed configuration. A key of the configuration file is the flag's
//! name in snake case.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

mod choice;

pub use choice::{
    Attach, AutoOff, AutoOnOff, Decap, Discover, EdgeHooks, FlowKey, HostTraffic, OnExit,
    OtlpProtocol, Output,
};
use clap::Args;
use flow_model::prefix::Prefix;

use crate::parse::{self, Glob, NamedPrefix, NetnsEdge, PodEdge};

/// Where the kernel side is pinned; shared by every subcommand.
#[derive(Debug, Clone, Args)]
pub struct PinSettings {
    /// Directory on bpffs that holds maps and links between runs
    #[arg(
        long,
        env = "FATHOM_FLOWS_BPF_PIN_DIR",
        value_name = "PATH",
        default_value = "/sys/fs/bpf/fathom/flows"
    )]
    pub bpf_pin_dir: PathBuf,
}

/// Settings of the flows system.
#[derive(Debug, Clone, Args)]
pub struct Settings {
    /// Port of the listener on all addresses
    #[arg(long, env = "EBPF_METRICS_PORT", default_value_t = 9090)]
    pub metrics_port: u16,
    /// Drain period, 200ms to 10m
    #[arg(long, env = "EBPF_COLLECTION_INTERVAL", default_value = "25s", value_parser = parse::duration("200ms", "10m"))]
    pub collection_interval: Duration,
    /// Count by connection and show active ones; false implies --flow-key pair
    #[arg(long, env = "EBPF_CONNECTION_TRACKING", default_value = "true", value_parser = parse::boolean, num_args = 0..=1, default_missing_value = "true")]
    pub connection_tracking: bool,
    /// Serve pprof endpoints on the profiling port
    #[arg(long, env = "EBPF_ENABLE_PROFILING", default_value = "false", value_parser = parse::boolean, num_args = 0..=1, default_missing_value = "true")]
    pub enable_profiling: bool,
    /// Port of the pprof endpoints
    #[arg(long, env = "EBPF_PROFILING_PORT", default_value_t = 6060)]
    pub profiling_port: u16,
    /// Address of the pprof endpoints
    #[arg(long, env = "FATHOM_FLOWS_PROFILING_LISTEN", default_value = "127.0.0.1")]
    pub profiling_listen: std::net::IpAddr,
    /// Write each closed epoch as JSON lines before it is cleared
    #[arg(long = "dump-bpf-maps", env = "EBPF_DUMP_BPF_MAPS", default_value = "false", value_parser = parse::boolean, num_args = 0..=1, default_missing_value = "true")]
    pub dump_bpf_maps: bool,
    /// Directory of the dumps [default: the system's temporary directory]
    #[arg(long, env = "FATHOM_FLOWS_DUMP_DIR", value_name = "PATH")]
    pub dump_dir: Option<PathBuf>,
    /// Dumps that are kept, newest first
    #[arg(long, env = "FATHOM_FLOWS_DUMP_KEEP", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub dump_keep: u32,
    /// Size that all dumps together may have
    #[arg(long, env = "FATHOM_FLOWS_DUMP_MAX_BYTES", default_value = "256MiB", value_parser = parse::bytes)]
    pub dump_max_bytes: u64,
    /// Name of this node [default: host name]
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    pub node_name: Option<String>,
    /// Name of this node where --node-name is not given
    #[arg(long, env = "DAEMONSET_NODE_NAME", value_name = "NAME")]
    pub daemonset_node_name: Option<String>,
    /// UID of the pod this agent runs in
    #[arg(long, env = "DAEMONSET_POD_UID", value_name = "UID")]
    pub pod_uid: Option<String>,
    /// Name of the pod this agent runs in
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    pub pod_name: Option<String>,
    /// Namespace of the pod this agent runs in
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    pub pod_namespace: Option<String>,
    /// Address and port of the listener, or off [default: all addresses, the metrics port]
    #[arg(long, env = "FATHOM_FLOWS_LISTEN", value_name = "ADDR:PORT", value_parser = parse::listen)]
    pub listen: Option<parse::Listen>,
    /// Measure once for this long, print one document and exit
    #[arg(long, env = "FATHOM_FLOWS_DURATION", value_name = "DURATION", value_parser = parse::duration("200ms", "10000h"))]
    pub duration: Option<Duration>,
    /// Form of the document
    #[arg(short, long, env = "FATHOM_FLOWS_OUTPUT", value_enum, default_value_t = Output::Table)]
    pub output: Output,
    /// File that appears once every hook is attached, and goes at exit
    #[arg(long, env = "FATHOM_FLOWS_READY_FILE", value_name = "PATH")]
    pub ready_file: Option<PathBuf>,
    /// Host-side veth of a pod: its ingress is what the pod sends
    #[arg(long, env = "FATHOM_FLOWS_POD_EDGE", value_name = "IFACE[=NAME]", value_delimiter = ',')]
    pub pod_edge: Vec<PodEdge>,
    /// Network namespace of a pod, hooked inside: egress is what the pod sends
    #[arg(
        long,
        env = "FATHOM_FLOWS_NETNS",
        value_name = "PATH[:IFACE][=NAME]",
        value_delimiter = ','
    )]
    pub netns: Vec<NetnsEdge>,
    /// Find pod edges by themselves
    #[arg(long, env = "FATHOM_FLOWS_DISCOVER", value_enum, default_value_t = Discover::Auto)]
    pub discover: Discover,
    /// Host interfaces that are never pod edges
    #[arg(long, env = "FATHOM_FLOWS_DISCOVER_EXCLUDE", value_name = "GLOB", value_delimiter = ',')]
    pub discover_exclude: Vec<Glob>,
    /// Where discovered edges are hooked
    #[arg(long, env = "FATHOM_FLOWS_EDGE_HOOKS", value_enum, default_value_t = EdgeHooks::Auto)]
    pub edge_hooks: EdgeHooks,
    /// Where namespace files are looked up
    #[arg(
        long,
        env = "FATHOM_FLOWS_NETNS_DIR",
        value_name = "PATH",
        value_delimiter = ',',
        default_value = "/run/netns,/run/docker/netns"
    )]
    pub netns_dir: Vec<PathBuf>,
    /// Count the traffic of the host itself
    #[arg(long, env = "FATHOM_FLOWS_HOST_TRAFFIC", value_enum, default_value_t = HostTraffic::Auto)]
    pub host_traffic: HostTraffic,
    /// Further cgroup2 directories to count
    #[arg(
        long,
        env = "FATHOM_FLOWS_HOST_CGROUP",
        value_name = "PATH[=NAME]",
        value_delimiter = ','
    )]
    pub host_cgroup: Vec<String>,
    /// Devices for --host-traffic nic [default: those of default routes]
    #[arg(long, env = "FATHOM_FLOWS_NIC", value_name = "IFACE", value_delimiter = ',')]
    pub nic: Vec<String>,
    /// How programs are attached
    #[arg(long, env = "FATHOM_FLOWS_ATTACH", value_enum, default_value_t = Attach::Auto)]
    pub attach: Attach,
    /// Full reconciliation of links, namespaces and hooks, 5s to 1h
    #[arg(long, env = "FATHOM_FLOWS_RESYNC_INTERVAL", default_value = "60s", value_parser = parse::duration("5s", "1h"))]
    pub resync_interval: Duration,
    /// What tells one flow from another
    #[arg(long, env = "FATHOM_FLOWS_FLOW_KEY", value_enum, default_value_t = FlowKey::FiveTuple)]
    pub flow_key: FlowKey,
    /// IPv4 flows per epoch, 1024 to 4194304
    #[arg(long, env = "FATHOM_FLOWS_FLOW_CAPACITY", default_value_t = 131_072, value_parser = clap::value_parser!(u32).range(1024..=4_194_304))]
    pub flow_capacity: u32,
    /// IPv6 flows per epoch, 1024 to 4194304
    #[arg(long, env = "FATHOM_FLOWS_FLOW_CAPACITY6", default_value_t = 32_768, value_parser = clap::value_parser!(u32).range(1024..=4_194_304))]
    pub flow_capacity6: u32,
    /// Share of the flow table that one edge may fill, in percent
    #[arg(long, env = "FATHOM_FLOWS_EDGE_FLOW_QUOTA", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub edge_flow_quota: u32,
    /// Hooked pod interfaces, 1 to 32768
    #[arg(long, env = "FATHOM_FLOWS_MAX_EDGES", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub max_edges: u32,
    /// Tables per epoch: auto, 1, 2, 4 or 8
    #[arg(long, env = "FATHOM_FLOWS_SHARDS", default_value = "auto", value_parser = parse::shards)]
    pub shards: parse::Shards,
    /// Fill of a table that triggers a drain ahead of time, in percent
    #[arg(long, env = "FATHOM_FLOWS_EARLY_DRAIN_PERCENT", default_value_t = 75, value_parser = clap::value_parser!(u32).range(10..=95))]
    pub early_drain_percent: u32,
    /// The pins
    #[command(flatten)]
    pub pins: PinSettings,
    /// Pin nothing: all is forgotten at exit
    #[arg(long, env = "FATHOM_FLOWS_NO_PIN", default_value = "false", value_parser = parse::boolean, num_args = 0..=1, default_missing_value = "true")]
    pub no_pin: bool,
    /// How long to wait for another writer to let go
    #[arg(long, env = "FATHOM_FLOWS_TAKEOVER_WAIT", default_value = "30s", value_parser = parse::duration("0s", "10m"))]
    pub takeover_wait: Duration,
    /// What happens to the hooks at exit
    #[arg(long, env = "FATHOM_FLOWS_ON_EXIT", value_enum, default_value_t = OnExit::Keep)]
    pub on_exit: OnExit,
    /// Bound on the final drain and push
    #[arg(long, env = "FATHOM_FLOWS_SHUTDOWN_DEADLINE", default_value = "10s", value_parser = parse::duration("1s", "5m"))]
    pub shutdown_deadline: Duration,
    /// Exposed address pairs, 16 to 262144
    #[arg(long, env = "FATHOM_FLOWS_PAIR_SERIES_MAX", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(16..=262_144))]
    pub pair_series_max: u32,
    /// Exposed pods, 1 to 65536
    #[arg(long, env = "FATHOM_FLOWS_POD_SERIES_MAX", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub pod_series_max: u32,
    /// Exposed workload series, 1 to 65536
    #[arg(long, env = "FATHOM_FLOWS_WORKLOAD_SERIES_MAX", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub workload_series_max: u32,
    /// Exposed zone series, 1 to 65536
    #[arg(long, env = "FATHOM_FLOWS_ZONE_SERIES_MAX", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    pub zone_series_max: u32,
    /// Idle time after which a series is retired, 1m to 24h
    #[arg(long, env = "FATHOM_FLOWS_SERIES_IDLE", default_value = "15m", value_parser = parse::duration("1m", "24h"))]
    pub series_idle: Duration,
    /// Idle time after which a connection is not active, 1s to 1h
    #[arg(long, env = "FATHOM_FLOWS_CONNECTION_IDLE", default_value = "60s", value_parser = parse::duration("1s", "1h"))]
    pub connection_idle: Duration,
    /// Names of external address ranges; the longest prefix wins
    #[arg(long, env = "FATHOM_FLOWS_PEER_CIDR", value_name = "NAME=CIDR", value_delimiter = ',')]
    pub peer_cidr: Vec<NamedPrefix>,
    /// Peers whose traffic goes to the series `ignored`
    #[arg(long, env = "FATHOM_FLOWS_IGNORE_PEER", value_name = "CIDR", value_delimiter = ',')]
    pub ignore_peer: Vec<Prefix>,
    /// Resolve Service addresses to backends
    #[arg(long, env = "FATHOM_FLOWS_CONNTRACK", value_enum, default_value_t = AutoOff::Auto)]
    pub conntrack: AutoOff,
    /// Parse one tunnel level in nic and cgroup mode
    #[arg(long, env = "FATHOM_FLOWS_DECAP", value_enum, default_value_t = Decap::Off)]
    pub decap: Decap,
    /// Read pods from Kubernetes
    #[arg(long, env = "FATHOM_FLOWS_KUBE", value_enum, default_value_t = AutoOnOff::Auto)]
    pub kube: AutoOnOff,
    /// Credentials for Kubernetes
    #[arg(long, env = "KUBECONFIG", value_name = "PATH")]
    pub kubeconfig: Option<PathBuf>,
    /// How long the first commit waits for Kubernetes
    #[arg(long, env = "FATHOM_FLOWS_KUBE_SYNC_TIMEOUT", default_value = "30s", value_parser = parse::duration("0s", "10m"))]
    pub kube_sync_timeout: Duration,
    /// Optional signals: rtt, retransmits, resets, connections, drops, dns, or none
    #[arg(long, env = "FATHOM_FLOWS_SIGNALS", value_delimiter = ',', default_value = "rtt,retransmits,resets,connections", value_parser = parse::signal)]
    pub signals: Vec<parse::Signal>,
    /// Where metrics are pushed; off unless given
    #[arg(long, env = "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", value_name = "URL", value_parser = parse::endpoint)]
    pub otlp_endpoint: Option<String>,
    /// Where all signals are pushed; metrics go to /v1/metrics there unless --otlp-endpoint is given
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT", value_name = "URL", value_parser = parse::endpoint)]
    pub otlp_base_endpoint: Option<String>,
    /// How metrics are pushed
    #[arg(long, env = "OTEL_EXPORTER_OTLP_PROTOCOL", value_enum, default_value_t = OtlpProtocol::HttpProtobuf)]
    pub otlp_protocol: OtlpProtocol,
    /// Push period, 100ms to 24h; the variable alone is a bare number of milliseconds
    #[arg(long, env = "OTEL_METRIC_EXPORT_INTERVAL", default_value = "60s", value_parser = parse::duration("100ms", "24h"))]
    pub otlp_interval: Duration,
    /// Headers of a push; values may hold any octet as %XX, such as %2C for a comma
    #[arg(long, env = "OTEL_EXPORTER_OTLP_HEADERS", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse::header)]
    pub otlp_header: Vec<parse::Pair>,
    /// Time limit of a push, in milliseconds
    #[arg(long, env = "OTEL_EXPORTER_OTLP_TIMEOUT", value_name = "MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=600_000))]
    pub otlp_timeout: u64,
    /// `service.name` of a push
    #[arg(long, env = "OTEL_SERVICE_NAME", value_name = "NAME", default_value = "fathom")]
    pub otlp_service_name: String,
    /// Further resource attributes of a push
    #[arg(long, env = "OTEL_RESOURCE_ATTRIBUTES", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = parse::pair)]
    pub otlp_resource_attributes: Vec<parse::Pair>,
}

impl Settings {
    /// Where to listen, or nowhere.
    pub fn listener(&self) -> Option<SocketAddr> {
        match (self.listen, self.duration) {
            (Some(parse::Listen::Off), _) | (None, Some(_)) => None,
            (Some(parse::Listen::At(address)), _) => Some(address),
            (None, None) => Some(SocketAddr::from(([0, 0, 0, 0], self.metrics_port))),
        }
    }
}
