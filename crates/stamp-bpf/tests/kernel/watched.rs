//! What user space is told of requests that the programs answer by themselves.

use stamp_bpf::{Answered, Doorbell, Event, Knobs, Notice, Program, Publication, Sizes, Skew};
use stamp_proto::clock::WallTime;
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::packet::{Mode, Reply, Request};
use stamp_proto::reflector::SessionKey;
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv::{self, Kind, SyncSource};

use crate::frames::Datagram;
use crate::twin::{Done, Lists, Twin, inside, monotonic, open_request, unlimited, wall};

/// A reflector whose clock is wrong by as much, and which tells.
fn watched(lists: &Lists, skew: Skew) -> (Twin, Doorbell) {
    let sizes = Sizes::default();
    let mut twin = Twin::with(unlimited(), lists, Format::Ntp, skew, sizes);
    let knobs = Knobs::new(&unlimited(), Format::Ntp).skewed(skew).watched(true);
    twin.program = Program::load(&twin.tables, &knobs).unwrap();
    let doorbell = twin.tables.doorbell().unwrap();
    (twin, doorbell)
}

/// A request that claims to have left at that time.
fn sent_at(format: Format, timestamp: Timestamp) -> Vec<u8> {
    let mut payload = open_request(1, 42);
    let z = if format == Format::Ptp { 0x4000 } else { 0 };
    let error_estimate = ErrorEstimate::from_bits(0x0ad2 | z);
    Request { sequence: 1, timestamp, error_estimate, ssid: Some(42) }
        .emit(Mode::Open, &mut payload);
    payload
}

/// What was told of a request, and the T2 of its reply.
fn told(twin: &Twin, doorbell: &mut Doorbell, datagram: &Datagram) -> (Vec<Notice>, Timestamp) {
    let Done::Replied(frame) = twin.run(datagram) else { panic!("{datagram:?} is plain") };
    let reply = Reply::parse(Mode::Open, datagram.payload_of(&frame)).unwrap();
    (doorbell.drain().unwrap(), reply.receive_timestamp)
}

fn session(datagram: &Datagram, ssid: u16, micro: u16) -> SessionKey {
    SessionKey { source: datagram.source, destination: datagram.destination, ssid, micro }
}

#[test]
#[ignore = "root: loads programs"]
fn each_answered_request_tells_how_long_it_was_on_its_way() {
    inside(|| {
        // The last is after NTP's seconds have begun anew, in 2036.
        for ahead_ns in [0, 37_000_000_000, 400_000_000_000_000_000] {
            let (twin, mut doorbell) = watched(&Lists::all(), Skew { ahead_ns, ..Skew::default() });
            for format in [Format::Ntp, Format::Ptp] {
                for ago_ns in [0, 5_000_000, -3_000_000_001, 1_000_000_000_000_000_000] {
                    let t1 = wall().shifted(ahead_ns - ago_ns);
                    let payload = sent_at(format, Timestamp::encode(format, t1));
                    for datagram in [Datagram::v4(&payload), Datagram::v6(&payload)] {
                        check(&twin, &mut doorbell, &datagram, (format, t1));
                    }
                }
            }
        }
    });
}

fn check(
    twin: &Twin,
    doorbell: &mut Doorbell,
    datagram: &Datagram,
    (format, t1): (Format, WallTime),
) {
    crate::twin::publish(&twin.tables, u64::MAX);
    // Where TAI is known, PTP times are ahead of UTC by it.
    let ahead_ns = crate::twin::ahead_ns(format);
    let (notices, t2) = told(twin, doorbell, datagram);
    let near = wall().shifted(twin.skew_ns);
    let t2 = t2.decode(Format::Ntp, near).unwrap();
    let t1 = Timestamp::encode(format, t1).decode(format, near).unwrap().shifted(-ahead_ns);
    let near_end_ns = t2.since(t1);
    let answered = Answered { session: session(datagram, 42, 0), near_end_ns };
    assert_eq!(notices, [Notice::Answered(answered)], "{format:?}");
}

#[test]
#[ignore = "root: loads programs"]
fn a_time_of_ptp_is_ahead_by_what_the_kernel_knows_of_tai() {
    inside(|| {
        let skew = Skew { no_tai: true, ..Skew::default() };
        let (twin, mut doorbell) = watched(&Lists::all(), skew);
        let now = monotonic().as_ns();
        let publication = Publication {
            offset_ns: wall().as_ns() - now,
            published_ns: now.cast_unsigned(),
            lease_until_ns: u64::MAX,
            tai_offset_s: 37,
            epoch: 1,
            error_estimate: ErrorEstimate::from_bits(0x8ad2),
            source: SyncSource::Ptp,
        };
        twin.tables.publish(&publication).unwrap();
        let t1 = wall();
        for (format, ahead_s) in [(Format::Ntp, 0), (Format::Ptp, 37)] {
            let sent = Timestamp::encode(format, t1.shifted(ahead_s * 1_000_000_000));
            let datagram = Datagram::v4(&sent_at(format, sent));
            let (notices, t2) = told(&twin, &mut doorbell, &datagram);
            let near_end_ns = t2.decode(Format::Ntp, t1).unwrap().since(t1);
            let answered = Answered { session: session(&datagram, 42, 0), near_end_ns };
            assert_eq!(notices, [Notice::Answered(answered)], "{format:?}");
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn what_is_no_time_tells_nothing() {
    inside(|| {
        let (twin, mut doorbell) = watched(&Lists::all(), Skew::default());
        let whole = 1_000_000_000;
        for (format, bits, rings) in [
            (Format::Ntp, 0, false),
            (Format::Ptp, 0, false),
            (Format::Ptp, 7 << 32 | whole, false),
            (Format::Ptp, 7 << 32 | u64::from(u32::MAX), false),
            (Format::Ptp, 7 << 32 | (whole - 1), true),
            (Format::Ntp, 7 << 32 | u64::from(u32::MAX), true),
            (Format::Ntp, 1, true),
        ] {
            let payload = sent_at(format, Timestamp::from_bits(bits));
            let (notices, _) = told(&twin, &mut doorbell, &Datagram::v4(&payload));
            assert_eq!(notices.len(), usize::from(rings), "{format:?} {bits:x}");
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn the_session_is_named_as_its_replies_are_numbered() {
    inside(|| {
        let lists = Lists { light: vec!["fd00::/16".parse().unwrap()], ..Lists::all() };
        let (twin, mut doorbell) = watched(&lists, Skew::default());
        let mut payload = open_request(1, 42);
        tlv::append(&mut payload, Kind::MicroSessionId, &[0, 9, 0, 0]);
        // What a light peer pads with names neither a session nor a link.
        for (datagram, ssid, micro) in
            [(Datagram::v4(&payload), 42, 9), (Datagram::v6(&payload), 0, 0)]
        {
            let (notices, _) = told(&twin, &mut doorbell, &datagram);
            let [Notice::Answered(answered)] = &notices[..] else { panic!("{notices:?}") };
            assert_eq!(answered.session, session(&datagram, ssid, micro));
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_full_ring_loses_notices_and_counts_them() {
    inside(|| {
        let (twin, mut doorbell) = watched(&Lists::all(), Skew::default());
        let datagram = Datagram::v4(&open_request(1, 0));
        let frame = datagram.frame();
        let ingress = twin.program.ingress(stamp_bpf::LinkLayer::Ethernet);
        let sent = 1024 * 1024 / 64 + 10;
        for _ in 0..sent {
            stamp_bpf::testrun::run(ingress, &stamp_bpf::testrun::Frame::new(&frame)).unwrap();
        }
        let lost = twin.tables.happened(Event::LostEvent).unwrap();
        let notices = doorbell.drain().unwrap().len() as u64;
        assert!(lost > 0);
        assert_eq!((notices + lost, twin.tables.happened(Event::Replied).unwrap()), (sent, sent));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn nobody_is_told_who_did_not_ask() {
    inside(|| {
        let twin = Twin::open();
        let mut doorbell = twin.tables.doorbell().unwrap();
        let (notices, _) = told(&twin, &mut doorbell, &Datagram::v4(&open_request(1, 42)));
        assert_eq!(notices, []);
    });
}
