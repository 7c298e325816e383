use std::net::{Ipv4Addr, Ipv6Addr};

use super::*;
use crate::host::{Capabilities, drop_capabilities_except};
use crate::testing::{Namespace, inside, node_and_pod};

/// What kernel 6.18 says of a destination of IPv4 behind a router of IPv6.
const VIA: &[u8] = include_bytes!("../testdata/route_via.bin");

/// What kernel 6.18 says of a destination of IPv6 behind a default route.
const GATEWAY: &[u8] = include_bytes!("../testdata/route_gateway.bin");

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The way to `text` from the namespace of this thread, by nothing but the address.
fn to(text: &str) -> Result<Way, NetlinkError> {
    Route::open().unwrap().to(ip(text), None, None)
}

fn index_of(name: &str) -> u32 {
    Route::open().unwrap().link(name, None).unwrap().ifindex
}

/// What the routing table said instead of a way.
fn refusal(outcome: Result<Way, NetlinkError>) -> Option<i32> {
    match outcome {
        Err(NetlinkError::NoRoute { source, .. }) => source.raw_os_error(),
        other => unreachable!("{other:?}"),
    }
}

/// A node on 192.0.2.0/24 and fd00::/64, with defaults and something special behind them.
fn crossroads() -> (Namespace, Namespace) {
    let (node, pod) = node_and_pod();
    for line in [
        "address add fd00::1/64 dev host0 nodad",
        "route add default via 192.0.2.2",
        "-6 route add default via fd00::2",
        "route add 198.51.100.0/25 via inet6 fe80::5 dev host0 mtu 1300",
        "route add 198.51.100.128/25 dev host0 src 192.0.2.1",
        "-6 route add fd01::/64 via fd00::3 mtu 1290",
    ] {
        node.ip(line.split(' ')).unwrap();
    }
    (node, pod)
}

#[test]
fn a_captured_route_reads_as_it_was() {
    let way = Way::from_body(VIA).unwrap().unwrap();
    let expected = Way {
        ifindex: 2,
        source: Some(Ipv4Addr::new(192, 0, 2, 1).into()),
        gateway: Some(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 5).into()),
        mtu: Some(1300),
        local: false,
    };
    assert_eq!(way, expected);
    let way = Way::from_body(GATEWAY).unwrap().unwrap();
    assert_eq!((way.source, way.gateway), (Some(ip("fd00::1")), Some(ip("fd00::fe"))));
    assert_eq!((way.ifindex, way.mtu, way.local), (2, None, false));
}

#[test]
fn no_truncation_of_a_route_reads_as_another_route() {
    for body in [VIA, GATEWAY] {
        let whole = Way::from_body(body).unwrap().unwrap();
        for length in 0..body.len() {
            let Ok(Some(way)) = Way::from_body(&body[..length]) else { continue };
            assert_eq!(way.ifindex, whole.ifindex, "cut at {length}");
            assert!(way.source.is_none() || way.source == whole.source, "cut at {length}");
            assert!(way.gateway.is_none() || way.gateway == whole.gateway, "cut at {length}");
            assert!(way.mtu.is_none() || way.mtu == whole.mtu, "cut at {length}");
        }
    }
}

#[test]
fn no_single_wrong_octet_is_fatal() {
    for body in [VIA, GATEWAY] {
        for position in 0..body.len() {
            for value in [0, 1, 4, 0x7f, 0x80, 0xff] {
                let mut wrong = body.to_vec();
                wrong[position] = value;
                if let Ok(Some(way)) = Way::from_body(&wrong) {
                    assert!(way.ifindex > 0 && way.mtu != Some(0), "{value:#x} at {position}");
                }
            }
        }
    }
}

#[test]
fn a_route_that_lets_nothing_pass_is_no_way() {
    let of_kind = |kind| {
        let mut body = VIA.to_vec();
        body[KIND] = kind;
        Way::from_body(&body).unwrap()
    };
    for kind in [libc::RTN_BLACKHOLE, libc::RTN_UNREACHABLE, libc::RTN_PROHIBIT, libc::RTN_THROW] {
        assert_eq!(of_kind(kind), None, "kind {kind}");
    }
    assert_eq!(of_kind(libc::RTN_LOCAL).map(|way| way.local), Some(true));
    assert_eq!(of_kind(libc::RTN_MULTICAST).map(|way| way.local), Some(false));
}

#[test]
fn an_mtu_of_zero_is_none() {
    let mtu = 1300_u32.to_ne_bytes();
    let at = VIA.windows(4).position(|octets| octets == mtu).unwrap();
    let mut body = VIA.to_vec();
    body[at..at + 4].fill(0);
    assert_eq!(Way::from_body(&body).unwrap().unwrap().mtu, None);
}

#[test]
fn a_route_without_device_is_no_answer() {
    let body = [libc::AF_INET as u8, 32, 0, 0, 0, 0, 0, libc::RTN_UNICAST, 0, 0, 0, 0];
    assert_eq!(Way::from_body(&body), Err(ParseError::Missing { what: "outgoing device" }));
}

#[test]
fn what_cannot_be_asked_is_no_route() {
    let mut route = Route::open().unwrap();
    let without_device = route.to(ip("fe80::1"), None, None);
    assert_eq!(refusal(without_device), Some(libc::EINVAL));
    assert_eq!(refusal(route.to(ip("fe80::1"), None, Some(0))), Some(libc::EINVAL));
    let mixed = route.to(ip("127.0.0.1"), Some(ip("::1")), None);
    assert_eq!(refusal(mixed), Some(libc::EAFNOSUPPORT));
}

#[test]
fn a_missing_route_names_the_destination_and_the_remedy() {
    let error = NetlinkError::no_route(ip("192.0.2.7"), libc::ENETUNREACH);
    let text = error.to_string();
    assert!(text.contains("192.0.2.7") && text.contains("routing table"), "{text}");
    assert_eq!(error.reason(), "no_route");
}

#[test]
fn only_answers_of_the_routing_table_are_a_missing_route() {
    let reason = |errno| {
        let error = NetlinkError::refused(Operation::Routes, errno, None);
        error.of_destination(ip("192.0.2.7")).reason()
    };
    for errno in [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EINVAL, libc::EACCES] {
        assert_eq!(reason(errno), "no_route", "{errno}");
    }
    assert_eq!(reason(libc::ENODEV), "no_device");
    assert_eq!(reason(libc::ENOMEM), "refused");
}

#[test]
#[ignore = "root: makes network namespaces"]
fn each_way_is_the_one_that_the_ip_command_tells() {
    let (node, _pod) = crossroads();
    for destination in [
        "192.0.2.2",
        "203.0.113.9",
        "198.51.100.1",
        "198.51.100.200",
        "fd00::2",
        "fd01::7",
        "2001:db8::1",
        "127.0.0.1",
        "192.0.2.1",
        "::1",
        "fd00::1",
    ] {
        let told = node.ip(["route", "get", destination]).unwrap().stdout;
        let told = String::from_utf8(told).unwrap();
        let words: Vec<_> = told.split_whitespace().collect();
        let behind = |word: &str| {
            let at = words.iter().position(|w| *w == word)?;
            // A router of the other family stands behind the name of its family.
            words[at + 1..].iter().find(|next| **next != "inet6").copied()
        };
        let (way, device) = inside(&node, || {
            let way = to(destination).unwrap();
            (way, Route::open().unwrap().link(way.ifindex, None).unwrap().name)
        });
        assert_eq!(Some(device.as_str()), behind("dev"), "{told}");
        assert_eq!(way.source, behind("src").map(ip), "{told}");
        assert_eq!(way.gateway, behind("via").map(ip), "{told}");
        assert_eq!(way.mtu, behind("mtu").map(|mtu| mtu.parse().unwrap()), "{told}");
        assert_eq!(way.local, told.starts_with("local "), "{told}");
    }
}

#[test]
#[ignore = "root: makes a network namespace"]
fn own_addresses_are_reached_by_the_loopback_device() {
    let (node, _pod) = crossroads();
    inside(&node, || {
        for destination in ["127.0.0.1", "127.3.2.1", "192.0.2.1", "::1", "fd00::1"] {
            let way = to(destination).unwrap();
            assert_eq!((way.ifindex, way.local, way.gateway), (1, true, None), "{destination}");
        }
    });
}

#[test]
#[ignore = "root: makes a network namespace"]
fn a_route_may_forbid_what_it_leads_to() {
    let namespace = Namespace::create("walls").unwrap();
    for (kind, number) in [("blackhole", 1), ("unreachable", 2), ("prohibit", 3)] {
        for prefix in [format!("10.{number}.0.0/16"), format!("fd0{number}::/64")] {
            namespace.ip(["route", "add", kind, &prefix]).unwrap();
        }
    }
    let expected = [libc::EINVAL, libc::EHOSTUNREACH, libc::EACCES, libc::ENETUNREACH];
    inside(&namespace, || {
        for (number, errno) in (1..).zip(expected) {
            assert_eq!(refusal(to(&format!("10.{number}.0.1"))), Some(errno));
            assert_eq!(refusal(to(&format!("fd0{number}::1"))), Some(errno));
        }
    });
}

#[test]
#[ignore = "root: makes a network namespace"]
fn a_link_local_destination_is_behind_the_device_that_is_named() {
    let namespace = Namespace::create("scope").unwrap();
    namespace.ip(["link", "add", "one", "type", "veth", "peer", "name", "two"]).unwrap();
    for name in ["one", "two"] {
        namespace.ip(["link", "set", name, "up"]).unwrap();
    }
    inside(&namespace, || {
        let mut route = Route::open().unwrap();
        for index in [index_of("one"), index_of("two")] {
            let way = route.to(ip("fe80::77"), None, Some(index)).unwrap();
            assert_eq!((way.ifindex, way.gateway, way.local), (index, None, false));
        }
    });
}

#[test]
#[ignore = "root: makes a network namespace"]
fn the_device_that_a_socket_is_bound_to_decides() {
    let (node, _pod) = crossroads();
    node.ip(["link", "add", "side0", "type", "veth", "peer", "name", "side1"]).unwrap();
    node.ip(["address", "add", "203.0.113.1/24", "dev", "side0"]).unwrap();
    for name in ["side0", "side1"] {
        node.ip(["link", "set", name, "up"]).unwrap();
    }
    inside(&node, || {
        let mut route = Route::open().unwrap();
        let (host, side) = (index_of("host0"), index_of("side0"));
        let destination = ip("203.0.113.9");
        assert_eq!(route.to(destination, None, None).unwrap().ifindex, side);
        let way = route.to(destination, None, Some(host)).unwrap();
        assert_eq!((way.ifindex, way.gateway), (host, Some(ip("192.0.2.2"))));
        let nobody = route.to(destination, None, Some(i32::MAX as u32));
        assert_eq!(nobody.map_err(|error| error.reason()).err(), Some("no_device"));
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn the_address_that_a_socket_is_bound_to_decides() {
    let (node, _pod) = crossroads();
    for line in [
        "address add 192.0.2.101/24 dev host0",
        "address add fd00::101/64 dev host0 nodad",
        "rule add from 192.0.2.101 prohibit",
        "-6 rule add from fd00::101 prohibit",
    ] {
        node.ip(line.split(' ')).unwrap();
    }
    inside(&node, || {
        let mut route = Route::open().unwrap();
        for (destination, open, shut, any) in [
            ("203.0.113.9", "192.0.2.1", "192.0.2.101", "0.0.0.0"),
            ("2001:db8::1", "fd00::1", "fd00::101", "::"),
        ] {
            let mut from = |source| route.to(ip(destination), Some(ip(source)), None);
            assert_eq!(from(open).unwrap().source, Some(ip(open)));
            assert_eq!(refusal(from(shut)), Some(libc::EACCES));
            assert_ne!(from(any).unwrap().source, Some(ip(any)), "that is no address");
        }
        let not_ours = route.to(ip("203.0.113.9"), Some(ip("203.0.113.77")), None);
        assert!(refusal(not_ours).is_some());
    });
}

#[test]
#[ignore = "root: gives up capabilities on a thread"]
fn nobody_needs_a_capability_to_ask_the_way() {
    let (node, _pod) = crossroads();
    node.ip(["route", "add", "prohibit", "10.3.0.0/16"]).unwrap();
    inside(&node, || {
        drop_capabilities_except(Capabilities::EMPTY).unwrap();
        assert_eq!(to("203.0.113.9").unwrap().gateway, Some(ip("192.0.2.2")));
        assert_eq!(refusal(to("10.3.0.1")), Some(libc::EACCES));
    });
}
