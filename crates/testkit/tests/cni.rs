//! The real network plugins attach and detach pods inside a node's namespace.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::time::Duration;

use testkit::cni::{CniError, Network};
use testkit::topology::Cidr;
use testkit::traffic::{Generator, Load, Path};
use testkit::{Device, Namespace, Veth};

const SOON: Duration = Duration::from_secs(20);

fn subnets() -> [Cidr; 2] {
    ["10.88.0.0/24", "fd88::/64"].map(|subnet| subnet.parse().unwrap())
}

/// Two pods exchange datagrams in both families over `network`.
fn assert_pods_talk(network: &Network) {
    let pods = ["one", "two"].map(|name| Namespace::create(name).unwrap());
    let [one, two] = pods.each_ref().map(|pod| network.add(pod, "eth0").unwrap());
    for attachment in [&one, &two] {
        attachment.device().ready(SOON).unwrap();
    }
    let targets: Vec<_> = two.addresses().collect();
    assert_eq!(targets.len(), 2);
    for target in targets {
        let path = Path {
            client: pods[0].place().clone(),
            server: pods[1].place().clone(),
            target: (target, 0).into(),
            lifetime: SOON,
        };
        let load = Load::Datagrams { sizes: vec![64], rate: None, limit: Some(10) };
        assert!(Generator::start(&load, &path).unwrap().finish(SOON).unwrap().is_lossless());
    }
    let (device, host) = (one.device(), one.host_device());
    one.remove().unwrap();
    assert!(!device.exists().unwrap());
    assert!(host.is_none_or(|host| !host.exists().unwrap()));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn pods_on_a_bridge_talk() {
    let node = Namespace::create("node").unwrap();
    let network = Network::bridge(&node, "cni0", &subnets()).unwrap();
    assert_pods_talk(&network);
    assert!(Device::named(&node, "cni0").exists().unwrap());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn pods_on_routed_links_talk() {
    let node = Namespace::create("node").unwrap();
    let network = Network::ptp(&node, &subnets()).unwrap();
    node.forward().unwrap();
    assert_pods_talk(&network);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn pods_without_a_host_side_talk() {
    let node = Namespace::create("node").unwrap();
    let master = Veth::join((&node, "master"), (&node, "wire")).unwrap().near;
    let network = Network::macvlan(&node, &master, &subnets()).unwrap();
    assert_pods_talk(&network);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_device_of_the_host_is_moved_in_and_back() {
    let node = Namespace::create("node").unwrap();
    let pod = Namespace::create("pod").unwrap();
    let device = Veth::join((&node, "nic0"), (&node, "wire")).unwrap().near;
    let network = Network::host_device(&node, &device, &subnets()).unwrap();
    let attachment = network.add(&pod, "eth0").unwrap();
    assert!(attachment.device().exists().unwrap());
    assert!(!device.exists().unwrap());
    assert!(attachment.host_device().is_none());
    attachment.remove().unwrap();
    assert!(device.exists().unwrap());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_host_side_of_a_pod_is_named() {
    let node = Namespace::create("node").unwrap();
    let pod = Namespace::create("pod").unwrap();
    let network = Network::bridge(&node, "cni0", &subnets()).unwrap();
    let attachment = network.add(&pod, "net1").unwrap();
    let host = attachment.host_device().unwrap();
    assert!(host.name().starts_with("veth"), "{host:?}");
    assert_eq!(host.place(), node.place());
    assert_eq!(attachment.device().name(), "net1");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_dropped_attachment_is_detached() {
    let node = Namespace::create("node").unwrap();
    let pod = Namespace::create("pod").unwrap();
    let network = Network::bridge(&node, "cni0", &subnets()).unwrap();
    let device = network.add(&pod, "eth0").unwrap().device();
    assert!(!device.exists().unwrap());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_refusal_comes_with_the_plugins_words() {
    let node = Namespace::create("node").unwrap();
    let pod = Namespace::create("pod").unwrap();
    let nothing = Device::named(&node, "nothing0");
    let network = Network::host_device(&node, &nothing, &subnets()).unwrap();
    let error = network.add(&pod, "eth0").unwrap_err();
    let CniError::Refused { command, message, .. } = &error else { panic!("{error}") };
    assert_eq!((*command, message.is_empty()), ("ADD", false));
    assert!(error.to_string().contains(message.as_str()), "{error}");
}
