//! Replies of user space on their way out.

use stamp_bpf::testrun::{self, Frame};
use stamp_bpf::{Event, LinkLayer};
use stamp_proto::packet::{Mode, Reply};

use crate::frames::{Datagram, Sum};
use crate::signed::{authenticated, old_key};
use crate::twin::{NEXT, Twin, clock, inside, open_request, slow_key, wall};

/// Lets user space answer a request, and gives the frame as it left.
fn answered(twin: &mut Twin, datagram: &Datagram) -> (Datagram, Vec<u8>) {
    let (payload, _) = twin.expect(datagram, clock(twin.format).encode(wall())).unwrap();
    let source = datagram.destination;
    let reply =
        Datagram { source, destination: datagram.source, payload, options: 0, ..datagram.clone() };
    let egress = twin.program.egress(LinkLayer::Ethernet);
    let outcome = testrun::run(egress, &Frame::new(&reply.frame())).unwrap();
    assert_eq!(outcome.verdict, NEXT);
    (reply, outcome.octets)
}

/// The request is shown to the program and stays in the map.
fn arrive(twin: &Twin, datagram: &Datagram) {
    let frame = datagram.frame();
    let outcome = testrun::run(twin.program.ingress(LinkLayer::Ethernet), &Frame::new(&frame));
    assert_eq!(outcome.unwrap().verdict, NEXT);
}

fn check_restamped(twin: &mut Twin, datagram: &Datagram, mode: Mode) {
    arrive(twin, datagram);
    assert!(twin.tables.slow_request(&slow_key(datagram)).unwrap().is_some());
    let (reply, frame) = answered(twin, datagram);
    let left = reply.payload_of(&frame);
    let [was, is] = [&reply.payload[..], left].map(|payload| Reply::parse(mode, payload).unwrap());
    assert_ne!(is.timestamp, was.timestamp, "T3 is the program's");
    assert_eq!(Reply { timestamp: was.timestamp, ..is }, was, "all else is user space's");
    assert!(reply.is_sum_right(&frame));
    assert_eq!(twin.tables.slow_request(&slow_key(datagram)).unwrap(), None);
    let (reply, frame) = answered(twin, datagram);
    assert_eq!(frame, reply.frame(), "without its entry a reply leaves as it is");
}

#[test]
#[ignore = "root: loads programs"]
fn a_reply_of_user_space_leaves_with_the_time_at_which_it_leaves() {
    inside(|| {
        let mut twin = Twin::open();
        for datagram in [Datagram::v4(&open_request(1, 0)), Datagram::v6(&open_request(1, 0))] {
            check_restamped(&mut twin, &Datagram { options: 1, ..datagram }, Mode::Open);
        }
        assert_eq!(twin.tables.happened(Event::Restamped).unwrap(), 2);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_signed_reply_of_user_space_is_signed_again_by_its_own_key() {
    inside(|| {
        for key in [crate::signed::key(), old_key()] {
            let mut twin = authenticated();
            let mut payload = crate::twin::request(Mode::Authenticated, 1, 0);
            key.sign(&mut payload);
            let datagram = Datagram { options: 1, ..Datagram::v4(&payload) };
            arrive(&twin, &datagram);
            let (reply, frame) = answered(&mut twin, &datagram);
            assert!(key.verifies(reply.payload_of(&frame)));
            assert_ne!(reply.payload_of(&frame)[16..24], reply.payload[16..24]);
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_datagram_without_a_sum_keeps_none() {
    inside(|| {
        let mut twin = Twin::open();
        let datagram = Datagram { options: 1, sum: Sum::Zero, ..Datagram::v4(&open_request(1, 0)) };
        arrive(&twin, &datagram);
        let before = wall();
        let (reply, frame) = answered(&mut twin, &datagram);
        let at = reply.payload_at();
        assert_eq!(frame[at - 2..at], [0, 0]);
        assert!(before <= wall());
    });
}
