//! One flow as the kernel reports it, and the closed sets its fields come from.

use std::net::IpAddr;

/// Which way a packet goes, as the pod sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Direction {
    /// The pod sent it.
    Tx = 0,
    /// The pod received it.
    Rx = 1,
}

impl Direction {
    /// Both directions, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Tx, Self::Rx];

    /// Value of the `direction` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tx => "tx",
            Self::Rx => "rx",
        }
    }
}

/// Which of the two sets of maps an epoch writes to: the epoch number modulo 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Parity {
    /// Epochs 0, 2, 4, …
    Even = 0,
    /// Epochs 1, 3, 5, …
    Odd = 1,
}

impl Parity {
    /// Both parities, in the order of their numbers.
    pub const ALL: [Self; 2] = [Self::Even, Self::Odd];

    /// The parity that `epoch` writes to.
    pub const fn of(epoch: u64) -> Self {
        if epoch.is_multiple_of(2) { Self::Even } else { Self::Odd }
    }
}

/// Why an amount was counted without the flow it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Class {
    /// A TCP flow for which the table had no room.
    OverflowTcp = 0,
    /// A UDP flow for which the table had no room.
    OverflowUdp = 1,
    /// Any other flow for which the table had no room.
    OverflowOther = 2,
    /// The edge had used up its share of the table.
    Quota = 3,
    /// Not IP: ARP and its like.
    NonIp = 4,
    /// The parser gave up on the headers.
    Unparsed = 5,
}

impl Class {
    /// Every class, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::OverflowTcp,
        Self::OverflowUdp,
        Self::OverflowOther,
        Self::Quota,
        Self::NonIp,
        Self::Unparsed,
    ];

    /// Cells that the kernel keeps per slot and direction: classes plus room to grow.
    pub const CELLS: usize = 8;

    /// Value of the `class` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OverflowTcp => "overflow_tcp",
            Self::OverflowUdp => "overflow_udp",
            Self::OverflowOther => "overflow_other",
            Self::Quota => "quota",
            Self::NonIp => "non_ip",
            Self::Unparsed => "unparsed",
        }
    }
}

/// Place of an edge in the kernel's per-edge arrays; reused, unlike an edge id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u16);

/// Amounts without flow detail of one slot and parity, by direction and class cell.
pub type Folded = [[Counts; Class::CELLS]; 2];

/// Values of the `protocol` label of address pairs: a closed set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Protocol {
    /// Number 6.
    Tcp = 0,
    /// Number 17.
    Udp = 1,
    /// Number 1.
    Icmp = 2,
    /// Number 58.
    Icmpv6 = 3,
    /// Number 132.
    Sctp = 4,
    /// Every other number.
    Other = 5,
}

impl Protocol {
    /// Every value, in the order of their numbers.
    pub const ALL: [Self; 6] =
        [Self::Tcp, Self::Udp, Self::Icmp, Self::Icmpv6, Self::Sctp, Self::Other];

    /// The value that stands for an IANA protocol number.
    pub const fn of(number: u8) -> Self {
        match number {
            6 => Self::Tcp,
            17 => Self::Udp,
            1 => Self::Icmp,
            58 => Self::Icmpv6,
            132 => Self::Sctp,
            _ => Self::Other,
        }
    }

    /// Value of the `protocol` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Icmp => "icmp",
            Self::Icmpv6 => "icmpv6",
            Self::Sctp => "sctp",
            Self::Other => "other",
        }
    }
}

/// What tells one flow from another within an epoch.
///
/// Addresses are as on the wire at the pod; both are of the same family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// The edge that the packets crossed.
    pub slot: Slot,
    /// Which way they crossed it.
    pub direction: Direction,
    /// Source address.
    pub src: IpAddr,
    /// Destination address.
    pub dst: IpAddr,
    /// Source port, or the ICMP type; 0 when folded, portless or unknown.
    pub src_port: u16,
    /// Destination port, or the ICMP code; 0 when folded, portless or unknown.
    pub dst_port: u16,
    /// IANA protocol number behind all extension headers.
    pub protocol: u8,
    /// A later fragment whose ports are not known.
    pub fragment: bool,
}

/// Packets and bytes as they would stand on the wire after segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Frames.
    pub packets: u64,
    /// Octets from the first octet of the link header, without preamble and FCS.
    pub bytes: u64,
}

impl Counts {
    /// Nothing counted.
    pub const ZERO: Self = Self { packets: 0, bytes: 0 };

    /// Whether neither a packet nor a byte was counted.
    pub const fn is_zero(self) -> bool {
        self.packets == 0 && self.bytes == 0
    }

    /// How far two amounts lie apart, whichever is larger.
    pub const fn abs_diff(self, other: Self) -> Self {
        Self {
            packets: self.packets.abs_diff(other.packets),
            bytes: self.bytes.abs_diff(other.bytes),
        }
    }

    /// What remains after taking `other` away, never below zero.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self {
            packets: self.packets.saturating_sub(other.packets),
            bytes: self.bytes.saturating_sub(other.bytes),
        }
    }

    /// Packets and bytes as two words, in the order in which pages hold them.
    pub const fn words(self) -> [u64; 2] {
        [self.packets, self.bytes]
    }
}

// Amounts read from surviving pages may have been tampered with: sums wrap, which the
// audit then shows, instead of stopping the agent.
impl std::ops::AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.packets = self.packets.wrapping_add(other.packets);
        self.bytes = self.bytes.wrapping_add(other.bytes);
    }
}

impl std::ops::Add for Counts {
    type Output = Self;

    fn add(mut self, other: Self) -> Self {
        self += other;
        self
    }
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(parts: I) -> Self {
        parts.fold(Self::ZERO, |sum, part| sum + part)
    }
}

/// What the kernel counted for one edge and direction, before and after segmentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// On the wire.
    pub wire: Counts,
    /// As the kernel hands the packets over: large buffers count once.
    pub skb: Counts,
}

/// What one epoch holds about one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowEntry {
    /// The flow.
    pub key: FlowKey,
    /// Its amount in this epoch.
    pub counts: Counts,
    /// Tick of the first packet: the low 32 bits of the kernel's jiffies.
    pub first: u32,
    /// Tick of the last packet.
    pub last: u32,
    /// TCP packets with SYN set, SYN-ACK included.
    pub syn: u32,
    /// TCP packets with FIN set.
    pub fin: u32,
    /// TCP packets with RST set.
    pub rst: u32,
}
