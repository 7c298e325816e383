//! Packets of every kind through both reflectors.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use stamp_proto::reflector::{Numbering, Policy, Refusal};
use stamp_proto::timestamp::Format;

use crate::frames::{Datagram, Sum};
use crate::twin::{Done, Lists, Twin, inside, open_request, unlimited};
use stamp_bpf::{Sizes, Skew};

#[test]
#[ignore = "root: loads programs"]
fn a_plain_request_is_answered_as_the_pure_reflector_does() {
    inside(|| {
        let mut twin = Twin::open();
        for ssid in [0, 42] {
            for sequence in [5, 9, 7] {
                let payload = open_request(sequence, ssid);
                assert!(matches!(twin.compare(&Datagram::v4(&payload)), Done::Replied(_)));
                assert!(matches!(twin.compare(&Datagram::v6(&payload)), Done::Replied(_)));
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn frames_without_a_link_header_are_answered_alike() {
    inside(|| {
        let mut twin = Twin::open();
        for datagram in [Datagram::v4(&open_request(1, 42)), Datagram::v6(&open_request(1, 42))] {
            let bare = Datagram { link: false, ..datagram };
            assert!(matches!(twin.compare(&bare), Done::Replied(_)));
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn every_numbering_and_both_formats_agree() {
    inside(|| {
        for numbering in [Numbering::Auto, Numbering::Stateful, Numbering::Stateless] {
            for (format, no_tai) in
                [(Format::Ntp, false), (Format::Ptp, false), (Format::Ntp, true)]
            {
                let policy = Policy { numbering, ..unlimited() };
                let skew = Skew { no_tai, ..Skew::default() };
                let mut twin = Twin::with(policy, &Lists::all(), format, skew, Sizes::default());
                for ssid in [0, 1, 1, 0] {
                    twin.compare(&Datagram::v4(&open_request(7, ssid)));
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_request_cut_off_anywhere_is_refused_alike() {
    inside(|| {
        let lights = Lists { light: vec!["10.0.0.2".parse().unwrap()], ..Lists::all() };
        for lists in [Lists::all(), lights] {
            let mut twin = Twin::new(unlimited(), &lists);
            for len in 0..=44 {
                for padding in [0, 20] {
                    let short = open_request(9, 42)[..len].to_vec();
                    let done = twin.compare(&Datagram { padding, ..Datagram::v4(&short) });
                    let light = !lists.light.is_empty() && len >= 14;
                    match len {
                        44 => assert!(matches!(done, Done::Replied(_))),
                        _ if light => assert!(matches!(done, Done::Slow(_)), "{len}"),
                        _ => assert_eq!(done, Done::Refused(Refusal::Short)),
                    }
                    twin.compare(&Datagram { padding, ..Datagram::v6(&short) });
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_frame_cut_off_anywhere_does_no_harm() {
    inside(|| {
        let twin = Twin::open();
        for datagram in [Datagram::v4(&open_request(1, 42)), Datagram::v6(&open_request(1, 42))] {
            let frame = datagram.frame();
            // A test run refuses frames that end before the IP header does.
            for len in datagram.payload_at() - 8..frame.len() {
                let cut = stamp_bpf::testrun::Frame::new(&frame[..len]);
                let done = twin.run_frame(&datagram, &cut);
                let reached = len >= datagram.payload_at();
                let expected =
                    if reached { Done::Refused(Refusal::Truncated) } else { Done::Passed(None) };
                assert_eq!(done, expected, "{len} octets");
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn padded_frames_of_every_sum_are_answered_with_a_right_one() {
    inside(|| {
        let mut twin = Twin::open();
        let payload = open_request(3, 0);
        for padding in [0, 1, 2, 17, 46] {
            for sum in [Sum::Right, Sum::Zero, Sum::Offloaded] {
                for datagram in [Datagram::v4(&payload), Datagram::v6(&payload)] {
                    let datagram = Datagram { sum, padding, ..datagram };
                    if sum == Sum::Zero && datagram.source.is_ipv6() {
                        assert_eq!(twin.run(&datagram), Done::Refused(Refusal::Checksum));
                    } else if sum == Sum::Offloaded {
                        let Done::Replied(frame) = twin.run(&datagram) else {
                            panic!("{datagram:?} was not answered")
                        };
                        let at = datagram.payload_at();
                        let before = &datagram.frame()[at - 2..at];
                        assert_ne!(&frame[at - 2..at], before, "to the kernel it was complete");
                    } else {
                        assert!(matches!(twin.compare(&datagram), Done::Replied(_)));
                    }
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_wrong_sum_is_refused_wherever_it_is_wrong() {
    inside(|| {
        let twin = Twin::open();
        let payload = open_request(3, 42);
        for datagram in [Datagram::v4(&payload), Datagram::v6(&payload)] {
            let wrong = Datagram { sum: Sum::Wrong, ..datagram.clone() };
            assert_eq!(twin.run(&wrong), Done::Refused(Refusal::Checksum));
            let mut frame = datagram.frame();
            for at in datagram.payload_at()..datagram.payload_at() + 16 {
                frame[at] ^= 0x40;
                let done = twin.run_frame(&datagram, &stamp_bpf::testrun::Frame::new(&frame));
                assert_eq!(done, Done::Refused(Refusal::Checksum), "octet {at}");
                frame[at] ^= 0x40;
            }
        }
    });
}

fn address_v4() -> impl Strategy<Value = IpAddr> {
    prop_oneof![
        4 => Just([10, 0, 0, 2]),
        1 => Just([127, 0, 0, 1]),
        1 => Just([0, 0, 0, 0]),
        1 => Just([224, 0, 0, 9]),
        1 => Just([10, 9, 9, 9]),
        1 => Just([240, 0, 0, 1]),
        1 => any::<[u8; 4]>(),
    ]
    .prop_map(|octets| Ipv4Addr::from(octets).into())
}

fn address_v6() -> impl Strategy<Value = IpAddr> {
    // Each network is a source of its own: TWAMP-Light peers are held to a low rate.
    let own = any::<[u16; 3]>().prop_map(|[a, b, c]| Ipv6Addr::from([0xfd00, a, b, c, 0, 0, 0, 2]));
    let others = prop_oneof![
        1 => Just("::1"),
        1 => Just("::"),
        1 => Just("ff02::1"),
        1 => Just("::ffff:10.0.0.7"),
        1 => Just("::ffff:10.9.9.9"),
        1 => Just("2001:db8::1"),
    ];
    let others = others.prop_map(|text| text.parse().unwrap());
    prop_oneof![own, others].prop_map(IpAddr::V6)
}

fn payload() -> impl Strategy<Value = Vec<u8>> {
    let valid = (any::<u32>(), 0..3_u16).prop_map(|(sequence, ssid)| open_request(sequence, ssid));
    let bent = (valid.clone(), vec((0..44_usize, any::<u8>()), 1..4)).prop_map(
        |(mut payload, changes)| {
            changes.into_iter().for_each(|(at, octet)| payload[at] = octet);
            payload
        },
    );
    let cut = (valid.clone(), 0..44_usize).prop_map(|(mut payload, len)| {
        payload.truncate(len);
        payload
    });
    prop_oneof![4 => valid, 3 => bent, 2 => cut, 3 => vec(any::<u8>(), 0..=44)]
}

pub(crate) fn datagram() -> impl Strategy<Value = Datagram> {
    let source = prop_oneof![
        address_v4().prop_map(|address| (address, "10.0.0.1".parse().unwrap())),
        address_v6().prop_map(|address| (address, "fd00::1".parse().unwrap())),
    ];
    let ports = (
        prop_oneof![Just(1001_u16), Just(862), Just(863), Just(0)],
        prop_oneof![Just(862_u16), Just(863)],
    );
    (source, ports, payload(), (any::<u8>(), any::<u8>()), 0..40_usize, any::<bool>()).prop_map(
        |((source, destination), ports, payload, (ttl, tos), padding, link)| {
            let source = SocketAddr::new(source, ports.0);
            let destination = SocketAddr::new(destination, ports.1);
            Datagram { ttl, tos, padding, link, ..Datagram::between(source, destination, &payload) }
        },
    )
}

#[test]
#[ignore = "root: loads programs"]
fn whatever_comes_both_reflectors_do_the_same() {
    inside(|| {
        let lists = Lists {
            allow: vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()],
            deny: vec!["10.9.0.0/16".parse().unwrap()],
            light: vec!["fd00::/16".parse().unwrap()],
        };
        for numbering in [Numbering::Auto, Numbering::Stateful] {
            let policy = Policy { numbering, min_ttl: 20, ..unlimited() };
            let twin = std::cell::RefCell::new(Twin::new(policy, &lists));
            let mut runner = TestRunner::new(Config {
                cases: cases(),
                failure_persistence: None,
                ..Config::default()
            });
            runner
                .run(&datagram(), |datagram| {
                    twin.borrow_mut().compare(&datagram);
                    Ok(())
                })
                .unwrap();
        }
    });
}

pub(crate) fn cases() -> u32 {
    std::env::var("FATHOM_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(3_000)
}
