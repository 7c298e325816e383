//! Generators, interface counters, captures and connection tracking tell the same story.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::net::{IpAddr, SocketAddrV4};
use std::time::Duration;

use testkit::lab::{Addresses, Fabric, Plan, Underlay};
use testkit::proc::wait_until;
use testkit::traffic::{Flood, Generator, Iperf, Load, Path, Report, TrafficError};
use testkit::truth::{Amount, Capture, CaptureOptions, Conntrack, Counters, Frames, Heard};
use testkit::{Lab, Namespace, Segmentation, Veth};

const SOON: Duration = Duration::from_secs(30);
const ETHERNET: u64 = 14;
/// A new link repeats its multicast groups after up to a second (RFC 3810 §9.11).
const SETTLED: Duration = Duration::from_millis(1200);

fn lab(segmentation: Segmentation) -> Lab {
    Lab::build(&Plan { segmentation, ..Plan::default() }).unwrap()
}

fn path(lab: &Lab, from: &str, to: &str, address: fn(Addresses) -> IpAddr) -> Path {
    let (from, to) = (lab.pod(from).unwrap(), lab.pod(to).unwrap());
    Path {
        client: from.namespace.place().clone(),
        server: to.namespace.place().clone(),
        target: (address(to.addresses), 0).into(),
        lifetime: Duration::from_secs(20),
    }
}

fn v4(addresses: Addresses) -> IpAddr {
    IpAddr::V4(addresses.v4)
}

fn v6(addresses: Addresses) -> IpAddr {
    IpAddr::V6(addresses.v6)
}

/// What counters and a capture on the sending pod's device saw while `load` ran.
fn observed(lab: &Lab, path: &Path, load: &Load) -> (Report, Counters, Frames) {
    let device = &lab.pods().find(|pod| *pod.namespace.place() == path.client).unwrap().device;
    let options = CaptureOptions { heard: Heard::Out, ..CaptureOptions::default() };
    // What a new link says by itself must not fall between capture and reading.
    device.quiet(SETTLED, SOON).unwrap();
    let capture = Capture::start_with(device, &options).unwrap();
    let before = device.counters().unwrap();
    let report = Generator::start(load, path).unwrap().finish(SOON).unwrap();
    device.quiet(Duration::from_millis(200), SOON).unwrap();
    let counters = device.counters_since(before).unwrap();
    (report, counters, capture.stop().unwrap().frames().unwrap())
}

#[test]
#[ignore = "root: needs network namespaces"]
fn every_datagram_is_a_packet_and_neighbour_discovery_is_the_rest() {
    let lab = lab(Segmentation::On);
    for address in [v4 as fn(Addresses) -> IpAddr, v6] {
        let path = path(&lab, "a1", "b1", address);
        let load =
            Load::Datagrams { sizes: vec![1, 100, 1400], rate: Some(2000), limit: Some(900) };
        let (report, counters, frames) = observed(&lab, &path, &load);
        assert!(report.is_lossless(), "{report:?}");
        assert_eq!(report.client.sent_messages, 900);
        assert_eq!(report.client.sent_bytes, 300 * 1501);

        let to_server = frames.sum(|key| key.destination_port == Some(report.target.port()));
        let rest = frames.total().since(to_server).unwrap();
        let sent = counters.tx.amount;
        assert_eq!(sent.since(rest), Some(to_server), "counters minus neighbour discovery");
        let header = if report.target.is_ipv4() { 20 } else { 40 };
        let on_wire = report.client.sent_bytes + 900 * (ETHERNET + header + 8);
        assert_eq!(to_server, Amount::new(900, on_wire));
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_flood_is_on_the_link_what_its_senders_say() {
    let [near, far] = ["flood", "void"].map(|label| Namespace::create(label).unwrap());
    near.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    far.set_sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    let link = Veth::join((near.place(), "eth0"), (far.place(), "eth0")).unwrap();
    let target = SocketAddrV4::new([192, 0, 2, 2].into(), 7);
    link.near.address("192.0.2.1/24".parse().unwrap()).unwrap();
    link.near.neighbour(IpAddr::V4(*target.ip()), "02:00:00:00:00:99").unwrap();
    for end in link.ends() {
        end.ready(SOON).unwrap();
    }
    let flood = Flood::start(near.place(), target, 3, 2, SOON).unwrap();
    wait_until("flood", SOON, || flood.sent() > 20_000).unwrap();
    let sent = flood.stop().unwrap();
    let side = link.near.counters().unwrap().tx;
    // The far side's queue may be full for a moment, which the link counts.
    assert_eq!(side.amount.packets + side.dropped, sent);
    assert_eq!(side.amount.bytes, 60 * side.amount.packets);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_stream_without_segmentation_is_its_frames() {
    let lab = lab(Segmentation::Off);
    for address in [v4 as fn(Addresses) -> IpAddr, v6] {
        let path = path(&lab, "a1", "b1", address);
        let load = Load::Bulk { rate: None, limit: Some(2_000_000) };
        let (report, counters, frames) = observed(&lab, &path, &load);
        assert_eq!(report.server.received_bytes, 2_000_000);
        assert_eq!(report.connections, Some(1));
        assert_eq!(counters.tx.amount, frames.total());
        let stream = frames.sum(|key| key.protocol == 6);
        assert!(stream.packets > 2_000_000 / 1448, "{stream:?}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_stream_with_segmentation_is_counted_in_buffers_by_both() {
    let lab = lab(Segmentation::On);
    let path = path(&lab, "a1", "a2", v4);
    let load = Load::Bulk { rate: None, limit: Some(20_000_000) };
    let (report, counters, frames) = observed(&lab, &path, &load);
    assert!(report.is_lossless());
    assert_eq!(counters.tx.amount, frames.total());
    assert!(counters.tx.amount.packets < 20_000_000 / 1448, "{counters:?}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn short_connections_are_as_many_as_their_syns() {
    let lab = lab(Segmentation::Off);
    let path = path(&lab, "a2", "b1", v6);
    let load = Load::Requests { question: 300, answer: 20_000, rate: None, limit: Some(120) };
    let (report, _, frames) = observed(&lab, &path, &load);
    assert!(report.is_lossless(), "{report:?}");
    assert_eq!(report.connections, Some(120));
    assert_eq!(report.client.received_bytes, 120 * 20_000);
    let syns: u64 = frames.flows.values().map(|seen| seen.syn).sum();
    let fins: u64 = frames.flows.values().map(|seen| seen.fin).sum();
    assert_eq!((syns, fins), (120, 120));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn both_ends_of_a_link_agree() {
    let lab = lab(Segmentation::On);
    let pod = lab.pod("a1").unwrap();
    pod.device.quiet(SETTLED, SOON).unwrap();
    let before = [&pod.device, &pod.host_device].map(|device| device.counters().unwrap());
    let path = path(&lab, "a1", "b1", v4);
    let load = Load::Requests { question: 100, answer: 5000, rate: None, limit: Some(50) };
    Generator::start(&load, &path).unwrap().finish(SOON).unwrap();
    pod.device.quiet(Duration::from_millis(200), SOON).unwrap();
    let inside = pod.device.counters_since(before[0]).unwrap();
    let outside = pod.host_device.counters_since(before[1]).unwrap();
    assert_eq!(inside.tx.amount, outside.rx.amount);
    assert_eq!(inside.rx.amount, outside.tx.amount);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn connection_tracking_agrees_with_the_wire() {
    let lab = lab(Segmentation::Off);
    let node = &lab.node_a().namespace;
    let tracking = Conntrack::enable(node).unwrap();
    let path = path(&lab, "a1", "b1", v4);
    let load = Load::Requests { question: 1000, answer: 50_000, rate: None, limit: Some(1) };
    let (report, _, frames) = observed(&lab, &path, &load);
    let connections = tracking.connections().unwrap();
    let port = Some(report.target.port());
    let found = connections.iter().find(|c| c.original.destination_port == port).unwrap();
    let sent = frames.sum(|key| key.destination_port == port);
    let without_link = Amount::new(sent.packets, sent.bytes - sent.packets * ETHERNET);
    assert_eq!(found.original.amount, Some(without_link));
    assert!(found.reply.amount.unwrap().bytes > 50_000);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn iperf_and_the_wire_agree_on_datagrams() {
    let lab = lab(Segmentation::On);
    let (from, to) = (lab.pod("a1").unwrap(), lab.pod("b1").unwrap());
    let capture = Capture::start(&from.device).unwrap();
    let report = Iperf::new(&from.namespace, &to.namespace, v6(to.addresses))
        .udp(20_000_000)
        .port(6001)
        .streams(2)
        .payload(1000)
        .bytes(500_000)
        .run()
        .unwrap();
    let frames = capture.stop().unwrap().frames().unwrap();
    let out = frames.sum(|key| {
        key.protocol == 17 && key.destination_port == Some(6001) && {
            key.source == v6(from.addresses)
        }
    });
    // Each stream begins with one datagram of 4 bytes that connects it.
    let headers = ETHERNET + 40 + 8;
    assert_eq!(Some(out.packets), report.sent.packets.map(|packets| packets + 2));
    assert_eq!(out.bytes, report.sent.bytes + 2 * 4 + out.packets * headers);
    assert_eq!(report.received.lost_packets, Some(0));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn iperf_sends_over_tcp_both_ways() {
    let lab = lab(Segmentation::On);
    let (from, to) = (lab.pod("a1").unwrap(), lab.pod("b1").unwrap());
    let iperf = Iperf::new(&from.namespace, &to.namespace, v4(to.addresses)).bytes(30_000_000);
    let report = iperf.clone().run().unwrap();
    assert!(report.sent.bytes >= 30_000_000);
    assert!((1..=report.sent.bytes).contains(&report.received.bytes), "{report:?}");
    assert_eq!(report.sent.packets, None);
    let before = from.device.counters().unwrap();
    iperf.reverse().run().unwrap();
    assert!(from.device.counters_since(before).unwrap().rx.amount.bytes > 30_000_000);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_filter_keeps_the_rest_out_of_the_capture() {
    let lab = lab(Segmentation::Off);
    let pod = lab.pod("a1").unwrap();
    let options = CaptureOptions { filter: Some("udp".to_owned()), ..CaptureOptions::default() };
    let capture = Capture::start_with(&pod.device, &options).unwrap();
    for load in [
        Load::Requests { question: 10, answer: 10, rate: None, limit: Some(5) },
        Load::Datagrams { sizes: vec![10], rate: None, limit: Some(7) },
    ] {
        Generator::start(&load, &path(&lab, "a1", "a2", v4)).unwrap().finish(SOON).unwrap();
    }
    let recording = capture.stop().unwrap();
    assert_eq!(recording.count(), 7);
    assert_eq!(recording.frames().unwrap().total().packets, 7);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn traffic_to_nowhere_is_an_error_and_not_an_empty_report() {
    let lab = lab(Segmentation::On);
    let mut path = path(&lab, "a1", "b1", v4);
    path.target = "203.0.113.9:0".parse().unwrap();
    let load = Load::Bulk { rate: None, limit: Some(1) };
    assert!(matches!(Generator::start(&load, &path), Err(TrafficError::Listen { .. })));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_rate_and_the_lifetime_are_kept() {
    let lab = lab(Segmentation::On);
    let lifetime = Duration::from_millis(1500);
    let path = Path { lifetime, ..path(&lab, "a1", "b1", v4) };
    let load = Load::Datagrams { sizes: vec![100], rate: Some(200), limit: None };
    let report = Generator::start(&load, &path).unwrap().finish(SOON).unwrap();
    // A loaded machine may send less, never more: one at the start and 200 a second.
    assert!((1..=301).contains(&report.client.sent_messages), "{report:?}");
    assert!(report.is_lossless());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn stopped_traffic_still_adds_up_on_every_fabric() {
    for (fabric, underlay) in [
        (Fabric::Bridge, Underlay::Routed),
        (Fabric::Routed, Underlay::Routed),
        (Fabric::Bridge, Underlay::Vxlan),
        (Fabric::Routed, Underlay::Vxlan),
    ] {
        let plan = Plan { fabric, underlay, segmentation: Segmentation::On };
        let mut lab = Lab::build(&plan).unwrap();
        lab.start_traffic().unwrap();
        wait_until("traffic on every path", SOON, || {
            lab.traffic().iter().all(|report| {
                report.server.received_messages > 2 || report.server.received_bytes > 200_000
            })
        })
        .unwrap_or_else(|late| panic!("{late} with {plan:?}: {:?}", lab.traffic()));
        for report in lab.stop_traffic().unwrap() {
            assert!(report.is_lossless(), "{plan:?}: {report:?}");
        }
    }
}
