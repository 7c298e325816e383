//! Real packets from one host to the other and back.

use std::net::UdpSocket;
use std::time::Duration;

use stamp_bpf::{Event, LocalAddress, Notice, Peer, PortUse, Slot, SlowKey, Tables};
use stamp_proto::auth::Key;
use stamp_proto::clock::WallTime;
use stamp_proto::packet::{Mode, Reply, Shape};
use stamp_proto::reflector::{
    Arrival, KeyPair, Keys, Numbering, Policy, Prefixes, Reflector, Refusal,
};
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv::{self, Kind};
use testkit::proc::wait_until;

use crate::laboratory::{Cable, Hooked, OFFLOADS, PATIENCE, without_sum};
use crate::twin::{clock, open_request, publish, request, unlimited};

fn key() -> Key {
    Key::new(b"a key that both hosts have")
}

fn signed() -> Policy {
    let default = Some(KeyPair { current: key(), previous: None });
    Policy { keys: Keys { default, ..Keys::default() }, ..unlimited() }
}

pub(crate) fn padded(sequence: u32, padding: usize) -> Vec<u8> {
    let mut payload = open_request(sequence, 42);
    if padding > 0 {
        tlv::append(&mut payload, Kind::ExtraPadding, &vec![0x5a; padding]);
    }
    payload
}

/// Sends a request and takes its reply, which comes within the socket's patience.
fn ask(socket: &UdpSocket, request: &[u8], reflector: &Hooked) -> Vec<u8> {
    socket.send(request).unwrap();
    let mut octets = [0; 2000];
    let len = socket.recv(&mut octets);
    let len = len.unwrap_or_else(|error| panic!("no reply: {error}, {:?}", reflector.refused()));
    octets[..len].to_vec()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_plain_client_gets_every_reply_whoever_computes_sums() {
    let cable = Cable::new();
    let reflector = cable.far.reflect(&unlimited());
    let mut sent = 0;
    for (near, far) in OFFLOADS {
        cable.near.offload(near);
        cable.far.offload(far);
        for (family, summed) in [(0, true), (1, true), (0, false)] {
            let socket = cable.near.socket(family, 0);
            if !summed {
                without_sum(&socket);
            }
            socket.connect(cable.far.reach(family)).unwrap();
            for (sequence, padding) in (0..50).zip([0, 0, 1, 2, 3, 64, 300, 1360].iter().cycle()) {
                let request = padded(sequence, *padding);
                let octets = ask(&socket, &request, &reflector);
                sent += 1;
                let reply = Reply::parse(Mode::Open, &octets).unwrap();
                assert_eq!(Shape::of(Mode::Open, &octets), Shape::Reply);
                assert_eq!(octets.len(), request.len());
                assert_eq!((reply.sender_sequence, reply.sequence), (sequence, sequence));
                assert_eq!(reply.sender_ttl, Some(64));
            }
        }
    }
    assert_eq!(reflector.tables.happened(Event::Replied).unwrap(), sent);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_spoofed_packet_causes_one_reply_and_no_more() {
    let cable = Cable::new();
    for policy in [unlimited(), signed()] {
        let (near, far) = (cable.near.reflect(&policy), cable.far.reflect(&policy));
        let mut payload = request(policy.mode(), 1, 42);
        if policy.mode() == Mode::Authenticated {
            key().sign(&mut payload);
        }
        for family in [0, 1] {
            // To the far reflector it comes from the near one.
            let socket = cable.near.socket(family, 862);
            let before = far.tables.happened(Event::Replied).unwrap();
            socket.send_to(&payload, cable.far.reach(family)).unwrap();
            let guarded = || near.tables.refused(Refusal::LoopGuard).unwrap();
            let met = family as u64 + 1;
            wait_until("the reply at the reflector", PATIENCE, || guarded() >= met).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            assert!(socket.recv(&mut [0; 200]).is_err(), "a reply ends at the reflector");
            assert_eq!(guarded(), met);
            assert_eq!(near.tables.happened(Event::Replied).unwrap(), 0);
            assert_eq!(far.tables.happened(Event::Replied).unwrap(), before + 1);
        }
    }
}

/// The four times of a slot by the one clock that both hosts have.
fn times(slot: &Slot) -> [WallTime; 4] {
    let answer = slot.answer.unwrap();
    let near = slot.sent.wall;
    let time = |at: Timestamp| at.decode(Format::Ntp, near).unwrap();
    [near, time(answer.receive_timestamp), time(answer.timestamp), answer.received.wall]
}

fn check_session(cable: &Cable, policy: &Policy, family: usize, sender: &Tables) {
    let mode = policy.mode();
    let socket = cable.near.socket(family, 862);
    let peer = Peer {
        local: cable.near.reach(family),
        remote: cable.far.reach(family),
        ssid: 42,
        mode,
        key: 0,
        format: Format::Ntp,
        min_ttl: 255,
        zero_ssid_is_fatal: true,
        window: 256,
    };
    let window = sender.begin_peer(3, &peer).unwrap();
    sender.set_peer_key(0, policy.keys.default.as_ref()).unwrap();
    let mut doorbell = sender.doorbell().unwrap();
    for sequence in 0..200 {
        let mut payload = request(mode, sequence, 42);
        if mode == Mode::Authenticated {
            key().sign(&mut payload);
        }
        socket.send_to(&payload, cable.far.reach(family)).unwrap();
    }
    let answered = |sequence| {
        let slot = window.slot(sequence).unwrap();
        slot.filter(|slot| slot.answer.is_some())
    };
    wait_until("all replies", PATIENCE, || (0..200).all(|n| answered(n).is_some())).unwrap();
    for sequence in 0..200 {
        let [t1, t2, t3, t4] = times(&answered(sequence).unwrap());
        // A quarter of a nanosecond is cut off of NTP times.
        assert!(t1.shifted(-1) <= t2 && t2 <= t3 && t3 <= t4.shifted(1), "one clock, in order");
    }
    let notices = doorbell.drain().unwrap();
    assert_eq!(notices.len(), 200);
    let first = |notice: &Notice| matches!(notice, Notice::Reply(bell) if bell.index == 3 && !bell.duplicate);
    assert!(notices.iter().all(first));
    socket.set_nonblocking(true).unwrap();
    assert!(socket.recv(&mut [0; 200]).is_err(), "what is in a slot is not in the socket");
    sender.end_peer(peer.local, peer.remote).unwrap();
}

#[test]
#[ignore = "root: needs network namespaces"]
fn four_times_of_one_clock_are_in_order_whoever_computes_sums() {
    let cable = Cable::new();
    for policy in [unlimited(), signed()] {
        let _reflector = cable.far.reflect(&policy);
        let sender = cable.near.hook(&policy, PortUse { sender: true, ..PortUse::default() });
        for (near, far) in OFFLOADS {
            cable.near.offload(near);
            cable.far.offload(far);
            for family in [0, 1] {
                check_session(&cable, &policy, family, &sender.tables);
            }
        }
    }
}

/// Answers one request from user space, by the pure reflector.
fn answer(socket: &UdpSocket, pure: &mut Reflector, tables: &Tables) {
    let mut octets = [0; 2000];
    let (len, source) = socket.recv_from(&mut octets).unwrap();
    let sequence = u32::from_be_bytes(*octets.first_chunk().unwrap());
    let destination = socket.local_addr().unwrap();
    let key = SlowKey { source, destination, sequence };
    let request = tables.slow_request(&key).unwrap().expect("the program left its time");
    let arrival = Arrival {
        payload: &octets[..len],
        source,
        destination,
        now: request.now,
        received: request.received,
        ttl: Some(64),
        traffic_class: 0,
        member: None,
        source_mac: None,
    };
    let mut answer = pure.handle(&arrival, &clock(Format::Ntp)).unwrap();
    pure.stamp(&mut answer, Timestamp::from_bits(1));
    socket.send_to(&answer.payload, source).unwrap();
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_user_space_answers_leaves_with_the_time_of_the_program() {
    let cable = Cable::new();
    let policy = Policy { numbering: Numbering::Stateless, allow: Prefixes::all(), ..unlimited() };
    let reflector = cable.far.reflect(&policy);
    for (near, far) in OFFLOADS {
        cable.near.offload(near);
        cable.far.offload(far);
        for family in [0, 1] {
            let listener = cable.far.socket(family, 862);
            let client = cable.near.socket(family, 0);
            client.connect(cable.far.reach(family)).unwrap();
            let mut pure = Reflector::new(policy.clone());
            let mut payload = open_request(9, 42);
            tlv::append(&mut payload, Kind::Other(250), &[1, 2, 3]);
            client.send(&payload).unwrap();
            answer(&listener, &mut pure, &reflector.tables);
            let mut octets = [0; 200];
            let len = client.recv(&mut octets).expect("its sum is right");
            let reply = Reply::parse(Mode::Open, &octets[..len]).unwrap();
            let time = |at: Timestamp| at.decode(Format::Ntp, crate::twin::wall()).unwrap();
            let residence = time(reply.timestamp).since(time(reply.receive_timestamp));
            assert!((0..1_000_000_000).contains(&residence), "{residence} ns");
            assert_eq!(octets[44], 0x80, "user space did not know the extension either");
        }
    }
    assert_eq!(reflector.tables.happened(Event::Restamped).unwrap(), 8);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn new_programs_take_over_the_sessions_and_lose_no_packet() {
    let cable = Cable::new();
    let mut reflector = cable.far.reflect(&unlimited());
    let socket = cable.near.socket(0, 0);
    socket.connect(cable.far.reach(0)).unwrap();
    let number = |octets: &[u8]| Reply::parse(Mode::Open, octets).unwrap().sequence;
    assert_eq!(number(&ask(&socket, &open_request(0, 42), &reflector)), 0);
    // Attached before the old goes, as a reload does; the first of two takes the packet.
    let fresh = cable.far.attach(&reflector.tables, &Policy { min_ttl: 3, ..unlimited() });
    assert_eq!(number(&ask(&socket, &open_request(1, 42), &reflector)), 1);
    reflector.links = fresh;
    assert_eq!(number(&ask(&socket, &open_request(2, 42), &reflector)), 2);
    assert_eq!(reflector.tables.sessions().unwrap().len(), 1);
    publish(&reflector.tables, 0);
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    socket.send(&open_request(3, 42)).unwrap();
    assert!(socket.recv(&mut [0; 200]).is_err(), "without a lease nobody answers");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_host_answers_itself_on_its_loopback_device() {
    let cable = Cable::new();
    let host = &cable.near;
    let device = testkit::Device::named(host.namespace.place(), "lo");
    let lo = crate::laboratory::Host {
        namespace: testkit::Namespace::create("other").unwrap(),
        device,
        addresses: host.addresses,
    };
    let tables = Tables::create(stamp_bpf::Sizes::default()).unwrap();
    let all = ["0.0.0.0/0", "::/0"].map(|text| text.parse().unwrap());
    tables.set_prefixes(&all, &[], &[]).unwrap();
    let port = PortUse { reflector: true, ..PortUse::default() };
    tables.set_ports(&[(862, port)].into_iter().collect()).unwrap();
    let local = ["127.0.0.1", "::1", "10.7.0.2"].map(|text| LocalAddress {
        ifindex: 1,
        address: text.parse().unwrap(),
        member: None,
        loopback: true,
        mac: None,
    });
    tables.set_addresses(&local).unwrap();
    publish(&tables, u64::MAX);
    let attached = host.namespace.run(|| attach_here(&tables)).unwrap();
    for (from, to) in
        [("127.0.0.1:0", "127.0.0.1:862"), ("[::1]:0", "[::1]:862"), ("10.7.0.2:0", "10.7.0.2:862")]
    {
        let socket = host.socket_at(from.parse().unwrap());
        socket.connect(to.parse::<std::net::SocketAddr>().unwrap()).unwrap();
        socket.send(&open_request(4, 42)).unwrap();
        let mut octets = [0; 200];
        let len = socket.recv(&mut octets).unwrap_or_else(|error| panic!("{to}: {error}"));
        assert_eq!(Shape::of(Mode::Open, &octets[..len]), Shape::Reply);
    }
    drop((attached, lo));
}

/// The programs at the loopback device of the calling thread's namespace.
fn attach_here(tables: &Tables) -> net_sys::tcx::TcxLink {
    use net_sys::tcx::{Hook, Order, TcxLink};
    let knobs = stamp_bpf::Knobs::new(&unlimited(), Format::Ntp);
    let program = stamp_bpf::Program::load(tables, &knobs).unwrap();
    let fd = program.ingress(stamp_bpf::LinkLayer::Ethernet);
    TcxLink::attach(fd, 1, Hook::Ingress, Order::First).unwrap()
}
