//! The files and mounts under /run/netns.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use rustix::fs::{FlockOperation, flock};
use rustix::mount::{UnmountFlags, unmount};

/// Where iproute2, container runtimes and fathom look for named namespaces.
pub(super) fn directory() -> &'static Path {
    Path::new("/run/netns")
}

/// Whether the directory is missing before this process makes its first namespace, so that it
/// has to go after the last.
pub(super) fn directory_is_ours() -> bool {
    static OURS: OnceLock<bool> = OnceLock::new();
    *OURS.get_or_init(|| !directory().exists())
}

/// Removes one namespace file with its mount; one that is gone already is fine.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match unmount(path, UnmountFlags::DETACH) {
        // Invalid: a file that nothing is mounted on, as a reboot leaves it on a disk.
        Ok(()) | Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    if directory_is_ours() {
        remove_directory();
    }
    Ok(())
}

/// Removes the directory if nothing is left in it. A failure means that somebody uses it.
fn remove_directory() -> Option<()> {
    let lock = File::open(directory()).ok()?;
    // The lock iproute2 takes while it makes the directory a mount of its own.
    flock(&lock, FlockOperation::NonBlockingLockExclusive).ok()?;
    if fs::read_dir(directory()).ok()?.next().is_some() {
        return None;
    }
    drop(lock);
    // Not detached: the kernel refuses as long as any namespace is mounted below.
    unmount(directory(), UnmountFlags::empty()).ok()?;
    fs::remove_dir(directory()).ok()
}
