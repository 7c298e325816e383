//! Extensions: what the kernel answers, it answers as the pure reflector does, and what
//! it leaves to user space is what it should.

use std::cell::RefCell;

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::test_runner::{Config, TestRunner};
use stamp_proto::packet::Mode;
use stamp_proto::reflector::{Disclose, KeyPair, Keys, Numbering, Policy, Refusal};
use stamp_proto::tlv::{self, Kind};

use crate::frames::{Datagram, Sum};
use crate::signed::key;
use crate::twin::{Done, Lists, Twin, inside, request, unlimited};

pub(crate) type List = Vec<(u8, Vec<u8>)>;

fn area(list: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut area = Vec::new();
    list.iter().for_each(|(code, value)| tlv::append(&mut area, Kind::from_code(*code), value));
    area
}

pub(crate) fn open(list: &[(u8, Vec<u8>)]) -> Vec<u8> {
    [request(Mode::Open, 1, 42), area(list)].concat()
}

/// A signed request whose extensions are signed in front of those from `behind` on.
pub(crate) fn signed(sequence: u32, list: &[(u8, Vec<u8>)], behind: usize) -> Vec<u8> {
    let (front, back) = list.split_at(behind.min(list.len()));
    let mut signed = area(front);
    let hmac = key().tlv_hmac(sequence.to_be_bytes(), &signed);
    tlv::append(&mut signed, Kind::Hmac, &hmac);
    signed.extend(area(back));
    let mut payload = request(Mode::Authenticated, sequence, 42);
    key().sign(&mut payload);
    [payload, signed].concat()
}

pub(crate) fn authenticated(policy: Policy) -> Twin {
    let default = Some(KeyPair { current: key(), previous: None });
    Twin::new(Policy { keys: Keys { default, ..Keys::default() }, ..policy }, &Lists::all())
}

fn location() -> Vec<u8> {
    let mut value = vec![9; 4];
    for (code, len) in [(1, 8), (4, 16), (7, 16)] {
        tlv::append(&mut value, Kind::Other(code), &vec![0xee; len]);
    }
    value
}

fn control(code: u8) -> Vec<u8> {
    let mut value = Vec::new();
    tlv::append(&mut value, Kind::Other(1), &[0, 0, 0, code]);
    value
}

/// Everything that is to be answered in the kernel.
pub(crate) fn simple() -> List {
    vec![
        (1, vec![]),
        (1, vec![7; 5]),
        (1, vec![0; 300]),
        (2, location()),
        (2, vec![0; 4]),
        (3, vec![0; 4]),
        (4, vec![10 << 2, 0, 0, 0]),
        (4, vec![0xff; 4]),
        (5, [&[0, 0, 0, 9][..], &[0; 8]].concat()),
        (6, vec![0x10, 1, 0, 0]),
        (6, vec![0x20, 1, 0, 0]),
        (6, vec![0x30, 1, 0, 0]),
        (7, vec![9; 16]),
        (9, vec![10, 0, 0, 1]),
        (10, control(1)),
        (11, vec![0, 1, 0, 0]),
        (11, vec![0, 1, 0, 5]),
    ]
}

pub(crate) fn policies() -> [Policy; 3] {
    let disclose = Disclose { ports: false, addresses: false, mac: true };
    [
        unlimited(),
        Policy { disclose, allowed_dscp: 1, ..unlimited() },
        Policy { numbering: Numbering::Stateless, ..unlimited() },
    ]
}

#[test]
#[ignore = "root: loads programs"]
fn each_simple_extension_is_answered_in_the_kernel() {
    inside(|| {
        for policy in policies() {
            let mut twin = Twin::new(policy.clone(), &Lists::all());
            for member in [None, Some(5)] {
                twin.name(member);
                for (code, value) in simple() {
                    // Odd lengths in front move what is behind to odd places.
                    let list = [(1, vec![3; 3]), (code, value.clone()), (code, value)];
                    for count in 1..=3 {
                        let datagram = Datagram::v4(&open(&list[..count]));
                        let done = twin.compare(&datagram);
                        let twice = code == 10 && count == 3;
                        assert_eq!(matches!(done, Done::Slow(_)), twice, "{:?}", &list[..count]);
                    }
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn each_simple_extension_is_answered_where_it_is_signed() {
    inside(|| {
        for policy in policies() {
            let mut twin = authenticated(policy);
            let mut sequence = 0;
            for (code, value) in simple() {
                for behind in [1, 2] {
                    sequence += 1;
                    let list = [(code, value.clone()), (1, vec![5; 6])];
                    let payload = signed(sequence, &list, behind);
                    let done = twin.compare_signed(&Datagram::v4(&payload), &key());
                    assert!(matches!(done, Done::Replied(_)), "{code} {behind}: {done:?}");
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn signed_areas_of_every_length_up_to_eight_blocks_are_answered() {
    inside(|| {
        let mut twin = authenticated(unlimited());
        for len in 0..520 {
            let payload = signed(len, &[(1, vec![0xa5; len as usize])], 1);
            let done = twin.compare_signed(&Datagram::v4(&payload), &key());
            let fits = len + 4 <= 499;
            assert_eq!(matches!(done, Done::Replied(_)), fits, "{len}: {done:?}");
            assert_eq!(matches!(done, Done::Slow(_)), !fits, "{len}: {done:?}");
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn extensions_that_are_not_what_was_signed_are_left_to_user_space() {
    inside(|| {
        let mut twin = authenticated(unlimited());
        let list = [(3, vec![0; 4])];
        let mut forged = signed(1, &list, 1);
        forged[116] ^= 1;
        let unsigned = {
            let mut payload = request(Mode::Authenticated, 2, 42);
            key().sign(&mut payload);
            [payload, area(&list)].concat()
        };
        let misplaced = signed(3, &[list[0].clone(), list[0].clone()], 1);
        for payload in [forged, unsigned, misplaced] {
            let done = twin.compare_signed(&Datagram::v4(&payload), &key());
            assert!(matches!(done, Done::Slow(_)), "{done:?}");
        }
        let padded = {
            let mut payload = request(Mode::Authenticated, 4, 42);
            key().sign(&mut payload);
            [payload, area(&[(1, vec![5; 6])])].concat()
        };
        let done = twin.compare_signed(&Datagram::v4(&padded), &key());
        assert!(matches!(done, Done::Replied(_)), "padding needs no signature");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn what_is_not_simple_is_left_to_user_space() {
    inside(|| {
        let mut twin = Twin::open();
        let mut inner = location();
        inner[5] = 9;
        let lists: [List; 12] = [
            vec![(3, vec![0; 3])],
            vec![(7, vec![9; 15])],
            vec![(8, vec![9; 16])],
            vec![(9, vec![10, 0, 0, 9])],
            vec![(10, control(1)), (10, control(1))],
            vec![(10, vec![0, 2, 0, 4, 10, 0, 0, 9])],
            vec![(12, vec![0; 12])],
            vec![(0, vec![1])],
            vec![(250, vec![1, 2])],
            vec![(2, inner)],
            vec![(2, [location(), vec![0, 1, 0, 8], vec![0; 8]].concat())],
            vec![(1, vec![]); 17],
        ];
        for list in lists {
            let done = twin.compare(&Datagram::v4(&open(&list)));
            assert!(matches!(done, Done::Slow(_)), "{list:?}: {done:?}");
        }
        assert!(matches!(
            twin.compare(&Datagram::v4(&open(&vec![(1, vec![1]); 16]))),
            Done::Replied(_)
        ));
        for (len, answered) in [(1396, true), (1397, false)] {
            let done = twin.compare(&Datagram::v4(&open(&[(1, vec![6; len])])));
            assert_eq!(matches!(done, Done::Replied(_)), answered, "{len}: {done:?}");
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn what_a_request_forbids_is_refused_and_takes_no_number() {
    inside(|| {
        let mut twin = Twin::open();
        twin.name(Some(5));
        let mut show = |list: &[(u8, Vec<u8>)]| match twin.compare(&Datagram::v4(&open(list))) {
            Done::Refused(why) => Some(why),
            Done::Replied(_) => None,
            other => panic!("{other:?}"),
        };
        let other_link = (11, vec![0, 0, 0, 6]);
        let silent = (10, control(0));
        assert_eq!(show(&[]), None);
        assert_eq!(show(std::slice::from_ref(&silent)), Some(Refusal::NoReplyRequested));
        assert_eq!(show(&[silent.clone(), other_link.clone()]), Some(Refusal::NoReplyRequested));
        assert_eq!(show(&[other_link, silent]), Some(Refusal::MicroSession));
        assert_eq!(show(&[(5, vec![0; 12])]), None);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn zeros_and_stray_octets_and_the_padding_of_light_peers_go_back_untouched() {
    inside(|| {
        let lists = Lists { light: vec!["fd00::/16".parse().unwrap()], ..Lists::all() };
        let mut twin = Twin::new(unlimited(), &lists);
        for tail in [&[0; 4][..], &[0; 21], &[9], &[0x80, 1, 0], &[0x80, 1, 0, 0, 5]] {
            let payload = [&request(Mode::Open, 1, 42)[..], tail].concat();
            for sum in [Sum::Right, Sum::Zero] {
                let datagram = Datagram { sum, ..Datagram::v4(&payload) };
                assert!(matches!(twin.compare(&datagram), Done::Replied(_)));
            }
            assert!(matches!(twin.compare(&Datagram::v6(&payload)), Done::Replied(_)));
        }
        let light = [&request(Mode::Open, 1, 42)[..], &[0x5a; 77]].concat();
        assert!(matches!(twin.compare(&Datagram::v6(&light)), Done::Replied(_)));
        assert!(matches!(twin.compare(&Datagram::v4(&light)), Done::Slow(_)));
    });
}

fn extension() -> impl Strategy<Value = (u8, Vec<u8>)> {
    let one = proptest::sample::select(simple());
    let random = (0..14_u8, vec(any::<u8>(), 0..24));
    let filled = (one.clone(), any::<u8>()).prop_map(|((code, mut value), octet)| {
        if !matches!(code, 2 | 9 | 10) {
            value.fill(octet);
        }
        (code, value)
    });
    prop_oneof![4 => one, 4 => filled, 1 => random]
}

pub(crate) fn areas() -> impl Strategy<Value = Vec<u8>> {
    let list = || vec(extension(), 0..6).prop_map(|list| area(&list));
    let cut = (list(), any::<proptest::sample::Index>()).prop_map(|(mut area, at)| {
        area.truncate(at.index(area.len() + 1));
        area
    });
    let bent = (list(), any::<proptest::sample::Index>(), any::<u8>()).prop_map(
        |(mut area, at, octet)| {
            if !area.is_empty() {
                let at = at.index(area.len());
                area[at] = octet;
            }
            area
        },
    );
    prop_oneof![3 => list(), 1 => cut, 1 => bent, 1 => vec(any::<u8>(), 0..80)]
}

#[test]
#[ignore = "root: loads programs"]
fn whatever_extensions_come_both_reflectors_do_the_same() {
    inside(|| {
        for (policy, member) in policies().into_iter().zip([None, Some(5), None]) {
            let mut twin = Twin::new(policy, &Lists::all());
            twin.name(member);
            let (twin, answered) = (RefCell::new(twin), RefCell::new(0));
            let mut runner = TestRunner::new(config());
            let strategy = (areas(), any::<bool>(), any::<u8>());
            runner
                .run(&strategy, |(area, v6, tos)| {
                    let payload = [request(Mode::Open, 1, 42), area].concat();
                    let datagram = if v6 { Datagram::v6(&payload) } else { Datagram::v4(&payload) };
                    let done = twin.borrow_mut().compare(&Datagram { tos, ..datagram });
                    *answered.borrow_mut() += u32::from(matches!(done, Done::Replied(_)));
                    Ok(())
                })
                .unwrap();
            assert!(*answered.borrow() > runner.config().cases / 4, "most are simple");
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn whatever_signed_extensions_come_both_reflectors_do_the_same() {
    inside(|| {
        let twin = RefCell::new(authenticated(unlimited()));
        let mut runner = TestRunner::new(config());
        let sequence = RefCell::new(0);
        let strategy = (vec(extension(), 0..5), 0..6_usize, Just(()));
        runner
            .run(&strategy, |(list, behind, ())| {
                *sequence.borrow_mut() += 1;
                let payload = signed(*sequence.borrow(), &list, behind);
                twin.borrow_mut().compare_signed(&Datagram::v4(&payload), &key());
                Ok(())
            })
            .unwrap();
    });
}

pub(crate) fn config() -> Config {
    let cases = std::env::var("FATHOM_CASES").ok().and_then(|cases| cases.parse().ok());
    Config { cases: cases.unwrap_or(2_000), failure_persistence: None, ..Config::default() }
}
