//! Pins: maps outlive their maker, and what is not ours is left alone.

use std::{fs, path::Path, sync::Arc};

use flow_bpf::{Error, Sizes, Tables};
use flow_model::{
    flow::Parity,
    page::{Geometry, MAGIC, Pages as _, Region, control},
};
use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;

use crate::{
    frames::{self, IPV4, UDP, ethernet, ipv4},
    lab::{Lab, SLOT, single, sizes},
};

/// A bpffs of our own, gone with the guard.
struct PinDir(TempDir);

impl PinDir {
    fn mount() -> Self {
        let dir = tempfile::tempdir().unwrap();
        rustix::mount::mount("bpf", dir.path(), "bpf", MountFlags::empty(), None).unwrap();
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn maps(&self) -> std::path::PathBuf {
        self.path().join("maps")
    }
}

impl Drop for PinDir {
    fn drop(&mut self) {
        rustix::mount::unmount(self.path(), UnmountFlags::DETACH).unwrap();
    }
}

/// Fresh tables whose control page says what the ledger would write into it.
fn signed() -> Tables {
    let tables = Tables::create(sizes()).unwrap();
    let Geometry { flow_capacity4, flow_capacity6, shards, max_edges, pair_series, flow_key } =
        tables.sizes().geometry;
    let mut pages = tables.pages().unwrap();
    for (word, value) in [
        (control::FLOW_CAPACITY4, flow_capacity4.into()),
        (control::FLOW_CAPACITY6, flow_capacity6.into()),
        (control::SHARDS, shards.into()),
        (control::MAX_EDGES, max_edges.into()),
        (control::PAIR_SERIES, pair_series.into()),
        (control::FLOW_KEY, flow_key as u64),
        (control::ABI, flow_model::page::ABI),
        (control::MAGIC, MAGIC),
    ] {
        pages.store(Region::Control, word, value);
    }
    tables
}

fn open(dir: &Path) -> Result<Tables, Error> {
    Tables::open(dir, |geometry| Sizes { geometry, ..sizes() })
}

fn frame(port: u16) -> Vec<u8> {
    ethernet(IPV4, &ipv4(UDP, &frames::udp([port, 80], &[])))
}

#[test]
#[ignore = "root: loads programs"]
fn flows_outlive_the_tables_that_were_pinned() {
    let dir = PinDir::mount();
    let lab = Lab::on(Arc::new(signed()), single(SLOT));
    lab.tables.pin(dir.path()).unwrap();
    lab.send(&frame(1));
    drop(lab);

    assert!(Tables::is_pinned(dir.path()));
    let tables = open(dir.path()).unwrap();
    assert_eq!(tables.sizes(), &sizes());
    let mut lab = Lab::on(Arc::new(tables), single(SLOT));
    lab.send(&frame(1));
    lab.send(&frame(2));
    let mut packets: Vec<_> =
        lab.flows(Parity::Even).iter().map(|flow| flow.counts.packets).collect();
    packets.sort_unstable();
    assert_eq!(packets, [1, 2], "the old flow went on and a new one came");
    lab.assert_law(Parity::Even, SLOT);
    lab.tables.clock().unwrap();
    assert_eq!(lab.flip(), Parity::Even, "a reopened grace map works");
}

#[test]
#[ignore = "root: loads programs"]
fn unpinned_tables_are_gone_and_unpinning_twice_is_no_error() {
    let dir = PinDir::mount();
    signed().pin(dir.path()).unwrap();
    for _ in 0..2 {
        Tables::unpin(dir.path()).unwrap();
        assert!(!Tables::is_pinned(dir.path()));
        assert!(open(dir.path()).is_err());
    }
}

#[test]
#[ignore = "root: loads programs"]
fn pinning_over_pins_is_refused_and_harmless() {
    let dir = PinDir::mount();
    let lab = Lab::on(Arc::new(signed()), single(SLOT));
    lab.tables.pin(dir.path()).unwrap();
    lab.send(&frame(9));
    assert!(signed().pin(dir.path()).is_err());
    let mut reopened = Lab::on(Arc::new(open(dir.path()).unwrap()), single(SLOT));
    assert_eq!(reopened.flows(Parity::Even)[0].key.src_port, 9, "still the first tables");
}

#[test]
#[ignore = "root: loads programs"]
fn a_crash_while_pinning_leaves_nothing_that_counts() {
    let dir = PinDir::mount();
    let tables = signed();
    tables.pin(dir.path()).unwrap();
    // What a crash before the last step leaves: some pins, in the unfinished folder.
    let unfinished = dir.path().join("maps_unfinished");
    fs::rename(dir.maps(), &unfinished).unwrap();
    fs::remove_file(unfinished.join("totals")).unwrap();
    assert!(!Tables::is_pinned(dir.path()));
    tables.pin(dir.path()).unwrap();
    assert!(!unfinished.exists());
    open(dir.path()).unwrap();
}

#[test]
#[ignore = "root: loads programs"]
fn foreign_pins_are_refused_and_left() {
    let dir = PinDir::mount();
    Tables::create(sizes()).unwrap().pin(dir.path()).unwrap();
    let error = open(dir.path()).unwrap_err();
    assert!(matches!(error, Error::Foreign { .. }), "no magic: {error}");
    assert!(Tables::is_pinned(dir.path()), "not ours to remove");
}

#[test]
#[ignore = "root: loads programs"]
fn a_map_of_another_shape_under_our_name_is_foreign() {
    for (left, right) in [
        ("pairs", "redo"),
        ("totals", "folded"),
        ("connection_flows", "connection_flows6"),
        ("connection_flows_0", "connection_flows6_0"),
        ("connection_flows_0", "connection_flows_1"),
        ("slots", "fragments"),
        ("events", "clock"),
    ] {
        let dir = PinDir::mount();
        signed().pin(dir.path()).unwrap();
        let maps = dir.maps();
        fs::rename(maps.join(left), maps.join("aside")).unwrap();
        fs::rename(maps.join(right), maps.join(left)).unwrap();
        fs::rename(maps.join("aside"), maps.join(right)).unwrap();
        let error = open(dir.path()).unwrap_err();
        assert!(matches!(error, Error::Foreign { .. }), "{left} is {right}: {error}");
    }
}

#[test]
#[ignore = "root: loads programs"]
fn each_missing_pin_is_named() {
    let dir = PinDir::mount();
    signed().pin(dir.path()).unwrap();
    let names: Vec<_> = fs::read_dir(dir.maps())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len(), 17 + 2 * 2, "{names:?}");
    for name in names {
        let pin = dir.maps().join(&name);
        let aside = dir.path().join("aside");
        fs::rename(&pin, &aside).unwrap();
        let error = open(dir.path()).unwrap_err().to_string();
        let map = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
        assert!(error.contains(map.trim_end_matches('_')), "{name}: {error}");
        fs::rename(&aside, &pin).unwrap();
    }
    open(dir.path()).unwrap();
}
