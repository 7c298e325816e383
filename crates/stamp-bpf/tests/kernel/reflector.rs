//! Refusals that only the kernel can decide, limits, and what is nobody's business.

use stamp_bpf::testrun::Frame;
use stamp_bpf::{Event, PortUse, Sizes, Skew};
use stamp_proto::packet::{Mode, Reply};
use stamp_proto::reflector::{Policy, Provisioned, Refusal};
use stamp_proto::timestamp::{Format, Timestamp};

use crate::frames::Datagram;
use crate::twin::{
    Done, Lists, Twin, inside, monotonic, open_request, publish, publish_before, unlimited, wall,
};

fn request() -> Datagram {
    Datagram::v4(&open_request(1, 42))
}

#[test]
#[ignore = "root: loads programs"]
fn foreign_packets_go_on_untouched() {
    inside(|| {
        let twin = Twin::open();
        let to = |text: &str| Datagram { destination: text.parse().unwrap(), ..request() };
        assert_eq!(twin.run(&to("10.0.0.1:861")), Done::Passed(None));
        assert_eq!(twin.run(&to("10.0.0.3:862")), Done::Passed(Some(Refusal::NotLocal)));
        let mut tcp = request().frame();
        tcp[14 + 9] = 6;
        assert_eq!(twin.run_frame(&request(), &Frame::new(&tcp)), Done::Passed(None));
        let mut arp = request().frame();
        arp[13] = 6;
        assert_eq!(twin.run_frame(&request(), &Frame::new(&arp)), Done::Passed(None));
        let elsewhere = Datagram { fragment: 0x0010, ..request() };
        assert_eq!(twin.run(&elsewhere), Done::Passed(None), "a later fragment has no ports");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn ports_that_are_set_anew_are_the_only_ones() {
    inside(|| {
        let twin = Twin::open();
        let to = |port| Datagram { destination: ([10, 0, 0, 1], port).into(), ..request() };
        let reflector = PortUse { reflector: true, ..PortUse::default() };
        for ports in [&[862, 65_535][..], &[0, 863], &[863, 864], &[863, 864], &[]] {
            twin.tables.set_ports(&ports.iter().map(|&port| (port, reflector)).collect()).unwrap();
            for port in [0, 862, 863, 864, 65_535] {
                let answered = matches!(twin.run(&to(port)), Done::Replied(_));
                assert_eq!(answered, ports.contains(&port), "{port} of {ports:?}");
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn what_a_device_hears_of_others_is_theirs() {
    inside(|| {
        let twin = Twin::open();
        let mut frame = request().frame();
        frame[..6].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        assert_eq!(twin.run_frame(&request(), &Frame::new(&frame)), Done::Passed(None));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_tag_in_the_frame_belongs_to_another_device() {
    inside(|| {
        let twin = Twin::open();
        let frame = request().frame();
        let tagged = [&frame[..12], &[0x81, 0, 0, 5], &frame[12..]].concat();
        assert_eq!(twin.run_frame(&request(), &Frame::new(&tagged)), Done::Passed(None));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn fragments_and_aggregates_are_refused() {
    inside(|| {
        let twin = Twin::open();
        let first = Datagram { fragment: 0x2000, ..request() };
        assert_eq!(twin.run(&first), Done::Refused(Refusal::Fragment));
        let octets = request().frame();
        let frame = Frame { gso_size: 44, ..Frame::new(&octets) };
        assert_eq!(twin.run_frame(&request(), &frame), Done::Refused(Refusal::Gso));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn lengths_that_contradict_each_other_are_refused() {
    inside(|| {
        let twin = Twin::open();
        for longer in [1, 30, -45, -52] {
            let lying = Datagram { longer, padding: 40, ..request() };
            assert_eq!(twin.run(&lying), Done::Refused(Refusal::Truncated), "{longer}");
            let lying = Datagram { longer, padding: 40, ..Datagram::v6(&open_request(1, 42)) };
            assert_eq!(twin.run(&lying), Done::Refused(Refusal::Truncated), "{longer}");
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn options_are_left_to_user_space() {
    inside(|| {
        let mut twin = Twin::open();
        for options in [1, 2] {
            let datagram = Datagram { options, ..request() };
            assert!(matches!(twin.compare(&datagram), Done::Slow(_)));
            let datagram = Datagram { options, ..Datagram::v6(&open_request(1, 42)) };
            assert!(matches!(twin.compare(&datagram), Done::Slow(_)));
        }
        let denied = Lists { deny: vec!["10.0.0.2".parse().unwrap()], ..Lists::all() };
        let twin = Twin::new(unlimited(), &denied);
        let datagram = Datagram { options: 1, ..request() };
        assert_eq!(twin.run(&datagram), Done::Refused(Refusal::Denied), "not everybody's");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn no_more_wait_for_user_space_than_there_is_room_for() {
    inside(|| {
        let sizes = Sizes { slow_requests: 16, ..Sizes::default() };
        let twin = Twin::with(unlimited(), &Lists::all(), Format::Ntp, Skew::default(), sizes);
        let waiting =
            |sequence| Datagram { options: 1, ..Datagram::v4(&open_request(sequence, 1)) };
        let program = twin.program.ingress(stamp_bpf::LinkLayer::Ethernet);
        let verdicts: Vec<i32> = (0..40)
            .map(|n| {
                stamp_bpf::testrun::run(program, &Frame::new(&waiting(n).frame())).unwrap().verdict
            })
            .collect();
        let full = twin.tables.refused(Refusal::SlowFull).unwrap();
        assert_eq!(verdicts.iter().filter(|&&verdict| verdict == 2).count() as u64, full);
        assert_eq!((twin.tables.happened(Event::Slow).unwrap(), full), (16, 24));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn our_own_address_is_no_source() {
    inside(|| {
        let twin = Twin::open();
        let own = Datagram { source: "10.0.0.1:5".parse().unwrap(), ..request() };
        assert_eq!(twin.run(&own), Done::Refused(Refusal::SourceInvalid));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn nobody_has_a_reserved_address() {
    inside(|| {
        let twin = Twin::open();
        for source in ["240.0.0.0:5", "250.1.2.3:5", "255.255.255.255:5", "224.0.0.1:5"] {
            let reserved = Datagram { source: source.parse().unwrap(), ..request() };
            assert_eq!(twin.run(&reserved), Done::Refused(Refusal::SourceInvalid), "{source}");
        }
        let last = Datagram { source: "223.255.255.255:5".parse().unwrap(), ..request() };
        assert!(matches!(twin.run(&last), Done::Replied(_)));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_source_has_its_burst_and_all_have_theirs() {
    inside(|| {
        // An hour between two packets: no time passes that would matter.
        let policy = Policy { rate: 1, burst: 3, global_rate: 0, ..Policy::default() };
        let twin = Twin::new(policy, &Lists::all());
        let from = |text: &str| Datagram { source: text.parse().unwrap(), ..request() };
        let tell = |source: &str| match twin.run(&from(source)) {
            Done::Replied(_) => None,
            Done::Refused(why) => Some(why),
            other => panic!("{other:?}"),
        };
        let over = Some(Refusal::RateSource);
        assert_eq!([0; 5].map(|_| tell("10.0.0.2:7")), [None, None, None, over, over]);
        assert_eq!([0; 2].map(|_| tell("10.0.0.3:7")), [None, None]);
        let policy = Policy { rate: 0, global_rate: 20, ..Policy::default() };
        let twin = Twin::new(policy, &Lists::all());
        let done: Vec<Done> = (1..=5)
            .map(|n| {
                twin.run(&Datagram {
                    source: format!("10.0.9.{n}:7").parse().unwrap(),
                    ..request()
                })
            })
            .collect();
        assert!(matches!(done[1], Done::Replied(_)), "a tenth of a second of burst is two");
        assert_eq!(done[4], Done::Refused(Refusal::RateGlobal));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn addresses_of_one_network_are_one_source() {
    inside(|| {
        let policy = Policy { rate: 1, burst: 2, global_rate: 0, ..Policy::default() };
        let twin = Twin::new(policy, &Lists::all());
        let payload = open_request(1, 42);
        let from =
            |text: &str| Datagram { source: text.parse().unwrap(), ..Datagram::v6(&payload) };
        assert!(matches!(twin.run(&from("[fd00::2]:7")), Done::Replied(_)));
        assert!(matches!(twin.run(&from("[fd00::3]:7")), Done::Replied(_)));
        assert_eq!(twin.run(&from("[fd00::4]:7")), Done::Refused(Refusal::RateSource));
        assert!(matches!(twin.run(&from("[fd00:0:0:1::4]:7")), Done::Replied(_)));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_peer_without_shape_is_held_to_a_hundred_a_second() {
    inside(|| {
        let lists = Lists { light: vec!["10.0.0.0/24".parse().unwrap()], ..Lists::all() };
        let twin = Twin::new(unlimited(), &lists);
        let program = twin.program.ingress(stamp_bpf::LinkLayer::Ethernet);
        let start = monotonic();
        let octets = request().frame();
        let replied = (0..400)
            .filter(|_| {
                stamp_bpf::testrun::run(program, &Frame::new(&octets)).unwrap().verdict == 7
            })
            .count() as i64;
        let allowance = 101 + monotonic().since(start) / 10_000_000;
        assert!((100..=allowance).contains(&replied), "{replied} of {allowance}");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_full_table_of_sessions_answers_without_them() {
    inside(|| {
        let sizes = Sizes { sessions: 8, ..Sizes::default() };
        let twin = Twin::with(unlimited(), &Lists::all(), Format::Ntp, Skew::default(), sizes);
        for ssid in 1..=12 {
            assert!(matches!(twin.run(&Datagram::v4(&open_request(5, ssid))), Done::Replied(_)));
        }
        assert_eq!(twin.tables.sessions().unwrap().len(), 8);
        assert_eq!(twin.tables.happened(Event::SessionRefused).unwrap(), 4);
        assert_eq!(twin.tables.expire_sessions(monotonic().after(1)).unwrap(), 8);
        assert_eq!(twin.tables.sessions().unwrap(), []);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn sessions_count_as_those_of_the_pure_reflector() {
    inside(|| {
        let mut twin = Twin::open();
        for sequence in [10, 11, 14, 13, 10] {
            twin.compare(&Datagram::v4(&open_request(sequence, 42)));
        }
        let [(key, state)] = twin.tables.sessions().unwrap()[..] else { panic!("one session") };
        let (pure_key, pure) = twin.pure.sessions().iter().next().unwrap();
        assert_eq!(key, *pure_key);
        assert_eq!((state.received, state.transmitted), (pure.received, pure.transmitted));
        assert_eq!(state.lost_forward, pure.lost_forward());
        assert_eq!(state.last_reply.unwrap().0, pure.last_reply.unwrap().0);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn only_provisioned_sessions_are_answered_where_so_configured() {
    inside(|| {
        let session = |ssid, micro| Provisioned {
            ssid,
            source: "10.0.0.2".parse().unwrap(),
            destination: "10.0.0.1".parse().unwrap(),
            micro,
        };
        let provisioned = Some(vec![session(42, None), session(43, Some(7))]);
        let mut twin = Twin::new(Policy { provisioned, ..unlimited() }, &Lists::all());
        let mut answered = |ssid| match twin.compare(&Datagram::v4(&open_request(1, ssid))) {
            Done::Replied(_) => true,
            Done::Refused(Refusal::NotProvisioned) => false,
            other => panic!("{other:?}"),
        };
        assert_eq!([0, 42, 43].map(&mut answered), [false, true, false]);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn programs_are_inert_without_a_lease() {
    inside(|| {
        let twin = Twin::open();
        publish(&twin.tables, monotonic().as_ns() as u64);
        assert_eq!(twin.run(&request()), Done::Passed(None));
        assert_eq!(twin.tables.happened(Event::Inert).unwrap(), 1);
        publish(&twin.tables, u64::MAX);
        assert!(matches!(twin.run(&request()), Done::Replied(_)));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_clock_that_was_not_set_answers_nothing() {
    inside(|| {
        let skew = Skew { ahead_ns: -3_000_000_000_000_000_000, ..Skew::default() };
        let twin = Twin::with(unlimited(), &Lists::all(), Format::Ntp, skew, Sizes::default());
        assert_eq!(twin.run(&request()), Done::Refused(Refusal::ClockUnset));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_clock_is_off_by_as_much_as_its_knob_says() {
    inside(|| {
        for no_tai in [false, true] {
            for ahead_ns in [5_000_000, -250_000, 37_000_000_000] {
                let skew = Skew { ahead_ns, no_tai, ..Skew::default() };
                let sizes = Sizes::default();
                let mut twin = Twin::with(unlimited(), &Lists::all(), Format::Ntp, skew, sizes);
                assert!(matches!(twin.compare(&request()), Done::Replied(_)));
            }
        }
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_light_peer_may_pad_with_anything_but_a_time_of_today() {
    inside(|| {
        let lists = Lists { light: vec!["10.0.0.0/24".parse().unwrap()], ..Lists::all() };
        let mut twin = Twin::new(unlimited(), &lists);
        let mut padded = open_request(3, 42);
        padded[24..].fill(0x5a);
        for (minutes, answered) in [(-61, true), (-59, false), (0, false), (59, false), (61, true)]
        {
            for format in [Format::Ntp, Format::Ptp] {
                let time = wall().shifted(minutes * 60_000_000_000);
                let bits = Timestamp::encode(format, time).bits();
                padded[16..24].copy_from_slice(&bits.to_be_bytes());
                let done = twin.compare(&Datagram::v4(&padded));
                assert_eq!(matches!(done, Done::Replied(_)), answered, "{minutes} {format:?}");
            }
        }
        padded[16..24].fill(0x5a);
        for (source, answered) in [("10.0.0.2:7", true), ("10.0.0.2:862", false)] {
            let datagram = Datagram { source: source.parse().unwrap(), ..Datagram::v4(&padded) };
            assert_eq!(matches!(twin.compare(&datagram), Done::Replied(_)), answered, "{source}");
        }
        let to_itself = Datagram {
            source: "10.0.0.2:863".parse().unwrap(),
            destination: "10.0.0.1:863".parse().unwrap(),
            ..Datagram::v4(&padded)
        };
        assert_eq!(twin.compare(&to_itself), Done::Refused(Refusal::LoopGuard));
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_clock_that_nobody_vouches_for_any_more_says_so() {
    inside(|| {
        let twin = Twin::open();
        for (silent_s, synchronized) in [(4, true), (6, false)] {
            publish_before(&twin.tables, silent_s, u64::MAX);
            let datagram = request();
            let Done::Replied(frame) = twin.run(&datagram) else { panic!("there is a lease") };
            let reply = Reply::parse(Mode::Open, datagram.payload_of(&frame)).unwrap();
            assert_eq!(reply.error_estimate.synchronized(), synchronized, "{silent_s} s");
        }
    });
}
