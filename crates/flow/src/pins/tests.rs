use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::testing::{Bpffs, PATIENCE};

#[test]
fn a_folder_that_is_not_on_bpffs_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fathom/flows");
    assert!(matches!(PinDir::make(&path), Err(Error::NoBpffs(named)) if named == path));
    assert!(matches!(PinDir::find(folder.path()), Err(Error::NoBpffs(_))));
    assert!(!folder.path().join("fathom").exists(), "nothing was made");
}

#[test]
fn what_is_not_there_is_found_absent() {
    let folder = tempfile::tempdir().unwrap();
    assert!(PinDir::find(&folder.path().join("nowhere")).unwrap().is_none());
}

#[test]
fn a_path_that_the_kernel_refuses_is_told_as_it_is() {
    let path = PathBuf::from(format!("/{}", "x".repeat(300)));
    assert!(matches!(PinDir::find(&path), Err(Error::File { path: named, .. }) if named == path));
    assert!(matches!(PinDir::make(&path), Err(Error::File { .. })));
}

#[test]
#[ignore = "root: mounts a bpffs"]
fn a_bpffs_that_is_mounted_read_only_is_told_with_what_to_do() {
    let bpffs = Bpffs::mount();
    let target = bpffs.path().as_os_str();
    rustix::mount::mount_remount(target, rustix::mount::MountFlags::RDONLY, "").unwrap();
    let error = PinDir::make(&bpffs.path().join("flows")).unwrap_err();
    assert_eq!(error.exit(), crate::error::Exit::Unavailable, "{error}");
    assert!(error.to_string().contains("remount"), "{error}");
}

#[test]
#[ignore = "root: mounts a bpffs"]
fn missing_parents_are_made_for_us_alone_and_go_with_the_pins() {
    let bpffs = Bpffs::mount();
    let path = bpffs.path().join("fathom/flows");
    let pins = PinDir::make(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);
    assert!(PinDir::make(&path).is_ok(), "making it again is no error");
    assert!(PinDir::find(&path).unwrap().is_some());
    pins.remove().unwrap();
    assert!(!bpffs.path().join("fathom").exists());
    assert!(bpffs.path().is_dir(), "the mount stays");
    pins.remove().unwrap();
}

#[test]
#[ignore = "root: mounts a bpffs"]
fn a_parent_that_others_use_stays() {
    let bpffs = Bpffs::mount();
    let pins = PinDir::make(&bpffs.path().join("fathom/flows")).unwrap();
    fs::create_dir(bpffs.path().join("fathom/other")).unwrap();
    pins.remove().unwrap();
    assert!(bpffs.path().join("fathom/other").is_dir());
}

#[test]
#[ignore = "root: mounts a bpffs"]
fn pins_that_others_could_have_changed_are_not_trusted() {
    let bpffs = Bpffs::mount();
    let path = bpffs.path().join("flows");
    PinDir::make(&path).unwrap();
    for mode in [0o720, 0o702, 0o777] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = PinDir::find(&path);
        assert!(matches!(refused, Err(Error::UntrustedPins(_))), "{mode:o}: {refused:?}");
        assert!(matches!(PinDir::make(&path), Err(Error::UntrustedPins(_))), "{mode:o}");
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).unwrap();
    std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
    assert!(matches!(PinDir::find(&path), Err(Error::UntrustedPins(_))), "another owner");
}

#[test]
#[ignore = "root: mounts a bpffs"]
fn the_lock_is_had_as_soon_as_its_holder_lets_go() {
    let bpffs = Bpffs::mount();
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    let held = pins.lock(Duration::ZERO, |_| panic!("nobody holds it")).unwrap();
    let refused = pins.lock(Duration::ZERO, |_| ());
    assert!(matches!(refused, Err(Error::Lock(LockError::Held { .. }))), "{refused:?}");
    // Let go by whoever is told that somebody waits: no time has to pass.
    let mut told = None;
    pins.lock(PATIENCE, |holder| {
        told = Some(holder);
        drop(held);
    })
    .unwrap();
    assert_eq!(told, Some(Some(std::process::id())));
}

#[test]
#[ignore = "root: mounts a bpffs"]
fn only_names_of_ours_are_pins_of_links() {
    let bpffs = Bpffs::mount();
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    for name in ["7_tx", "7_rx", "8_tx_next", "x_tx", "9_up", "12", "tx_3"] {
        fs::create_dir(pins.links().join(name)).unwrap();
    }
    let mut found: Vec<_> = pins
        .pinned_links()
        .into_iter()
        .map(|(path, id)| (path.file_name().unwrap().to_str().unwrap().to_owned(), id.0))
        .collect();
    found.sort();
    let expected = [("7_rx", 7), ("7_tx", 7), ("8_tx_next", 8)];
    assert_eq!(found, expected.map(|(name, id)| (name.to_owned(), id)));
    assert_eq!(pins.link(EdgeId(7), Direction::Rx), pins.links().join("7_rx"));
}
