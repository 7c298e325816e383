//! Pods as Debian's container network plugins attach them.

use testkit::cni::{Attachment, Network};
use testkit::topology::Cidr;

use super::ground::Follower;
use super::*;
use crate::testing::{Device, Namespace, inside};

/// A node with a survey of it; other tests' namespaces are in the same directory.
struct Site {
    node: Namespace,
    pod: Namespace,
    follower: Follower,
}

impl Site {
    fn new() -> Self {
        let (node, pod) = (Namespace::create("node").unwrap(), Namespace::create("pod").unwrap());
        let directories = [PathBuf::from(crate::netns::NAMED)];
        let survey = inside(&node, || Survey::open(&directories)).unwrap();
        let follower = Follower::new(survey);
        Self { node, pod, follower }
    }

    /// The crossings that lead into the pod.
    fn into_pod(follower: &Follower, pod: &Place) -> Vec<Crossing> {
        let there = |c: &&Crossing| c.namespace.as_ref().is_some_and(|n| n.path == pod.path());
        follower.known.values().filter(there).cloned().collect()
    }

    fn attached(&mut self, attachment: &Attachment<'_>) -> Crossing {
        let pod = self.pod.place().clone();
        let device = attachment.device();
        self.follower.until("the pod", |f| {
            let found = Self::into_pod(f, &pod);
            found.len() == 1 && found[0].pod.as_ref().is_some_and(|p| p.name == device.name())
        });
        let crossing = Self::into_pod(&self.follower, &pod).remove(0);
        let there = crossing.pod.as_ref().unwrap();
        assert_eq!(there.ifindex, device.index().unwrap());
        let host = crossing.host.as_ref().map(|host| host.name.clone());
        assert_eq!(host, attachment.host_device().map(|d| d.name().to_owned()));
        crossing
    }

    fn detached(&mut self, attachment: Attachment<'_>) {
        attachment.remove().unwrap();
        let pod = self.pod.place().clone();
        self.follower.until("the end", |f| Self::into_pod(f, &pod).is_empty());
    }
}

fn subnets() -> [Cidr; 1] {
    ["198.51.100.0/24".parse().unwrap()]
}

#[test]
#[ignore = "root: makes network namespaces and runs CNI plugins"]
fn the_bridge_plugin() {
    let mut site = Site::new();
    let network = Network::bridge(site.node.place(), "cni0", &subnets()).unwrap();
    let attachment = network.add(site.pod.place(), "eth0").unwrap();
    let crossing = site.attached(&attachment);
    assert!(matches!(crossing.key, Key::Host { .. }));
    site.detached(attachment);
}

#[test]
#[ignore = "root: makes network namespaces and runs CNI plugins"]
fn the_ptp_plugin() {
    let mut site = Site::new();
    let network = Network::ptp(site.node.place(), &subnets()).unwrap();
    let attachment = network.add(site.pod.place(), "eth0").unwrap();
    let crossing = site.attached(&attachment);
    assert!(matches!(crossing.key, Key::Host { .. }));
    site.detached(attachment);
}

#[test]
#[ignore = "root: makes network namespaces and runs CNI plugins"]
fn the_macvlan_plugin() {
    let mut site = Site::new();
    site.node.ip(["link", "add", "lower", "type", "veth", "peer", "wire"]).unwrap();
    let lower = Device::named(site.node.place(), "lower");
    let network = Network::macvlan(site.node.place(), &lower, &subnets()).unwrap();
    let attachment = network.add(site.pod.place(), "eth0").unwrap();
    let crossing = site.attached(&attachment);
    assert!(matches!(crossing.key, Key::Inside { .. }));
    site.detached(attachment);
}

#[test]
#[ignore = "root: makes network namespaces and runs CNI plugins"]
fn the_host_device_plugin() {
    let mut site = Site::new();
    site.node.ip(["tuntap", "add", "mode", "tap", "name", "spare"]).unwrap();
    let spare = Device::named(site.node.place(), "spare");
    let network = Network::host_device(site.node.place(), &spare, &subnets()).unwrap();
    let attachment = network.add(site.pod.place(), "eth0").unwrap();
    let crossing = site.attached(&attachment);
    assert!(matches!(crossing.key, Key::Inside { .. }));
    site.detached(attachment);
}
