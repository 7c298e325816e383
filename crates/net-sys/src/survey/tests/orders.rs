//! A pod comes into being in many orders; all of them end in the same knowledge.

use super::ground::{Follower, Ground, ip, remove};
use super::*;

fn check(follower: &Follower, crossing: &Crossing, pod: &Place, path: &std::path::Path) {
    let host = crossing.host.as_ref().unwrap();
    let eth0 = crossing.pod.as_ref().unwrap();
    assert_eq!(crossing.key, Key::Host { ifindex: host.ifindex });
    assert_eq!((host.kind.as_deref(), eth0.kind.as_deref()), (Some("veth"), Some("veth")));
    assert_eq!(host.peer_ifindex, Some(eth0.ifindex));
    assert_eq!(eth0.peer_ifindex, Some(host.ifindex));
    assert!(host.peer_elsewhere && eth0.peer_elsewhere && eth0.is_ethernet());
    let namespace = crossing.namespace.as_ref().unwrap();
    assert_eq!(namespace.path, path);
    assert_eq!(namespace.inode, pod.inode().unwrap());
    assert!(crossing.nsid.is_some());
    assert_eq!(follower.known.len(), 1, "{:#?}", follower.known);
    assert_eq!(follower.appeared.get(&crossing.key), Some(&1));
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pair_made_with_one_end_in_the_pod() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let pod = ground.pod("pod");
        let path = pod.path().display();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        let crossing = follower.whole("h0", "eth0");
        check(&follower, &crossing, &pod, pod.path());
        ground.ip("link delete h0");
        follower.until("the end", |f| f.known.is_empty());
        assert_eq!(follower.vanished.get(&crossing.key), Some(&1));
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pair_made_here_whose_end_moves_into_the_pod() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let pod = ground.pod("pod");
        ground.ip("link add h0 type veth peer tmp0");
        ground.ip(&format!("link set tmp0 netns {} name eth0", pod.path().display()));
        let crossing = follower.whole("h0", "eth0");
        check(&follower, &crossing, &pod, pod.path());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pair_that_was_here_at_the_listing_and_whose_end_moves_later() {
    Ground::with(|ground| {
        ground.ip("link add h0 type veth peer tmp0");
        let pod = ground.pod("pod");
        let mut follower = ground.follow();
        assert_eq!(follower.known.len(), 0);
        ground.ip(&format!("link set tmp0 netns {} name eth0", pod.path().display()));
        let crossing = follower.whole("h0", "eth0");
        check(&follower, &crossing, &pod, pod.path());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pair_made_in_the_pod_with_its_other_end_here() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let pod = ground.pod("pod");
        let node = ground.node();
        let path = node.path().display();
        ip(&pod, &format!("link add eth0 type veth peer h0 netns {path}"));
        let crossing = follower.whole("h0", "eth0");
        check(&follower, &crossing, &pod, pod.path());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn an_end_that_moves_on_to_another_pod() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let (one, two) = (ground.pod("one"), ground.pod("two"));
        let path = one.path().display();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        follower.whole("h0", "eth0");
        let path = two.path().display();
        ip(&one, &format!("link set eth0 netns {path} name net1"));
        let crossing = follower.whole("h0", "net1");
        check(&follower, &crossing, &two, two.path());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pair_made_in_the_pod_whose_end_moves_here() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let pod = ground.pod("pod");
        ip(&pod, "link add eth0 type veth peer tmp0");
        follower.until("both ends in the pod", |f| f.known.len() == 2);
        ip(&pod, &format!("link set tmp0 netns {} name h0", ground.node().path().display()));
        let crossing = follower.whole("h0", "eth0");
        follower.until("the end of what was inside", |f| f.known.len() == 1);
        check(&follower, &crossing, &pod, pod.path());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pair_whose_namespace_gets_its_file_later() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let pod = ground.hidden_pod("pod");
        let path = pod.path().display();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        follower.until("the pod's device", |f| f.of_pod("eth0").is_some());
        let before = follower.of_host("h0").unwrap();
        assert_eq!(before.namespace, None, "it has no file yet");
        let file = ground.show(&pod, "late");
        let crossing = follower.whole("h0", "eth0");
        check(&follower, &crossing, &pod, &file);
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_file_that_becomes_a_namespace_while_nothing_else_happens() {
    Ground::with(|ground| {
        let pod = ground.hidden_pod("pod");
        ip(&pod, "tuntap add mode tap name tap0");
        let file = ground.pods.path().join("late");
        std::fs::write(&file, "").unwrap();
        let mut follower = ground.follow();
        assert_eq!(follower.survey.wait(Duration::ZERO).unwrap(), []);
        rustix::mount::mount_bind(pod.path(), &file).unwrap();
        // The wait that hears of it first is one for something else.
        follower.survey.sleep(PATIENCE).unwrap();
        follower.until("the tap", |f| f.of_pod("tap0").is_some());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn an_end_that_comes_back_is_no_crossing_any_more() {
    Ground::with(|ground| {
        let pod = ground.pod("pod");
        let path = pod.path().display();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        let mut follower = ground.follow();
        assert_eq!(follower.known.len(), 1);
        let back = format!("link set eth0 netns {}", ground.node().path().display());
        ip(&pod, &back);
        follower.until("the end", |f| f.known.is_empty());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_device_renamed_in_a_young_pod_is_told() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let pod = ground.pod("pod");
        let path = pod.path().display();
        ground.ip(&format!("link add h0 type veth peer tmp0 netns {path}"));
        follower.whole("h0", "tmp0");
        ip(&pod, "link set tmp0 name eth0");
        follower.whole("h0", "eth0");
        ground.ip("link set h0 name other");
        follower.whole("other", "eth0");
        assert_eq!(follower.appeared.len(), 1);
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_device_without_a_side_here_comes_and_goes_with_its_namespace() {
    Ground::with(|ground| {
        ground.ip("link add lower type veth peer wire");
        let mut follower = ground.follow();
        let pod = ground.pod("pod");
        let path = pod.path().display();
        ground.ip(&format!("link add eth0 link lower netns {path} type macvlan mode bridge"));
        follower.until("the macvlan", |f| f.of_pod("eth0").is_some());
        let crossing = follower.of_pod("eth0").unwrap().clone();
        let device = crossing.pod.as_ref().unwrap();
        assert_eq!(device.kind.as_deref(), Some("macvlan"));
        let namespace = pod.inode().unwrap();
        let ifindex = device.ifindex;
        assert_eq!(crossing.key, Key::Inside { namespace, ifindex });
        assert_eq!((crossing.host, follower.known.len()), (None, 1));
        // Somebody else keeps the namespace: without its file it cannot be found all the same.
        let held = Netns::open(pod.path()).unwrap();
        remove(pod.path());
        follower.until("the end", |f| f.known.is_empty());
        assert_eq!(held.inode(), namespace);
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_device_that_moves_into_an_old_pod_is_found_by_its_leaving() {
    Ground::with(|ground| {
        let pod = ground.pod("pod");
        let path = pod.path().display();
        ground.ip("link add lower type veth peer wire");
        for name in ["first", "second"] {
            ground.ip(&format!("link add {name} link lower type macvlan mode bridge"));
        }
        let mut follower = ground.follow();
        // The pod is no longer young.
        let namespaces = &mut follower.survey.tracker.namespaces;
        while let Some(at) = namespaces.next_look() {
            namespaces.due(at, 1);
        }
        for name in ["first", "second"] {
            ground.ip(&format!("link set {name} netns {path}"));
            follower.until(name, |f| f.of_pod(name).is_some());
        }
        assert_eq!(follower.known.len(), 2);
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pair_between_two_pods_is_told_of_both_and_leads_elsewhere() {
    Ground::with(|ground| {
        let (one, two) = (ground.pod("one"), ground.pod("two"));
        let path = two.path().display();
        ip(&one, &format!("link add left type veth peer right netns {path}"));
        let follower = ground.follow();
        assert_eq!(follower.known.len(), 2, "{:#?}", follower.known);
        for (name, pod) in [("left", &one), ("right", &two)] {
            let crossing = follower.of_pod(name).unwrap();
            assert_eq!(crossing.host, None);
            assert!(crossing.pod.as_ref().unwrap().peer_elsewhere);
            assert_eq!(crossing.namespace.as_ref().unwrap().path, pod.path());
        }
    });
}
