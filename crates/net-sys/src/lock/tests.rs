use std::process;

use rustix::fs::{CWD, FileType, mknodat};

use super::*;
use crate::testing::PinDirectory;

fn assert_exclusive(path: &Path) {
    assert_eq!(holder(path).unwrap(), None);
    let lock = Lock::acquire(path).unwrap();
    let second = Lock::acquire(path);
    let own = Some(process::id());
    assert!(matches!(second, Err(LockError::Held { holder, .. }) if holder == own), "{second:?}");
    assert_eq!(holder(path).unwrap(), own);
    drop(lock);
    drop(Lock::acquire(path).unwrap());
}

#[test]
fn a_directory_is_locked_once() {
    let place = tempfile::tempdir().unwrap();
    assert_exclusive(place.path());
}

#[test]
fn a_file_is_locked_once() {
    let place = tempfile::NamedTempFile::new().unwrap();
    assert_exclusive(place.path());
}

#[test]
#[ignore = "root: makes a directory on the bpffs"]
fn a_directory_on_a_bpffs_is_locked_once() {
    let pins = PinDirectory::create();
    assert_exclusive(pins.path());
}

#[test]
fn links_and_missing_paths_are_refused_and_a_fifo_does_not_block() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    std::os::unix::fs::symlink(place.path(), at("link")).unwrap();
    mknodat(CWD, at("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    assert!(matches!(Lock::acquire(at("link")), Err(LockError::Failed { .. })));
    assert!(matches!(Lock::acquire(at("missing")), Err(LockError::NotFound { .. })));
    drop(Lock::acquire(at("fifo")).unwrap());
}

#[test]
fn the_holder_is_found_by_device_and_inode_among_locks_of_other_kinds() {
    let locks = "1: POSIX  ADVISORY  WRITE 11 00:1b:5 0 EOF\n\
                 2: FLOCK  ADVISORY  WRITE 12 00:1b:55 0 EOF\n\
                 3: FLOCK  ADVISORY  WRITE 13 00:1b:5 0 EOF\n\
                 3: -> FLOCK  ADVISORY  WRITE 14 00:1b:6 0 EOF\n\
                 nonsense\n4: FLOCK\n";
    assert_eq!(holder_in(locks, "00:1b:5"), Some(13));
    assert_eq!(holder_in(locks, "00:1b:6"), None);
    assert_eq!(holder_in("", "00:1b:5"), None);
}

#[test]
fn the_message_names_the_holder() {
    let held = |holder| LockError::Held { path: "/p".into(), holder }.to_string();
    assert_eq!(held(Some(7)), "/p: locked by process 7; stop it first, or wait");
    assert!(held(None).contains("not visible"));
}
