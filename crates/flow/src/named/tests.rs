use std::os::unix::fs::symlink;

use flow_model::edge::Place;
use testkit::{Namespace as Netns, Veth};

use super::*;
use crate::{engine::tests::Node, error::Exit};

fn pod_edges(texts: &[&str]) -> Vec<PodEdge> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn netns(texts: &[String]) -> Vec<NetnsEdge> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn refused(node: &Node, pods: &[&str], namespaces: &[String]) -> Error {
    node.inside(|| resolve(&pod_edges(pods), &netns(namespaces))).unwrap_err()
}

#[test]
#[ignore = "root: makes namespaces"]
fn a_host_side_veth_and_a_namespace_are_found_by_name() {
    let (node, other) = (Node::build(), Node::build());
    let inside = vec![format!("{}=pod-b", other.pod.place().name())];
    let plans = node.inside(|| resolve(&pod_edges(&["host0=pod-a"]), &netns(&inside))).unwrap();
    let [host, pod] = plans.as_slice() else { panic!("{plans:?}") };
    assert_eq!((host.name.as_str(), host.site(Direction::Tx).place), ("pod-a", Place::Host));
    assert_eq!((pod.name.as_str(), pod.site(Direction::Rx).place), ("pod-b", Place::Pod));
    assert_eq!(pod.site(Direction::Rx).interface, "eth0");
    assert_eq!(pod.netns_inode, other.pod.place().inode().unwrap());
    assert_eq!((host.degraded, pod.degraded), (None, None), "hooked as the flags say");
}

#[test]
#[ignore = "root: makes namespaces"]
fn an_interface_that_is_not_there_is_named_with_its_flag() {
    let node = Node::build();
    let error = refused(&node, &["nope0"], &[]);
    assert_eq!(error.exit(), Exit::Unavailable);
    let text = error.to_string();
    assert!(text.contains("--pod-edge nope0") && text.contains("ip link"), "{text}");
    let error = refused(&node, &[], &[format!("{}:nope0", node.pod.place().name())]);
    assert!(error.to_string().contains("no interface nope0"), "{error}");
}

#[test]
#[ignore = "root: makes namespaces"]
fn a_file_that_is_no_namespace_is_refused() {
    let node = Node::build();
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    for namespace in [path, "/nowhere/at/all".to_owned(), "no-such-name".to_owned()] {
        let error = refused(&node, &[], std::slice::from_ref(&namespace));
        assert_eq!(error.exit(), Exit::Unavailable, "{namespace}: {error}");
        assert!(error.to_string().contains(&namespace), "{error}");
    }
}

#[test]
#[ignore = "root: makes namespaces"]
fn one_interface_named_twice_is_refused_whatever_it_is_called() {
    let node = Node::build();
    let path = node.pod.place().path().to_str().unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    symlink(&path, folder.path().join("alias")).unwrap();
    let error = refused(&node, &["host0=a", "host0=b"], &[]);
    assert_eq!(error.exit(), Exit::Usage);
    let text = error.to_string();
    assert!(text.contains("host0=a") && text.contains("host0=b"), "both are named: {text}");
    let twice = [format!("{path}=a"), format!("{path}:eth0=b")];
    assert!(matches!(refused(&node, &[], &twice), Error::Twice { why: "one interface", .. }));
}

#[test]
#[ignore = "root: makes namespaces"]
fn the_two_ends_of_one_veth_are_one_edge() {
    let node = Node::build();
    let ends = "the two ends of one veth";
    let inside = node.pod.place().path().to_str().unwrap().to_owned();
    let error = refused(&node, &["host0"], &[inside]);
    assert!(matches!(error, Error::Twice { why, .. } if why == ends), "{error}");

    // Both ends in namespaces that are not ours.
    let (one, two) = (Netns::create("fo").unwrap(), Netns::create("ft").unwrap());
    Veth::join((one.place(), "left"), (two.place(), "right")).unwrap();
    let both = [one, two].map(|netns| (netns.place().path().to_str().unwrap().to_owned(), netns));
    let paths = both.each_ref().map(|(path, _)| path.clone());
    let error = refused(&node, &[], &paths);
    assert!(matches!(error, Error::Twice { why, .. } if why == ends), "{error}");
}

#[test]
#[ignore = "root: makes namespaces"]
fn without_an_interface_eth0_is_meant_or_the_only_one_or_the_candidates_are_listed() {
    let (node, pod) = (Node::build(), Netns::create("fp").unwrap());
    let path = pod.place().path().to_str().unwrap().to_owned();
    let named = [path];
    let empty = refused(&node, &[], &named).to_string();
    assert!(empty.contains("no interface but loopback"), "{empty}");

    let found = || node.inside(|| resolve(&[], &netns(&named)));
    Veth::join((node.node.place(), "h1"), (pod.place(), "net1")).unwrap();
    assert_eq!(found().unwrap()[0].site(Direction::Tx).interface, "net1");
    Veth::join((node.node.place(), "h2"), (pod.place(), "net2")).unwrap();
    let ambiguous = found().unwrap_err().to_string();
    assert!(ambiguous.contains("net1") && ambiguous.contains("net2"), "{ambiguous}");
    Veth::join((node.node.place(), "h3"), (pod.place(), "eth0")).unwrap();
    assert_eq!(found().unwrap()[0].site(Direction::Tx).interface, "eth0");
}

#[test]
#[ignore = "root: makes namespaces"]
fn what_is_there_is_found_although_something_else_is_missing() {
    let node = Node::build();
    let edges = pod_edges(&["nosuch=gone", "host0=pod-a"]);
    let found = node.inside(|| look_up(&edges, &[])).unwrap();
    let there: Vec<_> = found.plans.iter().map(|plan| plan.name.as_str()).collect();
    assert_eq!(there, ["pod-a"]);
    let [(name, error)] = &found.missing[..] else { panic!("{:?}", found.missing) };
    assert_eq!((name.as_str(), error.attach_reason()), ("gone", "device_gone"));
}

#[test]
#[ignore = "root: makes namespaces"]
fn an_edge_named_inside_knows_its_end_here_and_no_other_device() {
    let node = Node::build();
    let inside = netns(&[format!("{}=pod-a", node.pod.place().path().display())]);
    let host = testkit::Device::named(node.node.place(), "host0").index().unwrap();
    let plans = node.inside(|| resolve(&[], &inside)).unwrap();
    assert_eq!(plans[0].host_ifindex, host);
    // A device that stands on another names that one where a pair names its other end.
    let parent = testkit::Device::named(node.node.place(), "host0");
    let pod = Netns::create("fm").unwrap();
    node.node.place().macvlan("eth0", &parent, pod.place()).unwrap();
    let inside = netns(&[format!("{}=pod-b", pod.place().path().display())]);
    let plans = node.inside(|| resolve(&[], &inside)).unwrap();
    assert_eq!(plans[0].host_ifindex, 0);
}

#[test]
#[ignore = "root: makes namespaces"]
fn what_is_named_twice_or_leads_nowhere_is_misuse() {
    let node = Node::build();
    for pods in [&["nope0", "nope0=b"][..], &["lo"]] {
        let error = refused(&node, pods, &[]);
        assert_eq!(error.exit(), Exit::Usage, "{error}");
    }
}
