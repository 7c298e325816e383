//! One writer: an advisory lock on a file or directory that ends with its process.
//!
//! flock(2) works on directories of a bpffs too, and across containers that share the mount,
//! because the lock belongs to the inode.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, major, minor, open};
use rustix::io::Errno;
use thiserror::Error;

/// An exclusive lock; dropping it releases it.
#[derive(Debug)]
pub struct Lock {
    descriptor: OwnedFd,
}

/// Why a lock was not taken.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum LockError {
    /// Somebody else holds it.
    #[error("{}: locked by {}; stop it first, or wait", path.display(), holder_text(*holder))]
    Held {
        /// What was to be locked.
        path: PathBuf,
        /// Process id of the holder, if it is visible in our pid namespace.
        holder: Option<u32>,
    },
    /// Nothing is at that path.
    #[error("{}: no such file or directory; create it first", path.display())]
    NotFound {
        /// The path.
        path: PathBuf,
    },
    /// The path may not be opened.
    #[error("{}: permission denied; run as the owner of the directory", path.display())]
    NotPermitted {
        /// The path.
        path: PathBuf,
    },
    /// Locking failed for another reason.
    #[error("{}: cannot be locked: {source}; choose a path on a local file system", path.display())]
    Failed {
        /// The path.
        path: PathBuf,
        /// The error number.
        source: io::Error,
    },
}

impl LockError {
    fn new(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NOENT => Self::NotFound { path },
            Errno::ACCESS | Errno::PERM => Self::NotPermitted { path },
            _ => Self::Failed { path, source: errno.into() },
        }
    }
}

impl Lock {
    /// Takes the lock or fails at once.
    pub fn acquire(path: impl AsRef<Path>) -> Result<Self, LockError> {
        let path = path.as_ref();
        let descriptor = open_for_lock(path)?;
        match flock(&descriptor, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { descriptor }),
            Err(Errno::WOULDBLOCK) => {
                Err(LockError::Held { path: path.to_owned(), holder: holder_of(&descriptor) })
            }
            Err(errno) => Err(LockError::new(path, errno)),
        }
    }
}

impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// Process id of whoever holds the lock at `path`; `None` if nobody whom we can see.
///
/// Does not touch the lock.
pub fn holder(path: impl AsRef<Path>) -> Result<Option<u32>, LockError> {
    Ok(holder_of(&open_for_lock(path.as_ref())?))
}

/// Non-blocking, so that a FIFO in this place is no trap.
fn open_for_lock(path: &Path) -> Result<OwnedFd, LockError> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    open(path, flags, Mode::empty()).map_err(|errno| LockError::new(path, errno))
}

/// The holder is a hint for people: not knowing it is no error.
fn holder_of(locked: &OwnedFd) -> Option<u32> {
    let status = fstat(locked).ok()?;
    let (major, minor) = (major(status.st_dev), minor(status.st_dev));
    let identity = format!("{major:02x}:{minor:02x}:{}", status.st_ino);
    holder_in(&fs::read_to_string(LOCKS).ok()?, &identity)
}

/// Finds `1: FLOCK  ADVISORY  WRITE 1234 00:1b:5678 0 EOF`; lines with `->` are waiting.
fn holder_in(locks: &str, identity: &str) -> Option<u32> {
    locks.lines().find_map(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let kind = fields.next()?;
        let owner = fields.nth(2)?;
        (kind == "FLOCK" && fields.next()? == identity).then(|| owner.parse().ok())?
    })
}

fn holder_text(holder: Option<u32>) -> String {
    holder.map_or_else(
        || "a process that is not visible here".to_owned(),
        |pid| format!("process {pid}"),
    )
}

const LOCKS: &str = "/proc/locks";

#[cfg(test)]
mod tests;
