use super::{
    Arrival, Discard, Fault, LocalClock, Moment, OneWay, Sender, Settings, Timescale, Unusable,
};
use crate::auth::Key;
use crate::clock::{MonoTime, WallTime};
use crate::estimate::ErrorEstimate;
use crate::loss::{Direction, Outcome, Reflector};
use crate::offset::Offset;
use crate::packet::{Mode, Reply, Request};
use crate::reflector::KeyPair;
use crate::timestamp::{Format, Timestamp};
use crate::tlv::{self, Kind};

mod slots;

const EPOCH_NS: i64 = 1_795_217_500_000_000_000;
const MS: i64 = 1_000_000;

fn moment(ns: i64) -> Moment {
    Moment {
        wall: WallTime::from_ns(EPOCH_NS + ns),
        mono: MonoTime::from_ns(77_000 + ns),
        epoch: 0,
    }
}

fn settings() -> Settings {
    Settings {
        keys: None,
        ssid: 42,
        format: Format::Ntp,
        timescale: Timescale::UTC,
        timeout_ns: 1_000 * MS,
        min_ttl: 0,
        zero_ssid_is_fatal: false,
        window: 64,
        reflector: Reflector::Stateful,
        extensions: Vec::new(),
    }
}

fn synchronized() -> ErrorEstimate {
    ErrorEstimate::new(true, Format::Ntp, 1_000_000)
}

fn sent(sender: &mut Sender, at: i64) -> Request {
    let mut payload = vec![0xa5; 7];
    sender.request(moment(at), 0, synchronized(), &mut payload);
    Request::parse(sender.settings().mode(), &payload).unwrap()
}

/// A reply to `request` by a clock that is `offset` ahead, 20 µs each way, 5 µs inside.
fn reply(request: &Request, sent_at: i64, offset: i64) -> Reply {
    let time = |ns: i64| {
        Timestamp::encode(Format::Ntp, WallTime::from_ns(EPOCH_NS + sent_at + offset + ns))
    };
    Reply {
        sequence: request.sequence,
        timestamp: time(25_000),
        error_estimate: synchronized(),
        ssid: request.ssid,
        receive_timestamp: time(20_000),
        sender_sequence: request.sequence,
        sender_timestamp: request.timestamp,
        sender_error_estimate: request.error_estimate,
        sender_ttl: Some(255),
    }
}

fn octets(reply: &Reply) -> Vec<u8> {
    let mut payload = vec![0; 44];
    reply.emit(Mode::Open, &mut payload);
    payload
}

fn arrival(at: i64) -> Arrival {
    Arrival { at: moment(at), ttl: Some(254), traffic_class: 0 }
}

#[test]
fn an_answered_request_tells_its_times() {
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    let sample =
        sender.handle_reply(&octets(&reply(&request, 0, 3 * MS)), &arrival(45_000)).unwrap();
    assert_eq!((sample.outcome, sample.fault), (Outcome::First, None));
    assert_eq!(
        (sample.roundtrip_gross_ns, sample.residence_ns, sample.roundtrip_ns),
        (45_000, Some(5_000), Some(40_000))
    );
    assert_eq!(
        (sample.near_raw_ns(), sample.far_raw_ns()),
        (Some(3 * MS + 20_000), Some(20_000 - 3 * MS))
    );
    assert_eq!((sample.ttl_forward, sample.ttl_reverse), (Some(255), Some(254)));
}

#[test]
fn requests_are_numbered_and_carry_the_session() {
    let mut sender = Sender::new(settings());
    for sequence in 0..3 {
        let request = sent(&mut sender, i64::from(sequence) * MS);
        assert_eq!(
            (request.sequence, request.ssid, request.error_estimate),
            (sequence, Some(42), synchronized())
        );
        assert_eq!(
            request.timestamp,
            Timestamp::encode(Format::Ntp, moment(i64::from(sequence) * MS).wall)
        );
    }
}

#[test]
fn a_clock_ahead_of_utc_is_written_ahead_and_read_back() {
    let timescale = Timescale { ptp_ahead_s: 37, ntp_ahead_s: 0 };
    let mut sender = Sender::new(Settings { format: Format::Ptp, timescale, ..settings() });
    let mut payload = Vec::new();
    sender.request(moment(0), 37, ErrorEstimate::new(true, Format::Ptp, 1_000), &mut payload);
    let request = Request::parse(Mode::Open, &payload).unwrap();
    assert_eq!(i64::from(request.timestamp.seconds()), EPOCH_NS / 1_000_000_000 + 37);
    let tai =
        |ns: i64| Timestamp::encode(Format::Ptp, WallTime::from_ns(EPOCH_NS + 37_000_000_000 + ns));
    let error_estimate = ErrorEstimate::new(true, Format::Ptp, 1_000);
    let reply = Reply {
        receive_timestamp: tai(20_000),
        timestamp: tai(25_000),
        error_estimate,
        ..reply(&request, 0, 0)
    };
    let sample = sender.handle_reply(&octets(&reply), &arrival(45_000)).unwrap();
    assert_eq!(sample.near_raw_ns(), Some(20_000));
}

#[test]
fn whatever_is_not_the_answer_is_discarded_and_changes_nothing() {
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    let good = reply(&request, 0, 0);
    let bad = |change: fn(&mut Reply)| {
        let mut changed = good;
        change(&mut changed);
        octets(&changed)
    };
    let cases = [
        (octets(&good)[..37].to_vec(), Discard::Short),
        (
            bad(|reply| {
                reply.sender_timestamp = Timestamp::from_bits(reply.sender_timestamp.bits() + 1)
            }),
            Discard::BadT1,
        ),
        (bad(|reply| reply.sender_sequence = 1), Discard::Unsolicited),
        (bad(|reply| reply.sender_sequence = u32::MAX), Discard::Unsolicited),
        (bad(|reply| reply.ssid = Some(43)), Discard::Ssid),
        (bad(|reply| reply.receive_timestamp = Timestamp::ZERO), Discard::Mode),
    ];
    for (payload, why) in cases {
        assert_eq!(sender.handle_reply(&payload, &arrival(45_000)), Err(why));
    }
    assert_eq!((sender.ledger().counts().received, sender.ledger().counts().pending()), (0, 1));
    assert!(sender.handle_reply(&octets(&good), &arrival(45_000)).is_ok());
}

#[test]
fn replies_without_a_session_number_are_a_matter_of_policy() {
    for (zero_ssid_is_fatal, expected) in
        [(false, Ok(Outcome::First)), (true, Err(Discard::ZeroSsid))]
    {
        let mut sender = Sender::new(Settings { zero_ssid_is_fatal, ..settings() });
        let request = sent(&mut sender, 0);
        let reply = Reply { ssid: Some(0), ..reply(&request, 0, 0) };
        let seen =
            sender.handle_reply(&octets(&reply), &arrival(45_000)).map(|sample| sample.outcome);
        assert_eq!(seen, expected);
    }
}

#[test]
fn a_reply_that_came_too_far_is_discarded() {
    let mut sender = Sender::new(Settings { min_ttl: 255, ..settings() });
    let request = sent(&mut sender, 0);
    assert_eq!(
        sender.handle_reply(&octets(&reply(&request, 0, 0)), &arrival(1)),
        Err(Discard::MinTtl)
    );
}

#[test]
fn a_short_reply_counts_and_tells_no_ttl() {
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    let sample =
        sender.handle_reply(&octets(&reply(&request, 0, 0))[..38], &arrival(45_000)).unwrap();
    assert_eq!((sample.ttl_forward, sample.roundtrip_ns), (None, Some(40_000)));
}

#[test]
fn times_that_cannot_be_leave_the_round_trip_only() {
    let request = |sender: &mut Sender| sent(sender, 0);
    let sampled = |change: fn(&mut Reply)| {
        let mut sender = Sender::new(settings());
        let mut reply = reply(&request(&mut sender), 0, 0);
        change(&mut reply);
        let sample = sender.handle_reply(&octets(&reply), &arrival(45_000)).unwrap();
        assert_eq!((sample.outcome, sample.roundtrip_gross_ns), (Outcome::First, 45_000));
        (sample.fault, sample.residence_ns, sample.roundtrip_ns)
    };
    assert_eq!(
        sampled(|reply| reply.timestamp = Timestamp::ZERO),
        (Some(Fault::Timestamp), None, None)
    );
    let no_nanoseconds = |reply: &mut Reply| {
        reply.error_estimate = ErrorEstimate::from_bits(0x4001);
        reply.receive_timestamp =
            Timestamp::from_bits(reply.receive_timestamp.bits() | 0xffff_ffff);
    };
    assert_eq!(sampled(no_nanoseconds), (Some(Fault::Timestamp), None, None));
    assert_eq!(
        sampled(|reply| reply.timestamp = reply.sender_timestamp),
        (Some(Fault::Residence), None, None)
    );
    let late = |reply: &mut Reply| {
        reply.timestamp = Timestamp::from_bits(reply.timestamp.bits() + (1 << 32))
    };
    assert_eq!(sampled(late), (Some(Fault::Residence), None, None));
    assert_eq!(
        sampled(|reply| reply.timestamp = reply.receive_timestamp),
        (None, Some(0), Some(45_000))
    );
}

#[test]
fn a_step_of_our_clock_spares_the_round_trip_and_voids_the_rest() {
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    let stepped =
        Moment { wall: WallTime::from_ns(EPOCH_NS + 5_000 * MS), epoch: 1, ..moment(45_000) };
    let came = Arrival { at: stepped, ..arrival(45_000) };
    let sample = sender.handle_reply(&octets(&reply(&request, 0, 0)), &came).unwrap();
    assert_eq!(
        (sample.roundtrip_ns, sample.near_raw_ns(), sample.far_raw_ns()),
        (Some(40_000), None, None)
    );
    let one_way = OneWay::of(&sample, Direction::Forward, trusted(), None, false);
    assert_eq!(one_way.unusable, Some(Unusable::LocalStep));
}

#[test]
fn a_better_time_of_sending_replaces_ours_but_not_what_is_echoed() {
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    sender.handle_sent(request.sequence, moment(4_000));
    sender.handle_sent(99, moment(0));
    let sample = sender.handle_reply(&octets(&reply(&request, 0, 0)), &arrival(45_000)).unwrap();
    assert_eq!((sample.roundtrip_gross_ns, sample.near_raw_ns()), (41_000, Some(16_000)));
}

#[test]
fn a_request_is_given_up_when_its_time_is_over_and_called_unknown_when_nothing_explains_it() {
    let mut sender = Sender::new(settings());
    assert_eq!(sender.poll_timeout(), None);
    sent(&mut sender, 0);
    let second = sent(&mut sender, 500 * MS);
    assert_eq!(sender.poll_timeout(), Some(moment(1_000 * MS).mono));
    sender.handle_timeout(moment(1_000 * MS).mono);
    assert_eq!((sender.ledger().open(), sender.ledger().counts().pending()), (1..2, 2));
    let late = sender.handle_reply(
        &octets(&Reply { sequence: 0, ..reply(&second, 500 * MS, 0) }),
        &arrival(1_400 * MS),
    );
    assert_eq!(late.unwrap().outcome, Outcome::First);
    assert_eq!(sender.ledger().counts().lost.forward, 1);
    sent(&mut sender, 2_000 * MS);
    sender.handle_timeout(moment(13_000 * MS).mono);
    assert_eq!(sender.ledger().counts().pending(), 1);
    sender.handle_timeout(moment(13_000 * MS + 1).mono);
    assert_eq!((sender.ledger().counts().pending(), sender.ledger().counts().lost.unknown), (0, 1));
}

#[test]
fn the_end_leaves_nothing_open() {
    let mut sender = Sender::new(settings());
    for at in 0..3 {
        sent(&mut sender, at);
    }
    sender.finish();
    assert_eq!((sender.ledger().counts().pending(), sender.ledger().counts().lost.unknown), (0, 3));
    Sender::new(settings()).finish();
}

fn keyed(extensions: Vec<(Kind, Vec<u8>)>) -> Sender {
    let keys = Some(KeyPair { current: key(), previous: Some(Key::new(b"the one before")) });
    Sender::new(Settings { keys, extensions, ..settings() })
}

fn key() -> Key {
    Key::new(b"a key for the sender")
}

#[test]
fn signed_sessions_take_signed_replies_only() {
    let mut sender = keyed(Vec::new());
    let mut payload = Vec::new();
    sender.request(moment(0), 0, synchronized(), &mut payload);
    assert!(key().verifies(&payload));
    let reply = reply(&Request::parse(Mode::Authenticated, &payload).unwrap(), 0, 0);
    let mut octets = vec![0; 112];
    reply.emit(Mode::Authenticated, &mut octets);
    assert_eq!(sender.handle_reply(&octets, &arrival(45_000)), Err(Discard::Hmac));
    Key::new(b"the one before").sign(&mut octets);
    assert!(sender.handle_reply(&octets, &arrival(45_000)).is_ok());
}

#[test]
fn extensions_are_signed_unless_they_are_padding_alone() {
    let kinds = |extensions: &[Kind]| {
        let mut payload = Vec::new();
        let extensions = extensions.iter().map(|&kind| (kind, vec![0; 4])).collect();
        keyed(extensions).request(moment(0), 0, synchronized(), &mut payload);
        let walk = tlv::walk(&payload[112..]).map(|tlv| tlv.unwrap().kind);
        walk.collect::<Vec<_>>()
    };
    assert_eq!(kinds(&[Kind::ExtraPadding]), [Kind::ExtraPadding]);
    let info = Kind::TimestampInformation;
    assert_eq!(kinds(&[info, Kind::ExtraPadding]), [info, Kind::ExtraPadding, Kind::Hmac]);
}

#[test]
fn slots_are_enough_for_the_rate_and_bounded() {
    assert_eq!(Settings::window_for(1.0, 1_000 * MS), Some(128));
    assert_eq!(Settings::window_for(10_000.0, 1_000 * MS), Some(131_072));
    assert_eq!(Settings::window_for(10_000.0, 10_000 * MS), None);
}

fn trusted() -> LocalClock {
    LocalClock { synchronized: true, error_ns: Some(1_000), leaping: false }
}

fn one_way(offset: i64, local: LocalClock, suspect: bool, estimate: ErrorEstimate) -> OneWay {
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    let reply = Reply { error_estimate: estimate, ..reply(&request, 0, offset) };
    let sample = sender.handle_reply(&octets(&reply), &arrival(45_000)).unwrap();
    let told = Offset {
        offset_ns: offset + 7,
        bound_ns: 20,
        skew_ppb: None,
        measured_at: MonoTime::from_ns(0),
        samples: 1,
    };
    OneWay::of(&sample, Direction::Forward, local, Some(&told), suspect)
}

#[test]
fn a_one_way_delay_is_trusted_only_where_both_clocks_are() {
    let good = one_way(0, trusted(), false, synchronized());
    assert_eq!(
        (good.trusted_ns(), good.certain_ns),
        (Some(20_000), Some((20_000 - 27, 20_000 + 13)))
    );
    let why = |local, suspect, estimate| one_way(0, local, suspect, estimate).unusable;
    let unsynchronized = ErrorEstimate::new(false, Format::Ntp, 1_000);
    assert_eq!(why(trusted(), false, unsynchronized), Some(Unusable::Unsynchronised));
    assert_eq!(
        why(LocalClock { synchronized: false, ..trusted() }, false, synchronized()),
        Some(Unusable::Unsynchronised)
    );
    assert_eq!(why(trusted(), true, synchronized()), Some(Unusable::Timescale));
    assert_eq!(
        why(LocalClock { error_ns: None, ..trusted() }, false, synchronized()),
        Some(Unusable::InvalidEstimate)
    );
    assert_eq!(
        why(trusted(), false, ErrorEstimate::from_bits(0x8000)),
        Some(Unusable::InvalidEstimate)
    );
    assert_eq!(
        why(LocalClock { error_ns: Some(4_000), ..trusted() }, false, synchronized()),
        Some(Unusable::ErrorTooLarge)
    );
    let negative = one_way(-30_000, trusted(), false, synchronized());
    assert_eq!(
        (negative.raw_ns, negative.unusable, negative.trusted_ns()),
        (Some(-10_000), Some(Unusable::Negative), None)
    );
    assert_eq!(negative.certain_ns, Some((20_000 - 27, 20_000 + 13)));
}

#[test]
fn nothing_is_trusted_about_a_leap_second() {
    let of_day = EPOCH_NS % 86_400_000_000_000;
    let midnight = 86_400_000_000_000 - of_day;
    let why = |leaping, at: i64| {
        let mut sender = Sender::new(settings());
        let request = sent(&mut sender, at);
        let reply = octets(&reply(&request, at, 0));
        let sample = sender.handle_reply(&reply, &arrival(at + 45_000)).unwrap();
        let local = LocalClock { leaping, ..trusted() };
        OneWay::of(&sample, Direction::Forward, local, None, false).unusable
    };
    let second = 1_000 * MS;
    for about in [midnight - 2 * second - 1, midnight, midnight + second] {
        assert_eq!((why(true, about), why(false, about)), (Some(Unusable::Leap), None));
    }
    for far in [0, midnight - 3 * second, midnight + second + 1] {
        assert_eq!(why(true, far), None);
    }
}

#[test]
fn a_certain_delay_is_never_negative() {
    let told = Offset {
        offset_ns: 0,
        bound_ns: 50_000,
        skew_ppb: None,
        measured_at: MonoTime::from_ns(0),
        samples: 1,
    };
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    let sample = sender.handle_reply(&octets(&reply(&request, 0, 0)), &arrival(45_000)).unwrap();
    for direction in Direction::ALL {
        assert_eq!(
            OneWay::of(&sample, direction, trusted(), Some(&told), false).certain_ns,
            Some((0, 70_000))
        );
    }
}

#[test]
fn another_session_begins_with_its_first_request_and_counts_go_on() {
    let mut sender = Sender::new(settings());
    let first = sent(&mut sender, 0);
    sender.handle_reply(&octets(&reply(&first, 0, 0)), &arrival(45_000)).unwrap();
    let second = sent(&mut sender, MS);
    sender.begin_again(43);
    assert_eq!((sender.settings().ssid, sender.ledger().open()), (43, 0..0));
    let counts = sender.ledger().counts();
    assert_eq!((counts.sent, counts.received, counts.lost.total()), (2, 1, 1));
    let stray = sender.handle_reply(&octets(&reply(&second, MS, 0)), &arrival(MS + 45_000));
    assert_eq!(stray, Err(Discard::Unsolicited));
    let third = sent(&mut sender, 2 * MS);
    assert_eq!((third.sequence, third.ssid), (0, Some(43)));
    let answer = octets(&reply(&third, 2 * MS, 0));
    assert!(sender.handle_reply(&answer, &arrival(2 * MS + 45_000)).is_ok());
    let counts = sender.ledger().counts();
    assert_eq!((counts.sent, counts.received, counts.pending()), (3, 2, 0));
}
