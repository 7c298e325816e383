//! Pods that appear by themselves, made by real CNI plugins on a node of its own.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use fathom_tests::binary::SOON;
use fathom_tests::daemon::{Daemon, Pins, Setup};
use fathom_tests::document::Direction;
use fathom_tests::exposition::Exposition;
use fathom_tests::foreign::{Position, Program};
use fathom_tests::kernel::held_by;
use fathom_tests::measure::Edge;
use fathom_tests::site::{exchange, pod, settle, v4};
use testkit::cni::{Attachment, Network};
use testkit::proc::{Command, wait_until};
use testkit::traffic::{Generator, Load, Path as Route};
use testkit::truth::Amount;
use testkit::{Namespace, Place, Segmentation};

use super::{Account, told};

/// Two epochs and a grace period, on a loaded machine.
const RELEASE: Duration = Duration::from_secs(10);

/// Names of this test's pods alone: other tests' namespaces are pods to a discovering agent.
struct Names {
    directory: tempfile::TempDir,
    mounted: Vec<PathBuf>,
}

impl Names {
    fn new() -> Self {
        Self { directory: tempfile::TempDir::new().unwrap(), mounted: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// As a runtime does it: the namespace is bound to a file of its name.
    fn add(&mut self, pod: &Place) {
        let target = self.path().join(pod.name());
        fs::write(&target, "").unwrap();
        let mount = Command::new("mount").arg("--bind").arg(pod.path()).arg(&target);
        mount.succeed(SOON).unwrap();
        self.mounted.push(target);
    }

    fn remove_all(&mut self) {
        for target in self.mounted.drain(..) {
            Command::new("umount").arg(&target).run(SOON).ok();
            fs::remove_file(&target).ok();
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.remove_all();
    }
}

fn start(node: &Place, names: &Names, pins: &Pins) -> Daemon {
    let directory = names.path().display().to_string();
    let flags = ["--discover", "on", "--netns-dir", &directory, "--kube", "off"];
    Setup::new(node, &[], pins).flags(flags).start()
}

fn attached(daemon: &Daemon, count: u64) {
    let attached = |scrape: &Exposition| scrape.sum("fathom_flows_edges", &[("state", "attached")]);
    let scrape = daemon.scrape_until(|scrape| attached(scrape) == Some(count));
    assert_eq!(attached(&scrape), Some(count), "edges that are hooked");
}

fn requests(client: &Place, server: &Attachment<'_>, place: &Place) {
    for address in server.addresses() {
        let route = Route {
            client: client.clone(),
            server: place.clone(),
            target: (address, 0).into(),
            lifetime: SOON,
        };
        let load = Load::Requests { question: 100, answer: 10_000, rate: None, limit: Some(40) };
        let running = Generator::start(&load, &route).unwrap();
        assert!(running.finish(SOON).unwrap().is_lossless());
    }
}

fn networks(node: &Place) -> [Network; 2] {
    let subnets = |texts: [&str; 2]| texts.map(|text| text.parse().unwrap());
    [
        Network::bridge(node, "cni0", &subnets(["10.21.0.0/24", "fd21::/64"])).unwrap(),
        Network::ptp(node, &subnets(["10.22.0.0/24", "fd22::/64"])).unwrap(),
    ]
}

#[test]
#[ignore = "root: needs network namespaces"]
fn pods_of_every_plugin_are_found_counted_and_forgotten() {
    let node = Namespace::create("node").unwrap();
    node.forward().unwrap();
    for network in networks(&node) {
        let (mut names, pins) = (Names::new(), Pins::new());
        let pods = ["first", "second"].map(|label| Namespace::create(label).unwrap());
        let attachments = pods.each_ref().map(|pod| {
            names.add(pod);
            network.add(pod, "eth0").unwrap()
        });
        let edges = attachments.each_ref().map(|attachment| {
            let device = attachment.device();
            device.segmentation(Segmentation::Off).unwrap();
            attachment.host_device().unwrap().segmentation(Segmentation::Off).unwrap();
            settle(&device);
            Edge::inside(attachment.result().interfaces[0].name.as_str(), &device)
        });
        let account = Account::open(&edges);
        let daemon = start(&node, &names, &pins);
        attached(&daemon, 2);
        requests(&pods[0], &attachments[1], &pods[1]);
        let (scrape, [sent, received]) = account.meet(&daemon);
        assert!(sent.packets > 500 && received.packets > 500);
        assert_eq!(scrape.value("fathom_flows_bypassed_packets_total"), 0);
        // Deleting pods: their amounts stay, their edges go.
        let seen = told(&scrape);
        names.remove_all();
        for attachment in attachments {
            attachment.remove().unwrap();
        }
        attached(&daemon, 0);
        for (now, seen) in told(&daemon.scrape()).into_iter().zip(seen) {
            assert!(now.since(seen).is_some(), "{now:?} after {seen:?}");
        }
        daemon.stop();
        assert_eq!(pins.detach().status.code(), Some(0));
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_pod_that_comes_later_is_hooked_without_a_restart() {
    let node = Namespace::create("node").unwrap();
    node.forward().unwrap();
    let [network, _] = networks(&node);
    let (mut names, pins) = (Names::new(), Pins::new());
    let early = Namespace::create("early").unwrap();
    names.add(&early);
    let first = network.add(&early, "eth0").unwrap();
    settle(&first.device());
    let daemon = start(&node, &names, &pins);
    attached(&daemon, 1);
    let late = Namespace::create("late").unwrap();
    names.add(&late);
    let second = network.add(&late, "eth0").unwrap();
    attached(&daemon, 2);
    let edge = Edge::inside("late", &second.device());
    let before = edge.device().counters().unwrap();
    let told_before = told(&daemon.scrape())[1].bytes;
    requests(&early, &second, &late);
    let grown = || {
        let now = edge.device().counters_since(before).unwrap();
        edge.counted(Direction::Rx, now).bytes
    };
    wait_until("counted traffic of the late pod", SOON, || {
        told(&daemon.scrape())[1].bytes >= told_before + grown()
    })
    .unwrap();
}

/// Pods come and go: programs, maps, links and namespaces do not pile up.
#[test]
#[ignore = "root: needs network namespaces"]
fn pods_that_come_and_go_leave_nothing_held() {
    let node = Namespace::create("node").unwrap();
    node.forward().unwrap();
    let [network, _] = networks(&node);
    let (mut names, pins) = (Names::new(), Pins::new());
    let mut daemon = start(&node, &names, &pins);
    attached(&daemon, 0);
    // Whatever the program makes once and keeps is there after the first round.
    come_and_go(&network, &mut names, &daemon);
    let rested = || pins.status()["links"].as_array().is_some_and(Vec::is_empty);
    wait_until("end of the first edges", SOON, rested).unwrap();
    let baseline = held_by(daemon.process());
    for _ in 0..3 {
        come_and_go(&network, &mut names, &daemon);
    }
    wait_until("end of the last edges", SOON, rested).unwrap();
    let released = wait_until("release of everything", RELEASE, || {
        held_by(daemon.process()).len() <= baseline.len()
    });
    assert!(
        released.is_ok(),
        "{} objects were {}",
        held_by(daemon.process()).len(),
        baseline.len()
    );
}

fn come_and_go(network: &Network, names: &mut Names, daemon: &Daemon) {
    let pods = ["p", "q", "r"].map(|label| Namespace::create(label).unwrap());
    let attachments = pods.each_ref().map(|pod| {
        names.add(pod);
        network.add(pod, "eth0").unwrap()
    });
    attached(daemon, 3);
    names.remove_all();
    for attachment in attachments {
        let device = attachment.host_device().unwrap();
        attachment.remove().unwrap();
        device.gone(SOON).unwrap();
    }
    attached(daemon, 0);
}

/// A host-side receive hook cannot see a short cut, and says how much it missed.
#[test]
#[ignore = "root: needs network namespaces"]
fn what_goes_around_a_host_side_hook_is_counted_as_bypassed() {
    let lab = super::exact_lab();
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let (mut names, pins) = (Names::new(), Pins::new());
    for pod in [a1, a2] {
        names.add(&pod.namespace);
    }
    let directory = names.path().display().to_string();
    let node = lab.node_a().namespace.place();
    let flags = ["--discover", "on", "--edge-hooks", "host", "--resync-interval", "5s"];
    let setup = Setup::new(node, &[], &pins).flags(flags);
    let daemon = setup.flags(["--discover-exclude", "uplink", "--netns-dir", &directory]).start();
    attached(&daemon, 2);
    let shortcut = Program::shortcut(a2.host_device.index().unwrap());
    shortcut.attach_tcx(&a1.host_device, "ingress", Position::Last);
    let load = Load::Datagrams { sizes: vec![100], rate: Some(1000), limit: Some(300) };
    let [inside, outside] = [&a2.device, &a2.host_device].map(|device| device.counters().unwrap());
    exchange(a1, a2, v4(a2.addresses), &load);
    let arrived = a2.device.counters_since(inside).unwrap().rx.amount;
    let handed = a2.host_device.counters_since(outside).unwrap().tx.amount;
    let around = arrived.since(handed).unwrap();
    assert_eq!(around, Amount::new(300, 300 * 142), "the kernel's own account of the case");
    let bypassed = |scrape: &Exposition| scrape.value("fathom_flows_bypassed_packets_total");
    let scrape = daemon.scrape_until(|scrape| bypassed(scrape) >= 300);
    assert_eq!(bypassed(&scrape), 300);
    assert_eq!(scrape.value("fathom_flows_bypassed_bytes_total"), 300 * 142);
}
