use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::Instant;

use rustix::fs::{FileType, mknodat};

use super::*;
use crate::host::{Capabilities, drop_capabilities_except};
use crate::testing::Namespace;

fn reason(path: impl AsRef<Path>) -> &'static str {
    Netns::open(path).map_or_else(|error| error.reason(), |_| "opened")
}

#[test]
fn the_current_namespace_is_found_through_procfs() {
    let current = Netns::current().unwrap();
    let own = Netns::open("/proc/self/ns/net").unwrap();
    assert_eq!(current.inode(), own.inode());
}

#[test]
fn a_name_without_slash_is_looked_up_below_run_netns() {
    assert_eq!(path_of(OsStr::new("blue")), Path::new("/run/netns/blue"));
    assert_eq!(path_of(OsStr::new("./blue")), Path::new("./blue"));
}

#[test]
fn files_of_other_kinds_are_no_namespaces() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::write(at("file"), "net").unwrap();
    fs::create_dir(at("directory")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    symlink("/proc/self/ns/net", at("link")).unwrap();
    symlink("loop", at("loop")).unwrap();
    for name in ["file", "directory", "fifo", "link", "loop", "directory/.."] {
        assert_eq!(reason(at(name)), "not_a_namespace", "{name}");
    }
    assert_eq!(reason(at("missing")), "not_found");
    assert_eq!(reason(at("file/below")), "not_found");
}

#[test]
fn a_namespace_of_another_kind_is_refused() {
    assert_eq!(reason("/proc/self/ns/mnt"), "not_a_namespace");
    assert_eq!(reason("/proc/self/status"), "not_a_namespace");
    assert_eq!(reason("/dev/null"), "not_a_namespace");
    assert_eq!(reason("/"), "not_a_namespace");
}

#[test]
fn a_link_to_the_directory_is_followed_and_a_link_to_the_file_is_not() {
    let place = tempfile::tempdir().unwrap();
    symlink("/proc/self/ns", place.path().join("ns")).unwrap();
    assert_eq!(reason(place.path().join("ns/net")), "opened");
}

#[test]
#[ignore = "root: makes a network namespace"]
fn a_visit_takes_place_inside_and_leaves_the_caller_outside() {
    let namespace = Namespace::create("visit").unwrap();
    let netns = Netns::resolve(namespace.name()).unwrap();
    let before = Netns::current().unwrap().inode();
    let inside = netns.within(|| Netns::current().unwrap().inode()).unwrap();
    assert_eq!(inside, netns.inode());
    assert_ne!(inside, before);
    assert_eq!(Netns::current().unwrap().inode(), before);
}

#[test]
#[ignore = "root: makes a network namespace"]
fn a_panic_inside_goes_on_outside_in_the_right_namespace() {
    let namespace = Namespace::create("panic").unwrap();
    let netns = Netns::open(namespace.path()).unwrap();
    let before = Netns::current().unwrap().inode();
    let outcome = std::panic::catch_unwind(|| netns.within(|| panic!("on purpose")));
    assert!(outcome.is_err(), "the panic was swallowed");
    assert_eq!(Netns::current().unwrap().inode(), before);
}

#[test]
#[ignore = "root: makes a network namespace"]
fn nothing_holds_a_namespace_after_the_visit() {
    let namespace = Namespace::create("free").unwrap();
    let netns = Netns::open(namespace.path()).unwrap();
    netns.within(|| ()).unwrap();
    drop(netns);
    let name = format!("net:[{}]", fs::metadata(namespace.path()).unwrap().ino());
    let held = fs::read_dir("/proc/self/fd").unwrap().any(|entry| {
        fs::read_link(entry.unwrap().path()).is_ok_and(|link| link.as_os_str() == name.as_str())
    });
    assert!(!held, "a descriptor of {name} is still open");
}

#[test]
#[ignore = "root: gives up capabilities on a thread"]
fn entering_without_the_capability_says_so() {
    let namespace = Namespace::create("refused").unwrap();
    let netns = Netns::open(namespace.path()).unwrap();
    let outcome = thread::scope(|scope| {
        let visit = scope.spawn(|| {
            let left = drop_capabilities_except(Capabilities::EMPTY).unwrap();
            assert!(left.is_empty(), "left: {left}");
            netns.within(|| ()).map_err(|error| error.reason())
        });
        visit.join().unwrap()
    });
    assert_eq!(outcome, Err("enter_not_permitted"));
}

#[test]
#[ignore = "root: makes a network namespace and measures"]
fn a_thousand_visits_take_seconds_at_most() {
    let namespace = Namespace::create("cost").unwrap();
    let netns = Netns::open(namespace.path()).unwrap();
    let rounds = 1000;
    let begun = Instant::now();
    for _ in 0..rounds {
        netns.within(|| ()).unwrap();
    }
    let visit = begun.elapsed() / rounds;
    let home = Netns::current().unwrap();
    let moves = thread::scope(|scope| {
        let worker = scope.spawn(|| {
            let begun = Instant::now();
            for _ in 0..rounds {
                netns.enter().unwrap();
                home.enter().unwrap();
            }
            begun.elapsed() / rounds
        });
        worker.join().unwrap()
    });
    println!("a thread a visit: {visit:?}; moving there and back: {moves:?}");
    assert!(visit.as_millis() < 5, "a visit took {visit:?}");
}
