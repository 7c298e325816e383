//! What the kernel holds for a process, and what stands on a device.

use std::collections::BTreeSet;
use std::fs;

use testkit::Device;
use testkit::proc::{Command, Process, wait_until};

use crate::binary::SOON;

/// One BPF object by its number. The kernel gives a number again only after two billion others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Object {
    kind: &'static str,
    number: u32,
}

impl Object {
    /// Whether it still exists.
    ///
    /// # Panics
    ///
    /// If bpftool cannot be run.
    pub fn exists(self) -> bool {
        let number = self.number.to_string();
        let found =
            Command::new("bpftool").args(["-j", self.kind, "show", "id", &number]).run(SOON);
        let found = found.unwrap_or_else(|error| panic!("bpftool: {error}"));
        found.status.success()
    }
}

/// Programs, maps and links that `process` holds open.
///
/// # Panics
///
/// If the process is gone.
pub fn held_by(process: &Process) -> BTreeSet<Object> {
    let directory = format!("/proc/{}/fdinfo", process.id());
    let entries = fs::read_dir(&directory);
    let entries = entries.unwrap_or_else(|error| panic!("{directory}: {error}"));
    entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok())
        .filter_map(|text| object(&text))
        .collect()
}

/// Waits until none of `objects` exists: the kernel frees them after a grace period.
///
/// # Panics
///
/// If one stays.
pub fn assert_gone(objects: &BTreeSet<Object>) {
    let mut left: Vec<_> = objects.iter().copied().collect();
    let gone = wait_until("end of the kernel's objects", SOON, || {
        left.retain(|object| object.exists());
        left.is_empty()
    });
    gone.unwrap_or_else(|error| panic!("{error}: {left:?}"));
}

/// What stands on a device: queueing disciplines, filters and tcx programs, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    qdiscs: String,
    filters: [String; 2],
    tcx: [Vec<u32>; 2],
}

impl Standing {
    /// Reads it.
    ///
    /// # Panics
    ///
    /// If a program that tells it fails.
    pub fn of(device: &Device) -> Self {
        let sides = ["ingress", "egress"];
        Self {
            qdiscs: tc(device, &["qdisc", "show", "dev", device.name()]),
            filters: sides.map(|side| tc(device, &["filter", "show", "dev", device.name(), side])),
            tcx: sides.map(|side| crate::foreign::tcx_programs(device, side)),
        }
    }

    /// Text of both filter lists.
    pub fn filters(&self) -> String {
        self.filters.concat()
    }

    /// Programs on ingress and on egress, by tcx and by filter together.
    pub fn programs(&self) -> [usize; 2] {
        let [ingress, egress] = &self.filters;
        let filters = |text: &String| text.matches("direct-action").count();
        let [first, second] = &self.tcx;
        [filters(ingress) + first.len(), filters(egress) + second.len()]
    }
}

fn tc(device: &Device, words: &[&str]) -> String {
    let finished = device.place().command("tc").args(words).run(SOON);
    let finished = finished.unwrap_or_else(|error| panic!("tc: {error}"));
    finished.text()
}

fn object(fdinfo: &str) -> Option<Object> {
    let field = |name: &str| {
        let line = fdinfo.lines().find_map(|line| line.strip_prefix(name));
        line?.trim().parse().ok()
    };
    // A link's entry names its program too.
    [("link", "link_id:"), ("prog", "prog_id:"), ("map", "map_id:")]
        .into_iter()
        .find_map(|(kind, name)| field(name).map(|number| Object { kind, number }))
}
