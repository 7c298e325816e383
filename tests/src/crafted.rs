//! Frames built by scapy and sent as they are.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use testkit::Device;
use testkit::truth::{Amount, FlowKey};

use crate::document::Direction;
use crate::laws;
use crate::measure::{Edge, Outcome, Plan};
use crate::site::Wire;

/// What the same frames look like to one hook.
#[derive(Debug)]
pub struct View {
    /// The run it belongs to.
    pub outcome: Outcome,
    /// Whether frames had to pass a device before they came here, which strips an outer tag.
    pub passed_a_device: bool,
    direction: Direction,
}

impl View {
    /// Wire amounts by row key.
    pub fn rows(&self) -> BTreeMap<FlowKey, Amount> {
        self.outcome.document.by_key(EDGE, self.direction)
    }

    /// Amounts without a row, by class.
    pub fn classes(&self) -> BTreeMap<String, Amount> {
        self.outcome.document.classes(EDGE, self.direction)
    }

    /// Sum of the hook.
    pub fn total(&self) -> Amount {
        self.outcome.document.hook(EDGE, self.direction).wire()
    }

    /// Frames that the hook calls unparsed.
    pub fn unparsed(&self) -> u64 {
        self.outcome.document.hook(EDGE, self.direction).unparsed
    }

    /// What the kernel counted for the same direction.
    pub fn counted(&self) -> Amount {
        self.outcome.bracket(EDGE, self.direction).exact()
    }
}

/// Sends the frames in both directions over a silent link; all four hooks' views of them.
///
/// # Panics
///
/// If a law does not hold, or a frame cannot be sent.
pub fn everywhere<E: AsRef<str>>(expressions: &[E]) -> Vec<View> {
    let wire = Wire::build();
    let mut views = Vec::new();
    for (direction, sender) in [(Direction::Tx, &wire.inside), (Direction::Rx, &wire.outside)] {
        let outer = Plan::new(&wire.node, [Edge::host(EDGE, &wire.outside)]).start();
        let inner = Plan::new(&wire.node, [Edge::inside(EDGE, &wire.inside)]).start();
        send(sender, expressions);
        for (running, far) in [(outer, Direction::Tx), (inner, Direction::Rx)] {
            let outcome = running.stop();
            laws::hold(&outcome);
            views.push(View { outcome, passed_a_device: far == direction, direction });
        }
    }
    views
}

/// The key of a flow with ports, or of ICMP with type and code.
///
/// # Panics
///
/// If an address is none.
pub fn key(source: &str, destination: &str, protocol: u8, ports: impl Into<Ports>) -> FlowKey {
    let address = |text: &str| -> IpAddr {
        let parsed = text.parse();
        parsed.unwrap_or_else(|_| panic!("`{text}` is an address"))
    };
    let ports = ports.into();
    FlowKey {
        source: address(source),
        destination: address(destination),
        protocol,
        source_port: ports.pair.map(|(source, _)| source),
        destination_port: ports.pair.map(|(_, destination)| destination),
        fragment: ports.fragment,
    }
}

/// What stands in the place of ports.
#[derive(Debug, Clone, Copy)]
pub struct Ports {
    pair: Option<(u16, u16)>,
    fragment: bool,
}

impl Ports {
    /// The protocol has none.
    pub const NONE: Self = Self { pair: None, fragment: false };
    /// A later fragment, whose ports nobody knows.
    pub const UNKNOWN: Self = Self { pair: None, fragment: true };
}

impl From<(u16, u16)> for Ports {
    fn from(pair: (u16, u16)) -> Self {
        Self { pair: Some(pair), fragment: false }
    }
}

/// Sends the frames that `expressions` describe in scapy's language, in order, out of `device`.
///
/// Each expression is one frame or a list of frames. `E` is an Ethernet header, `V4(h)` an IPv4
/// header from 192.0.2.1 to 198.51.100.h, `V6(h)` one from 2001:db8::1 to 2001:db8::2:h. Returns the length of each frame sent.
///
/// # Panics
///
/// If scapy refuses one or the kernel does not take it.
pub fn send<E: AsRef<str>>(device: &Device, expressions: impl IntoIterator<Item = E>) -> Vec<u64> {
    let lines: Vec<_> =
        expressions.into_iter().map(|expression| expression.as_ref().replace('\n', " ")).collect();
    let finished = device
        .place()
        .command(PYTHON)
        .args(["-c", SENDER, device.name()])
        .input(lines.join("\n"))
        .succeed(DEADLINE);
    let finished = finished.unwrap_or_else(|error| panic!("scapy: {error}"));
    let lengths = finished.text();
    let lengths = lengths.lines().map(|line| line.parse::<u64>());
    lengths
        .map(|length| length.unwrap_or_else(|error| panic!("scapy tells lengths: {error}")))
        .collect()
}

/// Name of the edge under the frames.
const EDGE: &str = "wire";
/// The one of the distribution: scapy is installed for it.
const PYTHON: &str = "/usr/bin/python3";
const DEADLINE: Duration = Duration::from_secs(40);
const SENDER: &str = r"
import logging, socket, sys
logging.getLogger('scapy').setLevel(logging.ERROR)
from scapy.all import *
from scapy.layers.sctp import SCTP
E = Ether(src='02:00:00:00:00:01', dst='02:00:00:00:00:02')
V4 = lambda host, **more: IP(src='192.0.2.1', dst='198.51.100.%d' % host, **more)
V6 = lambda host, **more: IPv6(src='2001:db8::1', dst='2001:db8::2:%x' % host, **more)
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
for line in sys.stdin:
    made = eval(line)
    for frame in made if isinstance(made, list) else [made]:
        octets = bytes(frame)
        assert wire.send(octets) == len(octets)
        print(len(octets))
";
