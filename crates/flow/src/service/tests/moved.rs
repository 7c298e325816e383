//! Devices that change their pod or their name while they are hooked.

use super::*;

fn names(agent: &Agent) -> Vec<String> {
    let ids = agent.service.engine.edges().keys();
    ids.map(|id| agent.service.names[id].clone()).collect()
}

/// What a pod of this name has sent.
fn sent_by(agent: &mut Agent, name: &str) -> u64 {
    let snapshot = agent.drained();
    let mut rows = snapshot.pods.rows.iter();
    rows.find(|row| row.name.as_str() == name).map_or(0, |row| row.counts[0].packets)
}

#[test]
#[ignore = "root: loads programs"]
fn a_device_that_moves_on_is_counted_for_the_pod_that_has_it() {
    for (lane, has_file) in [("tcx", true), ("clsact", true), ("tcx", false)] {
        let (node, other, mut files) = (Node::build(), Netns::create("fz").unwrap(), Files::new());
        files.add(node.pod.place());
        if has_file {
            files.add(other.place());
        }
        node.inside(|| {
            let mut agent = Agent::start(&["--attach", lane, "--netns-dir", files.path()]);
            assert_eq!(names(&agent), [node.pod.place().name()]);
            let move_it = format!("link set eth0 netns {}", other.place().name());
            node.pod.place().ip(move_it.split(' ')).unwrap();
            other.place().ip("addr add 192.0.2.2/24 dev eth0".split(' ')).unwrap();
            other.place().ip("link set eth0 up".split(' ')).unwrap();
            let expected = if has_file { other.place().name() } else { "host0" };
            agent.service.resync();
            agent.until("another edge", |agent| names(agent) == [expected]);
            let before = sent_by(&mut agent, expected);
            let left = sent_by(&mut agent, node.pod.place().name());
            speak(other.place(), 50);
            assert!(sent_by(&mut agent, expected) >= before + 50, "{lane}");
            assert!(sent_by(&mut agent, node.pod.place().name()) <= left, "{lane}");
            let receives = if has_file { RECEIVED_INSIDE } else { RECEIVED_HERE };
            assert_eq!(agent.hooks(), both(SENT_HERE, receives), "{lane}");
            agent.end();
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_device_that_is_renamed_is_shown_by_its_new_name() {
    for flags in [["--pod-edge", "host0=a"], ["--edge-hooks", "auto"]] {
        let (node, mut files) = (Node::build(), Files::new());
        files.add(node.pod.place());
        node.inside(|| {
            let usual = ["--netns-dir", files.path()];
            let mut agent = Agent::start(&[&usual[..], &flags[..]].concat());
            let id = agent.only_edge();
            node.node.place().ip("link set host0 name other0".split(' ')).unwrap();
            agent.service.resync();
            agent.drained();
            assert_eq!(agent.only_edge(), id, "it is the same edge");
            let view = agent.published.load_full().unwrap();
            let shown: Vec<_> =
                view.hooked[&id].plan.sites.iter().map(|site| site.interface.clone()).collect();
            assert!(shown.contains(&"other0".to_owned()), "{shown:?}");
            assert!(!shown.contains(&"host0".to_owned()), "{shown:?}");
            agent.end();
        });
    }
}

/// Two directories, two namespaces, one name: two pods, also for the next process.
#[test]
#[ignore = "root: loads programs"]
fn namespaces_whose_files_have_one_name_are_two_pods() {
    let (node, bpffs) = (Node::build(), crate::testing::Bpffs::mount());
    let pins = bpffs.path().join("flows").display().to_string();
    let (mut one, mut two) = (Files::new(), Files::new());
    node.inside(|| {
        let second = second_pod(&node);
        one.add_as(node.pod.place(), "same");
        two.add_as(second.place(), "same");
        let dirs = format!("{},{}", one.path(), two.path());
        let flags = ["--netns-dir", &dirs, "--bpf-pin-dir", &pins];
        let mut first = Agent::try_start(&flags).unwrap();
        let apart = format!("same:{}", second.place().inode().unwrap());
        assert_eq!(names(&first), ["same", &apart]);
        let before = sent_by(&mut first, "same");
        speak(second.place(), 50);
        assert!(sent_by(&mut first, &apart) >= 50);
        assert!(sent_by(&mut first, "same") < before + 50, "the other pod said nothing");
        drop(first);
        let again = Agent::try_start(&flags).unwrap();
        assert_eq!(names(&again), ["same", &apart]);
        again.end();
    });
}

/// A namespace may be made anew under its name before the old one is gone.
#[test]
#[ignore = "root: loads programs"]
fn a_name_is_given_to_the_pod_that_is_left() {
    let node = Node::build();
    let (mut one, mut two) = (Files::new(), Files::new());
    node.inside(|| {
        let second = second_pod(&node);
        one.add_as(node.pod.place(), "same");
        two.add_as(second.place(), "same");
        let dirs = format!("{},{}", one.path(), two.path());
        let mut agent = Agent::start(&["--netns-dir", &dirs]);
        testkit::Device::named(node.node.place(), "host0").remove().unwrap();
        agent.until("one edge", |agent| agent.service.engine.edges().len() == 1);
        agent.service.resync();
        assert_eq!(names(&agent), ["same"]);
        agent.end();
    });
}

/// What is hooked when a process says that it is ready was not waited for.
#[test]
#[ignore = "root: loads programs"]
fn a_pod_without_a_namespace_file_is_counted_from_the_start() {
    let (node, files) = (Node::build(), Files::new());
    node.inside(|| {
        let mut agent = Agent::start(&["--netns-dir", files.path()]);
        assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_HERE));
        assert_eq!(agent.edges("degraded", "host_egress"), 1);
        speak(node.pod.place(), 20);
        assert!(agent.drained().node[0].skb.packets >= 20);
        agent.end();
    });
}
