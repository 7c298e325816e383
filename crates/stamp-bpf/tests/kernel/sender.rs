//! Requests of ours on their way out, and what comes back.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, AsRawFd as _};

use stamp_bpf::testrun::{self, Frame};
use stamp_bpf::{
    Bell, Doorbell, Event, Knobs, LinkLayer, LocalAddress, Notice, Peer, PortUse, Program, Sizes,
    Tables, Window,
};
use stamp_proto::auth::Key;
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::packet::{Mode, Reply, Request};
use stamp_proto::reflector::{KeyPair, Policy, Prefix};
use stamp_proto::sender::{Arrival, Discard, Moment, Sender, Settings, Timescale};
use stamp_proto::timestamp::{Format, Timestamp};

use crate::frames::{Datagram, Sum};
use crate::twin::{DROP, NEXT, clock, copy_t1, inside, monotonic, publish, request, wall};

const SSID: u16 = 42;

fn key() -> Key {
    Key::new(b"a key for tests of the sender")
}

fn old_key() -> Key {
    Key::new(b"the key before it")
}

/// A session in the kernel.
struct Bench {
    tables: Tables,
    program: Program,
    window: Window,
    doorbell: Doorbell,
    peer: Peer,
}

fn peer(local: &str, remote: &str) -> Peer {
    Peer {
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        ssid: SSID,
        mode: Mode::Open,
        key: 3,
        format: Format::Ntp,
        min_ttl: 0,
        zero_ssid_is_fatal: false,
        window: 64,
    }
}

fn v4() -> Peer {
    peer("10.0.0.2:862", "10.0.0.1:862")
}

fn v6() -> Peer {
    peer("[fd00::2]:862", "[fd00::1]:862")
}

impl Bench {
    fn new(peer: Peer) -> Self {
        let tables = Tables::create(Sizes::default()).unwrap();
        let port = PortUse { sender: true, ..PortUse::default() };
        tables.set_ports(&BTreeMap::from([(862, port)])).unwrap();
        let local = LocalAddress {
            ifindex: 1,
            address: peer.local.ip(),
            member: None,
            loopback: false,
            mac: None,
        };
        tables.set_addresses(&[local]).unwrap();
        let pair = KeyPair { current: key(), previous: Some(old_key()) };
        tables.set_peer_key(peer.key, Some(&pair)).unwrap();
        let window = tables.begin_peer(7, &peer).unwrap();
        let doorbell = tables.doorbell().unwrap();
        publish(&tables, u64::MAX);
        let program = Program::load(&tables, &Knobs::new(&Policy::default(), Format::Ntp)).unwrap();
        Self { tables, program, window, doorbell, peer }
    }

    fn outgoing(&self, payload: &[u8]) -> Datagram {
        Datagram::between(self.peer.local, self.peer.remote, payload)
    }

    fn incoming(&self, payload: &[u8]) -> Datagram {
        Datagram::between(self.peer.remote, self.peer.local, payload)
    }

    fn request(&self, sequence: u32) -> Vec<u8> {
        let mut payload = request(self.peer.mode, sequence, SSID);
        if self.peer.mode == Mode::Authenticated {
            key().sign(&mut payload);
        }
        payload
    }

    /// Has a datagram leave, and gives the frame as it left.
    fn leave(&self, datagram: &Datagram) -> Vec<u8> {
        let link = if datagram.link { LinkLayer::Ethernet } else { LinkLayer::None };
        let frame = datagram.frame();
        let outcome = testrun::run(self.program.egress(link), &Frame::new(&frame)).unwrap();
        assert_eq!(outcome.verdict, NEXT, "what leaves goes on");
        outcome.octets
    }

    /// Sends request `sequence` and gives the T1 that it left with.
    fn send(&self, sequence: u32) -> Timestamp {
        let datagram = self.outgoing(&self.request(sequence));
        let frame = self.leave(&datagram);
        Request::parse(self.peer.mode, datagram.payload_of(&frame)).unwrap().timestamp
    }

    fn reply(&self, sequence: u32, t1: Timestamp) -> Reply {
        Reply {
            sequence: sequence + 1000,
            timestamp: clock(Format::Ntp).encode(wall()),
            error_estimate: ErrorEstimate::from_bits(0x0b01),
            ssid: Some(SSID),
            receive_timestamp: clock(Format::Ntp).encode(wall()),
            sender_sequence: sequence,
            sender_timestamp: t1,
            sender_error_estimate: ErrorEstimate::from_bits(0x8ad2),
            sender_ttl: Some(63),
        }
    }

    fn packet(&self, reply: &Reply) -> Vec<u8> {
        let mut payload = vec![0; self.peer.mode.base_len()];
        reply.emit(self.peer.mode, &mut payload);
        if self.peer.mode == Mode::Authenticated {
            key().sign(&mut payload);
        }
        payload
    }

    fn arrive(&self, datagram: &Datagram) -> i32 {
        let link = if datagram.link { LinkLayer::Ethernet } else { LinkLayer::None };
        let frame = datagram.frame();
        let outcome = testrun::run(self.program.ingress(link), &Frame::new(&frame)).unwrap();
        assert_eq!(outcome.octets, frame, "a reply is read, not changed");
        outcome.verdict
    }

    fn bells(&mut self) -> Vec<Bell> {
        let bell = |notice| match notice {
            Notice::Reply(bell) => bell,
            other => panic!("{other:?} is not of the sender"),
        };
        self.doorbell.drain().unwrap().into_iter().map(bell).collect()
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_request_leaves_with_the_time_at_which_it_leaves() {
    inside(|| {
        for mode in [Mode::Open, Mode::Authenticated] {
            for format in [Format::Ntp, Format::Ptp] {
                for peer in [v4(), v6()] {
                    let bench = Bench::new(Peer { mode, format, ..peer });
                    for (sequence, sum) in [(5, Sum::Right), (6, Sum::Zero), (7, Sum::Offloaded)] {
                        for link in [true, false] {
                            check_left(&bench, sequence, sum, link);
                        }
                    }
                }
            }
        }
    });
}

fn check_left(bench: &Bench, sequence: u32, sum: Sum, link: bool) {
    let Peer { mode, format, .. } = bench.peer;
    let datagram = Datagram { sum, link, ..bench.outgoing(&bench.request(sequence)) };
    let before = wall();
    let frame = bench.leave(&datagram);
    let after = wall();
    let left = datagram.payload_of(&frame);
    let t1 = Request::parse(mode, left).unwrap().timestamp;
    let slot = bench.window.slot(sequence).unwrap().unwrap();
    assert_eq!((slot.timestamp, slot.answer), (t1, None));
    assert!(before <= slot.sent.wall && slot.sent.wall <= after);
    assert_eq!(clock(format).encode(slot.sent.wall), t1);
    let mut expected = datagram.payload.clone();
    copy_t1(mode, left, &mut expected);
    let estimate = Request::parse(mode, left).unwrap().error_estimate;
    assert_eq!(estimate, clock(format).error_estimate);
    if mode == Mode::Authenticated {
        key().sign(&mut expected);
    }
    assert_eq!(left, expected, "nothing else changes");
    match sum {
        Sum::Right => assert!(datagram.is_sum_right(&frame)),
        Sum::Zero => assert_eq!(frame[datagram.payload_at() - 2..][..2], [0, 0]),
        // To a test run the sum is complete, and stays as wrong as it was.
        Sum::Offloaded | Sum::Wrong => assert!(!datagram.is_sum_right(&frame)),
    }
}

#[test]
#[ignore = "root: loads programs"]
fn what_is_no_request_of_ours_leaves_as_it_is() {
    inside(|| {
        let bench = Bench::new(v4());
        let t1 = bench.send(1);
        let reply = bench.outgoing(&bench.packet(&bench.reply(1, t1)));
        let elsewhere = Datagram {
            destination: "10.0.0.1:863".parse().unwrap(),
            ..bench.outgoing(&bench.request(1))
        };
        let short = bench.outgoing(&bench.request(1)[..43]);
        let options = Datagram { options: 1, ..bench.outgoing(&bench.request(1)) };
        for datagram in [reply, elsewhere, short, options] {
            assert_eq!(bench.leave(&datagram), datagram.frame(), "{datagram:?}");
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn without_a_lease_or_a_key_requests_leave_with_the_time_of_user_space() {
    inside(|| {
        let bench = Bench::new(Peer { mode: Mode::Authenticated, ..v4() });
        let datagram = bench.outgoing(&bench.request(1));
        bench.tables.set_peer_key(bench.peer.key, None).unwrap();
        assert_eq!(bench.leave(&datagram), datagram.frame());
        assert_eq!(bench.tables.happened(Event::Unstamped).unwrap(), 1);
        let bench = Bench::new(v4());
        publish(&bench.tables, monotonic().as_ns() as u64);
        assert_eq!(bench.leave(&datagram), datagram.frame());
        assert_eq!(bench.window.slot(1).unwrap(), None);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_reply_is_written_down_and_told() {
    inside(|| {
        for mode in [Mode::Open, Mode::Authenticated] {
            for peer in [v4(), v6()] {
                let mut bench = Bench::new(Peer { mode, ..peer });
                let t1 = bench.send(9);
                let reply = bench.reply(9, t1);
                let payload = [&bench.packet(&reply)[..], &[1, 2, 3, 4, 5]].concat();
                let before = wall();
                assert_eq!(bench.arrive(&bench.incoming(&payload)), DROP);
                let answer = bench.window.slot(9).unwrap().unwrap().answer.unwrap();
                assert!(before <= answer.received.wall && answer.received.wall <= wall());
                assert_eq!((answer.sequence, answer.timestamp), (reply.sequence, reply.timestamp));
                assert_eq!(answer.receive_timestamp, reply.receive_timestamp);
                assert_eq!(answer.error_estimate, reply.error_estimate);
                assert_eq!((answer.ssid, answer.ttl_forward), (Some(SSID), Some(63)));
                assert_eq!((answer.ttl_reverse, answer.traffic_class), (250, 46 << 2 | 1));
                let again = bench.packet(&Reply { sequence: 77, ..reply });
                assert_eq!(bench.arrive(&bench.incoming(&again)), DROP);
                assert_eq!(bench.window.slot(9).unwrap().unwrap().answer, Some(answer));
                let first = Bell {
                    index: 7,
                    sequence: 9,
                    reflector_sequence: 1009,
                    duplicate: false,
                    extensions: vec![1, 2, 3, 4, 5],
                };
                let second = Bell {
                    reflector_sequence: 77,
                    duplicate: true,
                    extensions: vec![],
                    ..first.clone()
                };
                assert_eq!(bench.bells(), [first, second]);
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn replies_as_long_as_ethernet_has_them_count() {
    inside(|| {
        let mut bench = Bench::new(v4());
        for (sequence, len) in [(1, 1399), (2, 1400), (3, 1427), (4, 1428)] {
            let t1 = bench.send(sequence);
            let area = vec![0x5a; len];
            let payload = [&bench.packet(&bench.reply(sequence, t1))[..], &area].concat();
            assert_eq!(bench.arrive(&bench.incoming(&payload)), DROP, "{len}");
            assert_eq!(bench.bells()[0].extensions, area);
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_reply_without_session_and_ttl_has_none() {
    inside(|| {
        let bench = Bench::new(v4());
        let t1 = bench.send(9);
        let short = bench.packet(&bench.reply(9, t1))[..38].to_vec();
        assert_eq!(bench.arrive(&bench.incoming(&short)), DROP);
        let answer = bench.window.slot(9).unwrap().unwrap().answer.unwrap();
        assert_eq!((answer.ssid, answer.ttl_forward, answer.len), (None, None, 38));
    });
}

/// What is done to a reply before it is signed, and its octets afterwards.
type Change = (&'static str, fn(&mut Reply), fn(&mut Vec<u8>));

const CHANGES: [Change; 10] = [
    ("nothing", |_| (), |_| ()),
    ("another T1", |reply| reply.sender_timestamp = Timestamp::from_bits(1), |_| ()),
    ("never sent", |reply| reply.sender_sequence = 10, |_| ()),
    ("a window ago", |reply| reply.sender_sequence = 9_u32.wrapping_sub(64), |_| ()),
    ("another session", |reply| reply.ssid = Some(43), |_| ()),
    ("no session", |reply| reply.ssid = Some(0), |_| ()),
    ("no signature", |_| (), |payload| payload.iter_mut().skip(96).for_each(|octet| *octet = 0)),
    (
        "the old key",
        |_| (),
        |payload| {
            if payload.len() >= 112 {
                old_key().sign(payload);
            }
        },
    ),
    ("cut", |_| (), |payload| payload.truncate(37)),
    ("cut behind its fields", |_| (), |payload| payload.truncate(40)),
];

fn pure(peer: &Peer) -> Sender {
    let pair = KeyPair { current: key(), previous: Some(old_key()) };
    Sender::new(Settings {
        keys: (peer.mode == Mode::Authenticated).then_some(pair),
        ssid: SSID,
        format: Format::Ntp,
        timescale: Timescale::UTC,
        timeout_ns: 1_000_000_000,
        min_ttl: peer.min_ttl,
        zero_ssid_is_fatal: peer.zero_ssid_is_fatal,
        window: peer.window as usize,
        reflector: stamp_proto::loss::Reflector::Unknown,
        extensions: vec![],
    })
}

/// What the pure sender makes of the same reply to its own request 9.
fn expected(bench: &Bench, t1: Timestamp, (_, change, damage): Change, ttl: u8) -> Option<Discard> {
    let mut sender = pure(&bench.peer);
    let at = Moment { wall: wall(), mono: monotonic(), epoch: 1 };
    let mut payload = Vec::new();
    for _ in 0..=9 {
        sender.request(at, 0, ErrorEstimate::from_bits(1), &mut payload);
    }
    let own = Request::parse(bench.peer.mode, &payload).unwrap().timestamp;
    let mut reply = bench.reply(9, t1);
    change(&mut reply);
    if reply.sender_timestamp == t1 {
        reply.sender_timestamp = own;
    }
    let mut payload = bench.packet(&reply);
    damage(&mut payload);
    let arrival = Arrival { at, ttl: Some(ttl), traffic_class: 0 };
    sender.handle_reply(&payload, &arrival).err()
}

#[test]
#[ignore = "root: loads programs"]
fn a_reply_counts_where_the_pure_sender_counts_it() {
    inside(|| {
        for mode in [Mode::Open, Mode::Authenticated] {
            for (min_ttl, zero_ssid_is_fatal) in [(0, false), (250, true), (251, false)] {
                for change in CHANGES {
                    let peer = Peer { mode, min_ttl, zero_ssid_is_fatal, ..v4() };
                    check_counts(&Bench::new(peer), change);
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_reply_that_does_not_count_is_the_sockets_at_a_reflectors_port_too() {
    inside(|| {
        for mode in [Mode::Open, Mode::Authenticated] {
            for change in &CHANGES[1..] {
                let bench = Bench::new(Peer { mode, min_ttl: 250, ..v4() });
                let port = PortUse { sender: true, reflector: true, ..PortUse::default() };
                bench.tables.set_ports(&BTreeMap::from([(862, port)])).unwrap();
                let mut payload = {
                    let mut reply = bench.reply(9, bench.send(9));
                    (change.1)(&mut reply);
                    bench.packet(&reply)
                };
                (change.2)(&mut payload);
                let low = Datagram { ttl: 249, ..bench.incoming(&payload) };
                assert_eq!(bench.arrive(&low), NEXT, "{mode:?} {}", change.0);
            }
        }
        let bench = Bench::new(Peer { mode: Mode::Authenticated, ..v4() });
        let port = PortUse { sender: true, reflector: true, ..PortUse::default() };
        bench.tables.set_ports(&BTreeMap::from([(862, port)])).unwrap();
        let mut open = vec![0; Mode::Open.base_len()];
        bench.reply(9, bench.send(9)).emit(Mode::Open, &mut open);
        assert_eq!(bench.arrive(&bench.incoming(&open)), NEXT, "not in its session's mode");
        assert_eq!(bench.tables.discarded(7, Discard::Short).unwrap(), 1);
    });
}

fn check_counts(bench: &Bench, change: Change) {
    let t1 = bench.send(9);
    let mut reply = bench.reply(9, t1);
    (change.1)(&mut reply);
    let mut payload = bench.packet(&reply);
    (change.2)(&mut payload);
    let datagram = bench.incoming(&payload);
    let verdict = bench.arrive(&datagram);
    let expected = expected(bench, t1, change, datagram.ttl);
    let what = (change.0, bench.peer.mode, expected);
    assert_eq!(verdict, if expected.is_none() { DROP } else { NEXT }, "{what:?}");
    let answered = bench.window.slot(9).unwrap().unwrap().answer.is_some();
    assert_eq!(answered, expected.is_none(), "{what:?}");
    // The pure sender is only shown what comes from its reflector's port in its mode.
    for why in [
        Discard::BadT1,
        Discard::Ssid,
        Discard::ZeroSsid,
        Discard::Hmac,
        Discard::Short,
        Discard::MinTtl,
        Discard::Unsolicited,
    ] {
        let counted = bench.tables.discarded(7, why).unwrap();
        assert_eq!(counted, u64::from(expected == Some(why)), "{what:?}: {why:?}");
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_reply_with_a_wrong_sum_or_from_elsewhere_changes_nothing() {
    inside(|| {
        let bench = Bench::new(v4());
        let t1 = bench.send(9);
        let right = bench.incoming(&bench.packet(&bench.reply(9, t1)));
        let wrong = Datagram { sum: Sum::Wrong, ..right.clone() };
        assert_eq!(bench.arrive(&wrong), NEXT);
        assert_eq!(bench.tables.discarded(7, Discard::Checksum).unwrap(), 1);
        let source: SocketAddr = "10.0.0.1:863".parse().unwrap();
        assert_eq!(bench.arrive(&Datagram { source, ..right.clone() }), NEXT);
        assert_eq!(bench.window.slot(9).unwrap().unwrap().answer, None);
        bench.tables.end_peer(bench.peer.local, bench.peer.remote).unwrap();
        assert_eq!(bench.arrive(&right), NEXT);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn one_port_serves_both_roles() {
    inside(|| {
        let bench = Bench::new(v4());
        let port = PortUse { sender: true, reflector: true, ..PortUse::default() };
        bench.tables.set_ports(&BTreeMap::from([(862, port)])).unwrap();
        let all: Prefix = "0.0.0.0/0".parse().unwrap();
        bench.tables.set_prefixes(&[all], &[], &[]).unwrap();
        let t1 = bench.send(9);
        let reply = bench.packet(&bench.reply(9, t1));
        let forged = bench.packet(&bench.reply(9, Timestamp::from_bits(5)));
        assert_eq!(bench.arrive(&bench.incoming(&reply)), DROP);
        assert_eq!(bench.tables.happened(Event::Received).unwrap(), 1);
        assert_eq!(bench.arrive(&bench.incoming(&forged)), NEXT, "perhaps the socket knows it");
        let guarded = || bench.tables.refused(stamp_proto::reflector::Refusal::LoopGuard).unwrap();
        assert_eq!(guarded(), 0);
        let stranger: SocketAddr = "10.0.0.9:862".parse().unwrap();
        assert_eq!(bench.arrive(&Datagram { source: stranger, ..bench.incoming(&reply) }), DROP);
        assert_eq!(guarded(), 1);
        let frame = bench.incoming(&bench.request(3)).frame();
        let ingress = bench.program.ingress(LinkLayer::Ethernet);
        assert_eq!(
            testrun::run(ingress, &Frame::new(&frame)).unwrap().verdict,
            crate::twin::REDIRECT
        );
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_full_ring_costs_no_sample() {
    inside(|| {
        let mut bench = Bench::new(Peer { window: 65_536, ..v4() });
        let most = 1024 * 1024 / 24;
        let mut first = Vec::new();
        for sequence in 0..most + 100 {
            let t1 = bench.send(sequence);
            let reply = bench.incoming(&bench.packet(&bench.reply(sequence, t1)));
            assert_eq!(bench.arrive(&reply), DROP);
            first.push(bench.window.slot(sequence).unwrap().unwrap().answer.is_some());
        }
        assert!(first.iter().all(|&answered| answered), "each reply is in its slot");
        let lost = |bench: &Bench| bench.tables.happened(Event::LostEvent).unwrap();
        assert_eq!(lost(&bench), 0, "what has a slot is not lost");
        let t1 = bench.window.slot(5).unwrap().unwrap().timestamp;
        let again = bench.incoming(&bench.packet(&bench.reply(5, t1)));
        assert_eq!((bench.arrive(&again), lost(&bench)), (DROP, 1));
        let bells = bench.bells();
        assert!(bells.iter().map(|bell| bell.sequence).eq(0..bells.len() as u32), "in order");
        assert_eq!((bench.arrive(&again), lost(&bench)), (DROP, 1), "there is room again");
        assert!(bench.bells()[0].duplicate);
    });
}

fn is_readable(doorbell: &Doorbell) -> bool {
    let fd = doorbell.as_fd().as_raw_fd();
    let mut of = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: the call reads and writes one record, which is live.
    assert!(unsafe { libc::poll(&raw mut of, 1, 0) } >= 0);
    of.revents == libc::POLLIN
}

#[test]
#[ignore = "root: loads programs"]
fn the_doorbell_can_be_waited_for_with_other_descriptors() {
    inside(|| {
        let mut bench = Bench::new(v4());
        assert!(!is_readable(&bench.doorbell));
        assert_eq!(bench.bells(), [], "nothing to take is no error");
        for sequence in 0..2 {
            let t1 = bench.send(sequence);
            bench.arrive(&bench.incoming(&bench.packet(&bench.reply(sequence, t1))));
            assert!(is_readable(&bench.doorbell));
        }
        assert_eq!(bench.bells().len(), 2);
        assert!(!is_readable(&bench.doorbell));
    });
}
