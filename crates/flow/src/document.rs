//! The document of a one-shot measurement.
//!
//! Integers are exact; times are UTC with nanoseconds; what is not known is absent.

use std::{collections::BTreeMap, fmt, net::IpAddr};

use flow_model::{flow::FlowKey, page::FlowKeyMode};
use serde::{Serialize, Serializer};

use crate::{
    rows::Row,
    time::{WallClock, rfc3339},
};

/// Name and version of the form. Versions only add to it.
pub const SCHEMA: &str = "fathom.flows/1";

/// All of it.
#[derive(Debug, Serialize)]
pub struct Document {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Where it was measured.
    pub host: Host,
    /// When.
    pub window: Window,
    /// Every hook with what it saw.
    pub hooks: Vec<HookRow>,
    /// Every flow, the largest first.
    pub flows: Vec<FlowRow>,
    /// Amounts without a flow.
    pub folded: Vec<FoldedRow>,
    /// Sums over edges.
    pub totals: TotalsRow,
    /// Whether the numbers agree with each other and with the kernel's.
    pub audit: Audit,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub struct Host {
    /// Name of the node.
    pub node: String,
    /// Kernel release.
    pub kernel: String,
    /// tcx or clsact.
    pub attach: &'static str,
    /// CPUs online.
    pub cpus: usize,
}

/// When it was measured.
#[derive(Debug, Serialize)]
pub struct Window {
    /// Every hook was in place; wall clock.
    pub ready_at: String,
    /// The first hook was about to be removed; wall clock.
    pub stopped_at: String,
    /// Between the two, CLOCK_MONOTONIC.
    pub duration_ns: u64,
    /// Drains.
    pub epochs: u64,
    /// Resolution of flow times.
    pub tick_ns: u64,
}

/// One hook.
#[derive(Debug, Serialize)]
pub struct HookRow {
    /// Name of its edge.
    pub edge: String,
    /// tx or rx, as the pod sees it.
    pub direction: &'static str,
    /// The device.
    pub interface: String,
    /// The device.
    pub ifindex: u32,
    /// Namespace of the device.
    pub netns_inode: u64,
    /// ingress or egress.
    pub hook: &'static str,
    /// host or pod.
    pub place: &'static str,
    /// Frames on the wire.
    pub packets: u64,
    /// Octets on the wire.
    pub bytes: u64,
    /// Buffers as the kernel hands them over.
    pub skbs: u64,
    /// Octets of those.
    pub skb_bytes: u64,
    /// Frames whose headers were not understood.
    pub unparsed: u64,
    /// What the device counted meanwhile; absent if it went away.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter: Option<CounterRow>,
    /// Packets by which hook and device disagree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift_packets: Option<u64>,
    /// Octets by which hook and device disagree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drift_bytes: Option<u64>,
}

/// What a device counted while it was hooked.
#[derive(Debug, Serialize)]
pub struct CounterRow {
    /// rx or tx.
    pub name: &'static str,
    /// At least.
    pub packets_min: u64,
    /// At most.
    pub packets_max: u64,
    /// At least.
    pub bytes_min: u64,
    /// At most.
    pub bytes_max: u64,
}

/// One flow.
#[derive(Debug, Serialize)]
pub struct FlowRow {
    /// Name of its edge.
    pub edge: String,
    /// tx or rx, as the pod sees it.
    pub direction: &'static str,
    /// 4 or 6.
    pub family: u8,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port or ICMP type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub src_port: Option<u16>,
    /// Destination port or ICMP code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dst_port: Option<u16>,
    /// Name or number.
    pub protocol: Protocol,
    /// Frames on the wire.
    pub packets: u64,
    /// Octets on the wire.
    pub bytes: u64,
    /// First packet.
    pub first_seen: String,
    /// Last packet.
    pub last_seen: String,
    /// Packets by TCP flag; absent when there were none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<TcpFlags>,
    /// Later fragments whose ports are not known.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fragment: bool,
    /// The pod at the edge.
    pub local: Endpoint,
}

impl FlowRow {
    /// A row of one flow; `mode` tells which ports mean something.
    pub(crate) fn new(
        edge: &str,
        key: &FlowKey,
        row: &Row,
        mode: FlowKeyMode,
        clock: &WallClock,
    ) -> Self {
        let port = |port: u16| shows_port(key, port, mode).then_some(port);
        let flags = TcpFlags { syn: row.syn, fin: row.fin, rst: row.rst };
        Self {
            edge: edge.to_owned(),
            direction: key.direction.as_str(),
            family: if key.src.is_ipv4() { 4 } else { 6 },
            src: key.src,
            dst: key.dst,
            src_port: port(key.src_port),
            dst_port: port(key.dst_port),
            protocol: Protocol(key.protocol),
            packets: row.counts.packets,
            bytes: row.counts.bytes,
            first_seen: rfc3339(clock.at(row.first)),
            last_seen: rfc3339(clock.at(row.last)),
            tcp: (flags.syn + flags.fin + flags.rst > 0).then_some(flags),
            fragment: key.fragment,
            local: Endpoint { kind: "pod", pod: edge.to_owned() },
        }
    }
}

/// Whether a port of a flow is known. ICMP types and codes are, also when 0.
fn shows_port(key: &FlowKey, port: u16, mode: FlowKeyMode) -> bool {
    const ICMP: [u8; 2] = [1, 58];
    if Protocol(key.protocol).name().is_none() || key.fragment {
        return false;
    }
    match mode {
        FlowKeyMode::FiveTuple => true,
        FlowKeyMode::PairServicePort => port != 0 || ICMP.contains(&key.protocol),
        FlowKeyMode::Pair => false,
    }
}

/// Who an end of a flow is.
#[derive(Debug, Serialize)]
pub struct Endpoint {
    /// What it is.
    pub kind: &'static str,
    /// Name of the pod, or of the edge without Kubernetes.
    pub pod: String,
}

/// An IP protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol(pub u8);

impl Protocol {
    /// Its name where it has ports or types.
    pub const fn name(self) -> Option<&'static str> {
        match self.0 {
            1 => Some("icmp"),
            6 => Some("tcp"),
            17 => Some("udp"),
            58 => Some("icmpv6"),
            132 => Some("sctp"),
            _ => None,
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.name() {
            Some(name) => serializer.serialize_str(name),
            None => serializer.serialize_u8(self.0),
        }
    }
}

/// Packets by TCP flag.
#[derive(Debug, Serialize)]
pub struct TcpFlags {
    /// With SYN, SYN-ACK included.
    pub syn: u64,
    /// With FIN.
    pub fin: u64,
    /// With RST.
    pub rst: u64,
}

/// Amounts without a flow.
#[derive(Debug, Serialize)]
pub struct FoldedRow {
    /// Name of the edge.
    pub edge: String,
    /// tx or rx, as the pod sees it.
    pub direction: &'static str,
    /// Why.
    pub class: &'static str,
    /// Frames.
    pub packets: u64,
    /// Octets.
    pub bytes: u64,
}

/// Sums over pod edges.
#[derive(Debug, Default, Serialize)]
pub struct TotalsRow {
    /// What pods sent.
    pub tx: Sum,
    /// What pods received.
    pub rx: Sum,
}

/// A sum over hooks.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub struct Sum {
    /// Frames on the wire.
    pub packets: u64,
    /// Octets on the wire.
    pub bytes: u64,
    /// Buffers as the kernel hands them over.
    pub skbs: u64,
    /// Octets of those.
    pub skb_bytes: u64,
}

/// Whether the numbers agree.
#[derive(Debug, Serialize)]
pub struct Audit {
    /// Packets at hooks that are in no flow and no folded row; must be 0.
    pub flow_law_packets: u64,
    /// Octets likewise; must be 0.
    pub flow_law_bytes: u64,
    /// Whether every device counted what its hook counted; absent if none could be asked.
    #[serde(skip_serializing_if = "InterfaceLaw::is_unknown")]
    pub interface_law: InterfaceLaw,
    /// Drains ahead of time.
    pub early_drains: u64,
    /// Notices that the kernel could not deliver.
    pub lost_events: u64,
    /// What else a reader has to know, in the order of the codes.
    pub notes: Vec<&'static str>,
}

/// Whether every device counted what its hook counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InterfaceLaw {
    /// No device could be asked.
    #[default]
    Unknown,
    /// All did.
    Ok,
    /// One did not.
    Violated,
}

impl InterfaceLaw {
    const fn is_unknown(&self) -> bool {
        matches!(self, Self::Unknown)
    }
}

impl fmt::Display for InterfaceLaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "not known",
            Self::Ok => "ok",
            Self::Violated => "violated",
        })
    }
}

/// What a reader of the numbers has to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Note {
    /// No edge was hooked.
    NoEdges,
    /// An edge that was found could not be hooked.
    EdgesRefused,
    /// What an edge receives was counted on the host side, for want of a way inside.
    HostEgress,
    /// Somebody else's program ran before a hook and may have kept packets from it.
    BehindForeignFilter,
    /// Packets reached a pod around its hook on the host side: it received more.
    Bypassed,
    /// Headers of segmented buffers were not understood: octets are too few.
    GsoHeaders,
    /// A device counted otherwise than its hook.
    InterfaceDrift,
    /// Where they differ, an XDP program takes packets first.
    XdpProgram,
    /// Where they differ, the device did not count the link header (GRO on a veth).
    GroLinkHeader,
    /// A device went away before it could be asked.
    CountersUnavailable,
}

impl Note {
    /// Its code.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoEdges => "no_edges",
            Self::EdgesRefused => "edges_refused",
            Self::HostEgress => "host_egress",
            Self::BehindForeignFilter => "behind_foreign_filter",
            Self::Bypassed => "bypassed",
            Self::GsoHeaders => "gso_headers",
            Self::InterfaceDrift => "interface_drift",
            Self::XdpProgram => "xdp_program",
            Self::GroLinkHeader => "gro_link_header",
            Self::CountersUnavailable => "counters_unavailable",
        }
    }
}

impl HookRow {
    /// Whether the device counted something else.
    pub(crate) fn drifts(&self) -> bool {
        [self.drift_packets, self.drift_bytes].into_iter().flatten().any(|drift| drift > 0)
    }

    /// Whether the device counted the same frames, each without its Ethernet header.
    pub(crate) fn lacks_link_headers(&self) -> bool {
        const HEADER: u64 = 14;
        let Some(counter) = &self.counter else { return false };
        let without = self.bytes.saturating_sub(HEADER * self.packets);
        self.packets > 0
            && self.drift_packets == Some(0)
            && (counter.bytes_min..=counter.bytes_max).contains(&without)
    }
}

impl Document {
    /// The sum over one direction's flows and folded rows, by edge and direction.
    pub fn accounted(&self) -> BTreeMap<(&str, &str), (u64, u64)> {
        let flows = self.flows.iter().map(|row| (&row.edge, row.direction, row.packets, row.bytes));
        let folded =
            self.folded.iter().map(|row| (&row.edge, row.direction, row.packets, row.bytes));
        let mut sums: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for (edge, direction, packets, bytes) in flows.chain(folded) {
            let sum = sums.entry((edge.as_str(), direction)).or_default();
            sum.0 += packets;
            sum.1 += bytes;
        }
        sums
    }
}

#[cfg(test)]
mod tests;
