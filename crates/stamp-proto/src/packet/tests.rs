use super::{Mode, Reply, Request, Shape, Truncated};
use crate::estimate::ErrorEstimate;
use crate::timestamp::Timestamp;
use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
use proptest::strategy::Strategy;

const MODES: [Mode; 2] = [Mode::Open, Mode::Authenticated];

fn request() -> Request {
    Request {
        sequence: 0x0102_0304,
        timestamp: Timestamp::from_bits(0x1112_1314_1516_1718),
        error_estimate: ErrorEstimate::from_bits(0x2122),
        ssid: Some(0x3132),
    }
}

fn reply() -> Reply {
    Reply {
        sequence: 0x4142_4344,
        timestamp: Timestamp::from_bits(0x5152_5354_5556_5758),
        error_estimate: ErrorEstimate::from_bits(0x6162),
        ssid: Some(0x3132),
        receive_timestamp: Timestamp::from_bits(0x7172_7374_7576_7778),
        sender_sequence: 0x0102_0304,
        sender_timestamp: Timestamp::from_bits(0x1112_1314_1516_1718),
        sender_error_estimate: ErrorEstimate::from_bits(0x2122),
        sender_ttl: Some(0x81),
    }
}

/// The octets of `fields`, each at its place in `len` zeros.
fn octets(len: usize, fields: &[(usize, &[u8])]) -> Vec<u8> {
    let mut all = vec![0; len];
    for (at, field) in fields {
        all[*at..at + field.len()].copy_from_slice(field);
    }
    all
}

fn request_octets(mode: Mode) -> Vec<u8> {
    let timestamp: &[u8] = &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18];
    let [time, estimate, ssid] = match mode {
        Mode::Open => [4, 12, 14],
        Mode::Authenticated => [16, 24, 26],
    };
    let fields: [(usize, &[u8]); 4] =
        [(0, &[1, 2, 3, 4]), (time, timestamp), (estimate, &[0x21, 0x22]), (ssid, &[0x31, 0x32])];
    octets(mode.base_len(), &fields)
}

fn reply_octets(mode: Mode) -> Vec<u8> {
    let [time, estimate, ssid, receive, sequence, sent, sent_estimate, ttl] = match mode {
        Mode::Open => [4, 12, 14, 16, 24, 28, 36, 40],
        Mode::Authenticated => [16, 24, 26, 32, 48, 64, 72, 80],
    };
    let fields: [(usize, &[u8]); 9] = [
        (0, &[0x41, 0x42, 0x43, 0x44]),
        (time, &[0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58]),
        (estimate, &[0x61, 0x62]),
        (ssid, &[0x31, 0x32]),
        (receive, &[0x71, 0x72, 0x73, 0x74, 0x75, 0x76, 0x77, 0x78]),
        (sequence, &[1, 2, 3, 4]),
        (sent, &[0x11, 0x12, 0x13, 0x14, 0x15, 0x16, 0x17, 0x18]),
        (sent_estimate, &[0x21, 0x22]),
        (ttl, &[0x81]),
    ];
    octets(mode.base_len(), &fields)
}

#[test]
fn a_request_is_taken_apart() {
    for mode in MODES {
        assert_eq!(Request::parse(mode, &request_octets(mode)), Ok(request()));
    }
}

#[test]
fn a_request_is_built_into_a_dirty_buffer() {
    for mode in MODES {
        let mut buffer = vec![0xa5; mode.base_len() + 3];
        request().emit(mode, &mut buffer);
        assert_eq!(buffer[..mode.base_len()], request_octets(mode));
        assert_eq!(buffer[mode.base_len()..], [0xa5; 3]);
    }
}

#[test]
fn a_reply_is_taken_apart() {
    for mode in MODES {
        assert_eq!(Reply::parse(mode, &reply_octets(mode)), Ok(reply()));
    }
}

#[test]
fn a_reply_is_built_into_a_dirty_buffer() {
    for mode in MODES {
        let mut buffer = vec![0xa5; mode.base_len() + 3];
        reply().emit(mode, &mut buffer);
        assert_eq!(buffer[..mode.base_len()], reply_octets(mode));
        assert_eq!(buffer[mode.base_len()..], [0xa5; 3]);
    }
}

#[test]
fn the_time_of_sending_is_written_last_without_touching_the_rest() {
    for mode in MODES {
        let mut buffer = vec![0; mode.base_len()];
        Reply { timestamp: Timestamp::ZERO, ..reply() }.emit(mode, &mut buffer);
        Reply::stamp(mode, &mut buffer, reply().timestamp);
        assert_eq!(buffer, reply_octets(mode));
    }
}

#[test]
fn each_truncation_tells_what_is_missing() {
    for (mode, need) in [(Mode::Open, 14), (Mode::Authenticated, 112)] {
        for have in 0..=mode.base_len() {
            let parsed = Request::parse(mode, &request_octets(mode)[..have]);
            let ssid = request().ssid.filter(|_| have >= 16);
            let expected = if have < need {
                Err(Truncated { need, have })
            } else {
                Ok(Request { ssid, ..request() })
            };
            assert_eq!(parsed, expected, "{mode:?} request of {have} octets");
        }
    }
    for (mode, need) in [(Mode::Open, 38), (Mode::Authenticated, 112)] {
        for have in 0..=mode.base_len() {
            let parsed = Reply::parse(mode, &reply_octets(mode)[..have]);
            let whole = have == mode.base_len();
            let seen = Reply {
                ssid: reply().ssid.filter(|_| whole),
                sender_ttl: reply().sender_ttl.filter(|_| whole),
                ..reply()
            };
            let expected = if have < need { Err(Truncated { need, have }) } else { Ok(seen) };
            assert_eq!(parsed, expected, "{mode:?} reply of {have} octets");
        }
    }
}

#[test]
fn each_octet_that_a_sender_leaves_zero_decides_what_a_packet_is() {
    for mode in MODES {
        let clean = request_octets(mode);
        assert_eq!(Shape::of(mode, &clean), Shape::Request);
        let arrival = if mode == Mode::Open { 16..24 } else { 32..40 };
        for at in mode.must_be_zero() {
            let mut dirty = clean.clone();
            dirty[at] = 1;
            let expected = if arrival.contains(&at) { Shape::Reply } else { Shape::Neither };
            assert_eq!(Shape::of(mode, &dirty), expected, "{mode:?}, octet {at}");
        }
        for at in (0..mode.must_be_zero().start).chain(mode.must_be_zero().end..mode.base_len()) {
            let mut dirty = clean.clone();
            dirty[at] = 0xff;
            assert_eq!(Shape::of(mode, &dirty), Shape::Request, "{mode:?}, octet {at}");
        }
    }
}

#[test]
fn a_request_of_either_mode_is_none_in_the_other_once_it_has_a_time() {
    assert_eq!(Shape::of(Mode::Open, &request_octets(Mode::Authenticated)), Shape::Reply);
    assert_eq!(Shape::of(Mode::Open, &reply_octets(Mode::Authenticated)), Shape::Reply);
    assert_eq!(Shape::of(Mode::Authenticated, &reply_octets(Mode::Open)), Shape::Reply);
}

fn any_reply() -> impl Strategy<Value = Reply> {
    (any::<(u32, u64, u16, u16, u32)>(), any::<(u64, u16, u8)>(), 1_u64..).prop_map(
        |(own, sender, arrival)| Reply {
            sequence: own.0,
            timestamp: Timestamp::from_bits(own.1),
            error_estimate: ErrorEstimate::from_bits(own.2),
            ssid: Some(own.3),
            receive_timestamp: Timestamp::from_bits(arrival),
            sender_sequence: own.4,
            sender_timestamp: Timestamp::from_bits(sender.0),
            sender_error_estimate: ErrorEstimate::from_bits(sender.1),
            sender_ttl: Some(sender.2),
        },
    )
}

proptest! {
    #[test]
    fn what_was_built_is_read_again(sequence: u32, time: u64, estimate: u16, ssid: u16, reply in any_reply()) {
        for mode in MODES {
            let mut buffer = vec![0xa5; mode.base_len()];
            let request = Request {
                sequence,
                timestamp: Timestamp::from_bits(time),
                error_estimate: ErrorEstimate::from_bits(estimate),
                ssid: Some(ssid),
            };
            request.emit(mode, &mut buffer);
            prop_assert_eq!(Request::parse(mode, &buffer), Ok(request));
            prop_assert_eq!(Shape::of(mode, &buffer), Shape::Request);
            reply.emit(mode, &mut buffer);
            prop_assert_eq!(Reply::parse(mode, &buffer), Ok(reply));
        }
    }

    #[test]
    fn no_reply_is_ever_a_request_not_even_when_cut_behind_its_first_time(reply in any_reply()) {
        for mode in MODES {
            let mut buffer = vec![0; mode.base_len()];
            reply.emit(mode, &mut buffer);
            prop_assert_eq!(Shape::of(mode, &buffer), Shape::Reply);
            prop_assert_eq!(Shape::of(mode, &buffer[..40]), Shape::Reply);
        }
    }

    #[test]
    fn any_octets_are_read_without_a_panic(payload: Vec<u8>) {
        for mode in MODES {
            prop_assert_eq!(Request::parse(mode, &payload).is_ok(), payload.len() >= if mode == Mode::Open { 14 } else { 112 });
            prop_assert_eq!(Reply::parse(mode, &payload).is_ok(), payload.len() >= if mode == Mode::Open { 38 } else { 112 });
            let all_zero = payload.iter().all(|&octet| octet == 0);
            prop_assert!(!all_zero || Shape::of(mode, &payload) == Shape::Request);
        }
    }
}
