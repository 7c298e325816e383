//! Devices that leave and come back, are made anew, or are found without their hooks.

use flow_model::flow::{Counts, Direction};
use net_sys::{clsact::Clsact, tcx::TcxLink};

use super::*;
use crate::testing::Bpffs;

fn missed(agent: &Agent) -> [u64; 2] {
    agent.service.tally.missed.map(|missed| missed.packets)
}

fn index(node: &Node) -> u32 {
    testkit::Device::named(node.node.place(), "host0").index().unwrap()
}

/// The device of the node goes, and another one comes, joined to the pod as the first was.
fn make_anew(node: &Node, ifindex: Option<u32>) {
    let (here, pod) = (node.node.place(), node.pod.place());
    testkit::Device::named(here, "host0").remove().unwrap();
    let number = ifindex.map_or_else(String::new, |ifindex| format!(" index {ifindex}"));
    let peer = format!("type veth peer name eth0 netns {}", pod.name());
    here.ip(format!("link add host0{number} {peer}").split(' ')).unwrap();
    for (place, device, address) in [(here, "host0", NODE), (pod, "eth0", POD)] {
        let device = testkit::Device::named(place, device);
        device.address(format!("{address}/24").parse().unwrap()).unwrap();
        device.up().unwrap();
    }
    testkit::Device::named(pod, "eth0").ready(PATIENCE).unwrap();
}

/// Says something and holds what is counted and missed of it against the device.
fn all_is_known(agent: &mut Agent, node: &Node, before: u64, what: &str) {
    speak(node.pod.place(), 50);
    let counted = agent.drained().node[0].skb.packets - before;
    let passed = {
        let edge = &agent.service.engine.edges()[&agent.only_edge()];
        edge.plan.site(Direction::Tx).reading().unwrap().packets
    };
    let [missed, _] = missed(agent);
    assert!(counted >= 50, "{what}: {counted}");
    // What the pod says by itself between two looks is in one of them only.
    let known = counted + missed;
    assert!(known <= passed + 8 && passed <= known + 8, "{what}: {counted} + {missed} of {passed}");
}

#[test]
#[ignore = "root: loads programs"]
fn a_named_device_that_was_made_anew_is_hooked_by_a_resync_and_what_it_missed_is_told() {
    for lane in ["tcx", "clsact"] {
        let node = Node::build();
        node.inside(|| {
            let flags = ["--attach", lane, "--discover", "off", "--pod-edge", "host0=a"];
            let mut agent = Agent::start(&flags);
            let (first, ifindex) = (agent.only_edge(), index(&node));
            make_anew(&node, Some(ifindex));
            speak(node.pod.place(), 30);
            let before = agent.drained().node[0].skb.packets;
            agent.service.resync();
            assert_ne!(agent.only_edge(), first, "{lane}");
            assert_eq!(index(&node), ifindex);
            assert!(missed(&agent)[0] >= 30, "{lane}: {:?}", missed(&agent));
            all_is_known(&mut agent, &node, before, lane);
            agent.end();
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_named_device_that_comes_again_is_hooked_without_a_resync() {
    for same_index in [true, false] {
        let node = Node::build();
        node.inside(|| {
            let mut agent = Agent::start(&["--discover", "off", "--pod-edge", "host0=a"]);
            let first = agent.only_edge();
            let before = agent.drained().node[0].skb.packets;
            let ifindex = index(&node);
            make_anew(&node, Some(if same_index { ifindex } else { ifindex + 10 }));
            agent.until("another edge", |agent| {
                agent.service.engine.edges().keys().any(|id| *id != first)
            });
            all_is_known(&mut agent, &node, before, &format!("{same_index}"));
            agent.end();
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_found_device_that_was_made_anew_unnoticed_is_hooked_by_a_resync() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--edge-hooks", "host", "--netns-dir", files.path()]);
        let first = agent.only_edge();
        let before = agent.drained().node[0].skb.packets;
        make_anew(&node, Some(index(&node)));
        // Nobody listens to what the survey tells.
        let (_, nothing) = channel();
        let survey = std::mem::replace(&mut agent.commands, nothing);
        agent.service.resync();
        agent.service.hook_some(Instant::now());
        assert_ne!(agent.only_edge(), first);
        all_is_known(&mut agent, &node, before, "found");
        drop(survey);
        agent.end();
    });
}

/// Counters go with a device from namespace to namespace: most of it was counted. Links go with it
/// as well, filters don't.
#[test]
#[ignore = "root: loads programs"]
fn a_device_that_leaves_and_comes_back_missed_only_what_passed_meanwhile() {
    let named = ["--discover", "off", "--pod-edge", "host0=a"];
    for (lane, edges, stays) in [
        ("tcx", &[][..], false),
        ("clsact", &[], false),
        ("clsact", &named, false),
        ("tcx", &named, true),
    ] {
        let (node, away, mut files) = (Node::build(), Netns::create("fz").unwrap(), Files::new());
        files.add(node.pod.place());
        node.inside(|| {
            let usual = ["--attach", lane, "--netns-dir", files.path()];
            let mut agent = Agent::start(&[&usual[..], edges].concat());
            let first = agent.only_edge();
            speak(node.pod.place(), 200);
            let device = testkit::Device::named(node.node.place(), "host0");
            device.move_to(away.place()).unwrap().move_to(node.node.place()).unwrap();
            node.node.place().ip("link set host0 up".split(' ')).unwrap();
            agent.until("the edge", |agent| {
                let mut edges = agent.service.engine.edges().keys();
                edges.len() == 1 && edges.all(|id| (*id == first) == stays)
            });
            agent.service.resync();
            assert_eq!(agent.edges("degraded", "tampered"), 0, "nobody did");
            assert!(missed(&agent).iter().all(|missed| *missed < 20), "{:?}", missed(&agent));
            let counted = agent.drained().node[0].skb.packets;
            speak(node.pod.place(), 50);
            assert!(agent.drained().node[0].skb.packets >= counted + 50, "{lane} {edges:?}");
            agent.end();
        });
    }
}

/// Whoever detaches is killed when the first of two hooks is gone; packets come all the while.
#[test]
#[ignore = "root: loads programs"]
fn a_start_hooks_anew_what_lost_a_hook_and_tells_what_it_missed() {
    for direction in Direction::ALL {
        let (node, bpffs) = (Node::build(), Bpffs::mount());
        let pins = bpffs.path().join("flows").display().to_string();
        node.inside(|| {
            let edge = ["--attach", "tcx", "--discover", "off", "--pod-edge", "host0=a"];
            let flags = [&edge[..], &["--bpf-pin-dir", &pins]].concat();
            let mut agent = Agent::try_start(&flags).unwrap();
            node.send(50);
            agent.service.resync();
            let pin = PinDir::make(Path::new(&pins)).unwrap().link(agent.only_edge(), direction);
            drop(agent);
            TcxLink::open_pinned(pin).unwrap().detach().unwrap();
            node.send(300);
            speak(node.pod.place(), 300);

            let mut agent = Agent::try_start(&flags).unwrap();
            let missed = missed(&agent);
            assert!((300..320).contains(&missed[direction as usize]), "{direction:?}: {missed:?}");
            assert!(missed[1 - direction as usize] < 20, "{direction:?}: {missed:?}");
            let before = agent.drained().node.map(|totals| totals.skb.packets);
            node.send(100);
            speak(node.pod.place(), 100);
            let after = agent.drained().node.map(|totals| totals.skb.packets);
            for (before, after) in before.into_iter().zip(after) {
                assert!((100..120).contains(&(after - before)), "{direction:?}: once");
            }
            agent.end();
        });
    }
}

/// What an earlier process hooked elsewhere goes before anything is hooked.
#[test]
#[ignore = "root: loads programs"]
fn an_edge_that_is_hooked_elsewhere_after_a_restart_leaves_no_qdisc() {
    let (node, bpffs, mut files) = (Node::build(), Bpffs::mount(), Files::new());
    let pins = bpffs.path().join("flows").display().to_string();
    files.add(node.pod.place());
    node.inside(|| {
        let start = |flags: [&str; 4]| {
            let usual = ["--attach", "clsact", "--bpf-pin-dir", &pins];
            Agent::try_start(&[&usual[..], &flags[..]].concat()).unwrap()
        };
        let found = ["--discover", "on", "--netns-dir", files.path()];
        drop(start(found));
        let named = start(["--discover", "on", "--pod-edge", "host0=a"]);
        named.only_edge();
        assert_eq!(named.hooks(), both(SENT_HERE, RECEIVED_HERE));
        assert_eq!(named.service.tally.missed.map(|missed| missed.packets > 20), [false; 2]);
        drop(named);
        crate::detach(Path::new(&pins), false).unwrap();
        let ifindex = index(&node);
        assert_eq!(Clsact::open().unwrap().qdisc(ifindex).unwrap(), None);
    });
}

/// What was counted with maps of one size is not missed with maps of another.
#[test]
#[ignore = "root: loads programs"]
fn a_hook_that_is_lost_after_a_move_missed_only_what_passed_since() {
    let (node, bpffs) = (Node::build(), Bpffs::mount());
    let pins = bpffs.path().join("flows").display().to_string();
    node.inside(|| {
        let start = |capacity: &str| {
            let edge = ["--attach", "tcx", "--discover", "off", "--pod-edge", "host0=a"];
            let flags = ["--bpf-pin-dir", &pins, "--flow-capacity", capacity];
            Agent::try_start(&[&edge[..], &flags[..]].concat()).unwrap()
        };
        let first = start("1024");
        node.send(500);
        let id = first.only_edge();
        drop(first);
        let links = PinDir::make(Path::new(&pins)).unwrap();
        // The next process is killed before it looks at its devices.
        drop(crate::start::start(
            config(&["--flow-capacity", "2048"]).sizes(1),
            flow_model::ledger::Settings::default(),
            Some(&links),
            crate::hook::Lane::Tcx,
            &mut (),
        ));
        TcxLink::open_pinned(links.link(id, Direction::Rx)).unwrap().detach().unwrap();
        node.send(100);
        let last = start("2048");
        let Counts { packets, .. } = last.service.tally.missed[Direction::Rx as usize];
        assert!((100..120).contains(&packets), "{packets}");
        last.end();
    });
}
