//! Many pods at once: how long they take, and that nothing of them stays.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::thread::{UnshareFlags, unshare_unsafe};
use testkit::proc::Command;

use super::ground::{Ground, ip, remove};
use super::*;

/// Makes pods with a pair each, as one batch of commands.
fn pods(ground: &Ground, count: usize) -> Vec<Place> {
    let pods: Vec<_> = (0..count).map(|n| ground.pod(&format!("pod{n}"))).collect();
    let pairs = pods.iter().enumerate().map(|(n, pod)| {
        let path = pod.path().display();
        format!("link add h{n} type veth peer eth0 netns {path}\n")
    });
    let batch = Command::inside(&ground.node(), "ip").args(["-batch", "-"]);
    let input: String = pairs.collect();
    batch.input(input).succeed(10 * PATIENCE).unwrap();
    pods
}

fn descriptors() -> usize {
    std::fs::read_dir("/proc/thread-self/fd").unwrap().count()
}

#[test]
#[ignore = "root: makes a thousand network namespaces"]
fn a_thousand_pods_are_listed_well_within_a_second() {
    Ground::with(|ground| {
        let pods = pods(ground, 1000);
        let mut survey = ground.survey();
        let times: Vec<_> = (0..5)
            .map(|_round| {
                let started = Instant::now();
                let crossings = survey.scan().unwrap();
                let took = started.elapsed();
                assert_eq!(crossings.len(), pods.len());
                let whole = |c: &Crossing| c.pod.is_some() && c.namespace.is_some();
                assert!(crossings.iter().all(whole), "something is missing");
                took
            })
            .collect();
        println!("listing {} pods: {times:?}", pods.len());
        // A bound for a busy machine; what it takes on an idle one is printed.
        assert!(times.iter().min() < Some(&Duration::from_secs(1)), "{times:?}");
    });
}

#[test]
#[ignore = "root: makes network namespaces"]
fn many_pods_at_once_are_known_whole_even_without_files() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        for number in 0..20 {
            let pod = ground.hidden_pod(&format!("pod{number}"));
            let path = pod.path().display();
            ground.ip(&format!("link add h{number} type veth peer eth0 netns {path}"));
        }
        // One batch: nobody has waited meanwhile.
        follower.until("all", |f| f.known.values().filter(|c| c.pod.is_some()).count() == 20);
        assert!(follower.appeared.values().all(|&times| times == 1));
    });
}

#[test]
#[ignore = "root: makes a hundred network namespaces"]
fn a_hundred_pods_appear_once_and_vanish_once_and_nothing_of_them_stays() {
    Ground::with(|ground| {
        // A table of its own: other tests of this process open and close files meanwhile.
        // SAFETY: nothing that this thread has opened is closed by another one.
        unsafe { unshare_unsafe(UnshareFlags::FILES) }.unwrap();
        let mut follower = ground.follow();
        // Once around, so that everything that is opened once is open.
        let first = ground.pod("first");
        ip(&first, "tuntap add mode tap name tap0");
        follower.until("the first", |f| f.of_pod("tap0").is_some());
        remove(first.path());
        follower.until("the end of the first", |f| f.known.is_empty());
        let before = descriptors();
        (follower.appeared, follower.vanished) = (HashMap::new(), HashMap::new());
        let pods = thread::scope(|scope| {
            let maker = scope.spawn(|| pods(ground, 100));
            follower.until("all", |f| {
                let whole = |c: &&Crossing| c.pod.is_some() && c.namespace.is_some();
                f.known.values().filter(whole).count() == 100
            });
            maker.join().unwrap()
        });
        let inodes: HashSet<_> = pods.iter().map(|pod| pod.inode().unwrap()).collect();
        let told = follower.known.values().filter_map(|c| c.namespace.as_ref());
        assert_eq!(told.map(|n| n.inode).collect::<HashSet<_>>(), inodes);
        let kept: usize = inodes.iter().map(|&inode| open_files_of(inode)).sum();
        assert_eq!(kept, 0, "descriptors of pods were kept");
        thread::scope(|scope| {
            scope.spawn(|| pods.iter().for_each(|pod| remove(pod.path())));
            // A side here goes when the kernel has freed the namespace there, and not before.
            follower.until("the end of all", |f| f.known.is_empty());
        });
        for counts in [&follower.appeared, &follower.vanished] {
            assert_eq!(counts.len(), 100);
            assert!(counts.values().all(|&times| times == 1), "{counts:?}");
        }
        assert_eq!(descriptors(), before);
        assert_eq!(follower.survey.losses(), Losses::default());
    });
}

#[test]
#[ignore = "root: makes a hundred network namespaces"]
fn the_lag_behind_the_kernel_is_milliseconds() {
    Ground::with(|ground| {
        let mut follower = ground.follow();
        let node = Netns::open(ground.node().path()).unwrap();
        let mut independent = node.within(Monitor::open).unwrap().unwrap();
        let done = AtomicBool::new(false);
        let heard = thread::scope(|scope| {
            let listener = scope.spawn(|| {
                let mut heard = HashMap::new();
                while !done.load(Ordering::Relaxed) {
                    let event = independent.poll(Duration::from_millis(20)).unwrap();
                    if let Some(Event::LinkChanged(link)) = event {
                        heard.entry(link.ifindex).or_insert_with(Instant::now);
                    }
                }
                heard
            });
            let maker = scope.spawn(|| pods(ground, 100));
            follower.until("all", |f| f.known.len() == 100);
            maker.join().unwrap();
            done.store(true, Ordering::Relaxed);
            listener.join().unwrap()
        });
        let noticed = follower.known.values().map(|crossing| {
            let Key::Host { ifindex } = crossing.key else { panic!("{crossing:?}") };
            crossing.noticed.duration_since(heard[&ifindex])
        });
        let behind = quantiles(noticed.collect());
        let lag = quantiles(follower.lags.clone());
        println!("behind an independent listener: {behind:?}; message to caller: {lag:?}");
        assert!(lag[1] < Duration::from_secs(1), "{lag:?}");
    });
}

/// Median, 99th percentile and maximum.
fn quantiles(mut all: Vec<Duration>) -> [Duration; 3] {
    all.sort_unstable();
    let at = |share: usize| all[(all.len() - 1) * share / 100];
    [at(50), at(99), at(100)]
}
