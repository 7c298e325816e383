//! Edges that are not a plain veth, and edges that look alike.

use std::net::SocketAddr;

use fathom_tests::binary::SOON;
use fathom_tests::crafted::{key, send};
use fathom_tests::document::Direction;
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Plan};
use fathom_tests::site::{Wire, settle, silent};
use testkit::proc::{Signal, wait_until};
use testkit::traffic::{Generator, Load, Path};
use testkit::truth::Amount;
use testkit::{Device, Namespace, Place, Veth};

const UDP: u8 = 17;

/// Opens the device, sends what the pod behind it would send and takes what it would receive.
const VIRTUAL_MACHINE: &str = r"
import fcntl, os, signal, socket, struct
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
tun = os.open('/dev/net/tun', os.O_RDWR)
fcntl.ioctl(tun, 0x400454ca, struct.pack('16sH22x', b'tun0', 0x0001 | 0x1000))
print('open', flush=True)
assert signal.sigtimedwait([signal.SIGUSR1], 30)
def v4(size):
    udp = struct.pack('!HHHH', 1000, 2000, 8 + size, 0) + bytes(size)
    head = struct.pack('!BBHHHBBH4s4s', 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0,
                       socket.inet_aton('192.0.2.1'), socket.inet_aton('203.0.113.1'))
    return head + udp
def v6(size):
    udp = struct.pack('!HHHH', 1000, 2000, 8 + size, 1) + bytes(size)
    ends = [socket.inet_pton(socket.AF_INET6, a) for a in ('2001:db8::1', '2001:db8::2')]
    return struct.pack('!IHBB', 6 << 28, len(udp), 17, 64) + ends[0] + ends[1] + udp
for packet in [v4(10)] * 5 + [v6(20)] * 3:
    os.write(tun, packet)
sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sender.bind(('10.9.9.1', 3000))
for _ in range(4):
    sender.sendto(bytes(100), ('10.9.9.2', 4000))
for _ in range(4):
    assert len(os.read(tun, 2000)) == 128
";

/// Runs the machine to its end.
fn boot(tun: &Device) {
    let python = tun.place().command("/usr/bin/python3");
    let mut machine = python.args(["-c", VIRTUAL_MACHINE]).spawn().unwrap();
    machine.wait_for_stdout("open", SOON).unwrap();
    // The queue is put in place a moment after the carrier; until then everything is dropped.
    wait_until("queue of the device", SOON, || !tun.qdiscs().unwrap().is_empty()).unwrap();
    machine.signal(Signal::USR1).unwrap();
    machine.finish(SOON).unwrap().success().unwrap();
}

/// A layer 3 device has no link header, and its bytes are those of the packets.
#[test]
#[ignore = "root: needs network namespaces"]
fn a_tun_device_is_counted_from_the_network_header() {
    let node = silent("tun");
    let tun = node.tun("tun0").unwrap();
    tun.address("10.9.9.1/24".parse().unwrap()).unwrap();
    for lane in ["tcx", "clsact"] {
        let plan = Plan::new(&node, [Edge::host("vm", &tun)]).flags(["--attach", lane]);
        let running = plan.start();
        boot(&tun);
        let outcome = running.stop();
        laws::hold(&outcome);
        laws::counters_are_met(&outcome);
        laws::buffers_are_frames(&outcome.document);
        let sent = outcome.document.by_key("vm", Direction::Tx);
        let v4 = key("192.0.2.1", "203.0.113.1", UDP, (1000, 2000));
        let v6 = key("2001:db8::1", "2001:db8::2", UDP, (1000, 2000));
        assert_eq!(sent.get(&v4), Some(&Amount::new(5, 5 * 38)), "{sent:#?}");
        assert_eq!(sent.get(&v6), Some(&Amount::new(3, 3 * 68)), "{sent:#?}");
        assert_eq!(sent.len(), 2);
        let received = outcome.document.by_key("vm", Direction::Rx);
        let answer = key("10.9.9.1", "10.9.9.2", UDP, (3000, 4000));
        assert_eq!(received.get(&answer), Some(&Amount::new(4, 4 * 128)), "{received:#?}");
    }
}

fn addressed(device: &Device, address: &str) {
    device.address(address.parse().unwrap()).unwrap();
    device.ready(SOON).unwrap();
}

fn requests(client: &Place, server: &Place, target: SocketAddr) {
    let path = Path { client: client.clone(), server: server.clone(), target, lifetime: SOON };
    let load = Load::Requests { question: 1000, answer: 50_000, rate: None, limit: Some(20) };
    let running = Generator::start(&load, &path).unwrap();
    assert!(running.finish(SOON).unwrap().is_lossless());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_macvlan_pod_is_counted_inside() {
    let [node, far, pod] = ["node", "far", "pod"].map(|label| Namespace::create(label).unwrap());
    let uplink = Veth::join((node.place(), "uplink"), (far.place(), "eth0")).unwrap();
    let inside = node.macvlan("eth0", &uplink.near, &pod).unwrap();
    for (device, four, six) in
        [(&uplink.far, "10.8.0.1/24", "fd08::1/64"), (&inside, "10.8.0.2/24", "fd08::2/64")]
    {
        addressed(device, four);
        addressed(device, six);
    }
    settle(&inside);
    let running = Plan::new(&node, [Edge::inside("mac", &inside)]).start();
    requests(&pod, &far, "10.8.0.1:0".parse().unwrap());
    requests(&far, &pod, "[fd08::2]:0".parse().unwrap());
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    for direction in [Direction::Tx, Direction::Rx] {
        let hook = outcome.document.hook("mac", direction);
        assert!(hook.bytes > 1_000_000, "{hook:?}");
        assert_eq!(hook.place, "pod");
    }
}

/// Interface numbers and addresses repeat between namespaces; edges never mix.
#[test]
#[ignore = "root: needs network namespaces"]
fn twins_in_two_namespaces_are_told_apart() {
    let (first, second) = (Wire::build(), Wire::build());
    let numbers = [&first, &second].map(|wire| wire.inside.index().unwrap());
    assert_eq!(numbers[0], numbers[1], "the case needs equal interface numbers");
    let edges = [Edge::inside("first", &first.inside), Edge::inside("second", &second.inside)];
    let inside = Plan::new(&first.node, edges).start();
    let edges = [Edge::host("first", &first.outside), Edge::inside("second", &second.inside)];
    let mixed = Plan::new(&first.node, edges).start();
    let frame = |count: u32| format!("[E/V4(1)/UDP(sport=1, dport=2)] * {count}");
    send(&first.inside, [frame(3)]);
    send(&second.inside, [frame(5)]);
    send(&second.outside, [frame(7)]);
    for outcome in [inside.stop(), mixed.stop()] {
        laws::hold(&outcome);
        laws::counters_are_met(&outcome);
        let flow = key("192.0.2.1", "198.51.100.1", UDP, (1, 2));
        for (edge, direction, packets) in [
            ("first", Direction::Tx, Some(3)),
            ("first", Direction::Rx, None),
            ("second", Direction::Tx, Some(5)),
            ("second", Direction::Rx, Some(7)),
        ] {
            let rows = outcome.document.by_key(edge, direction);
            let expected = packets.map(|packets| Amount::new(packets, packets * 42));
            assert_eq!(rows.get(&flow).copied(), expected, "{edge} {direction:?}");
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_namespace_may_be_named_in_every_way() {
    let wire = Wire::build();
    let path = wire.pod.path().display().to_string();
    let name = wire.pod.name().to_owned();
    for (given, edge) in [
        (format!("{path}:eth0=full"), "full"),
        (format!("{name}:eth0=short"), "short"),
        (format!("{name}=default"), "default"),
        (format!("{path}=path"), "path"),
    ] {
        let args = ["flows", "--duration", "200ms", "-o", "json", "--netns", &given];
        let finished = fathom_tests::binary::run(args);
        assert_eq!(finished.status.code(), Some(0), "{given}: {}", finished.stderr);
        let document: fathom_tests::document::Document = finished.json().unwrap();
        assert_eq!(document.hook(edge, Direction::Tx).interface, "eth0", "{given}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_only_device_needs_no_name_and_several_are_listed() {
    let wire = Wire::build();
    wire.inside.down().unwrap();
    let only = wire.inside.rename("net7").unwrap();
    only.up().unwrap();
    let name = wire.pod.name().to_owned();
    let args = ["flows", "--duration", "200ms", "-o", "json", "--netns", &name];
    let finished = fathom_tests::binary::run(args);
    assert_eq!(finished.status.code(), Some(0), "{}", finished.stderr);
    let document: fathom_tests::document::Document = finished.json().unwrap();
    assert!(document.hooks.iter().all(|hook| hook.interface == "net7"));
    let other = Veth::join((wire.pod.place(), "net8"), (wire.node.place(), "spare")).unwrap();
    let refused = fathom_tests::binary::run(args);
    assert!(matches!(refused.status.code(), Some(64 | 69)), "{refused:?}");
    for candidate in [only.name(), other.near.name()] {
        assert!(refused.stderr.contains(candidate), "{}", refused.stderr);
    }
}
