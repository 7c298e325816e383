use std::thread;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{SendFlags, getsockname, sendto};

use super::*;
use crate::testing::{Namespace, PATIENCE, eventually, inside, node_and_pod};

/// Reads events until one satisfies `wanted`; returns all of them.
fn until(monitor: &mut Monitor, wanted: impl Fn(&Event) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    eventually("the awaited event", || {
        let event = monitor.poll(Duration::from_millis(100)).unwrap()?;
        events.push(event);
        events.last().is_some_and(&wanted).then_some(())
    });
    events
}

fn is_change_of(event: &Event, name: &str) -> bool {
    matches!(event, Event::LinkChanged(link) if link.name == name)
}

#[test]
fn a_wait_without_events_ends_in_time() {
    let namespace_events = || Monitor::open().unwrap().poll(Duration::ZERO).unwrap();
    assert!(!matches!(namespace_events(), Some(Event::Woken)));
}

#[test]
fn a_waker_ends_the_wait_of_another_thread() {
    let mut monitor = Monitor::open().unwrap();
    let waker = monitor.waker();
    let woken = thread::spawn(move || until(&mut monitor, |event| *event == Event::Woken));
    waker.wake();
    assert_eq!(woken.join().unwrap().last(), Some(&Event::Woken));
}

#[test]
fn a_wake_up_is_not_lost_and_counts_once() {
    let mut monitor = Monitor::open().unwrap();
    monitor.waker().wake();
    monitor.waker().wake();
    assert_eq!(monitor.poll(PATIENCE).unwrap(), Some(Event::Woken));
    assert_ne!(monitor.poll(Duration::ZERO).unwrap(), Some(Event::Woken));
}

#[test]
fn the_buffer_is_as_large_as_asked_for() {
    let monitor = Monitor::with_buffer(128 * 1024).unwrap();
    assert!(monitor.buffer_size().unwrap() >= 128 * 1024);
}

#[test]
#[ignore = "root: makes a network namespace"]
fn a_link_comes_and_goes() {
    let namespace = Namespace::create("events").unwrap();
    let mut monitor = inside(&namespace, || Monitor::open().unwrap());
    namespace.ip(["link", "add", "one", "type", "veth", "peer", "name", "two"]).unwrap();
    let events = until(&mut monitor, |event| is_change_of(event, "one"));
    let Some(Event::LinkChanged(link)) = events.last() else { unreachable!("{events:?}") };
    let ifindex = link.ifindex;
    assert_eq!(link.kind.as_deref(), Some("veth"));
    namespace.ip(["link", "delete", "one"]).unwrap();
    let moved_to = None;
    until(&mut monitor, |event| *event == Event::LinkGone { ifindex, moved_to });
    assert_eq!(monitor.losses(), Losses::default());
}

#[test]
#[ignore = "root: makes a network namespace"]
fn addresses_that_come_and_go_are_told_to_those_who_ask() {
    let namespace = Namespace::create("addresses").unwrap();
    namespace.ip(["link", "add", "one", "type", "veth", "peer", "name", "two"]).unwrap();
    let (mut asked, mut silent, ifindex) = inside(&namespace, || {
        let link = crate::Route::open().unwrap().link("one", None).unwrap();
        (Monitor::open_with_addresses().unwrap(), Monitor::open().unwrap(), link.ifindex)
    });
    let changed = Event::AddressesChanged { ifindex };
    for verb in ["add", "delete"] {
        for address in ["192.0.2.1/24", "fd00::1/64"] {
            namespace.ip(["address", verb, address, "dev", "one"]).unwrap();
            until(&mut asked, |event| *event == changed);
        }
    }
    namespace.ip(["link", "add", "end", "type", "bridge"]).unwrap();
    until(&mut asked, |event| is_change_of(event, "end"));
    let events = until(&mut silent, |event| is_change_of(event, "end"));
    assert!(!events.contains(&changed), "nobody asked for it: {events:?}");
    assert_eq!((asked.losses(), silent.losses()), (Losses::default(), Losses::default()));
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_link_that_moves_away_says_where_to() {
    let (node, pod) = node_and_pod();
    node.ip(["link", "add", "one", "type", "veth", "peer", "name", "two"]).unwrap();
    let (mut monitor, target) = inside(&node, || {
        let link = crate::Route::open().unwrap().link("host0", None).unwrap();
        (Monitor::open().unwrap(), link.link_netnsid)
    });
    node.ip(["link", "set", "two", "netns", pod.name()]).unwrap();
    until(
        &mut monitor,
        |event| matches!(event, Event::LinkGone { moved_to, .. } if *moved_to == target),
    );
}

#[test]
#[ignore = "root: makes a network namespace"]
fn leaving_a_bridge_is_not_the_end_of_a_link() {
    let namespace = Namespace::create("bridge").unwrap();
    namespace.ip(["link", "add", "bridge", "type", "bridge"]).unwrap();
    namespace.ip(["link", "add", "port", "type", "veth", "peer", "name", "other"]).unwrap();
    let mut monitor = inside(&namespace, || Monitor::open().unwrap());
    namespace.ip(["link", "set", "port", "master", "bridge"]).unwrap();
    namespace.ip(["link", "set", "port", "nomaster"]).unwrap();
    namespace.ip(["link", "add", "end", "type", "bridge"]).unwrap();
    let events = until(&mut monitor, |event| is_change_of(event, "end"));
    assert!(events.iter().any(|event| is_change_of(event, "port")), "{events:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::LinkGone { .. })), "{events:?}");
}

#[test]
#[ignore = "root: makes network namespaces"]
fn the_end_of_a_namespace_is_reported_by_its_id() {
    let (node, pod) = node_and_pod();
    let (mut monitor, nsid) = inside(&node, || {
        let link = crate::Route::open().unwrap().link("host0", None).unwrap();
        (Monitor::open().unwrap(), link.link_netnsid.unwrap())
    });
    drop(pod);
    until(&mut monitor, |event| *event == Event::NamespaceGone { nsid });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_new_neighbour_namespace_is_reported_by_its_id() {
    let node = Namespace::create("node").unwrap();
    let pod = Namespace::create("pod").unwrap();
    let mut monitor = inside(&node, || Monitor::open().unwrap());
    let veth = ["link", "add", "host0", "type", "veth", "peer", "pod0", "netns", pod.name()];
    node.ip(veth).unwrap();
    until(&mut monitor, |event| matches!(event, Event::NamespaceKnown { .. }));
}

#[test]
#[ignore = "root: makes a network namespace"]
fn an_overrun_is_reported_and_what_comes_after_it_is_new() {
    let namespace = Namespace::create("overrun").unwrap();
    namespace.ip(["link", "add", "one", "type", "veth", "peer", "name", "two"]).unwrap();
    let mut monitor = inside(&namespace, || Monitor::with_buffer(1).unwrap());
    for mtu in 1000..1030 {
        namespace.ip(["link", "set", "one", "mtu", &mtu.to_string()]).unwrap();
    }
    let events = until(&mut monitor, |event| *event == Event::Overrun);
    assert!(monitor.losses().overruns > 0);
    assert!(events.len() < 30, "nothing was lost: {events:?}");
    namespace.ip(["link", "set", "one", "mtu", "1200"]).unwrap();
    let events = until(&mut monitor, |event| is_change_of(event, "one"));
    let stale = |event: &Event| matches!(event, Event::LinkChanged(l) if l.mtu != Some(1200));
    assert!(!events.iter().any(stale), "older than the overrun: {events:?}");
}

#[test]
#[ignore = "root: sends netlink messages between sockets"]
fn a_forged_event_is_counted_and_not_believed() {
    let mut monitor = Monitor::open().unwrap();
    let port = SocketAddrNetlink::try_from(getsockname(&monitor.socket).unwrap()).unwrap();
    let forger = open_socket(0).unwrap();
    let forged = crate::netlink::wire::Request::new(libc::RTM_DELLINK, &[0; 16]).finish(0);
    sendto(&forger, &forged, SendFlags::empty(), &port).unwrap();
    eventually("the forged event", || {
        let event = monitor.poll(Duration::from_millis(10)).unwrap();
        assert!(!matches!(event, Some(Event::LinkGone { .. } | Event::Overrun)), "{event:?}");
        (monitor.losses().foreign == 1).then_some(())
    });
}

#[test]
fn one_unreadable_message_spoils_its_datagram() {
    let message = |kind, body: &[u8]| crate::netlink::wire::Request::new(kind, body).finish(0);
    let gone = |index: u8| {
        let mut header = [0; 16];
        header[4] = index;
        crate::netlink::wire::Request::new(libc::RTM_DELLINK, &header)
            .with_text(libc::IFLA_IFNAME, "one")
            .finish(0)
    };
    let mut datagram = gone(7);
    datagram.extend(message(u16::MAX, b"of a kind that nobody knows"));
    datagram.extend(gone(8));
    let expected = [7, 8].map(|ifindex| Event::LinkGone { ifindex, moved_to: None });
    assert_eq!(events(&datagram), Ok(expected.to_vec()));
    datagram.extend(message(libc::RTM_NEWLINK, &[0; 8]));
    assert!(events(&datagram).is_err());
}

#[test]
fn an_address_event_is_of_its_link_however_much_of_it_is_missing() {
    let datagram = |kind, body: &[u8]| crate::netlink::wire::Request::new(kind, body).finish(0);
    let mut body = vec![libc::AF_INET as u8, 24, 0, 0, 7, 0, 0, 0];
    body.extend([8, 0, libc::IFA_LOCAL as u8, 0, 192, 0, 2, 1]);
    let changed = vec![Event::AddressesChanged { ifindex: 7 }];
    for kind in [libc::RTM_NEWADDR, libc::RTM_DELADDR] {
        assert_eq!(events(&datagram(kind, &body)), Ok(changed.clone()));
        for length in (0..body.len()).step_by(4) {
            let read = events(&datagram(kind, &body[..length]));
            assert!(!read.is_ok_and(|read| read.contains(&changed[0])), "cut at {length}");
        }
    }
}
