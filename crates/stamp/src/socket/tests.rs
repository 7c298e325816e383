use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Datagram, LONGEST, Leave, Notice, Socket};

fn loopback(is_v6: bool) -> IpAddr {
    if is_v6 { Ipv6Addr::LOCALHOST.into() } else { Ipv4Addr::LOCALHOST.into() }
}

/// Waits until `look` finds something, a few seconds at most.
fn wait<T>(socket: &Socket, mut look: impl FnMut(&Socket) -> Option<T>) -> T {
    let timeout = Timespec::try_from(Duration::from_secs(5)).unwrap();
    for _ in 0..100 {
        if let Some(found) = look(socket) {
            return found;
        }
        let mut waits = [PollFd::from_borrowed_fd(socket.as_fd(), PollFlags::IN | PollFlags::ERR)];
        assert!(poll(&mut waits, Some(&timeout)).unwrap() > 0, "nothing came within five seconds");
    }
    panic!("what came was something else");
}

fn received(socket: &Socket) -> (Datagram, Vec<u8>) {
    let mut buffer = vec![0; LONGEST];
    let datagram = wait(socket, |socket| socket.receive(&mut buffer).unwrap());
    buffer.truncate(datagram.len);
    (datagram, buffer)
}

fn to(destination: SocketAddr) -> Leave {
    Leave { destination, source: None, ifindex: 0, traffic_class: 0 }
}

#[test]
fn a_packet_is_told_with_all_that_is_known_of_it() {
    for is_v6 in [false, true] {
        let listening = Socket::bind(is_v6, 0, Some("lo"), 255).unwrap();
        let mut sending = Socket::bind(is_v6, 0, None, 77).unwrap();
        sending.ask_for_sent_times().unwrap();
        let sending_port = sending.port();
        let destination = SocketAddr::new(loopback(is_v6), listening.port());
        let leave =
            Leave { traffic_class: 46 << 2 | 1, source: Some(loopback(is_v6)), ..to(destination) };
        let stamped = || {
            sending.send(b"some octets", &leave).unwrap();
            let (datagram, payload) = received(&listening);
            let notice = wait(&sending, |socket| socket.notice().unwrap());
            datagram.told.at.map(|at| (at, notice, datagram, payload))
        };
        // The kernel begins to stamp what it receives some time after it was asked to.
        let found = std::iter::repeat_with(stamped).take(10_000).flatten().next();
        let (at, notice, datagram, payload) = found.expect("the kernel stamps what it receives");
        assert_eq!(payload, b"some octets");
        assert_eq!(datagram.source, SocketAddr::new(loopback(is_v6), sending_port));
        assert_eq!(datagram.told.ttl, Some(77));
        assert_eq!(datagram.told.traffic_class, 46 << 2 | 1);
        assert_eq!(datagram.told.destination, Some(loopback(is_v6)));
        assert_eq!(datagram.told.ifindex, 1);
        let Notice::Sent { at: sent, .. } = notice else { panic!("{notice:?} is no stamp") };
        assert!(
            (0..1_000_000_000).contains(&at.since(sent)),
            "received {} ns after it was sent",
            at.since(sent)
        );
    }
}

#[test]
fn each_packet_sent_has_a_count_of_its_own() {
    let listening = Socket::bind(false, 0, None, 255).unwrap();
    let mut sending = Socket::bind(false, 0, None, 255).unwrap();
    sending.ask_for_sent_times().unwrap();
    let leave = to(SocketAddr::new(loopback(false), listening.port()));
    for count in 0..5 {
        assert_eq!(sending.send(&[0; 44], &leave).unwrap(), count);
        let notice = wait(&sending, |socket| socket.notice().unwrap());
        assert!(matches!(notice, Notice::Sent { count: told, .. } if told == count), "{notice:?}");
    }
}

#[test]
fn a_port_where_nobody_listens_is_told_by_icmp() {
    for is_v6 in [false, true] {
        let closed = {
            let unused = Socket::bind(is_v6, 0, None, 255).unwrap();
            SocketAddr::new(loopback(is_v6), unused.port())
        };
        let mut sending = Socket::bind(is_v6, 0, None, 255).unwrap();
        sending.send(&[0; 44], &to(closed)).unwrap();
        let refused = wait(&sending, |socket| match socket.notice().unwrap() {
            Some(Notice::Sent { .. }) | None => None,
            refused => refused,
        });
        let error = rustix::io::Errno::CONNREFUSED.raw_os_error();
        assert_eq!(refused, Notice::Refused { destination: Some(closed), error, by_icmp: true });
    }
}

#[test]
fn a_packet_that_would_be_cut_is_refused() {
    let mut sending = Socket::bind(false, 0, Some("lo"), 255).unwrap();
    let leave = to("127.0.0.1:9".parse().unwrap());
    let refused = sending.send(&vec![0; LONGEST], &leave).unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(rustix::io::Errno::MSGSIZE.raw_os_error()));
}

#[test]
fn a_port_has_one_owner() {
    let first = Socket::bind(false, 0, None, 255).unwrap();
    let second = Socket::bind(false, first.port(), None, 255).unwrap_err();
    assert_eq!(second.kind(), std::io::ErrorKind::AddrInUse);
}

#[test]
fn an_error_of_one_peer_is_not_taken_for_that_of_another() {
    let (open, mut sending) =
        (Socket::bind(false, 0, None, 255).unwrap(), Socket::bind(false, 0, None, 255).unwrap());
    let closed = {
        let unused = Socket::bind(false, 0, None, 255).unwrap();
        SocketAddr::new(loopback(false), unused.port())
    };
    let there = SocketAddr::new(loopback(false), open.port());
    for _ in 0..20 {
        sending.send(&[0; 44], &to(closed)).unwrap();
        sending.send(&[1; 44], &to(there)).unwrap();
        assert_eq!(received(&open).1, [1; 44]);
    }
}
