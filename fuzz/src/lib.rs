//! The kernel's parser, compiled for user space, beside the slow reading that the tests
//! of the loaded program use; and the laws that hold between them.

#[path = "../../crates/flow-bpf/tests/kernel/reference.rs"]
mod reference;

mod host;

use flow_model::flow::Counts;
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
pub fn agree_on_segments(frame: &[u8], gso_size: u32, gso_segs: u16) {
    let (verdict, parsed) = host::parse_frame(frame, Link::Ethernet);
    let parsed = (verdict == Verdict::Ok).then_some(&parsed);
    let amount = host::segment(frame, parsed, gso_size, gso_segs);
    let packet = reference::ethernet(frame);
    let expected: (Counts, bool) = reference::on_wire(frame, packet.as_ref(), gso_size, gso_segs);
    assert_eq!(amount, expected, "{packet:?}");
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
