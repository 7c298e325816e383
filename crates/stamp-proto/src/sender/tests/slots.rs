//! Times and replies that come from the kernel's slots, and in which order they are found.

use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

use super::{MS, arrival, moment, octets, reply, sent, settings};
use crate::loss::Outcome;
use crate::packet::Reply;
use crate::sender::{Discard, Moment, Sender, Settings};
use crate::timestamp::{Format, Timestamp};

/// T1 as the kernel puts it into a packet that left at `at`.
fn stamp(at: i64) -> (Timestamp, Moment) {
    (Timestamp::encode(Format::Ntp, moment(at).wall), moment(at))
}

#[test]
fn replies_echo_the_time_that_the_kernel_put_into_the_request() {
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    let (timestamp, at) = stamp(4_000);
    sender.handle_stamped(request.sequence, timestamp, at);
    sender.handle_stamped(99, timestamp, at);
    let good = reply(&request, 0, 0);
    let stale = octets(&good);
    assert_eq!(sender.handle_reply(&stale, &arrival(45_000)), Err(Discard::BadT1));
    let echoed = octets(&Reply { sender_timestamp: timestamp, ..good });
    let sample = sender.handle_reply(&echoed, &arrival(45_000)).unwrap();
    assert_eq!((sample.roundtrip_gross_ns, sample.t1, sample.stamped), (41_000, at, true));
}

#[test]
fn a_reply_that_the_kernel_checked_is_not_checked_again() {
    let mut sender = Sender::new(Settings { min_ttl: 255, ..settings() });
    let request = sent(&mut sender, 0);
    let checked = Reply { sender_timestamp: Timestamp::ZERO, ..reply(&request, 0, 0) };
    let sample = sender.handle_checked(&checked, &arrival(45_000)).unwrap();
    assert_eq!((sample.outcome, sample.roundtrip_ns), (Outcome::First, Some(40_000)));
    let never_sent = Reply { sender_sequence: 7, ..checked };
    assert_eq!(sender.handle_checked(&never_sent, &arrival(1)), Err(Discard::Unsolicited));
}

#[test]
fn a_request_is_answered_once_however_often_its_slot_is_read() {
    let mut sender = Sender::new(settings());
    let request = sent(&mut sender, 0);
    assert!(!sender.is_answered(request.sequence));
    let reply = reply(&request, 0, 0);
    let outcomes =
        [0, 1].map(|_| sender.handle_checked(&reply, &arrival(45_000)).map(|s| s.outcome));
    assert_eq!(outcomes, [Ok(Outcome::First), Ok(Outcome::Duplicate)]);
    assert!(sender.is_answered(request.sequence) && !sender.is_answered(request.sequence + 1));
}

#[test]
fn requests_are_overdue_until_they_are_answered_or_given_up() {
    let mut sender = Sender::new(settings());
    let requests = [0, 10, 20, 500].map(|at| sent(&mut sender, at * MS));
    sender.handle_checked(&reply(&requests[1], 10 * MS, 0), &arrival(11 * MS)).unwrap();
    let overdue = |sender: &Sender, at| sender.overdue(moment(at).mono).collect::<Vec<_>>();
    assert_eq!(overdue(&sender, 1_000 * MS - 1), []);
    assert_eq!(overdue(&sender, 1_020 * MS), [0, 2]);
    sender.handle_checked(&reply(&requests[0], 0, 0), &arrival(900 * MS)).unwrap();
    assert_eq!(overdue(&sender, 1_020 * MS), [2]);
    sender.handle_timeout(moment(1_020 * MS).mono);
    assert_eq!(overdue(&sender, 1_020 * MS), []);
}

#[test]
fn a_reply_behind_its_timeout_is_late_although_nobody_gave_the_request_up() {
    for (at, outcome) in [(1_000 * MS - 1, Outcome::First), (1_000 * MS, Outcome::Late)] {
        let mut sender = Sender::new(settings());
        let request = sent(&mut sender, 0);
        let reply = reply(&request, 0, 0);
        assert_eq!(sender.handle_reply(&octets(&reply), &arrival(at)).unwrap().outcome, outcome);
        assert_eq!(sender.poll_timeout(), None);
        sender.finish();
        let counts = sender.ledger().counts();
        let expected = if outcome == Outcome::First { (1, 0, 0) } else { (0, 1, 1) };
        assert_eq!((counts.received, counts.lost.total(), counts.late), expected);
    }
}

#[test]
fn a_late_reply_gives_up_no_other_request() {
    let mut sender = Sender::new(settings());
    let requests = [0, 1].map(|at| sent(&mut sender, at));
    let late = sender.handle_checked(&reply(&requests[1], 1, 0), &arrival(1_500 * MS)).unwrap();
    let slow = sender.handle_checked(&reply(&requests[0], 0, 0), &arrival(900 * MS)).unwrap();
    assert_eq!((late.outcome, slow.outcome), (Outcome::Late, Outcome::First));
}

#[test]
fn a_reply_in_time_that_is_found_behind_its_timeout_counts_until_the_loss_is_decided() {
    let mut sender = Sender::new(settings());
    let first = sent(&mut sender, 0);
    sender.handle_timeout(moment(1_001 * MS).mono);
    let sample = sender.handle_checked(&reply(&first, 0, 0), &arrival(999 * MS)).unwrap();
    assert_eq!(sample.outcome, Outcome::First);
    let second = sent(&mut sender, 2_000 * MS);
    sender.handle_timeout(moment(14_000 * MS).mono);
    assert_eq!(sender.ledger().counts().lost.total(), 1);
    let found = sender.handle_checked(&reply(&second, 2_000 * MS, 0), &arrival(2_001 * MS));
    assert_eq!(found.unwrap().outcome, Outcome::Late);
    let counts = sender.ledger().counts();
    assert_eq!((counts.received, counts.lost.total(), counts.late), (1, 1, 1));
}

/// Sends one request each 10 ms and hands over replies with these delays in the order in
/// which they came, but looks at the clock only in every `nth` step.
fn played(delays: &[i64], nth: usize, stamped: bool) -> Sender {
    let mut sender = Sender::new(Settings { window: 1_024, ..settings() });
    let mut replies = Vec::new();
    for (n, delay) in delays.iter().enumerate() {
        let at = n as i64 * 10 * MS;
        let mut request = sent(&mut sender, at);
        if stamped {
            let (timestamp, left) = stamp(at + 3_000);
            sender.handle_stamped(request.sequence, timestamp, left);
            request.timestamp = timestamp;
        }
        replies.push((at + delay, reply(&request, at, 0)));
    }
    replies.sort_by_key(|&(at, _)| at);
    for (n, (at, reply)) in replies.iter().enumerate() {
        if n % nth == 0 {
            sender.handle_timeout(moment(*at).mono);
        }
        sender.handle_checked(reply, &arrival(*at)).unwrap();
        let counts = sender.ledger().counts();
        assert_eq!(counts.sent, counts.received + counts.lost.total() + counts.pending());
    }
    sender.finish();
    sender
}

proptest! {
    #[test]
    fn when_user_space_looks_decides_nothing(
        delays in proptest::collection::vec(100_000..2_000 * MS, 1..80), nth in 1_usize..100, stamped: bool,
    ) {
        let sender = played(&delays, nth, stamped);
        let counts = sender.ledger().counts();
        let timeout = 1_000 * MS + if stamped { 3_000 } else { 0 };
        let in_time = delays.iter().filter(|&&delay| delay < timeout).count() as u64;
        prop_assert_eq!((counts.received, counts.late), (in_time, delays.len() as u64 - in_time));
        prop_assert_eq!((counts.lost.total(), counts.pending()), (counts.late, 0));
    }

    #[test]
    fn counts_add_up_whatever_is_told_of_slots(
        steps in proptest::collection::vec((0_u8..5, 0_u32..70, any::<u32>(), 0..3_000 * MS), 0..200),
    ) {
        let mut sender = Sender::new(settings());
        let mut now = 0;
        for (step, back, number, ago) in steps {
            now += ago / 10;
            let sequence = sender.ledger().open().end.wrapping_sub(back);
            let (timestamp, at) = stamp(now - ago);
            let request = crate::packet::Request {
                sequence, timestamp, error_estimate: super::synchronized(), ssid: None,
            };
            match step {
                0 => drop(sent(&mut sender, now)),
                1 => drop(sender.handle_stamped(sequence, timestamp, at)),
                2 => sender.handle_timeout(moment(now).mono),
                3 => {
                    let overdue: Vec<_> = sender.overdue(moment(now).mono).collect();
                    sender.handle_timeout(moment(now).mono);
                    prop_assert!(overdue.iter().all(|&sequence| !sender.ledger().is_open(sequence)));
                }
                _ => {
                    let answered = Reply { sequence: number, ..reply(&request, now - ago, 0) };
                    let before = sender.is_answered(sequence);
                    let outcome = sender.handle_checked(&answered, &arrival(now)).map(|s| s.outcome);
                    prop_assert_eq!(outcome == Ok(Outcome::Duplicate), before);
                    prop_assert_eq!(outcome.is_ok(), sender.is_answered(sequence));
                }
            }
            let counts = sender.ledger().counts();
            prop_assert_eq!(counts.sent, counts.received + counts.lost.total() + counts.pending());
        }
    }
}
