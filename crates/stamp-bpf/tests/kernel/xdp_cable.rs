//! Real packets answered in the driver of a device.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use stamp_bpf::{Event, Knobs, PortUse, Program, Sizes, Tables};
use stamp_proto::packet::{Mode, Reply, Shape};
use stamp_proto::timestamp::Format;

use crate::journey::padded;
use crate::laboratory::{Cable, Hooked, OFFLOADS, without_sum};
use crate::routes::second;
use crate::twin::{open_request, unlimited};

/// The program in front of tc at the far end, and at the near end one that lets all pass:
/// a veth takes frames of an XDP program only from another's.
fn in_front(cable: &Cable, far: &Tables) -> [OwnedFd; 2] {
    let knobs = Knobs::new(&unlimited(), Format::Ntp).xdp(true);
    let idle = Tables::create(Sizes::default()).unwrap();
    [(&cable.near, &idle), (&cable.far, far)]
        .map(|(host, tables)| host.attach_in_front(&Program::load(tables, &knobs).unwrap()))
}

fn reflector(cable: &Cable) -> Hooked {
    cable.far.hook(&unlimited(), PortUse { reflector: true, ..PortUse::default() })
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_plain_client_gets_every_reply_of_a_driver() {
    let cable = Cable::new();
    let Hooked { tables, links } = reflector(&cable);
    let _front = in_front(&cable, &tables);
    drop(links);
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
            for (sequence, padding) in (0..20).zip([0, 0, 1, 2, 3, 64, 300, 1360].iter().cycle()) {
                let request = padded(sequence, *padding);
                socket.send(&request).unwrap();
                let mut octets = [0; 2000];
                let len = socket.recv(&mut octets).unwrap();
                sent += 1;
                let reply = Reply::parse(Mode::Open, &octets[..len]).unwrap();
                assert_eq!((len, reply.sender_sequence), (request.len(), sequence));
                assert_eq!(Shape::of(Mode::Open, &octets[..len]), Shape::Reply);
            }
        }
    }
    assert_eq!(tables.happened(Event::XdpReplied).unwrap(), sent);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_reply_that_leaves_by_another_device_is_left_to_tc() {
    let cable = Cable::new();
    let _veth = second(&cable);
    cable.far.namespace.forward().unwrap();
    let reflector = reflector(&cable);
    let _front = in_front(&cable, &reflector.tables);
    let counted = |what| reflector.tables.happened(what).unwrap();
    let ways = [("10.8.0.2:0", 0, [1, 0]), ("[fd08::2]:0", 1, [2, 0]), ("10.7.0.2:0", 0, [2, 1])];
    for (from, family, expected) in ways {
        let socket = cable.near.socket_at(from.parse::<SocketAddr>().unwrap());
        socket.send_to(&open_request(1, 42), cable.far.reach(family)).unwrap();
        let mut octets = [0; 200];
        let len = socket.recv(&mut octets);
        let len = len.unwrap_or_else(|error| panic!("{from}: {error} {:?}", reflector.refused()));
        assert_eq!(Shape::of(Mode::Open, &octets[..len]), Shape::Reply);
        assert_eq!([counted(Event::Replied), counted(Event::XdpReplied)], expected, "{from}");
        assert_eq!(counted(Event::Request), expected[0], "counted once");
    }
}
