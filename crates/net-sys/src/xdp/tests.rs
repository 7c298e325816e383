use std::net::UdpSocket;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use super::*;
use crate::bpf::program_id;
use crate::testing::{
    Namespace, PinDirectory, eventually, inside, node_and_pod, program, xdp_program,
};
use crate::{Netns, Route, tcx::TcxLink};

const DROP: i32 = 1;
const PASS: i32 = 2;

/// The loopback device, whose driver has no XDP.
const LOOPBACK: u32 = 1;

fn id(program: &OwnedFd) -> u32 {
    program_id(program.as_fd()).unwrap()
}

fn reason<T>(outcome: Result<T, BpfError>) -> Option<&'static str> {
    outcome.err().map(|error| error.reason())
}

fn index_of(name: &str) -> u32 {
    Route::open().unwrap().link(name, None).unwrap().ifindex
}

/// Whether a datagram sent into the pod, whose device is named, arrives there.
fn reaches(node: &Namespace, pod: &Namespace) -> bool {
    let there = inside(pod, || UdpSocket::bind("192.0.2.2:0").unwrap());
    there.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let to = there.local_addr().unwrap();
    let here = inside(node, || UdpSocket::bind("192.0.2.1:0").unwrap());
    here.send_to(b"x", to).unwrap();
    there.recv(&mut [0; 8]).is_ok()
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_program_runs_natively_or_in_the_stack() {
    let (node, pod) = node_and_pod();
    let (drop_all, pass) = (xdp_program(DROP), xdp_program(PASS));
    for mode in [Mode::Native, Mode::Generic] {
        eventually("neighbours that know each other", || reaches(&node, &pod).then_some(()));
        let link = inside(&pod, || {
            let ifindex = index_of("pod0");
            let link = XdpLink::attach(drop_all.as_fd(), ifindex, mode).unwrap();
            let info = link.info().unwrap();
            assert_eq!((info.program_id, info.ifindex), (id(&drop_all), ifindex));
            assert!(info.link_id > 0);
            assert!(Route::open().unwrap().link("pod0", None).unwrap().xdp);
            link
        });
        assert!(!reaches(&node, &pod), "{mode:?}: the program that drops did not run");
        link.update(pass.as_fd()).unwrap();
        assert_eq!(link.info().unwrap().program_id, id(&pass));
        eventually("the program that passes", || reaches(&node, &pod).then_some(()));
        drop(link);
        // A process that another test is starting may hold a copy of the descriptor until it runs.
        let free = || inside(&pod, || !Route::open().unwrap().link("pod0", None).unwrap().xdp);
        eventually("the end of the link", || free().then_some(()));
    }
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn the_kernel_shows_the_mode_that_was_asked_for() {
    let (_node, pod) = node_and_pod();
    let pass = xdp_program(PASS);
    for (mode, shown) in [(Mode::Native, "xdp"), (Mode::Generic, "xdpgeneric")] {
        let attach = || XdpLink::attach(pass.as_fd(), index_of("pod0"), mode).unwrap();
        let link = inside(&pod, attach);
        let told = pod.ip(["link", "show", "dev", "pod0"]).unwrap().stdout;
        let text = String::from_utf8(told).unwrap();
        assert!(text.split_whitespace().any(|word| word == shown), "{mode:?}: {text}");
        link.detach().unwrap();
    }
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_driver_without_xdp_says_so_and_the_stack_stands_in() {
    let namespace = Namespace::create("plain").unwrap();
    let pass = xdp_program(PASS);
    inside(&namespace, || {
        let native = XdpLink::attach(pass.as_fd(), LOOPBACK, Mode::Native);
        assert_eq!(reason(native), Some("no_native_xdp"));
        let link = XdpLink::attach(pass.as_fd(), LOOPBACK, Mode::Generic).unwrap();
        assert_eq!(link.info().unwrap().ifindex, LOOPBACK);
    });
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn frames_too_large_for_the_driver_are_no_full_hook() {
    let (node, pod) = node_and_pod();
    node.ip(["link", "set", "host0", "mtu", "65535"]).unwrap();
    let pass = xdp_program(PASS);
    inside(&pod, || {
        let native = XdpLink::attach(pass.as_fd(), index_of("pod0"), Mode::Native);
        assert_eq!(reason(native), Some("no_native_xdp"));
    });
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn the_program_of_another_is_never_replaced() {
    let (_node, pod) = node_and_pod();
    let (theirs, ours) = (xdp_program(PASS), xdp_program(DROP));
    inside(&pod, || {
        let ifindex = index_of("pod0");
        for (first, second) in [
            (Mode::Native, Mode::Native),
            (Mode::Native, Mode::Generic),
            (Mode::Generic, Mode::Native),
        ] {
            let foreign = XdpLink::attach(theirs.as_fd(), ifindex, first).unwrap();
            let outcome = XdpLink::attach(ours.as_fd(), ifindex, second);
            assert_eq!(reason(outcome), Some("occupied"), "{second:?} onto {first:?}");
            assert_eq!(foreign.info().unwrap().program_id, id(&theirs));
            foreign.detach().unwrap();
        }
    });
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_pinned_link_is_opened_again_by_its_own_kind_only() {
    let namespace = Namespace::create("pinned").unwrap();
    let pins = PinDirectory::create();
    let (ours, theirs) = (pins.path().join("xdp"), pins.path().join("tcx"));
    let pass = xdp_program(PASS);
    let classifier = program(0);
    let (before, tcx) = inside(&namespace, || {
        let link = XdpLink::attach(pass.as_fd(), LOOPBACK, Mode::Generic).unwrap();
        link.pin(&ours).unwrap();
        let order = (crate::tcx::Hook::Ingress, crate::tcx::Order::First);
        let tcx = TcxLink::attach(classifier.as_fd(), LOOPBACK, order.0, order.1).unwrap();
        tcx.pin(&theirs).unwrap();
        (link.info().unwrap(), tcx)
    });
    let link = XdpLink::open_pinned(&ours).unwrap();
    assert_eq!(link.info().unwrap(), before, "the device lost the program with the process");
    assert_eq!(reason(XdpLink::open_pinned(&theirs)), Some("other_pin"));
    assert_eq!(reason(TcxLink::open_pinned(&ours)), Some("other_pin"));
    link.detach().unwrap();
    tcx.detach().unwrap();
    let dead = XdpLink::open_pinned(&ours).unwrap();
    assert_eq!(dead.info().unwrap().ifindex, 0);
    assert_eq!(reason(dead.update(pass.as_fd())), Some("detached"));
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_removed_device_detaches_its_link() {
    let (node, pod) = node_and_pod();
    let pass = xdp_program(PASS);
    let attach = || XdpLink::attach(pass.as_fd(), index_of("pod0"), Mode::Native).unwrap();
    let link = inside(&pod, attach);
    let ifindex = link.info().unwrap().ifindex;
    node.ip(["link", "delete", "host0"]).unwrap();
    assert_eq!(link.info().unwrap().ifindex, 0);
    assert_eq!(reason(link.update(pass.as_fd())), Some("detached"));
    let pod = Netns::open(pod.path()).unwrap();
    for index in [ifindex, 0, i32::MAX as u32, u32::MAX] {
        let again = pod.within(|| XdpLink::attach(pass.as_fd(), index, Mode::Generic)).unwrap();
        assert_eq!(reason(again), Some("no_device"), "{index}");
    }
}

#[test]
#[ignore = "root: attaches BPF programs"]
fn a_program_of_another_kind_is_refused() {
    let namespace = Namespace::create("kind").unwrap();
    let classifier = program(0);
    inside(&namespace, || {
        let outcome = XdpLink::attach(classifier.as_fd(), LOOPBACK, Mode::Generic);
        assert_eq!(reason(outcome), Some("refused"));
    });
}
