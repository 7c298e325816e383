//! Every kind of frame, read by the program and by the reference, with the same result.

mod mutation;
mod segments;
mod shapes;

use std::collections::HashMap;

use flow_bpf::{Event, testrun::Frame};
use flow_model::{
    flow::{Class, Counts, Direction, FlowKey, Parity},
    kernel::Kernel as _,
};

use crate::{
    lab::{Lab, SLOT},
    reference::{self, Lost, Packet, Part},
};

/// A laboratory with a model of it beside.
pub(crate) struct Bench {
    pub(crate) lab: Lab,
    direction: Direction,
    fragments: HashMap<FragmentKey, FragmentPorts>,
}

type FragmentKey = (std::net::IpAddr, std::net::IpAddr, u32, u8);
type FragmentPorts = (u16, u16, u8);

/// What the counters must show after a frame.
#[derive(Debug, PartialEq)]
pub(crate) enum Expected {
    Flow { key: FlowKey, flags: [u32; 3] },
    Folded { class: Class, event: Option<Event> },
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self::on(Lab::new(), Direction::Tx)
    }

    /// Watches what the laboratory counts for one direction.
    pub(crate) fn on(lab: Lab, direction: Direction) -> Self {
        Self { lab, direction, fragments: HashMap::new() }
    }

    /// Shows a frame to the program and holds the counters to the reference.
    pub(crate) fn check(&mut self, octets: &[u8]) {
        self.check_segmented(octets, 0, 0);
    }

    pub(crate) fn check_segmented(&mut self, octets: &[u8], gso_size: u32, gso_segs: u16) {
        if !is_runnable(octets) {
            return;
        }
        let frame = Frame { gso_size, gso_segs: gso_segs.into(), ..Frame::new(octets) };
        let packet = reference::ethernet(octets);
        self.compare(octets, &packet, (gso_size, gso_segs), |lab| {
            lab.show(Direction::Tx, &frame, 1);
        });
    }

    /// Has a frame shown and holds the counters to what it says.
    pub(crate) fn compare(
        &mut self,
        octets: &[u8],
        packet: &Result<Packet, Lost>,
        (gso_size, gso_segs): (u32, u16),
        show: impl FnOnce(&Lab),
    ) {
        let expected = self.expect(packet);
        let (counts, understood) = reference::on_wire(octets, packet.as_ref(), gso_size, gso_segs);
        let before = self.events();
        show(&self.lab);

        let start = &octets[..octets.len().min(200)];
        let told = format!("{} octets, gso {gso_size}/{gso_segs}: {start:02x?}", octets.len());
        let raised = self.events().since(&before);
        assert_eq!(self.seen(&raised), (expected, counts), "{told}");
        assert_eq!(raised.gso_headers, u64::from(!understood), "unknown headers: {told}");
        let totals = self.lab.totals(Parity::Even, SLOT)[self.direction as usize];
        assert_eq!(totals.wire, counts, "wire totals of {told}");
        let skb = Counts { packets: 1, bytes: octets.len() as u64 };
        assert_eq!(totals.skb, skb, "buffer totals of {told}");
        self.lab.drain.clear(Parity::Even).unwrap();
        self.lab.drain.zero_slot(SLOT).unwrap();
    }

    /// What the counters show of the one frame since they were cleared.
    fn seen(&mut self, raised: &Events) -> (Expected, Counts) {
        let flows = self.lab.flows(Parity::Even);
        let folded = self.lab.folded(Parity::Even, SLOT)[self.direction as usize];
        let folded: Vec<_> = Class::ALL
            .into_iter()
            .map(|class| (class, folded[class as usize]))
            .filter(|(_, counts)| !counts.is_zero())
            .collect();
        match (flows.as_slice(), folded.as_slice()) {
            ([flow], []) => {
                assert_eq!(raised.surrender, None, "a flow is no surrender");
                let flags = [flow.syn, flow.fin, flow.rst];
                (Expected::Flow { key: flow.key, flags }, flow.counts)
            }
            ([], [(class, counts)]) => {
                (Expected::Folded { class: *class, event: raised.surrender }, *counts)
            }
            other => panic!("a frame is in one place, not in {other:?}"),
        }
    }

    fn events(&self) -> Events {
        let counts = SURRENDERS.map(|event| self.lab.event(event));
        Events { counts, surrender: None, gso_headers: self.lab.event(Event::GsoHeaders) }
    }

    fn expect(&mut self, packet: &Result<Packet, Lost>) -> Expected {
        let event = match packet {
            Ok(packet) => return self.expect_flow(packet),
            Err(Lost::NotIp) => {
                return Expected::Folded { class: Class::NonIp, event: None };
            }
            Err(Lost::Short) => Event::Short,
            Err(Lost::BadHeader) => Event::BadHeader,
            Err(Lost::Chain) => Event::ExtensionChain,
        };
        Expected::Folded { class: Class::Unparsed, event: Some(event) }
    }

    fn expect_flow(&mut self, packet: &Packet) -> Expected {
        let Packet { src, dst, mut src_port, mut dst_port, mut protocol, .. } = *packet;
        let key = (src, dst, packet.id, packet.fragment_protocol);
        let has_ports = matches!(protocol, 1 | 6 | 17 | 58 | 132);
        let mut fragment = false;
        match packet.part {
            Part::First if has_ports => {
                self.fragments.insert(key, (src_port, dst_port, protocol));
            }
            Part::Later => match self.fragments.get(&key) {
                Some(ports) => (src_port, dst_port, protocol) = *ports,
                None => fragment = has_ports || matches!(protocol, 0 | 43 | 44 | 51 | 60),
            },
            _ => (),
        }
        let bit = |mask| u32::from(packet.tcp_flags & mask != 0);
        Expected::Flow {
            key: FlowKey {
                slot: SLOT,
                direction: self.direction,
                src,
                dst,
                src_port,
                dst_port,
                protocol,
                fragment,
            },
            flags: [bit(2), bit(1), bit(4)],
        }
    }
}

/// The kernel refuses to run a program on IP without the whole fixed header; real devices
/// deliver it, and there it is tested.
fn is_runnable(octets: &[u8]) -> bool {
    let fixed = match (octets[12], octets[13]) {
        (0x08, 0x00) => 20,
        (0x86, 0xdd) => 40,
        _ => 0,
    };
    octets.len() >= 14 + fixed
}

const SURRENDERS: [Event; 5] =
    [Event::Short, Event::BadHeader, Event::ExtensionChain, Event::NonLinear, Event::LinkType];

struct Events {
    counts: [u64; SURRENDERS.len()],
    surrender: Option<Event>,
    gso_headers: u64,
}

impl Events {
    fn since(&self, before: &Self) -> Self {
        let counts = std::array::from_fn(|at| self.counts[at] - before.counts[at]);
        assert!(counts.iter().sum::<u64>() <= 1, "one frame, one surrender: {counts:?}");
        let surrender = counts.iter().position(|n| *n > 0).map(|at| SURRENDERS[at]);
        Self { counts, surrender, gso_headers: self.gso_headers - before.gso_headers }
    }
}
