//! Ways back that are not the way a request came.

use std::net::SocketAddr;

use stamp_bpf::Event;
use stamp_proto::packet::{Mode, Shape};
use stamp_proto::reflector::Refusal;
use testkit::proc::wait_until;
use testkit::{Device, Veth};

use crate::laboratory::{Cable, PATIENCE};
use crate::twin::{open_request, unlimited};

/// A second cable between the two hosts.
pub(crate) fn second(cable: &Cable) -> Veth {
    let (near, far) = (cable.near.namespace.place(), cable.far.namespace.place());
    let veth = Veth::join((near, "near1"), (far, "far1")).unwrap();
    let name = |device: &Device, v4: &str, v6: &str| {
        device.address(format!("{v4}/24").parse().unwrap()).unwrap();
        device.address(format!("{v6}/64").parse().unwrap()).unwrap();
        device.ready(PATIENCE).unwrap();
    };
    name(&veth.near, "10.8.0.2", "fd08::2");
    name(&veth.far, "10.8.0.1", "fd08::1");
    for device in ["all", "near0", "near1"] {
        let setting = format!("net/ipv4/conf/{device}/rp_filter");
        cable.near.namespace.set_sysctl(&setting, "0").unwrap();
    }
    veth
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_router_answers_by_the_device_that_its_routes_name() {
    let cable = Cable::new();
    let veth = second(&cable);
    cable.far.namespace.forward().unwrap();
    let reflector = cable.far.reflect(&unlimited());
    for (family, from) in ["10.8.0.2:0", "[fd08::2]:0"].into_iter().enumerate() {
        let socket = cable.near.socket_at(from.parse::<SocketAddr>().unwrap());
        let before = veth.near.counters().unwrap().rx.amount.packets;
        socket.send_to(&open_request(1, 42), cable.far.reach(family)).unwrap();
        let mut octets = [0; 200];
        let len = socket.recv(&mut octets);
        let len = len.unwrap_or_else(|error| panic!("{from}: {error} {:?}", reflector.refused()));
        assert_eq!(Shape::of(Mode::Open, &octets[..len]), Shape::Reply);
        let after = veth.near.counters().unwrap().rx.amount.packets;
        assert!(after > before, "{from}: it came by the other cable");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn without_a_route_back_nothing_is_answered() {
    let cable = Cable::new();
    cable.far.namespace.forward().unwrap();
    let reflector = cable.far.reflect(&unlimited());
    let addresses = [("10.99.0.2", "/32", 0), ("fd99::2", "/128", 1)];
    for (met, (address, len, family)) in (1..).zip(addresses) {
        cable.near.device.address(format!("{address}{len}").parse().unwrap()).unwrap();
        let socket = cable.near.socket_at(SocketAddr::new(address.parse().unwrap(), 0));
        socket.send_to(&open_request(1, 42), cable.far.reach(family)).unwrap();
        let refused = || reflector.tables.refused(Refusal::NoRoute).unwrap() == met;
        wait_until("the refusal", PATIENCE, refused).unwrap();
    }
    assert_eq!(reflector.tables.happened(Event::Replied).unwrap(), 0);
    assert_eq!(reflector.tables.sessions().unwrap(), [], "no number was used up");
}
