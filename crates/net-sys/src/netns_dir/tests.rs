use std::fs;
use std::path::Path;

use rustix::mount::{UnmountFlags, mount_bind, unmount};

use super::*;
use crate::testing::{eventually, with_private_mounts};

/// Does what a container runtime does: a file first, the namespace over it later.
fn mount_namespace(path: &Path) {
    fs::write(path, "").unwrap();
    mount_bind("/proc/thread-self/ns/net", path).unwrap();
}

fn unmount_namespace(path: &Path) {
    unmount(path, UnmountFlags::DETACH).unwrap();
    fs::remove_file(path).unwrap();
}

fn next(watch: &mut DirectoryWatch) -> DirectoryEvent {
    eventually("a directory event", || watch.poll(Duration::from_millis(100)).unwrap())
}

/// Everything that is to be reported now.
fn settled(watch: &mut DirectoryWatch) -> Vec<DirectoryEvent> {
    std::iter::from_fn(|| watch.poll(Duration::ZERO).unwrap()).take(100).collect()
}

fn created(directory: &Path, name: &str) -> DirectoryEvent {
    DirectoryEvent::Created { directory: directory.to_owned(), name: name.into() }
}

fn removed(directory: &Path, name: &str) -> DirectoryEvent {
    DirectoryEvent::Removed { directory: directory.to_owned(), name: name.into() }
}

#[test]
#[ignore = "root: mounts namespaces"]
fn a_name_is_reported_once_a_namespace_is_behind_it() {
    with_private_mounts(|| {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pod");
        let mut watch = DirectoryWatch::open([place.path()]).unwrap();
        fs::write(&path, "").unwrap();
        assert_eq!(settled(&mut watch), []);
        mount_bind("/proc/thread-self/ns/net", &path).unwrap();
        assert_eq!(next(&mut watch), created(place.path(), "pod"));
        unmount_namespace(&path);
        assert_eq!(next(&mut watch), removed(place.path(), "pod"));
        assert_eq!(settled(&mut watch), []);
    });
}

#[test]
#[ignore = "root: mounts namespaces"]
fn a_mount_that_ended_another_wait_is_not_forgotten() {
    with_private_mounts(|| {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pod");
        fs::write(&path, "").unwrap();
        let mut watch = DirectoryWatch::open([place.path()]).unwrap();
        assert_eq!(settled(&mut watch), []);
        mount_bind("/proc/thread-self/ns/net", &path).unwrap();
        watch.wait_beside([], Duration::ZERO).unwrap();
        assert_eq!(settled(&mut watch), [created(place.path(), "pod")]);
        unmount_namespace(&path);
    });
}

#[test]
#[ignore = "root: mounts namespaces"]
fn namespaces_that_are_already_there_come_first() {
    with_private_mounts(|| {
        let place = tempfile::tempdir().unwrap();
        mount_namespace(&place.path().join("old"));
        fs::write(place.path().join("file"), "").unwrap();
        let mut watch = DirectoryWatch::open([place.path()]).unwrap();
        assert_eq!(settled(&mut watch), [created(place.path(), "old")]);
        unmount_namespace(&place.path().join("old"));
    });
}

#[test]
#[ignore = "root: mounts namespaces"]
fn a_name_that_is_used_again_is_removed_and_created() {
    with_private_mounts(|| {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("pod");
        mount_namespace(&path);
        let mut watch = DirectoryWatch::open([place.path()]).unwrap();
        assert_eq!(settled(&mut watch), [created(place.path(), "pod")]);
        unmount_namespace(&path);
        mount_namespace(&path);
        let expected = [removed(place.path(), "pod"), created(place.path(), "pod")];
        assert_eq!(settled(&mut watch), expected);
        unmount_namespace(&path);
    });
}

#[test]
#[ignore = "root: mounts namespaces"]
fn a_directory_may_come_later_and_go_and_come_again() {
    with_private_mounts(|| {
        let place = tempfile::tempdir().unwrap();
        let directory = place.path().join("run/netns");
        let path = directory.join("pod");
        let mut watch = DirectoryWatch::open([&directory]).unwrap();
        for _round in 0..3 {
            assert_eq!(settled(&mut watch), []);
            fs::create_dir_all(&directory).unwrap();
            mount_namespace(&path);
            assert_eq!(next(&mut watch), created(&directory, "pod"));
            unmount_namespace(&path);
            fs::remove_dir_all(place.path().join("run")).unwrap();
            assert_eq!(next(&mut watch), removed(&directory, "pod"));
        }
    });
}

#[test]
#[ignore = "root: mounts namespaces"]
fn two_directories_are_told_apart() {
    with_private_mounts(|| {
        let place = tempfile::tempdir().unwrap();
        let [blue, green] = ["blue", "green"].map(|name| place.path().join(name));
        fs::create_dir(&blue).unwrap();
        let mut watch = DirectoryWatch::open([&blue, &green]).unwrap();
        fs::create_dir(&green).unwrap();
        mount_namespace(&green.join("pod"));
        assert_eq!(next(&mut watch), created(&green, "pod"));
        mount_namespace(&blue.join("pod"));
        assert_eq!(next(&mut watch), created(&blue, "pod"));
        unmount_namespace(&green.join("pod"));
        unmount_namespace(&blue.join("pod"));
    });
}

#[test]
fn hostile_files_are_never_reported() {
    let place = tempfile::tempdir().unwrap();
    let mut watch = DirectoryWatch::open([place.path()]).unwrap();
    let at = |name: &str| place.path().join(name);
    fs::write(at("file"), "").unwrap();
    fs::create_dir(at("directory")).unwrap();
    std::os::unix::fs::symlink("/proc/self/ns/net", at("link")).unwrap();
    assert_eq!(settled(&mut watch), []);
    fs::remove_file(at("link")).unwrap();
    assert_eq!(settled(&mut watch), []);
}

#[test]
fn a_waker_ends_the_wait() {
    let place = tempfile::tempdir().unwrap();
    let mut watch = DirectoryWatch::open([place.path()]).unwrap();
    watch.waker().wake();
    assert_eq!(watch.poll(Duration::from_secs(10)).unwrap(), Some(DirectoryEvent::Woken));
    assert_eq!(watch.poll(Duration::ZERO).unwrap(), None);
}

#[test]
fn a_flood_of_files_is_survived_and_leaves_no_watch_behind() {
    let place = tempfile::tempdir().unwrap();
    let directory = place.path().join("netns");
    let mut watch = DirectoryWatch::open([&directory]).unwrap();
    fs::create_dir(&directory).unwrap();
    for number in 0..2000 {
        fs::write(directory.join(number.to_string()), "").unwrap();
    }
    assert_eq!(settled(&mut watch), []);
    let info = format!("/proc/self/fdinfo/{}", std::os::fd::AsRawFd::as_raw_fd(&watch.inotify));
    let watches = fs::read_to_string(info).unwrap();
    assert_eq!(watches.lines().filter(|line| line.starts_with("inotify wd")).count(), 1);
}

#[test]
fn more_names_than_a_node_can_have_are_one_overrun() {
    let place = tempfile::tempdir().unwrap();
    for number in 0..=8192 {
        fs::write(place.path().join(number.to_string()), "").unwrap();
    }
    let mut watch = DirectoryWatch::open([place.path()]).unwrap();
    assert_eq!(next(&mut watch), DirectoryEvent::Overrun);
    fs::write(place.path().join("one more"), "").unwrap();
    assert_eq!(settled(&mut watch), []);
    fs::remove_file(place.path().join("one more")).unwrap();
    fs::remove_file(place.path().join("0")).unwrap();
    assert_eq!(settled(&mut watch), []);
    fs::write(place.path().join("again"), "").unwrap();
    assert_eq!(next(&mut watch), DirectoryEvent::Overrun);
}
