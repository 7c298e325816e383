//! Sums per flow over a capture, read back by tshark.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use super::{Amount, TruthError};
use crate::proc::{Command, ProcessError};

/// What tells one flow of frames from another.
///
/// Ports of a later fragment are unknown. ICMP has its type as source and its code as destination
/// port. A tunnel is its outer header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FlowKey {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Protocol number behind all IPv6 extension headers.
    pub protocol: u8,
    /// Source port.
    pub source_port: Option<u16>,
    /// Destination port.
    pub destination_port: Option<u16>,
    /// Whether it is a fragment that is not the first.
    pub fragment: bool,
}

/// What tells frames apart that are not IP.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OtherKey {
    /// Hardware address of the sender, if the link has any.
    pub source: Option<String>,
    /// Type of the outermost header, 0x0806 for ARP; absent on frames that carry a length.
    pub ethertype: Option<u16>,
}

/// Everything that was seen of one flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Seen {
    /// Frames and their bytes from the first byte of the link header.
    pub amount: Amount,
    /// Frames with SYN, answers included.
    pub syn: u64,
    /// Frames with FIN.
    pub fin: u64,
    /// Frames with RST.
    pub rst: u64,
    /// When the first one was seen, since 1970 by the wall clock.
    pub first: Duration,
    /// When the last one was seen.
    pub last: Duration,
}

/// The sums of a capture.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Frames {
    /// IP, by flow.
    pub flows: BTreeMap<FlowKey, Seen>,
    /// Everything else.
    pub other: BTreeMap<OtherKey, Seen>,
}

impl Frames {
    /// All frames.
    pub fn total(&self) -> Amount {
        self.flows.values().chain(self.other.values()).map(|seen| seen.amount).sum()
    }

    /// All frames of the flows that `wanted` chooses.
    pub fn sum(&self, mut wanted: impl FnMut(&FlowKey) -> bool) -> Amount {
        self.flows.iter().filter(|(key, _)| wanted(key)).map(|(_, seen)| seen.amount).sum()
    }

    /// All frames that are not IP.
    pub fn other(&self) -> Amount {
        self.other.values().map(|seen| seen.amount).sum()
    }

    fn add(&mut self, frame: &Frame<'_>) -> Option<()> {
        let seen = match frame.flow()? {
            Some(key) => self.flows.entry(key).or_default(),
            None => self.other.entry(frame.other()).or_default(),
        };
        seen.add(frame)
    }
}

impl Seen {
    fn add(&mut self, frame: &Frame<'_>) -> Option<()> {
        let at = frame.at()?;
        let flags = frame.tcp_flags();
        if self.amount.packets == 0 {
            self.first = at;
        }
        self.last = at;
        self.amount += Amount::new(1, frame.first(LENGTH)?.parse().ok()?);
        self.fin += u64::from(flags & 0x01 != 0);
        self.syn += u64::from(flags & 0x02 != 0);
        self.rst += u64::from(flags & 0x04 != 0);
        Some(())
    }
}

/// Reads a capture file.
pub(super) fn read(file: &Path) -> Result<Frames, TruthError> {
    let mut tshark = Command::new("tshark").args(["-n", "-r"]).arg(file);
    for preference in AS_ON_THE_WIRE {
        tshark = tshark.args(["-o", preference]);
    }
    tshark = tshark.args(["-T", "fields", "-E", "separator=/t", "-E", "occurrence=a"]);
    for field in FIELDS {
        tshark = tshark.args(["-e", field]);
    }
    let mut process = tshark.output_limit(LARGEST_ANSWER).spawn()?;
    let rows = File::open(process.output_file(READ)?);
    sum(BufReader::new(rows.map_err(|source| ProcessError::Scratch { source })?))
}

fn sum(rows: impl BufRead) -> Result<Frames, TruthError> {
    let mut frames = Frames::default();
    for row in rows.lines() {
        let row = row.map_err(|source| ProcessError::Scratch { source })?;
        let frame = Frame { fields: row.split('\t').collect() };
        frames
            .add(&frame)
            .ok_or_else(|| TruthError::Form { program: "tshark", line: row.clone() })?;
    }
    Ok(frames)
}

/// One row: the fields of [`FIELDS`], each a list from the outermost header inwards.
struct Frame<'a> {
    fields: Vec<&'a str>,
}

impl<'a> Frame<'a> {
    /// The flow, or that it has none; nothing at all if the row cannot be read.
    fn flow(&self) -> Option<Option<FlowKey>> {
        let layers = self.fields.get(PROTOCOLS)?;
        match layers.split(':').find(|layer| matches!(*layer, "ip" | "ipv6")) {
            Some("ip") => self.flow_v4().map(Some),
            Some(_) => self.flow_v6().map(Some),
            None => Some(None),
        }
    }

    fn flow_v4(&self) -> Option<FlowKey> {
        let protocol = self.first(V4_PROTOCOL)?.parse().ok()?;
        let fragment = self.number(V4_FRAGMENT).is_some_and(|offset| offset > 0);
        self.key([V4_SOURCE, V4_DESTINATION], protocol, fragment, ICMP)
    }

    fn flow_v6(&self) -> Option<FlowKey> {
        let mut next = self.first(V6_NEXT)?.parse().ok()?;
        // Each extension header once: tshark lists them by kind, not by position.
        let mut headers = V6_HEADERS.to_vec();
        while let Some(at) = headers.iter().position(|(kind, _)| *kind == next) {
            let (_, field) = headers.swap_remove(at);
            let Some(behind) = self.first(field) else {
                break;
            };
            next = behind.parse().ok()?;
        }
        let fragment = self.number(V6_FRAGMENT).is_some_and(|offset| offset > 0);
        self.key([V6_SOURCE, V6_DESTINATION], next, fragment, ICMPV6)
    }

    fn key(
        &self,
        [source, destination]: [usize; 2],
        protocol: u8,
        fragment: bool,
        icmp: [usize; 2],
    ) -> Option<FlowKey> {
        let ports = match protocol {
            _ if fragment => None,
            6 => Some(TCP),
            17 => Some(UDP),
            1 | 58 => Some(icmp),
            _ => None,
        };
        let port = |side: usize| {
            let number = ports.and_then(|fields| fields.get(side).copied()).map(|f| self.number(f));
            number.flatten().and_then(|number| u16::try_from(number).ok())
        };
        Some(FlowKey {
            source: self.first(source)?.parse().ok()?,
            destination: self.first(destination)?.parse().ok()?,
            protocol,
            source_port: port(0),
            destination_port: port(1),
            fragment,
        })
    }

    fn other(&self) -> OtherKey {
        let ethertype = self.number(ETHERTYPE).and_then(|number| u16::try_from(number).ok());
        OtherKey { source: self.first(MAC).map(str::to_owned), ethertype }
    }

    fn tcp_flags(&self) -> u64 {
        let is_tcp = self.flow().flatten().is_some_and(|key| key.protocol == 6 && !key.fragment);
        if is_tcp { self.number(TCP_FLAGS).unwrap_or(0) } else { 0 }
    }

    fn at(&self) -> Option<Duration> {
        let (seconds, fraction) = self.first(TIME)?.split_once('.')?;
        let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
        Some(Duration::new(seconds.parse().ok()?, nanos))
    }

    /// The outermost value of a field.
    fn first(&self, field: usize) -> Option<&'a str> {
        self.fields.get(field)?.split(',').next().filter(|value| !value.is_empty())
    }

    fn number(&self, field: usize) -> Option<u64> {
        let text = self.first(field)?;
        match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16).ok(),
            None => text.parse().ok(),
        }
    }
}

const FIELDS: [&str; 26] = [
    "frame.protocols",
    "frame.len",
    "frame.time_epoch",
    "eth.src",
    "eth.type",
    "ip.src",
    "ip.dst",
    "ip.proto",
    "ip.frag_offset",
    "ipv6.src",
    "ipv6.dst",
    "ipv6.nxt",
    "ipv6.hopopts.nxt",
    "ipv6.routing.nxt",
    "ipv6.dstopts.nxt",
    "ipv6.fraghdr.nxt",
    "ipv6.fraghdr.offset",
    "tcp.srcport",
    "tcp.dstport",
    "tcp.flags",
    "udp.srcport",
    "udp.dstport",
    "icmp.type",
    "icmp.code",
    "icmpv6.type",
    "icmpv6.code",
];

const PROTOCOLS: usize = 0;
const LENGTH: usize = 1;
const TIME: usize = 2;
const MAC: usize = 3;
const ETHERTYPE: usize = 4;
const V4_SOURCE: usize = 5;
const V4_DESTINATION: usize = 6;
const V4_PROTOCOL: usize = 7;
const V4_FRAGMENT: usize = 8;
const V6_SOURCE: usize = 9;
const V6_DESTINATION: usize = 10;
const V6_NEXT: usize = 11;
const V6_FRAGMENT: usize = 16;
const TCP_FLAGS: usize = 19;
/// Extension headers by their number (RFC 8200 §4.1) and the field that tells what follows.
const V6_HEADERS: [(u8, usize); 4] = [(0, 12), (43, 13), (60, 14), (44, 15)];
const TCP: [usize; 2] = [17, 18];
const UDP: [usize; 2] = [20, 21];
const ICMP: [usize; 2] = [22, 23];
const ICMPV6: [usize; 2] = [24, 25];

/// Nothing is put together from several frames: one row is one frame.
const AS_ON_THE_WIRE: [&str; 4] = [
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "tcp.analyze_sequence_numbers:FALSE",
];

const READ: Duration = Duration::from_secs(180);
const LARGEST_ANSWER: u64 = 4 << 30;

#[cfg(test)]
mod tests;
