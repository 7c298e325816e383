//! Network namespaces: opening them safely and running code inside.
//!
//! A [`Netns`] proves that its descriptor is a network namespace. It keeps the namespace alive, so
//! callers drop it as soon as the visit is over. Nothing here creates or removes namespaces.

use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Component, Path, PathBuf};
use std::thread;

use rustix::fs::{CWD, Mode, OFlags, fstat, fstatfs, open, openat};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use thiserror::Error;

/// An open network namespace.
#[derive(Debug)]
pub struct Netns {
    descriptor: OwnedFd,
    inode: u64,
}

/// Why a namespace could not be opened or entered.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetnsError {
    /// Nothing is at that path.
    #[error("{}: no such file; check the path, or whether the pod is still running", path.display())]
    NotFound {
        /// The path as given.
        path: PathBuf,
    },
    /// The path may not be opened.
    #[error(
        "{}: permission denied; run as root, and with CAP_SYS_PTRACE for a /proc path",
        path.display()
    )]
    NotPermitted {
        /// The path as given.
        path: PathBuf,
    },
    /// Something else is at that path.
    #[error(
        "{}: not a network namespace; give a file below /run/netns or /proc/PID/ns/net",
        path.display()
    )]
    NotNetns {
        /// The path as given.
        path: PathBuf,
    },
    /// The path could not be opened for another reason.
    #[error("{}: {source}", path.display())]
    Open {
        /// The path as given.
        path: PathBuf,
        /// The error number.
        source: io::Error,
    },
    /// The namespace may not be entered.
    #[error("a network namespace cannot be entered: the process needs CAP_SYS_ADMIN")]
    EnterNotPermitted,
    /// Entering failed for another reason.
    #[error(
        "a network namespace cannot be entered: {source}; its thread or descriptor was refused"
    )]
    Enter {
        /// The error number.
        source: io::Error,
    },
}

impl NetnsError {
    /// Value of a `reason` label; the set is closed.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotFound { .. } => "not_found",
            Self::NotPermitted { .. } => "not_permitted",
            Self::NotNetns { .. } => "not_a_namespace",
            Self::Open { .. } => "open",
            Self::EnterNotPermitted => "enter_not_permitted",
            Self::Enter { .. } => "enter",
        }
    }

    fn open(path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        match errno {
            Errno::NOENT | Errno::NOTDIR => Self::NotFound { path },
            Errno::PERM | Errno::ACCESS => Self::NotPermitted { path },
            Errno::LOOP => Self::NotNetns { path },
            _ => Self::Open { path, source: errno.into() },
        }
    }

    fn enter(errno: Errno) -> Self {
        match errno {
            Errno::PERM => Self::EnterNotPermitted,
            _ => Self::Enter { source: errno.into() },
        }
    }
}

impl Netns {
    /// Opens the namespace file at `path`.
    ///
    /// The last component is never followed if it is a link, except in procfs, whose links to
    /// namespaces are no paths. Directories on the way are the caller's word and are followed:
    /// `/var/run` is a link on most systems.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, NetnsError> {
        let path = path.as_ref();
        let failed = |errno| NetnsError::open(path, errno);
        let (directory, name) = split(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = open(directory, flags, Mode::empty()).map_err(failed)?;
        let follow = fstatfs(&directory).map_err(failed)?.f_type == PROCFS;
        // Looked at through O_PATH first: opening a FIFO or a device has effects of its own.
        let mut flags = OFlags::PATH | OFlags::CLOEXEC;
        flags.set(OFlags::NOFOLLOW, !follow);
        let found = openat(&directory, name, flags, Mode::empty()).map_err(failed)?;
        if fstatfs(&found).map_err(failed)?.f_type != NSFS {
            return Err(NetnsError::NotNetns { path: path.to_owned() });
        }
        Self::verified(reopen(&found).map_err(failed)?, path)
    }

    /// Opens a namespace by name below `/run/netns`, or by path if the text has a slash.
    pub fn resolve(name_or_path: impl AsRef<OsStr>) -> Result<Self, NetnsError> {
        Self::open(path_of(name_or_path.as_ref()))
    }

    /// Opens the namespace of the calling thread.
    pub fn current() -> Result<Self, NetnsError> {
        Self::open("/proc/thread-self/ns/net")
    }

    /// Inode number, which names the namespace on this machine while it lives.
    pub const fn inode(&self) -> u64 {
        self.inode
    }

    /// Runs `visit` inside the namespace and waits for it.
    ///
    /// It runs on a thread that lives for this one visit, so there is nothing to restore: no
    /// failure or panic can leave another task in the wrong namespace. A panic in `visit` goes on
    /// in the caller. The thread costs 15 to 40 µs where moving a kept one there and back
    /// costs 1 µs, which is little beside the milliseconds that a visit takes to load its programs.
    pub fn within<T: Send>(&self, visit: impl FnOnce() -> T + Send) -> Result<T, NetnsError> {
        thread::scope(|scope| {
            let visitor = thread::Builder::new().name(VISITOR.into());
            let handle = visitor
                .spawn_scoped(scope, || self.enter().map(|()| visit()))
                .map_err(|source| NetnsError::Enter { source })?;
            handle.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    fn enter(&self) -> Result<(), NetnsError> {
        move_into_link_name_space(self.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(NetnsError::enter)
    }

    fn verified(descriptor: OwnedFd, path: &Path) -> Result<Self, NetnsError> {
        if namespace_kind(descriptor.as_fd()) != Some(libc::CLONE_NEWNET) {
            return Err(NetnsError::NotNetns { path: path.to_owned() });
        }
        let status = fstat(&descriptor).map_err(|errno| NetnsError::open(path, errno))?;
        Ok(Self { descriptor, inode: status.st_ino })
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The path that [`Netns::resolve`] opens for this text.
pub fn path_of(name_or_path: &OsStr) -> PathBuf {
    if name_or_path.as_encoded_bytes().contains(&b'/') {
        PathBuf::from(name_or_path)
    } else {
        Path::new(NAMED).join(name_or_path)
    }
}

fn split(path: &Path) -> Result<(&Path, &OsStr), NetnsError> {
    let not_netns = || NetnsError::NotNetns { path: path.to_owned() };
    let Some(Component::Normal(name)) = path.components().next_back() else {
        return Err(not_netns());
    };
    let directory = path.parent().ok_or_else(not_netns)?;
    let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    Ok((directory, name))
}

/// Turns a descriptor that only names a file into one that can be entered, without a second
/// look-up of the path that someone could have changed meanwhile.
fn reopen(found: &OwnedFd) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/thread-self/fd/{}", found.as_raw_fd());
    openat(CWD, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

fn namespace_kind(descriptor: BorrowedFd<'_>) -> Option<libc::c_int> {
    // SAFETY: NS_GET_NSTYPE takes no argument and writes no memory; the descriptor is borrowed and
    // therefore open.
    let kind = unsafe { libc::ioctl(descriptor.as_raw_fd(), NS_GET_NSTYPE) };
    (kind >= 0).then_some(kind)
}

/// Where iproute2 and the container runtimes keep named namespaces.
pub const NAMED: &str = "/run/netns";

const VISITOR: &str = "netns-visit";
const NSFS: rustix::fs::FsWord = libc::NSFS_MAGIC as rustix::fs::FsWord;
const PROCFS: rustix::fs::FsWord = libc::PROC_SUPER_MAGIC as rustix::fs::FsWord;

/// `_IO(0xb7, 0x3)` of `linux/nsfs.h`, since kernel 4.11; libc does not have it.
const NS_GET_NSTYPE: libc::c_ulong = 0xb703;

#[cfg(test)]
mod tests;
