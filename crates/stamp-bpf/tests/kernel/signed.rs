//! Authenticated mode: keys, signatures, and packets that were here before.

use std::collections::BTreeMap;

use proptest::prelude::any;
use proptest::test_runner::{Config, TestRunner};
use stamp_bpf::Event;
use stamp_proto::auth::Key;
use stamp_proto::packet::{Mode, Reply, Request};
use stamp_proto::reflector::{KeyPair, Keys, Policy, Refusal};
use stamp_proto::timestamp::Timestamp;

use crate::frames::Datagram;
use crate::twin::{Done, Lists, Twin, inside, request, unlimited};

pub(crate) fn key() -> Key {
    Key::new(b"a key for tests of the reflector")
}

pub(crate) fn old_key() -> Key {
    Key::new(b"the key that was there before it")
}

pub(crate) fn authenticated() -> Twin {
    let default = Some(KeyPair { current: key(), previous: Some(old_key()) });
    let keys = Keys { default, ..Keys::default() };
    Twin::new(Policy { keys, ..unlimited() }, &Lists::all())
}

fn signed(sequence: u32, ssid: u16, key: &Key) -> Vec<u8> {
    let mut payload = request(Mode::Authenticated, sequence, ssid);
    key.sign(&mut payload);
    payload
}

/// A request with that T1.
fn at(sequence: u32, bits: u64) -> Vec<u8> {
    let mut payload = request(Mode::Authenticated, sequence, 42);
    let read = Request::parse(Mode::Authenticated, &payload).unwrap();
    let timestamp = Timestamp::from_bits(bits);
    Request { timestamp, ..read }.emit(Mode::Authenticated, &mut payload);
    key().sign(&mut payload);
    payload
}

#[test]
#[ignore = "root: loads programs"]
fn signed_requests_get_signed_replies() {
    inside(|| {
        let mut twin = authenticated();
        for (sequence, with) in [(1, key()), (2, old_key()), (3, key())] {
            for ssid in [0, 42] {
                let payload = signed(sequence, ssid, &with);
                for datagram in [Datagram::v4(&payload), Datagram::v6(&payload)] {
                    let Done::Replied(frame) = twin.compare_signed(&datagram, &with) else {
                        panic!("{datagram:?} was not answered")
                    };
                    assert!(with.verifies(datagram.payload_of(&frame)));
                }
            }
        }
        assert_eq!(twin.tables.happened(Event::OldKey).unwrap(), twin.pure.old_keys());
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_changed_octet_anywhere_is_refused_alike() {
    inside(|| {
        let mut twin = authenticated();
        for at in 0..112 {
            let mut payload = signed(1, 42, &key());
            payload[at] ^= 1;
            let done = twin.compare_signed(&Datagram::v4(&payload), &key());
            let expected = if (28..96).contains(&at) { Refusal::LoopGuard } else { Refusal::Hmac };
            assert_eq!(done, Done::Refused(expected), "octet {at}");
        }
        for len in 0..112 {
            let payload = signed(1, 42, &key())[..len].to_vec();
            assert_eq!(
                twin.compare_signed(&Datagram::v4(&payload), &key()),
                Done::Refused(Refusal::Short)
            );
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_session_has_its_own_key_or_the_default_or_none() {
    inside(|| {
        let own = Some(KeyPair { current: old_key(), previous: None });
        let by_ssid: BTreeMap<u16, KeyPair> = own.map(|pair| (42, pair)).into_iter().collect();
        for default in [None, Some(KeyPair { current: key(), previous: None })] {
            let keys = Keys { default, by_ssid: by_ssid.clone() };
            let mut twin = Twin::new(Policy { keys, ..unlimited() }, &Lists::all());
            for (ssid, with) in [(42, old_key()), (42, key()), (7, key()), (7, old_key())] {
                twin.compare_signed(&Datagram::v4(&signed(1, ssid, &with)), &with);
            }
            assert_eq!(twin.tables.refused(Refusal::NoKey).unwrap() > 0, default.is_none());
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn replays_are_told_as_the_pure_reflector_tells_them() {
    inside(|| {
        let second = 1_u64 << 32;
        let start = 0xeeab_56e2_0000_0000;
        let mut twin = authenticated();
        let mut show = |sequence, bits| {
            matches!(
                twin.compare_signed(&Datagram::v4(&at(sequence, bits)), &key()),
                Done::Refused(Refusal::Replay)
            )
        };
        assert!(!show(5, start));
        assert!(show(5, start), "the same packet again");
        assert!(!show(4, start - 1), "late, but new");
        assert!(show(4, start - 1));
        assert!(!show(100, start + second));
        assert!(show(36, start + 1), "behind the window");
        assert!(!show(37, start + 2));
        assert!(show(50, start - second - 1), "older than two seconds");
        assert!(!show(0, start + 9 * second), "a sender that starts over");
        let mut runner =
            TestRunner::new(Config { cases: 500, failure_persistence: None, ..Config::default() });
        let twin = std::cell::RefCell::new(authenticated());
        runner
            .run(&(0..90_u32, 0..4 * (second >> 24), any::<bool>()), |(sequence, late, far)| {
                let bits = start + (u64::from(sequence) << 28) + (late << 24);
                let sequence = if far { sequence.wrapping_sub(45) } else { sequence };
                twin.borrow_mut().compare_signed(&Datagram::v4(&at(sequence, bits)), &key());
                Ok(())
            })
            .unwrap();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn an_open_reply_is_none_for_a_signed_reflector_and_the_reverse() {
    inside(|| {
        let mut twin = authenticated();
        let payload = signed(1, 42, &key());
        let Done::Replied(frame) = twin.compare_signed(&Datagram::v4(&payload), &key()) else {
            panic!("a signed request was not answered")
        };
        let reply = Datagram::v4(&payload).payload_of(&frame).to_vec();
        assert!(Reply::parse(Mode::Authenticated, &reply).is_ok());
        let mut open = Twin::open();
        for twin in [&mut twin, &mut open] {
            let done = twin.run(&Datagram::v4(&reply));
            assert_eq!(done, Done::Refused(Refusal::LoopGuard));
        }
    });
}
