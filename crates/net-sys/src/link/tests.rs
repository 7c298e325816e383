use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use testkit::traffic::{self, Generator, Load};

use super::*;
use crate::host::{Capabilities, drop_capabilities_except};
use crate::netlink::wire::Nested;
use crate::testing::{Device, Namespace, PATIENCE, eventually, inside, node_and_pod};

/// What kernel 6.18 says of one end of a veth pair whose other end is in another namespace.
const VETH: &[u8] = include_bytes!("testdata/veth.bin");

/// What kernel 6.18 says of an address of a pod.
const ADDRESS: &[u8] = include_bytes!("testdata/address.bin");

/// What kernel 6.18 says of one end of a point-to-point link, with a broadcast address even so.
const PEER: &[u8] = include_bytes!("testdata/peer.bin");

/// What kernel 6.18 says of an address of IPv6 that is only kept for what has begun with it.
const DEPRECATED: &[u8] = include_bytes!("testdata/deprecated.bin");

/// Statistics end before the newest counter on kernels before 5.19.
const STATS_BEFORE_5_19: usize = 24 * 8;

#[test]
fn a_captured_link_reads_as_it_was() {
    let link = Link::from_body(VETH).unwrap();
    assert_eq!(link.name, "host0");
    assert_eq!(link.kind.as_deref(), Some("veth"));
    let [first, ..] = link.address[..] else { unreachable!("an Ethernet device has an address") };
    assert_eq!((link.address.len(), first & 3), (6, 2), "made up, and of one device");
    assert_eq!((link.ifindex, link.peer_ifindex), (2, Some(2)));
    assert_eq!(link.link_netnsid, Nsid::new(0));
    assert_eq!((link.link_type, link.mtu), (libc::ARPHRD_ETHER, Some(1500)));
    assert!(link.up && link.running && link.lower_up && !link.loopback && link.is_ethernet());
    assert_eq!(link.controller_ifindex, None);
    let counters = link.counters.unwrap();
    assert!(counters.rx_packets > 0 && counters.rx_bytes >= counters.rx_packets * 42);
    assert!(counters.rx_otherhost_dropped.is_some());
}

#[test]
fn a_captured_address_reads_as_it_was() {
    let address = Address::from_body(ADDRESS).unwrap().unwrap();
    assert_eq!(address.address, IpAddr::from(Ipv4Addr::new(192, 0, 2, 2)));
    assert_eq!((address.ifindex, address.prefix_len), (2, 24));
    assert_eq!(address.scope, Scope::Global);
    assert_eq!((address.peer, address.broadcast), (None, None));
    assert!(!address.tentative && !address.dad_failed && !address.deprecated);
}

#[test]
fn an_address_of_a_point_to_point_link_is_ours_and_not_the_peers() {
    let address = Address::from_body(PEER).unwrap().unwrap();
    assert_eq!(address.address, IpAddr::from([10, 77, 0, 1]));
    assert_eq!((address.peer, address.prefix_len), (Some([10, 77, 0, 2].into()), 32));
    assert_eq!(address.broadcast, Some(Ipv4Addr::new(10, 77, 0, 255)));
}

#[test]
fn an_address_tells_whether_it_may_be_used() {
    let address = Address::from_body(DEPRECATED).unwrap().unwrap();
    assert!(address.deprecated && !address.tentative && !address.dad_failed);
    assert_eq!((address.peer, address.broadcast), (None, None));
    let flagged = |octet: u8, flags: u32| {
        let header = [libc::AF_INET as u8, 24, octet, 0, 2, 0, 0, 0];
        let request =
            Request::new(libc::RTM_NEWADDR, &header).with(libc::IFA_LOCAL, &[10, 0, 0, 1]);
        let body = request.with(libc::IFA_FLAGS, &flags.to_ne_bytes()).finish(0).split_off(16);
        Address::from_body(&body).unwrap().unwrap()
    };
    assert!(flagged(0, libc::IFA_F_TENTATIVE).tentative, "the attribute has all flags");
    assert!(flagged(0, libc::IFA_F_DADFAILED).dad_failed);
    assert!(!flagged(0xff, 0).deprecated, "the octet counts only without the attribute");
}

#[test]
fn no_truncation_of_a_link_reads_as_another_link() {
    let whole = Link::from_body(VETH).unwrap();
    for length in 0..VETH.len() {
        if let Ok(link) = Link::from_body(&VETH[..length]) {
            assert_eq!(link.ifindex, whole.ifindex, "cut at {length}");
            assert_eq!(link.name, whole.name, "cut at {length}");
            assert!(link.counters.is_none() || link.counters == whole.counters, "cut at {length}");
        }
    }
}

#[test]
fn no_truncation_of_an_address_reads_as_another_address() {
    for body in [ADDRESS, DEPRECATED] {
        let whole = Address::from_body(body).unwrap();
        for length in 0..body.len() {
            if let Ok(Some(address)) = Address::from_body(&body[..length]) {
                assert_eq!(Some(address), whole, "cut at {length}");
            }
        }
    }
}

#[test]
fn no_wrong_octet_of_an_address_is_fatal_and_none_makes_a_broadcast_of_ipv6() {
    for body in [PEER, DEPRECATED] {
        for position in 0..body.len() {
            for value in [0, 1, 2, 4, 8, 10, 0x14, 0x80, 0xff] {
                let mut wrong = body.to_vec();
                wrong[position] = value;
                if let Ok(Some(address)) = Address::from_body(&wrong) {
                    let broadcast = address.broadcast.is_some();
                    assert!(address.address.is_ipv4() || !broadcast, "{value:#x} at {position}");
                    assert_ne!(address.peer, Some(address.address), "{value:#x} at {position}");
                }
            }
        }
    }
}

#[test]
fn no_single_wrong_octet_is_fatal() {
    for position in 0..VETH.len() {
        for value in [0, 1, 4, 0x7f, 0x80, 0xff] {
            let mut body = VETH.to_vec();
            body[position] = value;
            if let Ok(link) = Link::from_body(&body) {
                assert!(link.ifindex > 0 && !link.name.is_empty(), "{value:#x} at {position}");
            }
        }
    }
}

#[test]
fn statistics_of_an_older_kernel_leave_the_newest_counter_unknown() {
    let counters = Counters64::parse(&[0xff; STATS_BEFORE_5_19]).unwrap();
    assert_eq!(counters.rx_nohandler, u64::MAX);
    assert_eq!(counters.rx_otherhost_dropped, None);
    assert!(Counters64::parse(&[0; STATS_BEFORE_5_19 - 1]).is_err());
}

#[test]
fn each_counter_is_read_from_its_own_place() {
    let numbers: Vec<u8> = (0..25_u64).flat_map(u64::to_ne_bytes).collect();
    let counters = Counters64::parse(&numbers).unwrap();
    assert_eq!((counters.rx_packets, counters.tx_dropped), (0, 7));
    assert_eq!((counters.rx_missed_errors, counters.tx_carrier_errors), (15, 17));
    assert_eq!((counters.tx_fifo_errors, counters.rx_nohandler), (18, 23));
    assert_eq!(counters.rx_otherhost_dropped, Some(24));
}

#[test]
fn a_negative_namespace_id_is_none() {
    assert_eq!(Nsid::new(-1), None);
    assert_eq!(Nsid::new(0).map(Nsid::value), Some(0));
}

#[test]
fn the_loopback_device_has_index_one() {
    let mut route = Route::open().unwrap();
    let link = route.link("lo", None).unwrap();
    assert!(link.loopback);
    assert_eq!(link.ifindex, 1);
    assert_eq!(route.link(1, None).unwrap().name, "lo");
}

#[test]
fn a_device_that_does_not_exist_is_no_device() {
    let mut route = Route::open().unwrap();
    for which in ["nosuchdevice", "a-name-longer-than-any-device-has", ""] {
        let outcome = route.link(which, None);
        let reason = outcome.map_err(|error| error.reason());
        assert!(matches!(reason, Err("no_device" | "refused")), "{which:?}: {reason:?}");
    }
    let outcome = route.link(i32::MAX as u32, None);
    assert!(matches!(outcome, Err(NetlinkError::NoDevice { .. })), "{outcome:?}");
}

#[test]
fn an_unknown_namespace_id_is_refused_and_not_answered_for_our_own() {
    let mut route = Route::open().unwrap();
    let unknown = Nsid::new(i32::MAX);
    let outcomes = [
        route.links(unknown).map(|_| ()),
        route.addresses(unknown).map(|_| ()),
        route.link("lo", unknown).map(|_| ()),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.map_err(|error| error.reason()), Err("no_namespace"));
    }
}

#[test]
#[ignore = "root: makes network namespaces"]
fn the_same_index_in_two_namespaces_is_two_devices() {
    let names = ["blue", "green"].map(|name| {
        let namespace = Namespace::create(name).unwrap();
        let pair = ["link", "add", name, "index", "77", "type", "veth", "peer", "name", "peer"];
        namespace.ip(pair).unwrap();
        inside(&namespace, || Route::open().unwrap().link(77, None).unwrap().name)
    });
    assert_eq!(names, ["blue", "green"]);
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pod_is_read_through_its_id_without_being_entered() {
    let (node, pod) = node_and_pod();
    let namespace = Netns::open(pod.path()).unwrap();
    let truth = Device::named(pod.place(), "pod0").addresses().unwrap();
    let truth: HashSet<_> = truth.into_iter().collect();
    assert!(truth.contains(&IpAddr::from([192, 0, 2, 2])), "{truth:?}");
    inside(&node, || {
        let mut route = Route::open().unwrap();
        let host_side = route.link("host0", None).unwrap();
        let id = host_side.link_netnsid.expect("the peer is in another namespace");
        assert_eq!(route.nsid(&namespace).unwrap(), Some(id));
        assert_eq!(route.nsids().unwrap(), [id]);
        let pod_side = route.link(host_side.peer_ifindex.unwrap(), Some(id)).unwrap();
        assert_eq!(pod_side.name, "pod0");
        assert_eq!(pod_side.peer_ifindex, Some(host_side.ifindex));
        let all = route.links(Some(id)).unwrap();
        assert!(all.iter().any(|link| link.name == "pod0"), "{all:?}");
        assert!(all.iter().all(|link| link.name != "host0"), "{all:?}");
        let mut addresses = route.addresses(Some(id)).unwrap();
        addresses.retain(|address| address.ifindex == pod_side.ifindex);
        let seen: HashSet<_> = addresses.iter().map(|address| address.address).collect();
        assert_eq!(seen, truth, "{addresses:?}");
        assert!(addresses.iter().any(|address| address.scope == Scope::Global));
        let known = route.match_nsids([("pod", Netns::open(pod.path()).unwrap())]).unwrap();
        assert_eq!(known, HashMap::from([(id, "pod")]));
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn an_address_that_another_has_already_fails_its_test() {
    let (node, pod) = node_and_pod();
    node.set_sysctl("net/ipv6/conf/host0/accept_dad", "1").unwrap();
    pod.ip(["address", "add", "fd00::5/64", "dev", "pod0", "nodad"]).unwrap();
    node.ip(["address", "add", "fd00::5/64", "dev", "host0"]).unwrap();
    node.ip(["address", "add", "fd00::6/64", "dev", "host0"]).unwrap();
    let state = |last: u16| {
        let all = Route::open().unwrap().addresses(None).unwrap();
        let wanted = IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, last]);
        all.into_iter().find(|address| address.address == wanted)
    };
    inside(&node, || {
        eventually("the failure of the test", || state(5)?.dad_failed.then_some(()));
        eventually("the end of the other", || (!state(6)?.tentative).then_some(()));
        assert!(!state(6).unwrap().dad_failed);
    });
}

#[test]
#[ignore = "root: makes a network namespace"]
fn a_device_whose_other_end_is_down_is_up_but_not_running() {
    let namespace = Namespace::create("running").unwrap();
    namespace.ip(["link", "add", "one", "type", "veth", "peer", "name", "two"]).unwrap();
    namespace.ip(["link", "set", "one", "up"]).unwrap();
    inside(&namespace, || {
        let link = || Route::open().unwrap().link("one", None).unwrap();
        assert!(link().up && !link().running && !link().lower_up);
        namespace.ip(["link", "set", "two", "up"]).unwrap();
        eventually("a running device", || link().running.then_some(()));
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn counters_of_a_pod_are_what_it_sees_itself() {
    let (node, pod) = node_and_pod();
    let path = traffic::Path {
        client: pod.place().clone(),
        server: node.place().clone(),
        target: "192.0.2.1:0".parse().unwrap(),
        lifetime: PATIENCE,
    };
    let load = Load::Datagrams { sizes: vec![64, 1400], rate: Some(5000), limit: Some(1000) };
    let report = Generator::start(&load, &path).unwrap().finish(PATIENCE).unwrap();
    let device = Device::named(pod.place(), "pod0");
    // A neighbour probe may come between two readings, so ours stands between two equal ones.
    let (truth, ours) = eventually("a quiet moment", || {
        let before = device.counters().unwrap();
        let ours = counters_of_pod(&node);
        (device.counters().unwrap() == before).then_some((before, ours))
    });
    assert!(truth.tx.amount.packets >= report.client.sent_messages);
    assert_eq!(ours.tx_packets, truth.tx.amount.packets);
    assert_eq!(ours.tx_bytes, truth.tx.amount.bytes);
    assert_eq!(ours.rx_packets, truth.rx.amount.packets);
    assert_eq!(ours.rx_bytes, truth.rx.amount.bytes);
}

/// The counters of `pod0`, as the node reads them.
fn counters_of_pod(node: &Namespace) -> Counters64 {
    inside(node, || {
        let mut route = Route::open().unwrap();
        let id = route.link("host0", None).unwrap().link_netnsid;
        route.link("pod0", id).unwrap().counters.unwrap()
    })
}

#[test]
#[ignore = "root: makes network namespaces"]
fn asking_for_an_id_does_not_assign_one() {
    let (near, far) = (Namespace::create("near").unwrap(), Namespace::create("far").unwrap());
    let far = Netns::open(far.path()).unwrap();
    inside(&near, || {
        let mut route = Route::open().unwrap();
        assert_eq!(route.nsid(&far).unwrap(), None);
        assert_eq!(route.nsid(&far).unwrap(), None);
        assert_eq!(route.nsids().unwrap(), []);
    });
}

#[test]
#[ignore = "root: makes a network namespace"]
fn a_dump_of_several_datagrams_is_whole() {
    let namespace = Namespace::create("many").unwrap();
    for pair in 0..50 {
        let (one, other) = (format!("a{pair}"), format!("b{pair}"));
        namespace.ip(["link", "add", &one, "type", "veth", "peer", "name", &other]).unwrap();
    }
    let links = inside(&namespace, || Route::open().unwrap().links(None).unwrap());
    assert_eq!(links.iter().filter(|link| link.kind.as_deref() == Some("veth")).count(), 100);
    assert!(links.iter().all(|link| link.counters.is_some()));
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pod_that_is_gone_is_refused() {
    let (node, pod) = node_and_pod();
    inside(&node, || {
        let mut route = Route::open().unwrap();
        let host_side = route.link("host0", None).unwrap();
        drop(pod);
        eventually("end of the namespace", || route.links(host_side.link_netnsid).err());
        let device = eventually("end of the pair", || route.link("host0", None).err());
        assert_eq!(device.reason(), "no_device");
    });
}

#[test]
#[ignore = "root: makes a network namespace"]
fn a_dump_among_changes_is_noticed_and_repeated_until_it_is_whole() {
    let namespace = Namespace::create("churn").unwrap();
    for pair in 0..40 {
        let (one, other) = (format!("a{pair}"), format!("b{pair}"));
        namespace.ip(["link", "add", &one, "type", "veth", "peer", "name", &other]).unwrap();
    }
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| inside(&namespace, || churn(&stop)));
        let _stop = Stop(&stop);
        inside(&namespace, || {
            let mut route = Route::open().unwrap();
            let request = link_request(0);
            eventually("an interrupted dump", || {
                let mut parse = Link::from_reply;
                let once = route.connection.dump_once(Operation::Links, &request, &mut parse);
                once.unwrap().is_none().then_some(())
            });
            assert_whole(&eventually("a whole dump", || route.links(None).ok()));
        });
    });
}

/// Ends the changes, also when the test fails: the scope waits for the thread that makes them.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Makes and deletes a device over and over.
fn churn(stop: &AtomicBool) {
    let mut connection = Connection::open().unwrap();
    let mut change = |request| connection.exchange(Operation::Links, request, |_| Ok(())).unwrap();
    let create = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
    let header = [0; record::HEADER];
    for _round in (0..100_000).take_while(|_| !stop.load(Ordering::Relaxed)) {
        let kind = Nested::new().with_text(libc::IFLA_INFO_KIND, "bridge");
        let add = Request::new(libc::RTM_NEWLINK, &header).with_text(libc::IFLA_IFNAME, "come");
        change(add.with_nested(libc::IFLA_LINKINFO, kind).with_flags(create));
        change(Request::new(libc::RTM_DELLINK, &header).with_text(libc::IFLA_IFNAME, "come"));
    }
}

fn assert_whole(links: &[Link]) {
    let mut names: Vec<_> = links.iter().map(|link| link.name.as_str()).collect();
    names.retain(|name| name.starts_with(['a', 'b']));
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), 80, "a device that was always there is missing: {names:?}");
}

#[test]
#[ignore = "root: gives up capabilities on a thread"]
fn another_namespace_is_closed_to_those_without_the_capability() {
    let (node, _pod) = node_and_pod();
    let reason = inside(&node, || {
        let host_side = Route::open().unwrap().link("host0", None).unwrap();
        drop_capabilities_except(Capabilities::EMPTY).unwrap();
        let mut route = Route::open().unwrap();
        assert_eq!(route.link("host0", None).unwrap().name, "host0");
        route.links(host_side.link_netnsid).map_err(|error| error.reason())
    });
    assert_eq!(reason, Err("not_permitted"));
}
