//! Programs of somebody else on the same device see all that is not ours, and ours lets be
//! what is not its.

use std::net::UdpSocket;
use std::time::Duration;

use fathom_tests::foreign::{Position, Program, tcx_programs};
use fathom_tests::stamp::cable::Cable;
use fathom_tests::stamp::packet::receive;
use fathom_tests::stamp::{PORT, Reflector, measured, packets};

/// A port of something else.
const OTHER: u16 = 5_300;
const EACH: u64 = 40;

fn sockets(cable: &Cable) -> [UdpSocket; 2] {
    let bind = |host: &fathom_tests::stamp::cable::Host, port| {
        let at = (host.addresses[0], port);
        let socket = host.place().run(|| UdpSocket::bind(at));
        let socket = socket.unwrap_or_else(|error| panic!("{error}"));
        let socket = socket.unwrap_or_else(|error| panic!("{error}"));
        let set = socket.set_read_timeout(Some(Duration::from_secs(2)));
        set.unwrap_or_else(|error| panic!("{error}"));
        socket
    };
    let (near, far) = (bind(&cable.near, 0), bind(&cable.far, OTHER));
    let port = near.local_addr().map_or(0, |at| at.port());
    for (socket, to) in
        [(&near, (cable.far.addresses[0], OTHER)), (&far, (cable.near.addresses[0], port))]
    {
        socket.connect(to).unwrap_or_else(|error| panic!("{error}"));
    }
    [near, far]
}

#[test]
#[ignore = "root: needs network namespaces"]
fn those_before_and_behind_see_all_that_is_not_ours() {
    let cable = Cable::new();
    let [before, behind] = [(); 2].map(|()| Program::counter([OTHER, PORT]));
    before.attach_tcx(&cable.far.device, "ingress", Position::First);
    let reflector =
        Reflector::on(cable.far.place(), "eth0", &["--backend", "bpf", "--attach", "last"]);
    behind.attach_tcx(&cable.far.device, "ingress", Position::Last);
    let order = tcx_programs(&cable.far.device, "ingress");
    assert_eq!(order.len(), 3, "{order:?}");
    assert_eq!([order[0], order[2]], [before.number(), behind.number()], "{order:?}");
    let [near, far] = sockets(&cable);
    for turn in 0..EACH {
        let sent = turn.to_be_bytes();
        near.send(&sent).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(receive(&far).as_deref(), Some(&sent[..]), "it arrives as it was");
        assert_eq!(far.send(&sent).ok(), Some(8));
        assert_eq!(receive(&near).as_deref(), Some(&sent[..]));
    }
    let to = cable.far.addresses[0];
    let target = measured(cable.near.place(), to, &["-c", "40", "-i", "1ms", "--backend", "bpf"]);
    assert_eq!(packets(&target), [EACH, EACH, 0], "{target}");
    assert_eq!(before.counted(), [EACH, EACH], "in front of ours: all");
    assert_eq!(behind.counted(), [EACH, 0], "behind ours: all but what ours answers");
    assert_eq!(reflector.summary()["replies"], EACH);
    assert_eq!(tcx_programs(&cable.far.device, "ingress"), [order[0], order[2]], "they stay");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_policy_behind_ours_still_drops_and_one_before_ours_drops_our_packets_too() {
    let cable = Cable::new();
    let (to, near) = (cable.far.addresses[0], cable.near.place());
    let long = ["-c", "10", "-i", "1ms", "-w", "0.2", "--size", "600"];
    for (attach, passes) in [("first", [10, 10, 0]), ("last", [10, 0, 10])] {
        let policy = Program::policy();
        policy.attach_tcx(&cable.far.device, "ingress", Position::First);
        let flags = ["--backend", "bpf", "--attach", attach];
        let reflector = Reflector::on(cable.far.place(), "eth0", &flags);
        let order = tcx_programs(&cable.far.device, "ingress");
        let ours = if attach == "first" { 0 } else { 1 };
        assert_eq!((order.len(), order[1 - ours]), (2, policy.number()), "{attach} {order:?}");
        assert_eq!(packets(&measured(near, to, &long)), passes, "{attach}");
        let [near, far] = sockets(&cable);
        near.send(&[1; 600]).unwrap_or_else(|error| panic!("{error}"));
        near.send(&[2; 100]).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(receive(&far), Some(vec![2; 100]), "{attach}: the long one is dropped");
        drop(reflector.summary());
    }
}
