//! Requests that user space answers, in the sessions of the programs.

use std::collections::BTreeSet;

use stamp_bpf::testrun::{self, Frame};
use stamp_bpf::{LinkLayer, Sizes, Skew};
use stamp_proto::clock::MonoTime;
use stamp_proto::packet::{Mode, Reply, Request};
use stamp_proto::reflector::{Entered, Place, SessionKey};
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv::{self, Kind};

use crate::frames::Datagram;
use crate::signed::authenticated;
use crate::twin::{Done, Lists, NEXT, Twin, inside, monotonic, open_request, unlimited};

fn key(datagram: &Datagram, ssid: u16) -> SessionKey {
    SessionKey { source: datagram.source, destination: datagram.destination, ssid, micro: 0 }
}

/// Shows request `sequence` to the sessions, as if it had been left to user space.
fn enter(twin: &Twin, key: &SessionKey, sequence: u32, bits: u64, numbered: bool) -> Entered {
    let sent = Timestamp::from_bits(bits);
    twin.program.enter(key, sequence, sent, monotonic(), numbered).unwrap()
}

fn place(entered: Entered) -> Place {
    let Entered::Numbered(place) = entered else { panic!("{entered:?} has no number") };
    place
}

fn replied(twin: &Twin, datagram: &Datagram) -> Reply {
    let Done::Replied(frame) = twin.run(datagram) else { panic!("{datagram:?} is plain") };
    Reply::parse(Mode::Open, datagram.payload_of(&frame)).unwrap()
}

#[test]
#[ignore = "root: loads programs"]
fn user_space_and_the_kernel_number_the_replies_of_one_session_together() {
    inside(|| {
        let twin = Twin::open();
        for plain in [Datagram::v4(&open_request(7, 42)), Datagram::v6(&open_request(7, 42))] {
            let key = key(&plain, 42);
            let first = place(enter(&twin, &key, 5, 1, true));
            let alone = Place { number: 0, received: 1, last_reply: None, ahead: true };
            assert_eq!(first, alone);
            let second = replied(&twin, &plain);
            assert_eq!(second.sequence, 1);
            let third = place(enter(&twin, &key, 9, 1, true));
            assert_eq!((third.number, third.received, third.ahead), (2, 3, true));
            assert_eq!(third.last_reply, Some((1, second.timestamp)));
            assert_eq!(replied(&twin, &plain).sequence, 3);
            let again = place(enter(&twin, &key, 9, 1, true));
            assert_eq!((again.number, again.ahead), (4, false));
            let more = twin.program.enter_reply(&key, monotonic()).unwrap();
            assert_eq!(place(more).number, 5);
            let sessions = twin.tables.sessions().unwrap();
            let state = sessions.iter().find(|(of, _)| *of == key).unwrap().1;
            assert_eq!((state.received, state.transmitted, state.lost_forward), (5, 6, 0));
        }
        assert_eq!(twin.tables.sessions().unwrap().len(), 2);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn what_gets_no_number_is_counted_all_the_same() {
    inside(|| {
        let twin = Twin::open();
        let key = key(&Datagram::v4(&[]), 42);
        let now = MonoTime::from_ns(77);
        let entered = twin.program.enter(&key, 5, Timestamp::ZERO, now, false).unwrap();
        assert_eq!(entered, Entered::Unnumbered);
        let [(found, state)] = twin.tables.sessions().unwrap()[..] else { panic!("one session") };
        assert_eq!((found, state.received, state.transmitted), (key, 1, 0));
        assert_eq!((state.first_seen, state.last_seen), (now, now));
        assert_eq!(place(enter(&twin, &key, 6, 1, true)).number, 0);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_request_that_was_here_before_is_a_replay_whoever_saw_it() {
    inside(|| {
        let twin = authenticated();
        let mut payload = crate::twin::request(Mode::Authenticated, 3, 42);
        crate::signed::key().sign(&mut payload);
        let datagram = Datagram::v4(&payload);
        let sent = Request::parse(Mode::Authenticated, &payload).unwrap().timestamp.bits();
        assert!(matches!(twin.run(&datagram), Done::Replied(_)));
        let key = key(&datagram, 42);
        assert_eq!(enter(&twin, &key, 3, sent, true), Entered::Replay);
        assert_eq!(place(enter(&twin, &key, 4, sent + 1, true)).number, 1);
        assert_eq!(enter(&twin, &key, 4, sent + 1, false), Entered::Replay);
        assert_eq!(twin.tables.sessions().unwrap()[0].1.received, 2);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn without_room_for_a_session_there_is_none() {
    inside(|| {
        let sizes = Sizes { sessions: 4, ..Sizes::default() };
        let twin = Twin::with(unlimited(), &Lists::all(), Format::Ntp, Skew::default(), sizes);
        let datagram = Datagram::v4(&[]);
        let refused = (1..=9)
            .filter(|&ssid| enter(&twin, &key(&datagram, ssid), 1, 1, true) == Entered::Unnumbered);
        assert_eq!(refused.count(), 5);
        assert_eq!(twin.tables.happened(stamp_bpf::Event::SessionRefused).unwrap(), 5);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn no_number_is_given_twice_however_many_ask() {
    inside(|| {
        let twin = Twin::open();
        let plain = Datagram::v4(&open_request(1, 42));
        let key = key(&plain, 42);
        let frame = plain.frame();
        let by_packet = || {
            let ingress = twin.program.ingress(LinkLayer::Ethernet);
            let outcome = testrun::run(ingress, &Frame::new(&frame)).unwrap();
            Reply::parse(Mode::Open, plain.payload_of(&outcome.octets)).unwrap().sequence
        };
        let by_hand = || place(enter(&twin, &key, 1, 1, true)).number;
        let numbers: Vec<u32> = std::thread::scope(|scope| {
            let packets = scope.spawn(|| (0..2000).map(|_| by_packet()).collect::<Vec<_>>());
            let hands = scope.spawn(|| (0..2000).map(|_| by_hand()).collect::<Vec<_>>());
            [packets.join().unwrap(), hands.join().unwrap()].concat()
        });
        let all: BTreeSet<u32> = numbers.into_iter().collect();
        assert!(all.into_iter().eq(0..4000));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn the_next_follow_up_tells_when_user_space_answered() {
    inside(|| {
        let mut twin = Twin::open();
        let asked = Datagram { options: 1, ..Datagram::v4(&open_request(8, 42)) };
        let ingress = twin.program.ingress(LinkLayer::Ethernet);
        let arrived = testrun::run(ingress, &Frame::new(&asked.frame())).unwrap();
        assert_eq!(arrived.verdict, NEXT);
        let key = key(&asked, 42);
        let number = place(enter(&twin, &key, 8, 1, true)).number;
        let (payload, _) = twin.expect(&asked, Timestamp::from_bits(1)).unwrap();
        let (source, destination) = (asked.destination, asked.source);
        let answer = Datagram { source, destination, payload, options: 0, ..asked.clone() };
        let egress = twin.program.egress(LinkLayer::Ethernet);
        let left = testrun::run(egress, &Frame::new(&answer.frame())).unwrap().octets;
        let t3 = Reply::parse(Mode::Open, answer.payload_of(&left)).unwrap().timestamp;
        assert_eq!(twin.tables.sessions().unwrap()[0].1.last_reply, Some((number, t3)));
        let mut next = open_request(9, 42);
        tlv::append(&mut next, Kind::FollowUpTelemetry, &[0; 16]);
        let next = Datagram::v4(&next);
        let Done::Replied(frame) = twin.run(&next) else { panic!("a Follow-Up is simple") };
        let told = [&number.to_be_bytes()[..], &t3.bits().to_be_bytes()].concat();
        assert_eq!(next.payload_of(&frame)[48..60], told);
    });
}
