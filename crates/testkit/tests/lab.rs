//! The demonstration laboratory comes and goes as a whole.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::time::Duration;

use testkit::Lab;
use testkit::lab::Plan;
use testkit::proc::Command;

const SOON: Duration = Duration::from_secs(20);

fn links_of_the_host() -> String {
    let links = Command::new("ip").args(["-o", "link", "show"]).succeed(SOON).unwrap().text();
    let routes = Command::new("ip").args(["route", "show", "table", "all"]).succeed(SOON).unwrap();
    links + &routes.text()
}

fn files(lab: &Lab) -> Vec<PathBuf> {
    let nodes = lab.nodes().iter().map(|node| node.namespace.path());
    nodes.chain(lab.pods().map(|pod| pod.namespace.path())).map(PathBuf::from).collect()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn it_leaves_no_trace_and_never_touches_the_host() {
    let before = links_of_the_host();
    let mut lab = Lab::build(&Plan::default()).unwrap();
    lab.start_traffic().unwrap();
    let files = files(&lab);
    assert_eq!(files.len(), 5);
    assert!(files.iter().all(|file| file.exists()));
    assert_eq!(links_of_the_host(), before);
    drop(lab);
    assert!(!files.iter().any(|file| file.exists()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!files.iter().any(|file| mounts.contains(file.to_str().unwrap())));
    assert_eq!(links_of_the_host(), before);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn it_goes_after_a_panic_with_traffic_running() {
    let mut left = Vec::new();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let mut lab = Lab::build(&Plan::default()).unwrap();
        lab.start_traffic().unwrap();
        left = files(&lab);
        panic!("a failing demonstration");
    }));
    assert!(caught.is_err());
    assert_eq!(left.len(), 5);
    assert!(!left.iter().any(|file| file.exists()));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn it_tells_what_stands_where() {
    let lab = Lab::build(&Plan::default()).unwrap();
    let names: Vec<_> = lab.pods().map(|pod| pod.name).collect();
    assert_eq!(names, ["a1", "a2", "b1"]);
    assert_eq!((lab.node_a().pods.len(), lab.node_b().pods.len()), (2, 1));
    let a2 = lab.pod("a2").unwrap();
    assert_eq!(a2.host_device.name(), "veth-a2");
    assert_eq!(a2.host_device.place(), lab.node_a().namespace.place());
    let addresses = a2.device.addresses().unwrap();
    assert!(a2.addresses.both().iter().all(|address| addresses.contains(address)));
}
