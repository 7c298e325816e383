//! A seeded run of what the fuzzer does without end: `FATHOM_SEED` and `FATHOM_CASES`
//! choose where it starts and how far it goes.

#[path = "../../crates/flow-bpf/tests/kernel/damage.rs"]
mod damage;
#[path = "../../crates/flow-bpf/tests/kernel/frames.rs"]
#[expect(dead_code, reason = "shared with tests that build more kinds of frames")]
mod frames;

use fathom_fuzz::{Link, agree, agree_on_segments};
use proptest::{
    collection::vec,
    prelude::{Strategy, any},
    test_runner::{Config, RngSeed, TestRunner},
};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

fn runner() -> TestRunner {
    let seed = number("FATHOM_SEED").unwrap_or(0x5eed_f10e);
    let cases = number("FATHOM_CASES").and_then(|n| n.try_into().ok()).unwrap_or(20_000);
    let config = Config {
        cases,
        rng_seed: RngSeed::Fixed(seed),
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
}

/// Runs a law on cases of a kind.
fn hold<T: std::fmt::Debug>(cases: impl Strategy<Value = T>, law: impl Fn(T)) {
    runner()
        .run(&cases, |case| {
            law(case);
            Ok(())
        })
        .unwrap();
}

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
    hold((damage::frame(), 1..3000_u32, any::<u16>()), |(frame, gso_size, gso_segs)| {
        agree_on_segments(&frame, gso_size, gso_segs);
        agree_on_segments(&frame, 0xffff, gso_segs);
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
            agree_on_segments(&frame[..len], 100, 7);
        }
    }
}
