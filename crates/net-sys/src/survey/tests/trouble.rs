//! Lost events, hostile names, missing rights, numbers that are used again.

use super::ground::{Follower, Ground, ip, remove};
use super::*;
use crate::host::{Capabilities, drop_capabilities_except};

#[test]
#[ignore = "root: makes network namespaces"]
fn lost_events_ask_for_a_listing_that_has_it_all() {
    Ground::with(|ground| {
        let node = Netns::open(ground.node().path()).unwrap();
        let mut follower = ground.follow();
        let subscribe = |bytes| node.within(|| Monitor::with_buffer(bytes)).unwrap().unwrap();
        follower.survey.monitor = subscribe(1);
        let pod = ground.pod("pod");
        let path = pod.path().display();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        for mtu in 1000..1040 {
            ground.ip(&format!("link set h0 mtu {mtu}"));
        }
        let changes = follower.survey.wait(PATIENCE).unwrap();
        assert_eq!(changes, [Change::Resync]);
        assert_eq!(follower.survey.wait(PATIENCE).unwrap(), [Change::Resync]);
        assert!(follower.survey.losses().events.overruns > 0);
        // What comes now is to arrive.
        follower.survey.monitor = subscribe(1 << 20);
        follower.scan();
        let crossing = follower.of_host("h0").unwrap();
        assert!(crossing.namespace.is_some() && crossing.pod.is_some());
        ground.ip("link delete h0");
        follower.until("the end", |f| f.known.is_empty());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn what_vanished_unnoticed_is_missing_from_the_next_listing() {
    Ground::with(|ground| {
        let (pod, other) = (ground.pod("pod"), ground.pod("other"));
        let path = pod.path().display();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        ip(&other, "tuntap add mode tap name tap0");
        let mut follower = ground.follow();
        assert_eq!(follower.known.len(), 2);
        ground.ip("link delete h0");
        remove(other.path());
        follower.scan();
        assert_eq!(follower.known.len(), 0);
        // The events of what the listing has shown already are still to come.
        let late = follower.survey.wait(Duration::from_millis(100)).unwrap();
        assert_eq!(late, []);
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn an_id_that_is_used_again_means_the_new_namespace() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let mut ids = Vec::new();
        for round in 0..4 {
            let pod = ground.pod("pod");
            let path = pod.path().display();
            let (host, eth) = (format!("h{round}"), format!("eth{round}"));
            ground.ip(&format!("link add {host} type veth peer {eth} netns {path}"));
            let crossing = follower.whole(&host, &eth);
            let inode = crossing.namespace.unwrap().inode;
            assert_eq!(inode, pod.inode().unwrap());
            ids.push(crossing.nsid.unwrap());
            remove(pod.path());
            follower.until("the end", |f| f.known.is_empty());
        }
        let different: HashSet<_> = ids.iter().collect();
        assert!(different.len() < ids.len(), "no id was used again: {ids:?}");
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn names_may_hold_anything() {
    Ground::with(|ground| {
        let pod = ground.pod("a\u{1b}[31m b\n");
        let path = pod.path().display().to_string();
        let hostile = "\u{1b}[2J'\"$&";
        let words = ["link", "add", "h0", "type", "veth", "peer", hostile, "netns", &path];
        ground.node().ip(words).unwrap();
        let follower = ground.follow();
        let crossing = follower.of_pod(hostile).unwrap();
        assert_eq!(crossing.namespace.as_ref().unwrap().path, pod.path());
    });
}

#[test]
#[ignore = "root: gives up capabilities on a thread"]
fn without_the_right_to_enter_pairs_are_known_and_the_rest_is_counted() {
    Ground::with(|ground| {
        let (pod, other) = (ground.pod("pod"), ground.pod("other"));
        let path = pod.path().display();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        ip(&other, "tuntap add mode tap name tap0");
        let survey = ground.survey();
        let follower = thread::scope(|scope| {
            let restricted = scope.spawn(|| {
                let keep = Capabilities::from_names(["NET_ADMIN"]).unwrap();
                drop_capabilities_except(keep).unwrap();
                Follower::new(survey)
            });
            restricted.join().unwrap()
        });
        assert_eq!(follower.known.len(), 1, "{:#?}", follower.known);
        let crossing = follower.of_pod("eth0").unwrap();
        assert_eq!(crossing.namespace.as_ref().unwrap().path, pod.path());
        let losses = follower.survey.losses();
        assert_eq!((losses.not_entered, losses.not_read), (1, 0));
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pod_full_of_devices_is_cut_and_said_so() {
    Ground::with(|ground| {
        let pod = ground.pod("pod");
        let taps: String = (0..70).map(|n| format!("tuntap add mode tap name t{n}\n")).collect();
        let batch = testkit::proc::Command::inside(&pod, "ip").args(["-batch", "-"]);
        batch.input(taps).succeed(PATIENCE).unwrap();
        let follower = ground.follow();
        assert_eq!(follower.known.len(), book::MAX_INSIDE);
        let surplus = 70 - book::MAX_INSIDE as u64;
        assert_eq!(follower.survey.losses().surplus_devices, surplus);
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_directory_that_cannot_be_read_is_counted_and_ends_nothing() {
    Ground::with(|ground| {
        for number in 0..8193 {
            std::fs::write(ground.pods.path().join(format!("{number}")), "").unwrap();
        }
        ground.ip("link add h0 type veth peer h1");
        let pod = ground.hidden_pod("pod");
        ground.ip(&format!("link set h1 netns {}", pod.path().display()));
        let follower = ground.follow();
        assert_eq!(follower.known.len(), 1);
        assert_eq!(follower.survey.losses().not_read, 1);
    });
}
