use super::{
    Arrival, Clock, Entered, KeyPair, Keys, Numbering, Place, Policy, Prefixes, Provisioned,
    Reflector, Refusal, SessionKey,
};
use crate::auth::Key;
use crate::clock::{MonoTime, WallTime};
use crate::estimate::ErrorEstimate;
use crate::packet::{Mode, Reply, Request, Shape};
use crate::timestamp::{Format, Timestamp};
use crate::tlv::{self, Flags, Kind, SyncSource, Tlv};
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use std::net::{IpAddr, SocketAddr};

mod control;

const T1: u64 = 0xeeab_56e2_895c_c7a3;
const T2_NS: i64 = 1_795_217_506_536_719_279;
const T3: Timestamp = Timestamp::from_bits(0xeeab_56e2_8967_b7c5);

fn clock() -> Clock {
    Clock {
        format: Format::Ntp,
        tai_offset_s: 0,
        error_estimate: ErrorEstimate::from_bits(0x8ad2),
        source: SyncSource::Gnss,
        methods: [2, 2],
    }
}

fn arrival(payload: &[u8]) -> Arrival<'_> {
    Arrival {
        payload,
        source: "10.0.0.2:1001".parse().unwrap(),
        destination: "10.0.0.1:862".parse().unwrap(),
        now: MonoTime::from_ns(5_000_000_000),
        received: WallTime::from_ns(T2_NS),
        ttl: Some(250),
        traffic_class: 46 << 2 | 1,
        member: None,
        source_mac: Some([2, 0, 0, 0, 0, 7]),
    }
}

fn request(mode: Mode, sequence: u32, ssid: u16) -> Vec<u8> {
    let mut payload = vec![0; mode.base_len()];
    let timestamp = Timestamp::from_bits(T1 + (u64::from(sequence) << 20));
    let error_estimate = ErrorEstimate::from_bits(0x0001);
    Request { sequence, timestamp, error_estimate, ssid: Some(ssid) }.emit(mode, &mut payload);
    payload
}

fn key() -> Key {
    Key::new(b"a key for tests of the reflector")
}

fn signed(mut payload: Vec<u8>) -> Vec<u8> {
    key().sign(&mut payload);
    payload
}

fn open() -> Reflector {
    Reflector::new(Policy::default())
}

fn authenticated(previous: Option<Key>) -> Reflector {
    let default = Some(KeyPair { current: key(), previous });
    Reflector::new(Policy { keys: Keys { default, ..Keys::default() }, ..Policy::default() })
}

/// The reply as it leaves.
fn reflected(reflector: &mut Reflector, arrival: &Arrival<'_>) -> Result<Vec<u8>, Refusal> {
    let mut answer = reflector.handle(arrival, &clock())?;
    reflector.stamp(&mut answer, T3);
    Ok(answer.payload)
}

fn with_tlvs(tlvs: &[(Kind, &[u8])]) -> Vec<u8> {
    let mut payload = request(Mode::Open, 0, 42);
    tlvs.iter().for_each(|(kind, value)| tlv::append(&mut payload, *kind, value));
    payload
}

/// Flags and value of each extension that comes back in open mode.
fn answered(reflector: &mut Reflector, payload: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let reply = reflected(reflector, &arrival(payload)).unwrap();
    assert_eq!(reply.len(), payload.len());
    let told = |tlv: Tlv<'_>| (tlv.flags.bits(), tlv.value.to_vec());
    tlv::walk(&reply[44..]).map(|tlv| told(tlv.unwrap())).collect()
}

#[test]
fn every_field_of_a_reply_is_what_the_reflector_knows() {
    for mode in [Mode::Open, Mode::Authenticated] {
        let (mut reflector, payload) = match mode {
            Mode::Open => (open(), request(mode, 7, 42)),
            Mode::Authenticated => (authenticated(None), signed(request(mode, 7, 42))),
        };
        let reply =
            Reply::parse(mode, &reflected(&mut reflector, &arrival(&payload)).unwrap()).unwrap();
        let expected = Reply {
            sequence: 0,
            timestamp: T3,
            error_estimate: clock().error_estimate,
            ssid: Some(42),
            receive_timestamp: Timestamp::encode(Format::Ntp, WallTime::from_ns(T2_NS)),
            sender_sequence: 7,
            sender_timestamp: Timestamp::from_bits(T1 + (7 << 20)),
            sender_error_estimate: ErrorEstimate::from_bits(1),
            sender_ttl: Some(250),
        };
        assert_eq!(reply, expected, "{mode:?}");
    }
}

#[test]
fn a_reply_goes_back_the_way_the_request_came() {
    let payload = request(Mode::Open, 0, 0);
    let answer = open().handle(&arrival(&payload), &clock()).unwrap();
    assert_eq!(answer.wanted.destination, arrival(&[]).source);
    assert_eq!(answer.wanted.source, arrival(&[]).destination.ip());
    assert_eq!(answer.wanted.traffic_class, 46 << 2);
}

#[test]
fn replies_are_numbered_by_session_where_there_is_one() {
    let numbers = |numbering, ssid| {
        let mut reflector = Reflector::new(Policy { numbering, ..Policy::default() });
        let number = |sequence| {
            let reply =
                reflected(&mut reflector, &arrival(&request(Mode::Open, sequence, ssid))).unwrap();
            Reply::parse(Mode::Open, &reply).unwrap().sequence
        };
        [5, 9, 7].map(number)
    };
    assert_eq!(numbers(Numbering::Auto, 42), [0, 1, 2]);
    assert_eq!(numbers(Numbering::Auto, 0), [5, 9, 7]);
    assert_eq!(numbers(Numbering::Stateful, 0), [0, 1, 2]);
    assert_eq!(numbers(Numbering::Stateless, 42), [5, 9, 7]);
}

#[test]
fn a_foreign_request_of_fourteen_octets_gets_the_reply_that_another_reflector_gave() {
    let hex = |text: &str| -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    };
    let payload = hex("00000000eeab572e9bf717ff3fff");
    let twamp_light = ["10.0.0.0/24".parse().unwrap()].into_iter().collect();
    let mut reflector = Reflector::new(Policy { twamp_light, ..Policy::default() });
    let came = Arrival {
        ttl: Some(64),
        received: WallTime::from_ns(1_795_217_582_609_451_405),
        ..arrival(&payload)
    };
    let clock = Clock { error_estimate: ErrorEstimate::from_bits(1), ..clock() };
    let mut answer = reflector.handle(&came, &clock).unwrap();
    reflector.stamp(&mut answer, Timestamp::from_bits(0xeeab_572e_9c06_6da4));
    let expected =
        "00000000eeab572e9c066da400010000eeab572e9c0501dc00000000eeab572e9bf717ff3fff000040000000";
    assert_eq!(answer.payload, hex(expected));
}

#[test]
fn nothing_shorter_than_a_request_is_answered() {
    for len in 0..44 {
        let payload = request(Mode::Open, 0, 0);
        assert_eq!(
            reflected(&mut open(), &arrival(&payload[..len])),
            Err(Refusal::Short),
            "{len} octets"
        );
    }
    for len in 0..112 {
        let payload = signed(request(Mode::Authenticated, 0, 0));
        assert_eq!(
            reflected(&mut authenticated(None), &arrival(&payload[..len])),
            Err(Refusal::Short),
            "{len} octets"
        );
    }
}

#[test]
fn sources_to_which_nothing_can_be_sent_are_refused() {
    let payload = request(Mode::Open, 0, 0);
    let from = |source: &str| Arrival { source: source.parse().unwrap(), ..arrival(&payload) };
    for source in [
        "224.0.0.1:862",
        "239.255.255.255:862",
        "240.0.0.0:862",
        "255.255.255.255:862",
        "[::ffff:255.255.255.255]:862",
        "0.0.0.0:862",
        "127.0.0.1:862",
        "10.0.0.2:0",
        "[ff02::1]:862",
        "[::]:9",
    ] {
        assert_eq!(reflected(&mut open(), &from(source)), Err(Refusal::SourceInvalid), "{source}");
    }
    let local = Arrival { destination: "127.0.0.1:862".parse().unwrap(), ..from("127.0.0.1:99") };
    assert!(reflected(&mut open(), &local).is_ok());
}

#[test]
fn denied_and_unlisted_sources_are_refused_before_anything_else() {
    let deny: Prefixes = ["10.0.0.2".parse().unwrap()].into_iter().collect();
    let mut denying = Reflector::new(Policy { deny, ..Policy::default() });
    assert_eq!(reflected(&mut denying, &arrival(&[])), Err(Refusal::Denied));
    let stranger = Arrival { source: "8.8.8.8:53".parse().unwrap(), ..arrival(&[]) };
    assert_eq!(reflected(&mut open(), &stranger), Err(Refusal::Denied));
}

#[test]
fn only_provisioned_sessions_are_answered() {
    let session = Provisioned {
        ssid: 42,
        source: "10.0.0.2".parse().unwrap(),
        destination: "10.0.0.1".parse().unwrap(),
        micro: None,
    };
    let mut reflector =
        Reflector::new(Policy { provisioned: Some(vec![session]), ..Policy::default() });
    assert!(reflected(&mut reflector, &arrival(&request(Mode::Open, 0, 42))).is_ok());
    assert_eq!(
        reflected(&mut reflector, &arrival(&request(Mode::Open, 0, 43))),
        Err(Refusal::NotProvisioned)
    );
}

#[test]
fn a_packet_from_too_far_away_is_refused() {
    let mut reflector = Reflector::new(Policy { min_ttl: 251, ..Policy::default() });
    let payload = request(Mode::Open, 0, 0);
    assert_eq!(reflected(&mut reflector, &arrival(&payload)), Err(Refusal::MinTtl));
    let near = Arrival { ttl: Some(251), ..arrival(&payload) };
    assert!(reflected(&mut reflector, &near).is_ok());
}

#[test]
fn the_previous_key_is_accepted_and_answered_with() {
    let old = Key::new(b"the key of yesterday");
    let mut payload = request(Mode::Authenticated, 0, 42);
    old.sign(&mut payload);
    assert_eq!(reflected(&mut authenticated(None), &arrival(&payload)), Err(Refusal::Hmac));
    let mut reflector = authenticated(Some(old));
    let reply = reflected(&mut reflector, &arrival(&payload)).unwrap();
    assert!(old.verifies(&reply));
    assert_eq!(reflector.old_keys(), 1);
    assert!(key().verifies(
        &reflected(&mut reflector, &arrival(&signed(request(Mode::Authenticated, 1, 42)))).unwrap()
    ));
}

#[test]
fn a_session_without_a_key_is_refused_where_only_others_have_one() {
    let by_ssid = [(7, KeyPair { current: key(), previous: None })].into_iter().collect();
    let keys = Keys { default: None, by_ssid };
    let mut reflector = Reflector::new(Policy { keys, ..Policy::default() });
    assert!(
        reflected(&mut reflector, &arrival(&signed(request(Mode::Authenticated, 0, 7)))).is_ok()
    );
    let other = signed(request(Mode::Authenticated, 0, 8));
    assert_eq!(reflected(&mut reflector, &arrival(&other)), Err(Refusal::NoKey));
}

#[test]
fn a_recorded_packet_is_not_answered_again_and_a_restarted_sender_is() {
    let mut reflector = authenticated(None);
    let mut send = |sequence, time: u64| {
        let mut payload = request(Mode::Authenticated, sequence, 42);
        payload[16..24].copy_from_slice(&time.to_be_bytes());
        reflected(&mut reflector, &arrival(&signed(payload))).map(|_| ())
    };
    assert_eq!(send(100, T1), Ok(()));
    assert_eq!(send(100, T1), Err(Refusal::Replay));
    assert_eq!(send(99, T1 - 1_000), Ok(()));
    assert_eq!(send(99, T1 - 1_000), Err(Refusal::Replay));
    assert_eq!(send(98, T1 - (3 << 32)), Err(Refusal::Replay));
    assert_eq!(send(36, T1 - 1_000), Err(Refusal::Replay));
    assert_eq!(send(0, T1 + 5), Ok(()));
    assert_eq!(send(100, T1), Err(Refusal::Replay));
    assert_eq!(send(1_000, T1 + 6), Ok(()));
    assert_eq!(send(999, T1 + 5), Ok(()));
}

#[test]
fn a_full_table_answers_without_a_session_and_a_silent_one_makes_room() {
    let mut reflector = Reflector::new(Policy { max_sessions: 1, ..Policy::default() });
    let send = |reflector: &mut Reflector, ssid| {
        let reply = reflected(reflector, &arrival(&request(Mode::Open, 5, ssid))).unwrap();
        Reply::parse(Mode::Open, &reply).unwrap().sequence
    };
    assert_eq!((send(&mut reflector, 1), send(&mut reflector, 2)), (0, 5));
    assert_eq!((reflector.sessions().len(), reflector.sessions().refused()), (1, 1));
    reflector.expire(MonoTime::from_ns(5_000_000_000 + 900_000_000_001));
    assert_eq!((reflector.sessions().len(), reflector.sessions().expired()), (0, 1));
    assert_eq!(send(&mut reflector, 2), 0);
}

#[test]
fn sessions_of_somebody_else_number_and_refuse_as_he_says() {
    let place = Place { number: 17, received: 20, last_reply: Some((16, T3)), ahead: true };
    let tlvs: [(Kind, &[u8]); 2] =
        [(Kind::DirectMeasurement, &[0; 12]), (Kind::FollowUpTelemetry, &[0; 16])];
    let payload = with_tlvs(&tlvs);
    let mut asked = Vec::new();
    let mut reflector = open();
    let mut handle = |payload: &[u8], says| {
        let book = &mut |id: SessionKey, request: &Request, numbered| {
            asked.push((id.ssid, request.sequence, numbered));
            says
        };
        reflector.handle_with(&arrival(payload), &clock(), book)
    };
    let answer = handle(&payload, Entered::Numbered(place)).unwrap();
    assert_eq!((answer.sequence(), answer.session().map(|id| id.ssid)), (17, Some(42)));
    let told: Vec<_> = tlv::walk(&answer.payload[44..]).map(|tlv| tlv.unwrap().value).collect();
    let follow_up = tlv::FollowUp { sequence: 16, timestamp: T3, method: 2 }.emit();
    assert_eq!(told, [&[0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0, 18][..], &follow_up]);
    let unnumbered = handle(&payload, Entered::Unnumbered).unwrap();
    assert_eq!((unnumbered.sequence(), unnumbered.session()), (0, None));
    assert_eq!(handle(&payload, Entered::Replay).map(|_| ()), Err(Refusal::Replay));
    handle(&request(Mode::Open, 9, 0), Entered::Replay).unwrap();
    assert_eq!(asked, [(42, 0, true); 3]);
    assert!(reflector.sessions().is_empty());
}

#[test]
fn signed_requests_are_looked_for_among_recorded_ones_also_where_replies_have_no_number() {
    let mut asked = 0;
    let default = Some(KeyPair { current: key(), previous: None });
    let keys = Keys { default, ..Keys::default() };
    let policy = Policy { keys, numbering: Numbering::Stateless, ..Policy::default() };
    let mut reflector = Reflector::new(policy);
    let payload = signed(request(Mode::Authenticated, 5, 42));
    let replay = reflector.handle_with(&arrival(&payload), &clock(), &mut |_, _, numbered| {
        asked += u32::from(!numbered);
        Entered::Replay
    });
    assert_eq!((replay.map(|_| ()), asked), (Err(Refusal::Replay), 1));
    assert!(reflected(&mut reflector, &arrival(&payload)).is_ok());
    assert_eq!(reflected(&mut reflector, &arrival(&payload)), Err(Refusal::Replay));
}

#[test]
fn requests_that_did_not_arrive_are_counted_by_session() {
    let mut reflector = open();
    for sequence in [10, 11, 14, 13] {
        reflected(&mut reflector, &arrival(&request(Mode::Open, sequence, 42))).unwrap();
    }
    let (_, session) = reflector.sessions().iter().next().unwrap();
    assert_eq!((session.received, session.transmitted, session.lost_forward()), (4, 4, 1));
}

#[test]
fn a_clock_that_says_nothing_answers_nothing() {
    let payload = request(Mode::Open, 0, 0);
    let unset = Arrival { received: WallTime::from_ns(0), ..arrival(&payload) };
    let clock = Clock { format: Format::Ptp, ..clock() };
    assert_eq!(open().handle(&unset, &clock).map(|_| ()), Err(Refusal::ClockUnset));
}

#[test]
fn a_light_peer_may_pad_with_anything_but_a_time() {
    let twamp_light = ["10.0.0.0/24".parse().unwrap()].into_iter().collect();
    let mut reflector = Reflector::new(Policy { twamp_light, ..Policy::default() });
    let mut payload = request(Mode::Open, 3, 0x5a5a);
    payload.resize(60, 0);
    payload[16..].fill(0x5a);
    assert_eq!(reflected(&mut open(), &arrival(&payload)), Err(Refusal::LoopGuard));
    let reply = reflected(&mut reflector, &arrival(&payload)).unwrap();
    assert_eq!((reply.len(), &reply[44..]), (60, &[0x5a; 16][..]));
    for source in ["10.0.0.2:862", "10.0.0.9:862"] {
        let known: SocketAddr = source.parse().unwrap();
        assert_eq!(
            reflected(&mut reflector, &Arrival { source: known, ..arrival(&payload) }),
            Err(Refusal::LoopGuard)
        );
    }
    for time in [T1, Timestamp::encode(Format::Ptp, WallTime::from_ns(T2_NS)).bits()] {
        payload[16..24].copy_from_slice(&time.to_be_bytes());
        assert_eq!(reflected(&mut reflector, &arrival(&payload)), Err(Refusal::LoopGuard));
    }
}

#[test]
fn what_a_light_peer_pads_with_is_no_member_link() {
    let twamp_light = ["10.0.0.0/24".parse().unwrap()].into_iter().collect();
    let numbering = Numbering::Stateful;
    let mut reflector = Reflector::new(Policy { twamp_light, numbering, ..Policy::default() });
    for member in [1, 2] {
        let payload = with_tlvs(&[(Kind::MicroSessionId, &[0, member, 0, 0])]);
        reflected(&mut reflector, &arrival(&payload)).unwrap();
    }
    assert_eq!(reflector.sessions().len(), 1);
}

#[test]
fn padding_and_zeros_and_stray_octets_go_back_untouched() {
    let padded = with_tlvs(&[(Kind::ExtraPadding, &[7; 5])]);
    assert_eq!(answered(&mut open(), &padded), [(0, vec![7; 5])]);
    for tail in [&[0; 20][..], &[9], &[0x80, 1, 0]] {
        let payload = [&request(Mode::Open, 0, 42)[..], tail].concat();
        let reply = reflected(&mut open(), &arrival(&payload)).unwrap();
        assert_eq!(&reply[44..], tail);
    }
}

#[test]
fn what_is_not_understood_is_flagged_and_skipped() {
    let payload = with_tlvs(&[
        (Kind::Other(250), &[1, 2]),
        (Kind::Other(0), &[]),
        (Kind::TimestampInformation, &[0; 4]),
    ]);
    let u = Flags::UNRECOGNIZED.bits();
    assert_eq!(
        answered(&mut open(), &payload),
        [(u, vec![1, 2]), (u, vec![]), (0, vec![4, 2, 4, 2])]
    );
}

#[test]
fn an_impossible_length_is_flagged_and_ends_the_walk() {
    let payload =
        with_tlvs(&[(Kind::FollowUpTelemetry, &[7; 15]), (Kind::TimestampInformation, &[9; 4])]);
    let reply = answered(&mut open(), &payload);
    assert_eq!(
        reply,
        [(Flags::MALFORMED.bits(), vec![0; 15]), (Flags::UNRECOGNIZED.bits(), vec![9; 4])]
    );
    let mut cut =
        with_tlvs(&[(Kind::TimestampInformation, &[0; 4]), (Kind::ClassOfService, &[0xff; 4])]);
    cut.truncate(cut.len() - 1);
    let reply = reflected(&mut open(), &arrival(&cut)).unwrap();
    assert_eq!(&reply[44..], [0, 3, 0, 4, 4, 2, 4, 2, 0x40, 4, 0, 4, 0xff, 0xff, 0xff]);
}

#[test]
fn class_of_service_tells_what_came_and_marks_the_reply() {
    let payload = with_tlvs(&[(Kind::ClassOfService, &[10 << 2, 0, 0b0000_0000, 0])]);
    let mut answer = open().handle(&arrival(&payload), &clock()).unwrap();
    assert_eq!(answer.wanted.traffic_class, 10 << 2);
    let told = tlv::ClassOfService::parse(&answer.payload[48..52]).unwrap();
    assert_eq!(
        (told.dscp1, told.dscp2, told.ec2, told.rp, told.ec1, told.rpe),
        (10, 46, 1, 0, 0, 3)
    );
    let mut strict = Reflector::new(Policy { allowed_dscp: 1, ..Policy::default() });
    answer = strict.handle(&arrival(&payload), &clock()).unwrap();
    assert_eq!(
        (
            answer.wanted.traffic_class,
            tlv::ClassOfService::parse(&answer.payload[48..52]).unwrap().rp
        ),
        (46 << 2, 1)
    );
}

#[test]
fn counters_and_follow_ups_belong_to_a_session() {
    let tlvs: [(Kind, &[u8]); 2] = [
        (Kind::DirectMeasurement, &[0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0]),
        (Kind::FollowUpTelemetry, &[9; 16]),
    ];
    let mut reflector = open();
    let first = answered(&mut reflector, &with_tlvs(&tlvs));
    assert_eq!(first, [(0, vec![0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 1]), (0, vec![0; 16])]);
    let second = answered(&mut reflector, &with_tlvs(&tlvs));
    let follow_up = [&[0; 4][..], &T3.bits().to_be_bytes(), &[2, 0, 0, 0]].concat();
    assert_eq!(second, [(0, vec![0, 0, 0, 9, 0, 0, 0, 2, 0, 0, 0, 2]), (0, follow_up)]);
    let mut stateless =
        Reflector::new(Policy { numbering: Numbering::Stateless, ..Policy::default() });
    let without = answered(&mut stateless, &with_tlvs(&tlvs));
    assert_eq!(without, [(Flags::UNRECOGNIZED.bits(), tlvs[0].1.to_vec()), (0, vec![0; 16])]);
}

#[test]
fn a_follow_up_tells_the_better_time_of_the_reply_it_is_about() {
    let mut reflector = open();
    let payload = with_tlvs(&[(Kind::FollowUpTelemetry, &[9; 16])]);
    let answer = reflector.handle(&arrival(&payload), &clock()).unwrap();
    let session = *answer.session().unwrap();
    let mut answer = answer;
    reflector.stamp(&mut answer, T3);
    let better = Timestamp::from_bits(T3.bits() + 77);
    reflector.handle_sent(&session, answer.sequence() + 1, Timestamp::ZERO);
    reflector.handle_sent(&session, answer.sequence(), better);
    let told = tlv::FollowUp::parse(&answered(&mut reflector, &payload)[0].1).unwrap();
    assert_eq!((told.sequence, told.timestamp), (0, better));
}

#[test]
fn a_location_tells_what_may_be_told() {
    let mut value = vec![0; 4];
    tlv::append(&mut value, Kind::Other(1), &[0xee; 8]);
    tlv::append(&mut value, Kind::Other(4), &[0xee; 16]);
    tlv::append(&mut value, Kind::Other(7), &[0xee; 16]);
    let payload = with_tlvs(&[(Kind::Location, &value)]);
    let [(0, told)] = &answered(&mut open(), &payload)[..] else {
        panic!("one extension came back")
    };
    assert_eq!(told[..4], [862_u16.to_be_bytes(), 1001_u16.to_be_bytes()].concat());
    assert_eq!((told[5], &told[8..16]), (2, &[0; 8][..]));
    assert_eq!(
        (told[17], &told[20..36]),
        (5, &[10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0][..])
    );
    assert_eq!((told[37], &told[40..44]), (8, &[10, 0, 0, 2][..]));
    let disclose = super::Disclose { ports: false, addresses: false, mac: true };
    let mut other = Reflector::new(Policy { disclose, ..Policy::default() });
    let [(0, told)] = &answered(&mut other, &payload)[..] else {
        panic!("one extension came back")
    };
    assert_eq!(
        (&told[..4], &told[8..14], &told[20..36]),
        (&[0; 4][..], &[2, 0, 0, 0, 0, 7][..], &[0; 16][..])
    );
}

#[test]
fn a_node_answers_only_by_its_own_addresses() {
    let u = Flags::UNRECOGNIZED.bits();
    assert_eq!(
        answered(&mut open(), &with_tlvs(&[(Kind::DestinationNodeAddress, &[10, 0, 0, 9])]))[0].0,
        u
    );
    let own_addresses = vec!["10.0.0.9".parse().unwrap()];
    let mut reflector = Reflector::new(Policy { own_addresses, ..Policy::default() });
    let payload = with_tlvs(&[(Kind::DestinationNodeAddress, &[10, 0, 0, 9])]);
    let answer = reflector.handle(&arrival(&payload), &clock()).unwrap();
    assert_eq!((answer.payload[44], answer.wanted.source.to_string()), (0, "10.0.0.9".to_owned()));
}

#[test]
fn a_way_back_is_obeyed_or_refused_as_asked() {
    let path = |subs: &[(u8, &[u8])]| {
        let mut value = Vec::new();
        subs.iter().for_each(|(code, octets)| tlv::append(&mut value, Kind::Other(*code), octets));
        with_tlvs(&[(Kind::ReturnPath, &value)])
    };
    let handle = |payload: &[u8]| {
        open()
            .handle(&arrival(payload), &clock())
            .map(|answer| (answer.payload[44], answer.wanted.same_link))
    };
    assert_eq!(handle(&path(&[(1, &[0, 0, 0, 0])])), Err(Refusal::NoReplyRequested));
    assert_eq!(handle(&path(&[(1, &[0, 0, 0, 1])])), Ok((0, true)));
    assert_eq!(handle(&path(&[(1, &[0, 0, 0, 1]), (1, &[0, 0, 0, 0])])), Ok((0, true)));
    assert_eq!(handle(&path(&[(1, &[0, 0, 1])])), Ok((0x40, false)));
    for refused in [2, 3, 4, 9] {
        assert_eq!(handle(&path(&[(refused, &[10, 0, 0, 7])])), Ok((0x80, false)));
    }
}

#[test]
fn replies_go_to_another_address_only_where_that_is_permitted() {
    let path = |subs: &[&str]| {
        let mut value = Vec::new();
        for sub in subs {
            let octets = match sub.parse().unwrap() {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            };
            tlv::append(&mut value, Kind::Other(2), &octets);
        }
        with_tlvs(&[(Kind::ReturnPath, &value)])
    };
    let handle = |return_address, payload: &[u8]| {
        let deny = ["8.8.8.8".parse().unwrap()].into_iter().collect();
        let policy = Policy { return_address, allow: Prefixes::all(), deny, ..Policy::default() };
        let answer = Reflector::new(policy).handle(&arrival(payload), &clock()).unwrap();
        (answer.payload[44], answer.wanted.destination.to_string())
    };
    let back = "10.0.0.2:1001".to_owned();
    assert_eq!(handle(false, &path(&["10.0.0.7"])), (0x80, back.clone()));
    assert_eq!(handle(true, &path(&["10.0.0.7"])), (0, "10.0.0.7:1001".to_owned()));
    assert_eq!(handle(true, &path(&["10.0.0.7", "10.0.0.8"])), (0, "10.0.0.7:1001".to_owned()));
    for refused in ["8.8.8.8", "224.0.0.1", "255.255.255.255", "127.0.0.1", "0.0.0.0", "fd00::7"] {
        assert_eq!(handle(true, &path(&[refused])), (0x80, back.clone()), "{refused}");
    }
    assert_eq!(handle(true, &path(&["8.8.8.8", "10.0.0.7"])), (0x80, back.clone()));
    let mut other = path(&["10.0.0.7"]);
    other.extend([0x80, 3, 0, 4, 0, 0, 0, 0]);
    other[47] += 8;
    assert_eq!(handle(true, &other), (0x80, back));
}

#[test]
fn member_links_are_matched() {
    let send = |member, asked: [u8; 4]| {
        let payload = with_tlvs(&[(Kind::MicroSessionId, &asked)]);
        let came = Arrival { member, ..arrival(&payload) };
        open()
            .handle(&came, &clock())
            .map(|answer| (answer.payload[44], answer.payload[48..52].to_vec()))
    };
    assert_eq!(send(Some(5), [0, 1, 0, 0]), Ok((0, vec![0, 1, 0, 5])));
    assert_eq!(send(Some(5), [0, 1, 0, 5]), Ok((0, vec![0, 1, 0, 5])));
    assert_eq!(send(Some(5), [0, 1, 0, 6]), Err(Refusal::MicroSession));
    assert_eq!(send(None, [0, 1, 0, 6]), Ok((0x80, vec![0, 1, 0, 6])));
}

/// An authenticated request whose extensions are signed behind `signed` of them.
fn protected(tlvs: &[(Kind, &[u8])], signed_behind: usize) -> Vec<u8> {
    let mut area = Vec::new();
    for (n, (kind, value)) in tlvs.iter().enumerate() {
        if n == signed_behind {
            let hmac = key().tlv_hmac([0, 0, 0, 3], &area);
            tlv::append(&mut area, Kind::Hmac, &hmac);
        }
        tlv::append(&mut area, *kind, value);
    }
    if signed_behind == tlvs.len() {
        let hmac = key().tlv_hmac([0, 0, 0, 3], &area);
        tlv::append(&mut area, Kind::Hmac, &hmac);
    }
    [signed(request(Mode::Authenticated, 3, 42)), area].concat()
}

fn flags(reply: &[u8]) -> Vec<u8> {
    tlv::walk(&reply[112..]).map(|tlv| tlv.unwrap().flags.bits()).collect()
}

#[test]
fn signed_extensions_are_answered_and_signed_again() {
    let info: (Kind, &[u8]) = (Kind::TimestampInformation, &[0; 4]);
    let padding: (Kind, &[u8]) = (Kind::ExtraPadding, &[5; 6]);
    for (tlvs, behind) in
        [(&[info][..], 1), (&[info, padding], 1), (&[info, padding], 2), (&[padding], 1)]
    {
        let payload = protected(tlvs, behind);
        let reply = reflected(&mut authenticated(None), &arrival(&payload)).unwrap();
        assert!(flags(&reply).iter().all(|&flags| flags == 0), "{tlvs:?} {behind}");
        assert!(key().verifies(&reply));
        let hmac = tlv::walk(&reply[112..])
            .map(Result::unwrap)
            .find(|tlv| tlv.kind == Kind::Hmac)
            .unwrap();
        let computed = key().tlv_hmac([0; 4], &reply[112..112 + hmac.offset]);
        assert_eq!(computed, hmac.value);
    }
}

#[test]
fn extensions_that_are_not_what_was_signed_go_back_flagged_and_untouched() {
    let info: (Kind, &[u8]) = (Kind::TimestampInformation, &[6; 4]);
    let mut forged = protected(&[info], 1);
    forged[116] ^= 1;
    let mut unsigned = signed(request(Mode::Authenticated, 3, 42));
    tlv::append(&mut unsigned, info.0, info.1);
    for payload in [forged, unsigned, protected(&[info, info], 1)] {
        let reply = reflected(&mut authenticated(None), &arrival(&payload)).unwrap();
        assert!(flags(&reply).iter().all(|&flags| flags == Flags::INTEGRITY_FAILED.bits()));
        assert_eq!(reply[116..120], payload[116..120]);
    }
}

#[test]
fn padding_needs_no_signature() {
    let mut payload = signed(request(Mode::Authenticated, 3, 42));
    tlv::append(&mut payload, Kind::ExtraPadding, &[5; 6]);
    assert_eq!(flags(&reflected(&mut authenticated(None), &arrival(&payload)).unwrap()), [0]);
}

#[test]
fn every_reason_has_a_name_of_its_own() {
    let names: std::collections::BTreeSet<_> =
        Refusal::ALL.map(Refusal::reason).into_iter().collect();
    assert_eq!(names.len(), Refusal::ALL.len());
}

proptest! {
    #[test]
    fn whatever_is_answered_once_is_never_answered_again(tail: Vec<u8>, sequence: u32, ssid: u16, bits: u64, from_port in 1_u16..) {
        for mode in [Mode::Open, Mode::Authenticated] {
            let mut payload = request(mode, sequence, ssid);
            let at = if mode == Mode::Open { 4 } else { 16 };
            payload[at..at + 8].copy_from_slice(&bits.to_be_bytes());
            if mode == Mode::Authenticated {
                key().sign(&mut payload);
            }
            payload.extend(&tail);
            let mut reflector = if mode == Mode::Open { open() } else { authenticated(None) };
            let source = SocketAddr::new(arrival(&[]).source.ip(), from_port);
            let Ok(reply) = reflected(&mut reflector, &Arrival { source, ..arrival(&payload) }) else { continue };
            prop_assert_eq!(reply.len(), payload.len());
            prop_assert_eq!(Shape::of(mode, &reply), Shape::Reply);
            let back = Arrival { source, ..arrival(&reply) };
            prop_assert_eq!(reflected(&mut reflector, &back), Err(Refusal::LoopGuard));
            prop_assert_eq!(reflected(&mut open(), &back), Err(Refusal::LoopGuard));
        }
    }

    #[test]
    fn any_octets_are_handled(payload in proptest::collection::vec(any::<u8>(), 0..300), light: bool) {
        let twamp_light = if light { Prefixes::all() } else { Prefixes::default() };
        let mut reflector = Reflector::new(Policy { twamp_light, ..Policy::default() });
        if let Ok(reply) = reflected(&mut reflector, &arrival(&payload)) {
            prop_assert!(reply.len() == payload.len().max(44));
        }
        if payload.len() >= 112 {
            let reply = reflected(&mut authenticated(None), &arrival(&signed(payload.clone())));
            prop_assert!(reply.is_ok_and(|reply| reply.len() == payload.len()) || payload[28..96].iter().any(|&octet| octet != 0));
        }
    }
}
