//! Requests for more replies than one, or for replies of another length.

use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

use super::{
    T3, arrival, authenticated, clock, flags, key, open, reflected, request, signed, with_tlvs,
};
use crate::clock::MonoTime;
use crate::packet::{Mode, Reply};
use crate::reflector::{Answer, Arrival, Control, Copies, Numbering, Policy, Reflector, Refusal};
use crate::tlv::{self, AddressGroup, Flags, Kind, PacketControl};

const U: u8 = Flags::UNRECOGNIZED.bits();
const C: u8 = Flags::CONSTRAINED.bits();
const LIMITS: Control = Control { max_count: 10, max_rate: 100_000, max_bytes: 20_000, mtu: 1_500 };

fn controlled() -> Policy {
    let own_addresses = vec!["10.9.9.9".parse().unwrap()];
    Policy {
        control: LIMITS,
        own_addresses,
        own_macs: vec![[2, 0, 0, 0, 0, 1]],
        ..Policy::default()
    }
}

fn asks(reply_len: u16, count: u16, interval_ns: u32) -> Vec<u8> {
    PacketControl { reply_len, count, interval_ns }.emit(&[])
}

/// Request `sequence` with these extensions.
fn numbered(sequence: u32, tlvs: &[(Kind, &[u8])]) -> Vec<u8> {
    let mut payload = with_tlvs(tlvs);
    payload[..4].copy_from_slice(&sequence.to_be_bytes());
    payload
}

fn control(value: &[u8]) -> Vec<u8> {
    with_tlvs(&[(Kind::ReflectedTestPacketControl, value)])
}

fn handled(policy: Policy, payload: &[u8]) -> Result<Answer, Refusal> {
    Reflector::new(policy).handle(&arrival(payload), &clock())
}

/// Flags of the first extension, number of copies and length of each.
fn told(policy: Policy, payload: &[u8]) -> Result<(u8, u16, usize), Refusal> {
    handled(policy, payload)
        .map(|answer| (answer.payload[44], answer.copies.count, answer.payload.len()))
}

#[test]
fn a_control_is_not_understood_unless_every_limit_is_given() {
    let payload = control(&asks(500, 3, 100_000_000));
    assert_eq!(told(Policy::default(), &payload), Ok((U, 1, 60)));
    for off in [
        Control { max_count: 0, ..LIMITS },
        Control { max_rate: 0, ..LIMITS },
        Control { max_bytes: 0, ..LIMITS },
    ] {
        assert_eq!(told(Policy { control: off, ..controlled() }, &payload), Ok((U, 1, 60)));
    }
    let granted = handled(controlled(), &payload).unwrap();
    assert_eq!(granted.copies, Copies { count: 3, interval_ns: 100_000_000 });
    assert_eq!((granted.payload.len(), granted.payload[44]), (500, 0));
}

#[test]
fn replies_are_as_long_as_asked_without_the_padding_of_the_request() {
    let asked = asks(0, 1, 0);
    let control: (Kind, &[u8]) = (Kind::ReflectedTestPacketControl, &asked);
    let info: (Kind, &[u8]) = (Kind::TimestampInformation, &[0; 4]);
    let padded = with_tlvs(&[control, (Kind::ExtraPadding, &[7; 300]), info]);
    let answer = handled(controlled(), &padded).unwrap();
    assert_eq!(answer.payload[60..], [0, 3, 0, 4, 4, 2, 4, 2]);
    let longer = with_tlvs(&[(Kind::ReflectedTestPacketControl, &asks(97, 1, 0)), info]);
    let answer = handled(controlled(), &longer).unwrap();
    assert_eq!(answer.payload.len(), 100);
    assert_eq!(answer.payload[68..], [&[0, 1, 0, 28][..], &[0; 28]].concat());
    let odd =
        with_tlvs(&[(Kind::ReflectedTestPacketControl, &asks(68, 1, 0)), (Kind::Other(250), &[1])]);
    let answer = handled(controlled(), &odd).unwrap();
    assert_eq!(answer.payload[60..], [U, 250, 0, 1, 1, 0, 0, 0]);
}

#[test]
fn what_is_over_a_limit_is_answered_once_and_says_so() {
    let second = 1_000_000_000;
    for (asked, expected) in [
        (asks(100, 10, second), (0, 10, 100)),
        (asks(100, 11, second), (C, 1, 60)),
        (asks(1_000, 10, 10_000_000), (0, 10, 1_000)),
        (asks(1_000, 10, 9_999_999), (C, 1, 60)),
        (asks(100, 2, 0), (C, 1, 60)),
        (asks(100, 1, 0), (0, 1, 100)),
        (asks(1_472, 1, 0), (0, 1, 1_472)),
        (asks(1_473, 1, 0), (C, 1, 1_472)),
        (asks(u16::MAX, 9, second), (C, 1, 1_472)),
    ] {
        assert_eq!(told(controlled(), &control(&asked)), Ok(expected), "{asked:?}");
    }
    let small = Control { max_bytes: 999, ..LIMITS };
    let told = |asked: &[u8]| told(Policy { control: small, ..controlled() }, &control(asked));
    assert_eq!(told(&asks(500, 2, second)), Ok((C, 1, 60)));
    assert_eq!(told(&asks(1_473, 1, second)), Ok((C, 1, 60)));
}

#[test]
fn replies_over_ipv6_have_less_room() {
    let payload = control(&asks(1_453, 1, 0));
    let source = "[fd00::2]:1001".parse().unwrap();
    let came =
        Arrival { source, destination: "[fd00::1]:862".parse().unwrap(), ..arrival(&payload) };
    let answer = Reflector::new(controlled()).handle(&came, &clock()).unwrap();
    assert_eq!((answer.payload[44], answer.payload.len()), (C, 1_452));
}

#[test]
fn all_senders_together_get_no_more_than_the_rate() {
    let mut reflector = Reflector::new(controlled());
    let mut ask = |port: u16, ms: i64| {
        let payload = control(&asks(1_000, 10, 10_000_000));
        let source = ([10, 0, 0, 2], port).into();
        let now = MonoTime::from_ns(ms * 1_000_000);
        let came = Arrival { source, now, ..arrival(&payload) };
        reflector.handle(&came, &clock()).unwrap().copies.count
    };
    assert_eq!([ask(1, 0), ask(2, 0), ask(3, 0)], [10, 10, 1]);
    assert_eq!([ask(4, 99), ask(5, 100), ask(6, 100)], [1, 10, 1]);
}

#[test]
fn no_reply_at_all_and_no_reply_for_others_are_obeyed() {
    assert_eq!(told(controlled(), &control(&asks(0, 0, 0))), Err(Refusal::NoReplyRequested));
    let grouped = |groups: &[AddressGroup<'_>]| {
        let asked = PacketControl { reply_len: 0, count: 1, interval_ns: 0 };
        told(controlled(), &control(&asked.emit(groups))).map(|(flags, ..)| flags)
    };
    let network =
        |address: &str, len| AddressGroup::Network { address: address.parse().unwrap(), len };
    let hardware = |group| AddressGroup::Hardware { mask: &[0xff; 6], group };
    let none = Err(Refusal::NoReplyRequested);
    assert_eq!(grouped(&[network("10.0.0.0", 24)]), Ok(0));
    assert_eq!(grouped(&[network("10.9.0.0", 16), hardware(&[2, 0, 0, 0, 0, 1])]), Ok(0));
    assert_eq!(grouped(&[network("10.8.0.0", 16)]), none);
    assert_eq!(grouped(&[network("10.9.0.0", 16), hardware(&[2, 0, 0, 0, 0, 9])]), none);
    assert_eq!(grouped(&[AddressGroup::Hardware { mask: &[0; 2], group: &[0; 2] }]), none);
    let malformed = [&asks(0, 1, 0)[..8], &[0x80, 11, 0, 8, 33, 0, 0, 0, 10, 0, 0, 0]].concat();
    assert_eq!(told(controlled(), &control(&malformed)).map(|told| told.0), Ok(0x40));
}

#[test]
fn a_number_that_is_not_ahead_is_answered_once() {
    let mut reflector = Reflector::new(controlled());
    let asked = asks(0, 2, 100_000_000);
    let mut ask = |sequence| {
        let payload = numbered(sequence, &[(Kind::ReflectedTestPacketControl, &asked)]);
        let answer = reflector.handle(&arrival(&payload), &clock()).unwrap();
        (answer.payload[44], answer.copies.count)
    };
    assert_eq!([5, 6, 6, 5, 7].map(&mut ask), [(0, 2), (0, 2), (U, 1), (U, 1), (0, 2)]);
    let numbering = Numbering::Stateless;
    let told = told(Policy { numbering, ..controlled() }, &control(&asked));
    assert_eq!(told.map(|told| told.0), Ok(U));
}

#[test]
fn several_replies_and_none_are_refused_together() {
    let asked = asks(0, 2, 100_000_000);
    let several: (Kind, &[u8]) = (Kind::ReflectedTestPacketControl, &asked);
    let none: (Kind, &[u8]) = (Kind::ReturnPath, &[0x80, 1, 0, 4, 0, 0, 0, 0]);
    let flags = |policy, tlvs: [(Kind, &[u8]); 2]| {
        handled(policy, &with_tlvs(&tlvs)).map(|answer| {
            assert_eq!(answer.copies, Copies::ONE);
            tlv::walk(&answer.payload[44..])
                .map(|tlv| tlv.unwrap().flags.bits())
                .collect::<Vec<_>>()
        })
    };
    assert_eq!(flags(controlled(), [several, none]), Ok(vec![U, U]));
    assert_eq!(flags(controlled(), [none, several]), Ok(vec![U, U]));
    assert_eq!(flags(Policy::default(), [several, none]), Err(Refusal::NoReplyRequested));
    let twice = handled(controlled(), &with_tlvs(&[several, several])).unwrap();
    assert_eq!((twice.copies.count, twice.payload[44], twice.payload[60]), (2, 0, U));
}

#[test]
fn each_copy_has_a_number_and_signatures_of_its_own() {
    let policy = authenticated(None).policy().clone();
    let mut reflector = Reflector::new(Policy { control: LIMITS, ..policy });
    let padding: (Kind, &[u8]) = (Kind::ExtraPadding, &[5; 6]);
    let asked = asks(200, 3, 100_000_000);
    let several: (Kind, &[u8]) = (Kind::ReflectedTestPacketControl, &asked);
    let payload = super::protected(&[several, padding], 1);
    let mut answer = reflector.handle(&arrival(&payload), &clock()).unwrap();
    for number in 0..answer.copies.count.into() {
        if number > 0 {
            reflector.repeat(&mut answer);
        }
        reflector.stamp(&mut answer, T3);
        let reply = &answer.payload;
        assert_eq!(Reply::parse(Mode::Authenticated, reply).unwrap().sequence, number);
        assert!(key().verifies(reply) && reply.len() == 200);
        assert!(flags(reply).iter().all(|&flags| flags == 0));
        let hmac = tlv::walk(&reply[112..]).map(Result::unwrap).find(|tlv| tlv.kind == Kind::Hmac);
        let hmac = hmac.unwrap();
        let before = &reply[112..112 + hmac.offset];
        assert_eq!(key().tlv_hmac(number.to_be_bytes(), before), hmac.value);
    }
    let (_, session) = reflector.sessions().iter().next().unwrap();
    assert_eq!((session.received, session.transmitted), (1, 3));
    assert_eq!(session.last_reply, Some((2, T3)));
    let next = signed(request(Mode::Authenticated, 4, 42));
    let next = reflected(&mut reflector, &arrival(&next)).unwrap();
    assert_eq!(Reply::parse(Mode::Authenticated, &next).unwrap().sequence, 3);
}

#[test]
fn nothing_is_granted_to_extensions_that_are_not_signed() {
    let policy = authenticated(None).policy().clone();
    let mut reflector = Reflector::new(Policy { control: LIMITS, ..policy });
    let mut payload = signed(request(Mode::Authenticated, 3, 42));
    tlv::append(&mut payload, Kind::ReflectedTestPacketControl, &asks(500, 3, 100_000_000));
    tlv::append(&mut payload, Kind::Hmac, &[7; 16]);
    let mut answer = reflector.handle(&arrival(&payload), &clock()).unwrap();
    assert_eq!((answer.copies, answer.payload.len()), (Copies::ONE, payload.len()));
    assert_eq!(flags(&answer.payload), [Flags::INTEGRITY_FAILED.bits(); 2]);
    answer.renumber(1);
    assert!(answer.payload.ends_with(&[7; 16]));
}

#[test]
fn a_session_without_a_number_of_its_own_is_not_repeated() {
    let mut reflector = open();
    let mut answer = reflector.handle(&arrival(&request(Mode::Open, 9, 0)), &clock()).unwrap();
    reflector.repeat(&mut answer);
    assert_eq!(answer.sequence(), 9);
}

proptest! {
    #[test]
    fn no_request_causes_more_than_the_limits(
        tail in proptest::collection::vec(0_u8.., 0..80), reply_len: u16, count: u16, interval_ns: u32, before: bool,
    ) {
        let asked = asks(reply_len, count, interval_ns);
        let mut payload = if before { control(&asked) } else { with_tlvs(&[]) };
        payload.extend(&tail);
        if !before {
            tlv::append(&mut payload, Kind::ReflectedTestPacketControl, &asked);
        }
        if let Ok(answer) = handled(controlled(), &payload) {
            let Copies { count, .. } = answer.copies;
            prop_assert!((1..=LIMITS.max_count).contains(&count));
            let bytes = answer.payload.len() * usize::from(count);
            prop_assert!(bytes as u64 <= LIMITS.max_bytes && answer.payload.len() <= 1_472);
            let (base, _) = answer.payload.split_at(44);
            prop_assert_eq!(Reply::parse(Mode::Open, base).unwrap().sender_sequence, 0);
            prop_assert!(answer.copies == Copies::ONE || before || tlv::walk(&payload[44..]).all(|tlv| tlv.is_ok()));
        }
    }
}
