//! The kernel's parser in user space reads frames like the slow reference.

use fathom_fuzz::{Cut, Link, agree, agree_on_segments};
use proptest::collection::vec;
use proptest::prelude::{any, prop_oneof};
use proptest::sample::select;

use crate::{damage, frames, hold};

#[test]
fn damaged_frames_are_read_alike() {
    hold(damage::frame(), |frame| agree(&frame, Link::Ethernet));
}

#[test]
fn damaged_frames_without_a_link_header_are_read_alike() {
    hold((damage::frame(), any::<bool>()), |(frame, is_v6)| {
        agree(&frame[14..], Link::Bare(if is_v6 { frames::IPV6 } else { frames::IPV4 }));
    });
}

#[test]
fn damaged_buffers_are_cut_alike() {
    let kinds = vec![0, Cut::DATAGRAMS, Cut::FRAGMENTS, Cut::DATAGRAMS | Cut::TUNNEL];
    let kind = prop_oneof![4 => select(kinds), 1 => any::<u32>()];
    let cut = (1..3000_u32, any::<u16>(), kind);
    hold((damage::frame(), cut), |(frame, (size, segs, kind))| {
        let segs = segs.into();
        agree_on_segments(&frame, Cut { size, segs, kind });
        agree_on_segments(&frame, Cut { size: BY_NUMBER, segs, kind: 0 });
    });
}

#[test]
fn noise_is_read_alike() {
    hold((vec(any::<u8>(), 0..200), any::<u16>()), |(noise, kind)| {
        agree(&noise, Link::Ethernet);
        agree(&noise, Link::Bare(kind));
        agree(&noise, Link::Bare(frames::IPV4));
        agree(&noise, Link::Bare(frames::IPV6));
    });
}

#[test]
fn frames_are_read_alike_at_every_length() {
    let inner = frames::ipv6(frames::TCP, &frames::tcp([1, 2], 0x12, 4, 9));
    let chain = [
        frames::Extension::HopByHop(1),
        frames::Extension::Authentication(3),
        frames::Extension::Fragment { id: 9, offset: 0, more: true },
        frames::Extension::Destination(0),
    ];
    let long = frames::ipv6_chain(&chain, frames::UDP, &frames::udp([5, 6], &inner));
    let tunnel = frames::vxlan(&frames::ethernet(frames::IPV6, &inner));
    let outer = frames::ipv4(frames::UDP, &frames::udp([7, 4789], &tunnel));
    for frame in [
        frames::tagged(&[frames::STAG, frames::CTAG], frames::IPV6, &long),
        frames::ethernet(frames::IPV4, &outer),
    ] {
        for len in 0..=frame.len() {
            agree(&frame[..len], Link::Ethernet);
            agree_on_segments(&frame[..len], Cut { size: 100, segs: 7, kind: 0 });
        }
    }
}

/// `GSO_BY_FRAGS`.
const BY_NUMBER: u32 = 0xffff;
