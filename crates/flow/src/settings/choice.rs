//! Settings that are one of a few words.

use clap::ValueEnum;

/// Which edges are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Discover {
    /// On unless an edge is named.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Where discovered edges are hooked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum EdgeHooks {
    /// What pods send on the host side, what they receive inside their namespace.
    Auto,
    /// Both on the host side.
    Host,
    /// Both inside the namespace.
    Pod,
}

/// How programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Attach {
    /// By tcx links where the kernel has them, else by clsact filters.
    Auto,
    /// By tcx links (kernel 6.6).
    Tcx,
    /// By filters under a clsact qdisc.
    Clsact,
}

/// Traffic of the host itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum HostTraffic {
    /// By cgroup when a pod index and a cgroup2 mount exist.
    Auto,
    /// By cgroup.
    Cgroup,
    /// By network device.
    Nic,
    /// Not at all.
    Off,
}

/// What tells one flow from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum FlowKey {
    /// Addresses, protocol and both ports.
    #[value(name = "5tuple")]
    FiveTuple,
    /// Addresses, protocol and the server's port.
    #[value(name = "pair+service-port")]
    PairServicePort,
    /// Addresses and protocol.
    Pair,
}

/// A feature that can be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AutoOff {
    /// Used where possible.
    Auto,
    /// Not used.
    Off,
}

/// A feature that can be forced or switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum AutoOnOff {
    /// Used where possible.
    Auto,
    /// Used, or the start fails.
    On,
    /// Not used.
    Off,
}

/// One tunnel level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Decap {
    /// Outer headers are counted.
    Off,
    /// Inner headers are counted.
    Inner,
}

/// What happens to the hooks at exit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnExit {
    /// They go on counting.
    Keep,
    /// They are removed.
    Detach,
}

/// Form of printed data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

/// How metrics are pushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OtlpProtocol {
    /// Protobuf over HTTP.
    #[value(name = "http/protobuf")]
    HttpProtobuf,
    /// gRPC.
    Grpc,
}
