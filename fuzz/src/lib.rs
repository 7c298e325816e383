//! The kernel's parser, compiled for user space, beside the slow reading that the tests
//! of the loaded program use; the readers of [test packets](stamp); and the laws that hold
//! between each and its slow reading.

#[expect(clippy::unwrap_used, reason = "shared with tests, where it is permitted")]
#[path = "../../crates/flow-bpf/tests/kernel/reference.rs"]
mod reference;

mod host;
pub mod stamp;

use flow_model::flow::Counts;
use flow_model::wire;
use host::{Parsed, Verdict};
use reference::{Lost, Packet, Part};

/// How a frame starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// With an Ethernet header.
    Ethernet,
    /// With the network header of this type.
    Bare(u16),
}

/// How the kernel will cut a buffer.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// `gso_size`; 0xffff leaves it to the number.
    pub size: u32,
    /// `gso_segs`.
    pub segs: u32,
    /// `gso_type`, of which only some bits mean something here.
    pub kind: u32,
}

impl Cut {
    /// A datagram with a checksum or without, inside a tunnel.
    pub const TUNNEL: u32 = 3 << 10;
    /// A datagram that becomes IP fragments.
    pub const FRAGMENTS: u32 = 1 << 16;
    /// A payload that becomes datagrams.
    pub const DATAGRAMS: u32 = 1 << 17;

    /// Whether the datagram itself is cut, whatever it may carry.
    fn is_of_datagrams(self, packet: &Packet) -> bool {
        packet.protocol == 17
            && packet.part != Part::Later
            && self.kind & (Self::FRAGMENTS | Self::DATAGRAMS) != 0
            && self.kind & Self::TUNNEL == 0
    }

    /// Whether the kernel says that it is a tunnel, and its port does not say which.
    fn is_of_a_tunnel_unknown(self, packet: &Packet) -> bool {
        packet.protocol == 17
            && self.kind & Self::TUNNEL != 0
            && !matches!(packet.dst_port, 4789 | 8472 | 6081)
    }
}

/// Holds both readings of a frame against each other, and the quick one against them.
///
/// # Panics
///
/// When they differ: that is what a fuzzer looks for.
pub fn agree(frame: &[u8], link: Link) {
    let (verdict, parsed) = host::parse_frame(frame, link);
    let packet = match link {
        Link::Ethernet => reference::ethernet(frame),
        Link::Bare(ethertype) => reference::bare(frame, ethertype),
    };
    match &packet {
        Ok(packet) => {
            assert_eq!(verdict, Verdict::Ok, "{packet:?}");
            assert_same(&parsed, packet);
        }
        Err(lost) => assert_eq!(verdict, verdict_of(*lost), "{lost:?}"),
    }
    if link == Link::Ethernet {
        agree_hot(frame, packet.as_ref());
    }
}

/// The quick reading may decline, but what it reads it reads alike, however much of the
/// frame is linear.
fn agree_hot(frame: &[u8], packet: Result<&Packet, &Lost>) {
    for linear in [frame.len(), frame.len().min(60), frame.len().min(41)] {
        if let Some(parsed) = host::parse_hot(&frame[..linear]) {
            let packet = packet.expect("a frame that is read quickly is whole");
            assert_eq!(packet.part, Part::Whole);
            assert_same(&parsed, packet);
        }
    }
}

/// Holds the amount of a buffer that will be segmented to the reference.
///
/// # Panics
///
/// When they differ.
pub fn agree_on_segments(frame: &[u8], cut: Cut) {
    let (verdict, parsed) = host::parse_frame(frame, Link::Ethernet);
    let parsed = (verdict == Verdict::Ok).then_some(&parsed);
    let amount = host::segment(frame, parsed, &cut);
    let packet = reference::ethernet(frame);
    let expected = match &packet {
        Ok(packet) if cut.is_of_datagrams(packet) => (cut_slowly(frame, packet, cut), true),
        Ok(packet) if cut.is_of_a_tunnel_unknown(packet) => {
            (wire::on_wire_unparsed(frame.len() as u32, cut.segs as u16), false)
        }
        packet => reference::on_wire(frame, packet.as_ref(), cut.size, cut.segs as u16),
    };
    assert_eq!(amount, expected, "{cut:?} of {packet:?}");
}

/// Cuts a datagram that is no tunnel, frame by frame.
fn cut_slowly(frame: &[u8], packet: &Packet, cut: Cut) -> Counts {
    let fragments = cut.kind & Cut::FRAGMENTS != 0;
    let headers = if fragments { Some(packet.transport) } else { packet.payload };
    let headers = headers.expect("the whole header of a datagram was read");
    let inserted = if fragments && packet.src.is_ipv6() { 8 } else { 0 };
    let (_, payload) = frame.split_at(headers);
    let pieces = payload.chunks(cut.size as usize).map(<[u8]>::len);
    let frames: Vec<_> = pieces.map(|piece| headers + inserted + piece).collect();
    match &frames[..] {
        [] => Counts { packets: 1, bytes: headers as u64 },
        many => Counts { packets: many.len() as u64, bytes: many.iter().sum::<usize>() as u64 },
    }
}

const fn verdict_of(lost: Lost) -> Verdict {
    match lost {
        Lost::NotIp => Verdict::NotIp,
        Lost::Short => Verdict::Short,
        Lost::BadHeader => Verdict::BadHeader,
        Lost::Chain => Verdict::ExtensionChain,
    }
}

fn assert_same(parsed: &Parsed, packet: &Packet) {
    assert_eq!(parsed.addresses(), (packet.src, packet.dst));
    assert_eq!(parsed.ports(), [packet.src_port, packet.dst_port]);
    assert_eq!(parsed.protocol(), packet.protocol);
    assert_eq!(parsed.part(), packet.part);
    assert_eq!(parsed.tcp_flags(), packet.tcp_flags);
    assert_eq!(parsed.transport(), packet.transport);
    let payload = packet.payload.map(|payload| payload - packet.transport);
    assert_eq!(parsed.transport_len(), payload);
    if packet.part != Part::Whole {
        assert_eq!(parsed.fragment(), (packet.id, packet.fragment_protocol));
    }
}
