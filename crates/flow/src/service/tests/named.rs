//! Edges that settings name, and settings that change meanwhile.

use super::*;
use crate::{error::SiteError, testing::settings};

#[test]
#[ignore = "root: loads programs"]
fn a_named_edge_that_is_missing_at_the_start_ends_it() {
    let node = Node::build();
    node.inside(|| {
        let flags = ["--no-pin", "--discover", "off", "--pod-edge", "host0=a,nosuch=b"];
        let error = Agent::try_start(&flags).err().expect("there is no such device");
        assert!(matches!(&error, Error::Edge { source: SiteError::NoInterface { .. }, .. }));
        assert!(error.to_string().contains("--pod-edge nosuch=b"), "{error}");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_named_edge_that_vanishes_is_refused_and_comes_back_without_the_others() {
    let node = Node::build();
    node.inside(|| {
        let _second = second_pod(&node);
        let flags = ["--discover", "off", "--pod-edge", "host0=a,host2=b"];
        let mut agent = Agent::start(&flags);
        assert_eq!(agent.edges("attached", "none"), 2);
        let kept = agent.service.named["a"];

        let device = testkit::Device::named(node.node.place(), "host2");
        device.remove().unwrap();
        agent.service.resync();
        agent.drained();
        assert_eq!(agent.edges("refused", "device_gone"), 1);
        assert_eq!(agent.service.named.keys().collect::<Vec<_>>(), ["a"]);

        let _again = second_pod(&node);
        agent.service.resync();
        agent.drained();
        assert_eq!(agent.edges("refused", "device_gone"), 0);
        assert_eq!(agent.edges("attached", "none"), 2);
        assert_eq!(agent.service.named["a"], kept, "nobody touched the other");
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_reload_adds_named_edges_and_lets_others_go() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    let both_ends =
        format!("host2=b,host0=c --netns {}/{}=d", files.path(), node.pod.place().name());
    node.inside(|| {
        let _second = second_pod(&node);
        let mut agent = Agent::start(&["--discover", "off", "--pod-edge", "host0=a"]);
        let reload = |agent: &mut Agent, edges: &str| {
            let flags = ["--no-pin", "--discover", "off", "--pod-edge"].into_iter();
            let flags: Vec<_> = flags.chain(edges.split(' ')).collect();
            agent.service.obey(Command::Reload(Box::new(config(&flags))));
            agent.drained();
            agent.service.named.keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(reload(&mut agent, "host0=a,host2=b"), ["a", "b"]);
        assert_eq!(reload(&mut agent, "host2=b"), ["b"]);
        assert_eq!(agent.edges("draining", "none"), 1);
        let before = agent.service.config.settings().pod_edge.clone();
        assert_eq!(reload(&mut agent, &both_ends), ["b"], "one veth twice: no change");
        assert_eq!(agent.service.config.settings().pod_edge, before, "of any setting");
        assert_eq!(reload(&mut agent, "host2=b,nosuch=c"), ["b"]);
        assert_eq!(agent.edges("refused", "device_gone"), 1);
        assert_eq!(reload(&mut agent, "host2=b"), ["b"]);
        assert_eq!(agent.edges("refused", "device_gone"), 0, "nobody asks for it any more");
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_reload_changes_the_period_and_keeps_what_needs_a_restart() {
    let node = Node::build();
    node.inside(|| {
        let mut agent = Agent::start(&[]);
        let mut new = settings(&["--no-pin", "--collection-interval", "7m"]);
        new.max_edges = 9;
        agent.service.obey(Command::Reload(Box::new(Config::new(new).unwrap())));
        assert_eq!(agent.service.config.interval(), Duration::from_secs(420));
        assert_eq!(agent.service.config.settings().max_edges, 8);
        assert!(agent.service.next_wake() <= FILL_PERIOD, "fill is looked at all the same");
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_named_by_flag_is_not_found_again() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let flags = ["--discover", "on", "--pod-edge", "host0=a", "--netns-dir", files.path()];
        let agent = Agent::start(&flags);
        assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_HERE), "as the flag says");
        assert_eq!(agent.service.waiting(), Waiting::Nothing);
        agent.end();
    });
}

/// What is found and then named must not be hooked twice, whichever side it is hooked on.
#[test]
#[ignore = "root: loads programs"]
fn an_edge_that_was_found_and_is_named_by_a_reload_is_counted_once() {
    for hooks in ["auto", "pod"] {
        let (node, mut files) = (Node::build(), Files::new());
        files.add(node.pod.place());
        node.inside(|| {
            let flags = ["--edge-hooks", hooks, "--netns-dir", files.path(), "--no-pin"];
            let mut agent = Agent::try_start(&flags).unwrap();
            let found = agent.only_edge();
            let unnamed = [&flags[..], &["--collection-interval", "200ms"]].concat();
            let named = [&unnamed[..], &["--pod-edge", "host0=pod-a"]].concat();
            agent.service.obey(Command::Reload(Box::new(config(&named))));
            assert_ne!(agent.only_edge(), found, "{hooks}");
            agent.drained();
            assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_HERE), "as the flag says");
            assert_eq!(agent.service.waiting(), Waiting::Nothing);
            let before = agent.drained().node[1].skb.packets;
            node.send(200);
            let counted = agent.drained().node[1].skb.packets - before;
            assert!((200..210).contains(&counted), "{hooks}: {counted}");

            agent.service.obey(Command::Reload(Box::new(config(&unnamed))));
            agent.until("the edge as it is found", |agent| {
                agent.service.engine.edges().len() == 1 && agent.hooks()[3] == 1
            });
            agent.end();
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_name_that_means_another_device_after_a_reload_moves_there() {
    let node = Node::build();
    node.inside(|| {
        let _second = second_pod(&node);
        let mut agent = Agent::start(&["--discover", "off", "--pod-edge", "host0=a"]);
        let new = config(&["--no-pin", "--discover", "off", "--pod-edge", "host2=a"]);
        agent.service.obey(Command::Reload(Box::new(new)));
        let edge = &agent.service.engine.edges()[&agent.only_edge()];
        assert_eq!(edge.plan.sites[0].interface, "host2");
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn dumps_of_before_a_reload_stay_in_the_count() {
    let (node, folder) = (Node::build(), tempfile::tempdir().unwrap());
    let folder = folder.path().to_str().unwrap();
    node.inside(|| {
        let flags = ["--no-pin", "--dump-bpf-maps", "true", "--dump-dir", folder];
        let mut agent = Agent::try_start(&flags).unwrap();
        let dumps = "fathom_flows_dumps_total{result=\"written\"} ";
        agent.until("a dump", |agent| agent.value(dumps) >= 2);
        let before = agent.value(dumps);
        agent.service.obey(Command::Reload(Box::new(config(&flags))));
        agent.drained();
        assert!(agent.value(dumps) >= before, "{} after {before}", agent.value(dumps));
        agent.end();
    });
}

/// Filters do not die with their process: a start that fails takes back what it did.
#[test]
#[ignore = "root: loads programs"]
fn a_start_that_fails_halfway_leaves_no_filter() {
    let node = Node::build();
    node.inside(|| {
        let _second = second_pod(&node);
        tc(node.node.place(), "qdisc add dev host2 ingress");
        let edges = ["--discover", "off", "--pod-edge", "host0=a,host2=b"];
        let flags = [&edges[..], &["--attach", "clsact", "--no-pin"]].concat();
        let error = Agent::try_start(&flags).err().expect("clsact has no room on host2");
        assert_eq!(error.attach_reason(), "foreign_filter", "{error}");
        let ifindex = testkit::Device::named(node.node.place(), "host0").index().unwrap();
        let left = net_sys::clsact::Clsact::open().unwrap().qdisc(ifindex).unwrap();
        assert_eq!(left, None, "the qdisc was ours, and is gone with its filters");
    });
}
