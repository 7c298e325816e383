//! The program in front of tc: what it answers, and what it lets pass as if it were not
//! there.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;

use proptest::prelude::{Strategy as _, any};
use proptest::test_runner::TestRunner;
use stamp_bpf::testrun::{self, Frame};
use stamp_bpf::{Event, Knobs, LocalAddress, Peer, PortUse, Program, Sizes, Skew};
use stamp_proto::packet::Mode;
use stamp_proto::reflector::{Numbering, Policy, Refusal};
use stamp_proto::timestamp::Format;

use crate::differential;
use crate::extensions::{self, authenticated, open, policies, signed, simple};
use crate::frames::{Datagram, FAR_MAC, Sum};
use crate::signed::key;
use crate::twin::{
    Done, Lists, Twin, has_whole_sum, inside, monotonic, open_request, publish, request, unlimited,
};

fn front() -> Twin {
    Twin::open().in_front()
}

/// Everything that is counted.
fn counters(twin: &Twin) -> Vec<u64> {
    let events = [
        Event::Request,
        Event::Replied,
        Event::Slow,
        Event::SessionRefused,
        Event::OldKey,
        Event::Inert,
        Event::Received,
        Event::Unsolicited,
        Event::LostEvent,
        Event::XdpRequest,
        Event::XdpReplied,
    ];
    let events = events.map(|what| twin.tables.happened(what).unwrap());
    [&events[..], &twin.refusals()].concat()
}

#[test]
#[ignore = "root: loads programs"]
fn plain_requests_are_answered_with_a_whole_sum() {
    inside(|| {
        let mut twin = front();
        let mut answered = 0;
        for (ssid, padding) in [(0, 0), (42, 1), (42, 17), (42, 46)] {
            for sum in [Sum::Right, Sum::Zero, Sum::Offloaded] {
                let payload = open_request(3, ssid);
                for datagram in [Datagram::v4(&payload), Datagram::v6(&payload)] {
                    let datagram = Datagram { sum, padding, ..datagram };
                    if sum == Sum::Zero && datagram.source.is_ipv6() {
                        assert_eq!(twin.run(&datagram), Done::Refused(Refusal::Checksum));
                        continue;
                    }
                    answered += 1;
                    assert!(matches!(twin.compare(&datagram), Done::Replied(_)));
                }
            }
        }
        assert_eq!(twin.tables.happened(Event::XdpReplied).unwrap(), answered);
        assert_eq!(twin.tables.happened(Event::XdpRequest).unwrap(), answered + 4);
        assert_eq!(twin.tables.happened(Event::Request).unwrap(), 0, "tc saw none of it");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn payloads_of_every_length_get_a_whole_sum() {
    inside(|| {
        let mut twin = front();
        for len in 44..=1444 {
            // Zeros are no extension; anything else is one of padding.
            for fill in [0, 0x5a] {
                let payload = match len - 44 {
                    area if fill == 0 || area < 4 => {
                        [open_request(len, 42), vec![fill; area as usize]].concat()
                    }
                    area => open(&[(1, vec![fill; area as usize - 4])]),
                };
                let datagram = Datagram::v4(&payload);
                let Done::Replied(frame) = twin.compare(&datagram) else {
                    panic!("{len} octets were not answered")
                };
                assert!(has_whole_sum(&datagram, &frame), "{len}");
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_sum_that_comes_out_as_zero_is_told_as_the_other_zero() {
    inside(|| {
        let twin = front();
        let datagram = Datagram::v6(&open_request(3, 0));
        let (frame, at) = (datagram.frame(), datagram.payload_at());
        // Times make the sum a random one; one in 65,536 is the one.
        let sums = std::iter::repeat_with(|| {
            let reply = testrun::run_xdp(twin.program.xdp().unwrap(), &frame).unwrap().octets;
            [reply[at - 2], reply[at - 1]]
        });
        let special = sums.take(3_000_000).find(|&sum| sum == [0, 0] || sum == [0xff, 0xff]);
        assert_eq!(special, Some([0xff, 0xff]));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn every_numbering_and_both_formats_agree_in_front_of_tc() {
    inside(|| {
        for numbering in [Numbering::Auto, Numbering::Stateful, Numbering::Stateless] {
            for format in [Format::Ntp, Format::Ptp] {
                let policy = Policy { numbering, ..unlimited() };
                let (skew, sizes) = (Skew::default(), Sizes::default());
                let mut twin = Twin::with(policy, &Lists::all(), format, skew, sizes).in_front();
                for ssid in [0, 1, 1, 0] {
                    let done = twin.compare(&Datagram::v6(&open_request(7, ssid)));
                    assert!(matches!(done, Done::Replied(_)));
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn simple_extensions_are_answered_in_front_of_tc() {
    inside(|| {
        for policy in policies() {
            let mut twin = Twin::new(policy, &Lists::all()).in_front();
            twin.name(Some(5));
            for (code, value) in simple() {
                for behind in [0, 3] {
                    let list = [(1, vec![3; behind]), (code, value.clone())];
                    let done = twin.compare(&Datagram::v4(&open(&list)));
                    assert!(matches!(done, Done::Replied(_)), "{code} {value:?}: {done:?}");
                }
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn signed_requests_are_answered_in_front_of_tc() {
    inside(|| {
        let mut twin = authenticated(unlimited()).in_front();
        for (sequence, (code, value)) in (0..).zip(simple()) {
            let payload = signed(sequence, &[(code, value)], 1);
            let done = twin.compare_signed(&Datagram::v4(&payload), &key());
            assert!(matches!(done, Done::Replied(_)), "{code}: {done:?}");
            let done = twin.compare_signed(&Datagram::v4(&payload), &key());
            assert_eq!(done, Done::Refused(Refusal::Replay));
        }
        let mut forged = request(Mode::Authenticated, 99, 42);
        key().sign(&mut forged);
        forged[100] ^= 1;
        let done = twin.compare_signed(&Datagram::v6(&forged), &key());
        assert_eq!(done, Done::Refused(Refusal::Hmac));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn extensions_that_are_not_what_was_signed_pass() {
    inside(|| {
        let twin = authenticated(unlimited()).in_front();
        let before = counters(&twin);
        let mut forged = signed(1, &[(3, vec![0; 4])], 1);
        forged[116] ^= 1;
        assert_eq!(twin.run(&Datagram::v4(&forged)), Done::Passed(None));
        assert_eq!(counters(&twin), before);
    });
}

/// What is not to be decided in front of tc.
fn left_alone() -> Vec<Datagram> {
    let plain = || Datagram::v4(&open_request(1, 42));
    let to = |text: &str| Datagram { destination: text.parse().unwrap(), ..plain() };
    vec![
        to("10.0.0.1:861"),
        to("10.0.0.3:862"),
        Datagram { options: 1, ..plain() },
        Datagram { options: 1, ..Datagram::v6(&open_request(1, 42)) },
        Datagram { fragment: 0x2000, ..plain() },
        Datagram { fragment: 0x0010, ..plain() },
        Datagram { longer: 1, ..plain() },
        Datagram { longer: -45, ..plain() },
        Datagram::v4(&open_request(1, 42)[..43]),
        Datagram::v4(&open(&[(250, vec![1, 2])])),
        Datagram::v4(&open(&[(3, vec![0; 3])])),
        Datagram::v4(&open(&[(1, vec![6; 1397])])),
        Datagram { source: "10.0.7.2:9".parse().unwrap(), ..plain() },
    ]
}

#[test]
#[ignore = "root: loads programs"]
fn what_it_does_not_decide_passes_untouched_and_uncounted() {
    inside(|| {
        let lists = Lists { light: vec!["10.0.7.0/24".parse().unwrap()], ..Lists::all() };
        let policy = Policy { rate: 1, burst: 1, ..unlimited() };
        let twin = Twin::new(policy, &lists).in_front();
        let before = counters(&twin);
        for datagram in left_alone() {
            assert_eq!(twin.run(&datagram), Done::Passed(None), "{datagram:?}");
        }
        let plain = Datagram::v4(&open_request(1, 42));
        let mut frame = plain.frame();
        frame[..6].copy_from_slice(&FAR_MAC);
        let overheard = twin.run_frame(&plain, &Frame::new(&frame));
        assert_eq!(overheard, Done::Passed(None), "it is another's");
        let frame = plain.frame();
        let tagged = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
        assert_eq!(twin.run_frame(&plain, &Frame::new(&tagged)), Done::Passed(None));
        assert_eq!(counters(&twin), before);
        assert_eq!(twin.tables.sessions().unwrap(), []);
        assert!(matches!(twin.run(&plain), Done::Replied(_)), "the one that may come was left");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_frame_cut_off_anywhere_passes() {
    inside(|| {
        let twin = front();
        for datagram in [Datagram::v4(&open_request(1, 42)), Datagram::v6(&open_request(1, 42))] {
            let frame = datagram.frame();
            for len in 14..frame.len() {
                let cut = Frame::new(&frame[..len]);
                assert_eq!(twin.run_frame(&datagram, &cut), Done::Passed(None), "{len} octets");
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn without_a_lease_or_a_hardware_address_everything_passes() {
    inside(|| {
        let twin = front();
        let plain = Datagram::v4(&open_request(1, 42));
        let before = counters(&twin);
        publish(&twin.tables, monotonic().as_ns() as u64);
        assert_eq!(twin.run(&plain), Done::Passed(None));
        publish(&twin.tables, u64::MAX);
        let nameless = LocalAddress {
            ifindex: 1,
            address: plain.destination.ip(),
            member: None,
            loopback: false,
            mac: None,
        };
        twin.tables.set_addresses(&[nameless]).unwrap();
        assert_eq!(twin.run(&plain), Done::Passed(None));
        assert_eq!(counters(&twin), before);
        twin.tables.set_addresses(&[LocalAddress { mac: Some([0; 6]), ..nameless }]).unwrap();
        assert!(matches!(twin.run(&plain), Done::Replied(_)));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn replies_to_sessions_of_ours_pass_and_those_to_no_session_end() {
    inside(|| {
        let twin = front();
        let both = PortUse { reflector: true, sender: true, ..PortUse::default() };
        twin.tables.set_ports(&BTreeMap::from([(862, both)])).unwrap();
        let local: SocketAddr = "10.0.0.1:862".parse().unwrap();
        let peer = Peer {
            local,
            remote: "10.0.0.2:862".parse().unwrap(),
            ssid: 42,
            mode: Mode::Open,
            key: 0,
            format: Format::Ntp,
            min_ttl: 0,
            zero_ssid_is_fatal: false,
            window: 64,
        };
        twin.tables.begin_peer(0, &peer).unwrap();
        let asked = Datagram::between(peer.remote, local, &open_request(1, 42));
        let Done::Replied(frame) = twin.run(&asked) else { panic!("both are reflectors") };
        let reply = asked.payload_of(&frame);
        assert_eq!(twin.run(&Datagram::between(peer.remote, local, reply)), Done::Passed(None));
        let stranger = "10.0.0.9:862".parse().unwrap();
        let echo = Datagram::between(stranger, local, reply);
        assert_eq!(twin.run(&echo), Done::Refused(Refusal::LoopGuard));
        let sender = PortUse { sender: true, ..PortUse::default() };
        twin.tables.set_ports(&BTreeMap::from([(862, sender)])).unwrap();
        assert_eq!(twin.run(&echo), Done::Passed(None), "no reflector is behind that port");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn whatever_comes_both_reflectors_do_the_same_in_front_of_tc() {
    inside(|| {
        let lists = Lists {
            allow: vec!["10.0.0.0/8".parse().unwrap(), "::/0".parse().unwrap()],
            deny: vec!["10.9.0.0/16".parse().unwrap()],
            light: vec![],
        };
        let policy = Policy { min_ttl: 20, ..unlimited() };
        let (twin, decided) = (RefCell::new(Twin::new(policy, &lists).in_front()), RefCell::new(0));
        let strategy = differential::datagram().prop_filter("it has a link", |one| one.link);
        let mut runner = TestRunner::new(extensions::config());
        runner
            .run(&strategy, |datagram| {
                let done = twin.borrow_mut().compare(&datagram);
                *decided.borrow_mut() += u32::from(done != Done::Passed(None));
                Ok(())
            })
            .unwrap();
        assert!(*decided.borrow() > runner.config().cases / 5, "{}", decided.borrow());
    });
}

#[test]
#[ignore = "root: loads programs"]
fn whatever_extensions_come_both_reflectors_do_the_same_in_front_of_tc() {
    inside(|| {
        let mut twin = front();
        twin.name(Some(5));
        let (twin, answered) = (RefCell::new(twin), RefCell::new(0));
        let mut runner = TestRunner::new(extensions::config());
        let strategy = (extensions::areas(), any::<bool>(), any::<u8>());
        runner
            .run(&strategy, |(area, v6, tos)| {
                let payload = [request(Mode::Open, 1, 42), area].concat();
                let datagram = if v6 { Datagram::v6(&payload) } else { Datagram::v4(&payload) };
                let done = twin.borrow_mut().compare(&Datagram { tos, ..datagram });
                *answered.borrow_mut() += u32::from(matches!(done, Done::Replied(_)));
                Ok(())
            })
            .unwrap();
        assert!(*answered.borrow() > runner.config().cases / 4, "most are simple");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn both_programs_number_the_replies_of_one_session_together() {
    inside(|| {
        let mut twin = front();
        let plain = Datagram::v4(&open_request(1, 42));
        for turn in 0..6 {
            twin.place =
                if turn % 2 == 0 { crate::twin::Place::Xdp } else { crate::twin::Place::Tc };
            assert!(
                matches!(twin.compare(&plain), Done::Replied(_)),
                "numbered as one reflector does"
            );
        }
        assert_eq!(twin.tables.sessions().unwrap()[0].1.transmitted, 6);
        assert_eq!(twin.tables.happened(Event::XdpReplied).unwrap(), 3);
        assert_eq!(twin.tables.happened(Event::Replied).unwrap(), 3);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn nothing_is_in_front_of_tc_that_was_not_asked_for() {
    inside(|| {
        let twin = Twin::open();
        assert!(twin.program.xdp().is_none());
        let knobs = Knobs::new(&unlimited(), Format::Ntp).watched(true).xdp(true);
        let program = Program::load(&twin.tables, &knobs).unwrap();
        let mut doorbell = twin.tables.doorbell().unwrap();
        let frame = Datagram::v4(&open_request(1, 42)).frame();
        testrun::run_xdp(program.xdp().unwrap(), &frame).unwrap();
        assert_eq!(doorbell.drain().unwrap().len(), 1, "the knobs are its own as well");
    });
}
