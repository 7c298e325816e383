//! Links do what their builders say.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::net::IpAddr;
use std::time::Duration;

use testkit::proc::Command;
use testkit::topology::{Shaping, Vxlan};
use testkit::traffic::{Generator, Load, Path};
use testkit::truth::Capture;
use testkit::{Device, Namespace, Place, Segmentation, Veth};

const SOON: Duration = Duration::from_secs(20);

struct Pair {
    near: Namespace,
    far: Namespace,
    veth: Veth,
}

fn pair() -> Pair {
    let near = Namespace::create("near").unwrap();
    let far = Namespace::create("far").unwrap();
    let veth = Veth::join((near.place(), "eth0"), (far.place(), "eth0")).unwrap();
    for (device, v4, v6) in
        [(&veth.near, "10.9.0.1/24", "fd09::1/64"), (&veth.far, "10.9.0.2/24", "fd09::2/64")]
    {
        device.address(v4.parse().unwrap()).unwrap();
        device.address(v6.parse().unwrap()).unwrap();
    }
    veth.ends().into_iter().for_each(|end| end.ready(SOON).unwrap());
    Pair { near, far, veth }
}

fn send(from: &Place, to: &Place, target: &str, load: &Load) -> testkit::traffic::Report {
    let lifetime = Duration::from_secs(10);
    let target = target.parse().unwrap();
    let path = Path { client: from.clone(), server: to.clone(), target, lifetime };
    Generator::start(load, &path).unwrap().finish(SOON).unwrap()
}

fn largest_frame(pair: &Pair, setting: Segmentation) -> u64 {
    pair.veth.segmentation(setting).unwrap();
    let capture = Capture::start(&pair.veth.near).unwrap();
    let load = Load::Bulk { rate: None, limit: Some(3_000_000) };
    assert!(send(&pair.near, &pair.far, "10.9.0.2:0", &load).is_lossless());
    let recording = capture.stop().unwrap();
    let lengths = Command::new("tshark")
        .args(["-n", "-r"])
        .arg(recording.file())
        .args(["-T", "fields", "-e", "frame.len"])
        .succeed(SOON)
        .unwrap();
    lengths.text().lines().map(|line| line.parse().unwrap()).max().unwrap()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn with_segmentation_off_no_buffer_is_larger_than_a_frame() {
    let pair = pair();
    assert_eq!(largest_frame(&pair, Segmentation::Off), 1514);
    assert!(largest_frame(&pair, Segmentation::On) > 1514);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn segmentation_is_switched_as_the_kernel_tells_it() {
    let pair = pair();
    let told = |device: &Device| {
        let ethtool = device.place().command("ethtool").args(["-k", device.name()]);
        let features = ethtool.succeed(SOON).unwrap().text();
        let on = |name: &str| features.contains(&format!("{name}: on"));
        let link = device.place().ip(["-d", "link", "show", "dev", device.name()]).unwrap().text();
        let segments = link.split("gso_max_segs ").nth(1).unwrap().split(' ').next().unwrap();
        let features =
            ["tcp-segmentation-offload", "generic-segmentation-offload", "generic-receive-offload"];
        (features.map(on), segments.to_owned())
    };
    pair.veth.segmentation(Segmentation::Off).unwrap();
    for end in pair.veth.ends() {
        assert_eq!(told(end), ([false, false, false], "1".to_owned()));
    }
    pair.veth.segmentation(Segmentation::On).unwrap();
    for end in pair.veth.ends() {
        assert_eq!(told(end), ([true, true, false], "65535".to_owned()));
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_token_bucket_drops_what_does_not_fit() {
    let pair = pair();
    let shaping = Shaping { bits_per_second: 1_000_000, burst_bytes: 3000, limit_bytes: 6000 };
    pair.veth.near.shape(shaping).unwrap();
    let before = pair.veth.near.counters().unwrap();
    let load = Load::Datagrams { sizes: vec![1000], rate: None, limit: Some(500) };
    let report = send(&pair.near, &pair.far, "10.9.0.2:0", &load);
    let drops = pair.veth.near.qdisc_drops().unwrap();
    let sent = pair.veth.near.counters_since(before).unwrap().tx.amount.packets;
    assert_eq!(report.client.sent_messages, 500);
    assert!(drops > 0);
    assert_eq!(report.server.received_messages + drops, 500, "each datagram came or was dropped");
    assert!(sent >= report.server.received_messages && sent < 500);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_macvlan_pod_reaches_what_its_parent_reaches() {
    let pair = pair();
    let pod = Namespace::create("macvlan").unwrap();
    let device = pair.near.macvlan("eth0", &pair.veth.near, pod.place()).unwrap();
    device.address("10.9.0.3/24".parse().unwrap()).unwrap();
    device.ready(SOON).unwrap();
    let load = Load::Datagrams { sizes: vec![100], rate: None, limit: Some(20) };
    assert!(send(&pod, &pair.far, "10.9.0.2:0", &load).is_lossless());
    assert_eq!(device.place(), pod.place());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_tunnel_carries_frames_inside_datagrams() {
    let pair = pair();
    let ends = [(&pair.near, "10.9.0.1", "10.9.0.2"), (&pair.far, "10.9.0.2", "10.9.0.1")];
    for (number, (place, local, remote)) in (1..).zip(ends) {
        let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
        let tunnel = place.vxlan("tunnel", Vxlan { id: 5, local, remote, port: 4789 }).unwrap();
        tunnel.address(format!("10.10.0.{number}/24").parse().unwrap()).unwrap();
        tunnel.ready(SOON).unwrap();
    }
    let capture = Capture::start(&pair.veth.near).unwrap();
    let load = Load::Datagrams { sizes: vec![100], rate: None, limit: Some(50) };
    assert!(send(&pair.near, &pair.far, "10.10.0.2:0", &load).is_lossless());
    let frames = capture.stop().unwrap().frames().unwrap();
    let inner: IpAddr = "10.10.0.2".parse().unwrap();
    assert_eq!(frames.sum(|key| key.destination == inner).packets, 0);
    // 100 bytes of payload, 42 of inner headers, 8 of VXLAN, 42 of outer headers.
    let outer = frames.flows.iter().filter(|(key, _)| key.destination_port == Some(4789));
    let full = outer.filter(|(_, seen)| seen.amount.bytes == seen.amount.packets * 192);
    assert_eq!(full.map(|(_, seen)| seen.amount.packets).sum::<u64>(), 50);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_device_can_be_renamed_moved_and_removed() {
    let here = Namespace::create("here").unwrap();
    let there = Namespace::create("there").unwrap();
    let device = Veth::join((here.place(), "old"), (here.place(), "peer")).unwrap().near;
    device.down().unwrap();
    let device = device.rename("new").unwrap().move_to(there.place()).unwrap();
    assert!(device.exists().unwrap());
    assert!(!Device::named(here.place(), "new").exists().unwrap());
    device.mtu(1400).unwrap();
    device.clone().remove().unwrap();
    device.gone(SOON).unwrap();
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_tun_device_has_no_hardware_address_and_no_carrier() {
    let here = Namespace::create("tun").unwrap();
    let device = here.tun("tun0").unwrap();
    assert_eq!(device.mac().unwrap(), None);
    assert!(device.ready(Duration::from_millis(50)).is_err());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_failure_tells_the_command_and_the_kernels_words() {
    let here = Namespace::create("error").unwrap();
    let error = Device::named(here.place(), "nothing0").up().unwrap_err().to_string();
    assert!(error.contains("`ip link set dev nothing0 up`"), "{error}");
    assert!(error.contains("Cannot find device"), "{error}");
}
