//! Edges that come and go, are refused, and what is left of them.

use flow_model::{edge::EdgeState, flow::Counts};

use super::*;

#[test]
#[ignore = "root: loads programs"]
fn an_edge_beyond_the_limit_is_refused_until_there_is_room() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--max-edges", "1", "--netns-dir", files.path()]);
        assert_eq!(agent.edges("attached", "none"), 1);
        let second = second_pod(&node);
        files.add(second.place());
        agent.until("a refusal", |agent| agent.edges("refused", "edge_limit") == 1);
        let view = agent.published.load_full().unwrap();
        assert_eq!(view.refused, [(second.place().name().to_owned(), "edge_limit")]);
        assert!(agent.value("fathom_flows_attach_errors_total{reason=\"edge_limit\"} ") >= 1);

        testkit::Device::named(node.node.place(), "host0").remove().unwrap();
        agent.until("an end", |agent| agent.service.engine.edges().is_empty());
        let has_come = || {
            agent.service.resync();
            agent.service.turn(&agent.commands, Duration::from_millis(20)).unwrap();
            agent.drained();
            agent.edges("attached", "none") == 1
        };
        testkit::proc::wait_until("the second pod", PATIENCE, has_come).unwrap();
        assert_eq!(agent.edges("refused", "edge_limit"), 0);
        agent.end();
        files.remove(second.place());
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_refused_device_that_vanishes_is_not_listed_any_more() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--max-edges", "1", "--netns-dir", files.path()]);
        let second = second_pod(&node);
        files.add(second.place());
        agent.until("a refusal", |agent| agent.edges("refused", "edge_limit") == 1);
        testkit::Device::named(node.node.place(), "host2").remove().unwrap();
        agent.until("no refusal", |agent| agent.edges("refused", "edge_limit") == 0);
        agent.end();
        files.remove(second.place());
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_device_that_can_not_be_hooked_takes_no_slot() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--edge-hooks", "pod", "--netns-dir", files.path()]);
        let mut plan = agent.service.engine.edges()[&agent.only_edge()].plan.clone();
        for site in &mut plan.sites {
            site.namespace.inode += 1;
        }
        let next_id = |agent: &mut Agent| agent.drained().next_edge_id;
        let before = next_id(&mut agent);
        let error = agent.service.hook_found(plan).unwrap_err();
        assert_eq!(error.attach_reason(), "no_netns", "{error}");
        assert_eq!(next_id(&mut agent), before);
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn pods_that_come_and_go_leave_no_name_behind() {
    let (node, mut files) = (Node::build(), Files::new());
    node.inside(|| {
        let mut agent = Agent::start(&["--netns-dir", files.path()]);
        for _ in 0..3 {
            let pod = second_pod(&node);
            files.add(pod.place());
            agent.until("the pod", |agent| agent.service.names.len() > 1);
            files.remove(pod.place());
            testkit::Device::named(node.node.place(), "host2").remove().unwrap();
            agent.until("its end", |agent| agent.service.names.len() == 1);
        }
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn the_amounts_of_a_pod_that_ended_stay_in_the_sum() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--netns-dir", files.path()]);
        node.send(200);
        let before = agent.drained();
        testkit::Device::named(node.node.place(), "host0").remove().unwrap();
        agent.until("the end of the edge", |agent| {
            agent.service.engine.ledger().edges().next().is_none()
        });
        let after = agent.drained();
        assert!(after.node[1].wire.packets >= before.node[1].wire.packets);
        assert_eq!(after.pods.rows, []);
        assert!(after.pods.retired[1].packets >= 200);
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn the_end_leaves_hooks_or_nothing_as_it_was_told() {
    for (on_exit, links) in [("keep", 2), ("detach", 0)] {
        let (node, bpffs) = (Node::build(), crate::testing::Bpffs::mount());
        let path = bpffs.path().join("flows");
        let pins = path.display().to_string();
        node.inside(|| {
            let flags = ["--discover", "off", "--pod-edge", "host0=a", "--bpf-pin-dir", &pins];
            let agent = Agent::try_start(&[&flags[..], &["--on-exit", on_exit]].concat()).unwrap();
            assert_eq!(agent.service.engine.ledger().edges().count(), 1);
            agent.end();
            let left = fs::read_dir(path.join("links")).map_or(0, Iterator::count);
            assert_eq!((left, path.exists()), (links, links > 0), "{on_exit}");
        });
    }
}

/// What nobody could take up again is not left behind, whoever removed its pins.
#[test]
#[ignore = "root: loads programs"]
fn hooks_whose_pins_are_gone_end_with_the_process() {
    for lane in ["tcx", "clsact"] {
        let (node, bpffs) = (Node::build(), crate::testing::Bpffs::mount());
        let path = bpffs.path().join("flows");
        let pins = path.display().to_string();
        node.inside(|| {
            let flags = ["--discover", "off", "--pod-edge", "host0=a", "--bpf-pin-dir", &pins];
            let agent = Agent::try_start(&[&flags[..], &["--attach", lane]].concat()).unwrap();
            assert!(agent.service.engine.is_pinned());
            fs::remove_dir_all(&path).unwrap();
            assert!(!agent.service.engine.is_pinned());
            let ifindex = agent.service.engine.edges()[&agent.only_edge()].plan.host_ifindex;
            agent.end();
            let qdisc = net_sys::clsact::Clsact::open().unwrap().qdisc(ifindex).unwrap();
            assert_eq!(qdisc, None, "{lane}");
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_second_writer_waits_and_then_gives_up() {
    let (node, bpffs) = (Node::build(), crate::testing::Bpffs::mount());
    let pins = bpffs.path().join("flows").display().to_string();
    node.inside(|| {
        let flags = ["--discover", "off", "--pod-edge", "host0=a", "--bpf-pin-dir", &pins];
        let flags = [&flags[..], &["--takeover-wait", "100ms"]].concat();
        let first = Agent::try_start(&flags).unwrap();
        let error = Agent::try_start(&flags).err().expect("the lock is held");
        assert_eq!((error.reason(), error.exit()), ("locked", crate::Exit::Unavailable));
        first.end();
        Agent::try_start(&flags).unwrap().end();
    });
}

/// Without pins nobody reads what is counted after the last drain.
#[test]
#[ignore = "root: loads programs"]
fn what_passes_until_the_hooks_are_gone_is_in_the_last_numbers() {
    let node = Node::build();
    node.inside(|| {
        let agent = Agent::start(&["--discover", "off", "--pod-edge", "host0=a"]);
        node.send(100);
        let published = Arc::clone(&agent.published);
        agent.end();
        let snapshot = Arc::clone(&published.load_full().unwrap().snapshot);
        let states: Vec<_> = snapshot.edges.iter().map(|edge| edge.record.state).collect();
        assert_eq!(states, [EdgeState::Draining], "they were drained after their hooks");
        assert!(snapshot.node[1].wire.packets >= 100);
    });
}

/// Commands that keep coming do not keep devices from being hooked.
#[test]
#[ignore = "root: loads programs"]
fn devices_have_their_turn_while_commands_keep_coming() {
    let (node, mut files) = (Node::build(), Files::new());
    node.inside(|| {
        let flags = ["--edge-hooks", "host", "--netns-dir", files.path(), "--max-edges", "2"];
        let mut agent = Agent::start(&flags);
        let second = second_pod(&node);
        files.add(second.place());
        let (sender, commands) = channel();
        let survey = std::mem::replace(&mut agent.commands, commands);
        let is_device = |told: &Command| matches!(told, Command::Device(_));
        let told =
            testkit::proc::wait_for("the device", PATIENCE, || survey.try_iter().find(is_device));
        sender.send(told.unwrap()).unwrap();
        for _ in 0..50 {
            sender.send(Command::Notice).unwrap();
            agent.service.turn(&agent.commands, Duration::ZERO).unwrap();
        }
        assert_eq!(agent.service.engine.edges().len(), 2);
        agent.end();
    });
}

/// What a lower limit takes away is retired, and every sum stays what it was.
#[test]
#[ignore = "root: loads programs"]
fn a_lower_limit_of_pods_retires_the_lightest_at_the_next_start() {
    let (node, bpffs, mut files) = (Node::build(), crate::testing::Bpffs::mount(), Files::new());
    let pins = bpffs.path().join("flows").display().to_string();
    files.add(node.pod.place());
    node.inside(|| {
        let light = second_pod(&node);
        files.add(light.place());
        let start = |limit: &str| {
            let flags = ["--netns-dir", files.path(), "--bpf-pin-dir", &pins];
            Agent::try_start(&[&flags[..], &["--pod-series-max", limit]].concat()).unwrap()
        };
        let mut first = start("2");
        node.send(500);
        speak(light.place(), 10);
        let before = first.drained();
        assert_eq!(before.pods.rows.len(), 2);
        drop(first);

        let mut second = start("1");
        node.send(500);
        let after = second.drained();
        let names: Vec<_> = after.pods.rows.iter().map(|pod| pod.name.as_str()).collect();
        assert_eq!(names, [node.pod.place().name()], "the heavier one stays");
        assert!(after.node[1].wire.packets >= before.node[1].wire.packets + 500, "it goes on");
        assert_ne!(after.pods.retired, [Counts::ZERO; 2]);
        assert_eq!(second.edges("attached", "none"), 2, "both are counted");
        let live = after.edges.iter().filter(|edge| edge.record.state == EdgeState::Live);
        assert_eq!(live.count(), 2);
        pod_series_add_up(&second);
        drop(second);
        let third = start("2");
        assert_eq!(third.service.engine.ledger().snapshot().pods.retired, after.pods.retired);
        third.end();
    });
}

/// Exposed pods, `other`, retired and unnamed are the node's total, as a scraper adds them.
fn pod_series_add_up(agent: &Agent) {
    for direction in ["tx", "rx"] {
        let pods = agent.value(&format!("fathom_flows_pod_{direction}_bytes_total{{"));
        let retired = format!("family=\"pod\",direction=\"{direction}\"");
        let retired = agent.value(&format!("fathom_flows_retired_bytes_total{{{retired}}} "));
        let unnamed =
            agent.value(&format!("fathom_flows_unnamed_bytes{{direction=\"{direction}\"}} "));
        let node = agent.value(&format!("fathom_flows_{direction}_bytes_total "));
        assert_eq!(pods + retired + unnamed, node, "{direction}");
    }
}
