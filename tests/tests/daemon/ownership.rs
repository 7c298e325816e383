//! One writer at a time, and nothing left when it is told to go.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use fathom_tests::binary::{self, SOON};
use fathom_tests::daemon::{Pins, Setup};
use fathom_tests::kernel::{Standing, assert_gone, held_by};
use fathom_tests::measure::Edge;
use fathom_tests::site::Wire;
use testkit::FakeRoot;

fn edge(wire: &Wire) -> [Edge; 1] {
    [Edge::host("x", &wire.outside)]
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_second_daemon_is_told_who_holds_the_lock() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let setup = Setup::new(&wire.node, &edge(&wire), &pins);
    let mut daemon = setup.start();
    let second = setup.flags(["--listen", "off", "--takeover-wait", "500ms"]);
    let refused = second.run();
    assert_eq!(refused.status.code(), Some(69), "{}", refused.stderr);
    let holder = daemon.process().id().to_string();
    assert!(refused.stderr.contains(&holder), "{holder}: {}", refused.stderr);
    assert!(refused.stderr.contains("lock.waiting"), "{}", refused.stderr);
    assert_eq!(daemon.get("/health/live").status, 200);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_second_daemon_takes_over_from_one_that_goes() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let setup = Setup::new(&wire.node, &edge(&wire), &pins);
    let first = setup.start();
    let mut second = setup.flags(["--listen", "127.0.0.1:9091"]).port(9091).launch();
    second.process().wait_for_stderr("lock.waiting", SOON).unwrap();
    assert_eq!(first.stop().status.code(), Some(0));
    second.wait_ready();
    assert_eq!(second.get("/health/live").status, 200);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn status_tells_what_is_pinned_and_changes_nothing() {
    let (wire, pins) = (Wire::build(), Pins::new());
    assert_eq!(pins.status()["pinned"], false);
    let mut daemon = Setup::new(&wire.node, &edge(&wire), &pins).start();
    let running = pins.status();
    assert_eq!(running["pinned"], true, "{running:#}");
    assert_eq!(running["writer_pid"], daemon.process().id(), "{running:#}");
    assert_eq!(running["links"].as_array().map(Vec::len), Some(2), "{running:#}");
    daemon.stop();
    let left = pins.status();
    assert_eq!(left.get("writer_pid"), None, "{left:#}");
    assert_eq!(left["edges"].as_array().map(Vec::len), Some(1), "{left:#}");
    assert_eq!(pins.status(), left);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn detach_leaves_nothing_and_may_be_repeated() {
    for lane in ["tcx", "clsact"] {
        let (wire, pins) = (Wire::build(), Pins::new());
        let before = Standing::of(&wire.outside);
        let setup = Setup::new(&wire.node, &edge(&wire), &pins).flags(["--attach", lane]);
        let mut daemon = setup.start();
        let objects = held_by(daemon.process());
        let finished = daemon.stop();
        let undo = format!("fathom flows detach --bpf-pin-dir {}", pins.path().display());
        let lines = finished.stderr.lines().filter(|line| line.contains(&undo));
        assert_eq!(lines.count(), 1, "one line tells how to undo it: {}", finished.stderr);
        assert_ne!(Standing::of(&wire.outside), before, "the kernel goes on counting");
        for _ in 0..2 {
            // Filters belong to a namespace: detaching happens where they are.
            let words = ["flows".to_owned(), "detach".to_owned()];
            let detached = binary::run_in(&wire.node, words.into_iter().chain(pins.flag()));
            assert_eq!(detached.status.code(), Some(0), "{}", detached.stderr);
        }
        assert_eq!(Standing::of(&wire.outside), before, "{lane}");
        assert!(!pins.path().exists(), "{lane}: nothing is pinned any more");
        assert_gone(&objects);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn on_exit_detach_leaves_nothing() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let before = Standing::of(&wire.outside);
    let setup = Setup::new(&wire.node, &edge(&wire), &pins).flags(["--on-exit", "detach"]);
    let mut daemon = setup.start();
    let objects = held_by(daemon.process());
    assert_eq!(daemon.stop().status.code(), Some(0));
    assert_eq!(Standing::of(&wire.outside), before);
    assert_gone(&objects);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn without_pins_nothing_survives_the_end() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let before = Standing::of(&wire.outside);
    let mut daemon = Setup::new(&wire.node, &edge(&wire), &pins).flags(["--no-pin"]).start();
    let objects = held_by(daemon.process());
    assert!(!pins.path().exists());
    daemon.kill();
    assert_gone(&objects);
    assert_eq!(Standing::of(&wire.outside), before);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn pins_belong_on_bpffs() {
    let wire = Wire::build();
    let elsewhere = FakeRoot::new().unwrap();
    let path = elsewhere.path().join("pins").display().to_string();
    let words = ["flows", "--pod-edge", "vpod=x", "--listen", "off", "--bpf-pin-dir", &path];
    let refused = binary::run_in(&wire.node, words);
    assert_eq!(refused.status.code(), Some(69), "{}", refused.stderr);
    assert!(refused.stderr.contains(&path), "{}", refused.stderr);
}

/// Where the map `control` was pinned below `directory`.
fn control_below(directory: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.path());
    let mut entries: Vec<_> = entries.collect();
    entries.sort();
    let found = entries.iter().find(|path| path.ends_with("control")).cloned();
    let deeper =
        || entries.iter().filter(|path| path.is_dir()).find_map(|path| control_below(path));
    found.or_else(deeper)
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_foreign_pin_in_the_place_of_ours_is_left_alone() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let setup = Setup::new(&wire.node, &edge(&wire), &pins).flags(["--listen", "off"]);
    let daemon = setup.start();
    let foreign = control_below(pins.path()).unwrap();
    daemon.stop();
    assert_eq!(pins.detach().status.code(), Some(0));
    fs::create_dir_all(foreign.parent().unwrap()).unwrap();
    for directory in [pins.path(), foreign.parent().unwrap()] {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o700)).unwrap();
    }
    let bpftool = testkit::proc::Command::new("bpftool").args(["map", "create"]).arg(&foreign);
    let kind = ["type", "array", "key", "4", "value", "4096", "entries", "1", "name", "theirs"];
    bpftool.args(kind).succeed(SOON).unwrap();
    let refused = setup.run();
    assert_eq!(refused.status.code(), Some(69), "{}", refused.stderr);
    assert!(refused.stderr.contains("bpf-pin-dir"), "{}", refused.stderr);
    assert!(foreign.exists(), "somebody else's pin stays");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_pin_directory_that_others_may_write_is_refused() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let setup = Setup::new(&wire.node, &edge(&wire), &pins);
    let daemon = setup.start();
    let mode = fs::metadata(pins.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700, "{mode:o}");
    daemon.stop();
    fs::set_permissions(pins.path(), fs::Permissions::from_mode(0o770)).unwrap();
    let refused = setup.run();
    assert!(matches!(refused.status.code(), Some(69 | 77)), "{refused:?}");
    let path = pins.path().display().to_string();
    assert!(refused.stderr.contains(&path), "{}", refused.stderr);
}
