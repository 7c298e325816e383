//! The document of a one-shot run, as a script outside would read it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use testkit::truth::{Amount, FlowKey};

/// The whole document.
#[derive(Debug, Clone, Deserialize)]
pub struct Document {
    /// Name and version of the form.
    pub schema: String,
    /// Where it was measured.
    pub host: Host,
    /// When it was measured.
    pub window: Window,
    /// What each hook counted.
    pub hooks: Vec<Hook>,
    /// What each flow had.
    pub flows: Vec<Flow>,
    /// What has no flow.
    pub folded: Vec<Folded>,
    /// Sums over all edges.
    pub totals: Totals,
    /// The program's own check.
    pub audit: Audit,
}

/// Where it was measured.
#[derive(Debug, Clone, Deserialize)]
pub struct Host {
    /// Name of the node.
    pub node: String,
    /// Kernel release.
    pub kernel: String,
    /// `tcx` or `clsact`.
    pub attach: String,
    /// Processors.
    pub cpus: u32,
}

/// When it was measured.
#[derive(Debug, Clone, Deserialize)]
pub struct Window {
    /// All hooks were attached.
    pub ready_at: Timestamp,
    /// The first hook was detached.
    pub stopped_at: Timestamp,
    /// Time between the two on a clock that nobody sets.
    pub duration_ns: u64,
    /// Epochs drained.
    pub epochs: u64,
    /// Resolution of flow times.
    pub tick_ns: u64,
}

/// What a pod does with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// The pod sends.
    Tx,
    /// The pod receives.
    Rx,
}

/// What one hook counted.
#[derive(Debug, Clone, Deserialize)]
pub struct Hook {
    /// Name of the edge.
    pub edge: String,
    /// Direction as the pod sees it.
    pub direction: Direction,
    /// Device it sits on.
    pub interface: String,
    /// Number of that device.
    pub ifindex: u32,
    /// Namespace of that device.
    pub netns_inode: u64,
    /// `ingress`, `egress` or `cgroup`.
    pub hook: String,
    /// `host`, `pod`, `nic` or `cgroup`.
    pub place: String,
    /// Frames on the wire.
    pub packets: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Buffers as the kernel hands them over.
    pub skbs: u64,
    /// Bytes of these buffers.
    pub skb_bytes: u64,
    /// Frames that were not understood.
    pub unparsed: u64,
    /// The interface counter it is compared with.
    pub counter: Counter,
    /// Packets outside the counter's bracket.
    pub drift_packets: i64,
    /// Bytes outside the counter's bracket.
    pub drift_bytes: i64,
}

impl Hook {
    /// Frames on the wire.
    pub const fn wire(&self) -> Amount {
        Amount::new(self.packets, self.bytes)
    }

    /// Buffers as the kernel hands them over.
    pub const fn buffers(&self) -> Amount {
        Amount::new(self.skbs, self.skb_bytes)
    }
}

/// An interface counter's change, read before and after.
#[derive(Debug, Clone, Deserialize)]
pub struct Counter {
    /// `rx` or `tx`, as the device sees it.
    pub name: String,
    /// Least packets.
    pub packets_min: u64,
    /// Most packets.
    pub packets_max: u64,
    /// Least bytes.
    pub bytes_min: u64,
    /// Most bytes.
    pub bytes_max: u64,
}

/// One row.
#[derive(Debug, Clone, Deserialize)]
pub struct Flow {
    /// Name of the edge.
    pub edge: String,
    /// Direction as the pod sees it.
    pub direction: Direction,
    /// 4 or 6.
    pub family: u8,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, or type of ICMP.
    pub src_port: Option<u16>,
    /// Destination port, or code of ICMP.
    pub dst_port: Option<u16>,
    /// Protocol behind all extension headers.
    pub protocol: Protocol,
    /// Frames on the wire.
    pub packets: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// First frame.
    pub first_seen: Timestamp,
    /// Last frame.
    pub last_seen: Timestamp,
    /// TCP flags; absent when all are 0.
    #[serde(default)]
    pub tcp: Flags,
    /// Whether the ports of a later fragment are unknown.
    #[serde(default)]
    pub fragment: bool,
}

impl Flow {
    /// The row's key without its edge and direction.
    pub fn key(&self) -> FlowKey {
        FlowKey {
            source: self.src,
            destination: self.dst,
            protocol: self.protocol.number(),
            source_port: self.src_port,
            destination_port: self.dst_port,
            fragment: self.fragment,
        }
    }

    /// Frames on the wire.
    pub const fn wire(&self) -> Amount {
        Amount::new(self.packets, self.bytes)
    }
}

/// Packets with each flag.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Flags {
    /// With SYN, answers included.
    pub syn: u64,
    /// With FIN.
    pub fin: u64,
    /// With RST.
    pub rst: u64,
}

/// A protocol by its name or its number.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Protocol {
    /// As IANA assigned it.
    Number(u8),
    /// As `/etc/protocols` has it.
    Name(String),
}

impl Protocol {
    /// Its number.
    ///
    /// # Panics
    ///
    /// If nobody knows the name.
    pub fn number(&self) -> u8 {
        match self {
            Self::Number(number) => *number,
            Self::Name(name) => {
                PROTOCOLS
                    .iter()
                    .find(|(_, known)| known == name)
                    .unwrap_or_else(|| panic!("`{name}` is no protocol's name"))
                    .0
            }
        }
    }
}

/// What has no flow.
#[derive(Debug, Clone, Deserialize)]
pub struct Folded {
    /// Name of the edge.
    pub edge: String,
    /// Direction as the pod sees it.
    pub direction: Direction,
    /// Why it has none.
    pub class: String,
    /// Frames on the wire.
    pub packets: u64,
    /// Bytes of these frames.
    pub bytes: u64,
}

/// Sums over all edges.
#[derive(Debug, Clone, Deserialize)]
pub struct Totals {
    /// What pods sent.
    pub tx: Total,
    /// What pods received.
    pub rx: Total,
}

/// One sum over all edges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct Total {
    /// Frames on the wire.
    pub packets: u64,
    /// Bytes of these frames.
    pub bytes: u64,
    /// Buffers as the kernel hands them over.
    pub skbs: u64,
    /// Bytes of these buffers.
    pub skb_bytes: u64,
}

/// The program's own check.
#[derive(Debug, Clone, Deserialize)]
pub struct Audit {
    /// Packets that are in a hook's sum and in no row, or the reverse.
    pub flow_law_packets: i64,
    /// The same in bytes.
    pub flow_law_bytes: i64,
    /// `ok` or `violated`.
    pub interface_law: String,
    /// Drains ahead of time.
    pub early_drains: u64,
    /// Events that the ring had no room for.
    pub lost_events: u64,
    /// What explains a difference.
    pub notes: Vec<serde_json::Value>,
}

impl Document {
    /// The hook of `edge` in `direction`.
    ///
    /// # Panics
    ///
    /// If there is not exactly one.
    pub fn hook(&self, edge: &str, direction: Direction) -> &Hook {
        let mut found =
            self.hooks.iter().filter(|hook| hook.edge == edge && hook.direction == direction);
        match (found.next(), found.next()) {
            (Some(hook), None) => hook,
            _ => panic!("exactly one hook of {edge} {direction:?}: {:#?}", self.hooks),
        }
    }

    /// The rows of `edge` in `direction`.
    pub fn rows<'a>(
        &'a self,
        edge: &'a str,
        direction: Direction,
    ) -> impl Iterator<Item = &'a Flow> {
        let wanted = move |flow: &&Flow| flow.edge == edge && flow.direction == direction;
        self.flows.iter().filter(wanted)
    }

    /// Wire amounts of `edge` in `direction` by row key.
    pub fn by_key(&self, edge: &str, direction: Direction) -> BTreeMap<FlowKey, Amount> {
        let rows = self.rows(edge, direction);
        rows.map(|flow| (flow.key(), flow.wire())).collect()
    }

    /// What `edge` folded in `direction`, by class.
    pub fn classes(&self, edge: &str, direction: Direction) -> BTreeMap<String, Amount> {
        let of_edge = |row: &&Folded| row.edge == edge && row.direction == direction;
        let rows = self.folded.iter().filter(of_edge);
        rows.map(|row| (row.class.clone(), Amount::new(row.packets, row.bytes))).collect()
    }
}

/// Time since 1970.
///
/// # Panics
///
/// If the stamp is older than that.
pub fn since_1970(at: Timestamp) -> Duration {
    let nanos = u64::try_from(at.as_nanosecond());
    Duration::from_nanos(nanos.unwrap_or_else(|_| panic!("{at} lies before 1970")))
}

const PROTOCOLS: [(u8, &str); 10] = [
    (1, "icmp"),
    (2, "igmp"),
    (6, "tcp"),
    (17, "udp"),
    (47, "gre"),
    (50, "esp"),
    (51, "ah"),
    (58, "icmpv6"),
    (58, "ipv6-icmp"),
    (132, "sctp"),
];
