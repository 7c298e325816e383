use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::*;
use crate::bpf::program_id;
use crate::host::{Capabilities, drop_capabilities_except};
use crate::testing::{
    Namespace, PinDirectory, eventually, inside, node_and_pod, prefix_map, program,
};

const NEXT: i32 = -1;
const SHOT: i32 = 2;

fn ids(ifindex: u32, hook: Hook) -> Vec<u32> {
    query(ifindex, hook).unwrap().iter().map(|attached| attached.program_id).collect()
}

/// Whether a datagram to ourselves arrives.
fn loopback_passes() -> bool {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    match socket.send_to(b"x", socket.local_addr().unwrap()) {
        Ok(_) => socket.recv(&mut [0; 8]).is_ok(),
        Err(_refused_by_the_hook) => false,
    }
}

#[test]
#[ignore = "root: asks for BPF programs"]
fn this_kernel_has_tcx() {
    assert!(supported().unwrap());
}

#[test]
#[ignore = "root: asks for BPF programs"]
fn a_program_is_known_by_its_name() {
    let next = program(NEXT);
    let id = program_id(next.as_fd()).unwrap();
    assert_eq!(bpf::program_name(id).unwrap(), "verdict");
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn one_program_serves_both_hooks() {
    let namespace = Namespace::create("both").unwrap();
    let next = program(NEXT);
    let id = program_id(next.as_fd()).unwrap();
    inside(&namespace, || {
        for hook in [Hook::Ingress, Hook::Egress] {
            let link = TcxLink::attach(next.as_fd(), 1, hook, Order::First).unwrap();
            let info = link.info().unwrap();
            assert_eq!((info.program_id, info.ifindex, info.hook), (id, 1, hook));
            let attached = query(1, hook).unwrap();
            assert_eq!(attached, [Attached { program_id: id, link_id: Some(info.link_id) }]);
            drop(link);
            // A process that another test is starting may hold a copy until it runs.
            eventually("the end of the link", || query(1, hook).unwrap().is_empty().then_some(()));
        }
    });
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_foreign_program_keeps_its_place_between_first_and_last() {
    let namespace = Namespace::create("order").unwrap();
    let [first, foreign, last] = [program(NEXT), program(NEXT), program(NEXT)];
    let expected = [&first, &foreign, &last].map(|program| program_id(program.as_fd()).unwrap());
    inside(&namespace, || {
        let attach = |program: &OwnedFd, order| {
            TcxLink::attach(program.as_fd(), 1, Hook::Ingress, order).unwrap()
        };
        let _foreign = attach(&foreign, Order::First);
        let _last = attach(&last, Order::Last);
        let _first = attach(&first, Order::First);
        assert_eq!(ids(1, Hook::Ingress), expected);
    });
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn an_update_takes_effect_on_packets_and_keeps_the_place() {
    let namespace = Namespace::create("update").unwrap();
    let (shot, next, behind) = (program(SHOT), program(NEXT), program(NEXT));
    inside(&namespace, || {
        let link = TcxLink::attach(shot.as_fd(), 1, Hook::Ingress, Order::First).unwrap();
        let _behind = TcxLink::attach(behind.as_fd(), 1, Hook::Ingress, Order::Last).unwrap();
        assert!(!loopback_passes(), "the program that drops did not run");
        link.update(next.as_fd()).unwrap();
        assert!(loopback_passes(), "the program that passes did not run");
        let order = [&next, &behind].map(|program| program_id(program.as_fd()).unwrap());
        assert_eq!(ids(1, Hook::Ingress), order);
    });
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_pinned_link_survives_its_process_and_is_opened_again() {
    let namespace = Namespace::create("pinned").unwrap();
    let pins = PinDirectory::create();
    let path = pins.path().join("link");
    let next = program(NEXT);
    inside(&namespace, || {
        let link = TcxLink::attach(next.as_fd(), 1, Hook::Egress, Order::Last).unwrap();
        let before = link.info().unwrap();
        link.pin(&path).unwrap();
        assert_eq!(link.pin(&path).map_err(|error| error.reason()), Err("pin"));
        drop(link);
        assert_eq!(ids(1, Hook::Egress), [before.program_id]);
        let link = TcxLink::open_pinned(&path).unwrap();
        assert_eq!(link.info().unwrap(), before);
        link.detach().unwrap();
        assert!(ids(1, Hook::Egress).is_empty());
    });
    let dead = TcxLink::open_pinned(&path).unwrap().info().unwrap();
    assert_eq!(dead.ifindex, 0);
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_removed_device_detaches_its_link() {
    let (node, _pod) = node_and_pod();
    let next = program(NEXT);
    inside(&node, || {
        let ifindex = crate::Route::open().unwrap().link("host0", None).unwrap().ifindex;
        let link = TcxLink::attach(next.as_fd(), ifindex, Hook::Ingress, Order::First).unwrap();
        node.ip(["link", "delete", "host0"]).unwrap();
        assert_eq!(link.info().unwrap().ifindex, 0);
        assert_eq!(link.update(next.as_fd()).map_err(|error| error.reason()), Err("detached"));
        let again = TcxLink::attach(next.as_fd(), ifindex, Hook::Ingress, Order::First);
        assert_eq!(again.map_err(|error| error.reason()).err(), Some("no_device"));
    });
}

#[test]
#[ignore = "root: pins BPF objects"]
fn what_is_pinned_and_no_tcx_link_is_refused() {
    let pins = PinDirectory::create();
    for (name, object) in [("program", program(NEXT)), ("map", prefix_map())] {
        let path = pins.pin(name, &object);
        let outcome = TcxLink::open_pinned(path).map_err(|error| error.reason());
        assert_eq!(outcome.err(), Some("other_pin"), "{name}");
    }
    for path in [pins.path().join("missing"), "/etc/hostname".into(), "a\0b".into()] {
        let outcome = TcxLink::open_pinned(&path).map_err(|error| error.reason());
        assert_eq!(outcome.err(), Some("pin"), "{}", path.display());
    }
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn indices_that_no_device_has_are_no_device() {
    let next = program(NEXT);
    for ifindex in [0, i32::MAX as u32, u32::MAX] {
        let attach = TcxLink::attach(next.as_fd(), ifindex, Hook::Ingress, Order::First);
        assert_eq!(attach.map_err(|e| e.reason()).err(), Some("no_device"), "{ifindex}");
        assert_eq!(query(ifindex, Hook::Egress).map_err(|e| e.reason()), Err("no_device"));
    }
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_full_hook_says_so() {
    let namespace = Namespace::create("full").unwrap();
    let programs: Vec<_> = (0..=MAX_PROGRAMS).map(|_| program(NEXT)).collect();
    inside(&namespace, || {
        let attach =
            |program: &OwnedFd| TcxLink::attach(program.as_fd(), 1, Hook::Ingress, Order::Last);
        let links: Vec<_> = programs.iter().map_while(|program| attach(program).ok()).collect();
        assert!(links.len() <= MAX_PROGRAMS);
        assert_eq!(query(1, Hook::Ingress).unwrap().len(), links.len());
        let more = attach(programs.last().unwrap());
        assert_eq!(more.map_err(|error| error.reason()).err(), Some("full"));
    });
}

#[test]
#[ignore = "root: gives up capabilities on a thread"]
fn without_the_capability_a_hook_cannot_be_read() {
    let namespace = Namespace::create("caps").unwrap();
    inside(&namespace, || {
        drop_capabilities_except(Capabilities::EMPTY).unwrap();
        let outcome = supported().map_err(|error| error.reason());
        assert_eq!(outcome, Err("not_permitted"));
    });
}
