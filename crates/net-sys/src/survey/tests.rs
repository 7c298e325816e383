use std::collections::HashSet;
use std::thread;

use testkit::Place;

use super::*;
use crate::testing::PATIENCE;

mod crowd;
mod ground;
mod orders;
mod plugins;
mod trouble;

use ground::{Ground, ip, remove};

#[test]
fn before_the_first_listing_the_only_answer_is_to_list() {
    let mut survey = Survey::open(&[]).unwrap();
    for _again in 0..3 {
        assert_eq!(survey.wait(PATIENCE).unwrap(), [Change::Resync]);
    }
    survey.scan().unwrap();
    survey.wait(Duration::ZERO).unwrap();
    assert!(!survey.stale);
}

#[test]
fn a_waker_ends_the_wait_of_another_thread() {
    let nowhere = tempfile::tempdir().unwrap();
    let mut survey = Survey::open(&[nowhere.path().join("none")]).unwrap();
    survey.scan().unwrap();
    let waker = survey.waker();
    let started = Instant::now();
    let waiting = thread::spawn(move || {
        while started.elapsed() < PATIENCE && !survey.wait(PATIENCE).unwrap().is_empty() {}
    });
    waker.wake();
    waiting.join().unwrap();
    assert!(started.elapsed() < PATIENCE, "it was the time-out");
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_wait_without_events_ends_in_time() {
    Ground::with(|ground| {
        let mut survey = ground.survey();
        survey.scan().unwrap();
        let started = Instant::now();
        assert_eq!(survey.wait(Duration::from_millis(50)).unwrap(), []);
        assert!(started.elapsed() >= Duration::from_millis(50));
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn one_pod_may_have_several_interfaces_and_all_pods_the_same_indices() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        for name in ["a", "b"] {
            let pod = ground.pod(name);
            let path = pod.path().display().to_string();
            for number in 0..2 {
                ground.ip(&format!(
                    "link add {name}{number} type veth peer net{number} netns {path}"
                ));
            }
        }
        let all: Vec<_> = ["a0", "a1", "b0", "b1"]
            .map(|host| follower.whole(host, &host.replace(['a', 'b'], "net")))
            .into();
        let keys: HashSet<_> = all.iter().map(|c| c.key).collect();
        assert_eq!(keys.len(), 4);
        let there = |at: usize| all[at].pod.as_ref().unwrap().ifindex;
        assert_eq!((there(0), there(1)), (there(2), there(3)), "{all:?}");
        let inode = |at: usize| all[at].namespace.as_ref().unwrap().inode;
        assert_eq!((inode(0), inode(2)), (inode(1), inode(3)));
        assert_ne!(inode(0), inode(2));
        assert_eq!(follower.appeared.len(), 4, "{:?}", follower.appeared);
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_listing_and_the_changes_that_led_there_agree() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let pod = ground.pod("pod");
        let path = pod.path().display().to_string();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        ip(&pod, "tuntap add mode tap name tap0");
        follower.whole("h0", "eth0");
        follower.until("the tap", |f| f.of_pod("tap0").is_some());
        let told = follower.known.clone();
        follower.scan();
        assert_eq!(follower.known, told);
        let mut fresh = ground.follow();
        let facts = |c: &Crossing| (c.key, c.host.clone(), c.pod.clone(), c.namespace.clone());
        let ours: Vec<_> = told.values().map(facts).collect();
        assert_eq!(fresh.known.values().map(facts).collect::<Vec<_>>(), ours);
        fresh.scan();
        assert_eq!(fresh.known.len(), 2);
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn our_own_namespace_and_second_files_add_nothing() {
    Ground::with(|ground| {
        let own = ground.show(&ground.node(), "own");
        let pod = ground.pod("pod");
        ground.show(&pod, "same-pod");
        ground.ip("link add bridge type bridge");
        ip(&pod, "tuntap add mode tap name tap0");
        let follower = ground.follow();
        assert_eq!(follower.known.len(), 1, "{:#?}", follower.known);
        let tap = follower.of_pod("tap0").unwrap();
        assert_eq!(tap.namespace.as_ref().unwrap().path, pod.path());
        let own = Netns::open(own).unwrap();
        assert_eq!(follower.survey.namespace_inode(), own.inode());
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn a_pod_leaves_nothing_open_and_goes_at_once() {
    Ground::with(|ground| {
        let pod = ground.pod("pod");
        let path = pod.path().display().to_string();
        ground.ip(&format!("link add h0 type veth peer eth0 netns {path}"));
        ip(&pod, "tuntap add mode tap name tap0");
        let mut follower = ground.follow();
        assert_eq!(follower.known.len(), 2, "{:#?}", follower.known);
        let inode = pod.inode().unwrap();
        assert_eq!(open_files_of(inode), 0, "a descriptor of the pod was kept");
        remove(pod.path());
        follower.until("the end", |f| f.known.is_empty());
        assert_eq!(follower.vanished.len(), 2);
    });
}

/// How many descriptors of this process are this namespace.
fn open_files_of(inode: u64) -> usize {
    let wanted = PathBuf::from(format!("net:[{inode}]"));
    let open = std::fs::read_dir("/proc/self/fd").unwrap();
    open.flatten()
        .filter(|entry| std::fs::read_link(entry.path()).is_ok_and(|to| to == wanted))
        .count()
}
