//! What outlives the process: a reflector that goes on, is taken over, and ends.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process;

use fathom_tests::binary::{SOON, command_in};
use fathom_tests::foreign::tcx_programs;
use fathom_tests::kernel::{Object, assert_gone};
use fathom_tests::stamp::cable::Cable;
use fathom_tests::stamp::{PORT, Running, measured, packets};
use serde_json::Value;
use testkit::Place;
use testkit::proc::{Finished, wait_until};

/// A directory of a test's own on bpffs; dropping it removes what is pinned there.
struct Pins {
    path: PathBuf,
    place: Place,
}

impl Pins {
    fn new(name: &str, cable: &Cable) -> Self {
        let path =
            PathBuf::from(format!("/sys/fs/bpf/fathom-tests-stamp-{}-{name}", process::id()));
        Self { path, place: cable.far.place().clone() }
    }

    fn flags(&self) -> [String; 3] {
        ["--pin".to_owned(), "--bpf-pin-dir".to_owned(), self.path.display().to_string()]
    }

    /// A reflector that pins itself here.
    fn reflect(&self, flags: &[&str]) -> Running {
        let port = PORT.to_string();
        let line = ["stamp", "reflect", "eth0", "-p", &port, "-o", "json", "--backend", "bpf"];
        let command = command_in(&self.place).args(line).args(self.flags()).args(flags);
        Running::of(command, &self.place)
    }

    fn detach(&self) -> Finished {
        let [_, dir, path] = self.flags();
        let detached = command_in(&self.place).args(["stamp", "detach", &dir, &path]).succeed(SOON);
        detached.unwrap_or_else(|error| panic!("detach: {error}"))
    }

    /// What is pinned here, as files below it.
    fn pinned(&self) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if is_folder {
                    folders.push(entry.path());
                } else {
                    found.insert(entry.path());
                }
            }
        }
        found
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        self.detach();
        fs::remove_dir_all(&self.path).ok();
    }
}

/// Ten packets from a session of their own.
fn asked(cable: &Cable) -> [u64; 3] {
    let line = ["-c", "10", "-i", "1ms", "-w", "0.2", "--reflector-mode", "stateful"];
    packets(&measured(cable.near.place(), cable.far.addresses[0], &line))
}

/// A sender of a thousand packets a second and what it measured so far.
fn stream(cable: &Cable, count: &str) -> Running {
    let (to, port) = (cable.far.addresses[0].to_string(), PORT.to_string());
    let words = ["send", "eth0", &to, "-s", "0", "-d", &port, "-i", "1ms", "-c", count];
    let more = ["--backend", "bpf", "-o", "json", "--listen", "0.0.0.0:8080"];
    Running::start(cable.near.place(), &[&words[..], &more].concat())
}

fn sent(stream: &Running) -> u64 {
    stream.show("/targets")[0]["packets"]["sent"].as_u64().unwrap_or(0)
}

#[test]
#[ignore = "root: needs network namespaces"]
fn no_packet_is_missed_while_a_pinned_reflector_is_killed_and_started_anew() {
    let cable = Cable::new();
    let pins = Pins::new("killed", &cable);
    let first = pins.reflect(&[]);
    let stream = stream(&cable, "2500");
    wait_until("packets", SOON, || sent(&stream) > 200).unwrap_or_else(|e| panic!("{e}"));
    first.kill();
    let alone = sent(&stream);
    wait_until("packets without it", SOON, || sent(&stream) > alone + 300)
        .unwrap_or_else(|e| panic!("{e}"));
    let mut second = pins.reflect(&[]);
    second.wait_for_log("lease.adopted");
    let told: Value = stream.end().json().unwrap_or_else(|error| panic!("{error}"));
    let target = &told["targets"][0];
    assert_eq!(packets(target), [2500, 2500, 0], "{target}");
    let after = second.summary();
    let session = after["sessions"].as_array().and_then(|all| all.first().cloned());
    let session = session.unwrap_or_else(|| panic!("the session goes on: {after}"));
    assert_eq!(
        (&session["received"], &session["transmitted"]),
        (&2500.into(), &2500.into()),
        "{after}"
    );
    assert_eq!(session["lost_forward"], 0, "{after}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_lease_that_nobody_renews_ends_the_answers_and_nothing_else() {
    let cable = Cable::new();
    let pins = Pins::new("lease", &cable);
    let reflector = pins.reflect(&["--lease", "1500ms"]);
    assert_eq!(asked(&cable), [10, 10, 0]);
    let attached = tcx_programs(&cable.far.device, "ingress");
    reflector.kill();
    assert_eq!(asked(&cable), [10, 10, 0], "it goes on for as long as its lease");
    wait_until("end of the lease", SOON, || asked(&cable) == [10, 0, 10])
        .unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(tcx_programs(&cable.far.device, "ingress"), attached, "inert, but there");
    // Another reflector gets what the programs let pass now.
    let port = PORT.to_string();
    let words = ["reflect", "eth0", "-p", &port, "-o", "json", "--backend", "socket"];
    let socket = Running::start(cable.far.place(), &words);
    assert_eq!(asked(&cable), [10, 10, 0]);
    assert_eq!(socket.summary()["paths"]["socket"]["replies"], 10);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn detach_leaves_no_link_no_map_and_no_pin() {
    let cable = Cable::new();
    let pins = Pins::new("detach", &cable);
    let before = held(&cable);
    assert_eq!(before, NOTHING);
    let reflector = pins.reflect(&[]);
    let objects = reflector.held();
    assert_eq!(held(&cable).map(|programs| programs.len()), [1, 1]);
    assert!(pins.pinned().len() > 2, "maps and two links: {:?}", pins.pinned());
    drop(reflector.stop());
    assert!(objects.iter().any(|object: &Object| object.exists()), "pins hold them");
    assert_eq!(asked(&cable), [10, 10, 0], "SIGTERM leaves it answering");
    let told = pins.detach().text();
    assert!(told.starts_with("2 programs detached"), "{told}");
    assert_eq!(held(&cable), before);
    assert_eq!(pins.pinned(), BTreeSet::new());
    assert_gone(&objects);
    assert_eq!(asked(&cable), [10, 0, 10]);
    let again = pins.detach().text();
    assert!(again.starts_with("0 programs detached"), "{again}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn without_pins_a_kill_takes_everything_along() {
    let cable = Cable::new();
    let port = PORT.to_string();
    let words = ["reflect", "eth0", "-p", &port, "-o", "json", "--backend", "bpf"];
    let reflector = Running::start(cable.far.place(), &words);
    assert_eq!(asked(&cable), [10, 10, 0]);
    let objects = reflector.held();
    reflector.kill();
    assert_gone(&objects);
    assert_eq!(held(&cable), NOTHING);
}

fn held(cable: &Cable) -> [Vec<u32>; 2] {
    ["ingress", "egress"].map(|side| tcx_programs(&cable.far.device, side))
}

const NOTHING: [Vec<u32>; 2] = [Vec::new(), Vec::new()];
