//! Names of network namespaces coming and going in directories such as `/run/netns`.
//!
//! A runtime creates an empty file first and mounts the namespace over it a moment later, which
//! no directory watch can see. A name is therefore reported once a namespace is really there:
//! names that are not one yet are looked at again whenever the mount table changes. Files that
//! never become a namespace are never reported. Directories may come and go themselves.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, remove_watch};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use thiserror::Error;

use crate::wake::{Waker, readable, wait};

mod directory;

use directory::Directory;

/// Something that changed in a watched directory.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DirectoryEvent {
    /// A namespace can be opened at this path.
    Created {
        /// The watched directory, as given.
        directory: PathBuf,
        /// The name in it.
        name: OsString,
    },
    /// A name that was reported as created is gone.
    Removed {
        /// The watched directory, as given.
        directory: PathBuf,
        /// The name in it.
        name: OsString,
    },
    /// Events were lost, or a directory cannot be read or has more names than are looked at.
    Overrun,
    /// A [`Waker`] was used.
    Woken,
}

/// Why directories cannot be watched.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum WatchError {
    /// The kernel gave no inotify instance.
    #[error("inotify: {source}; raise fs.inotify.max_user_instances")]
    Instance {
        /// The error number.
        source: io::Error,
    },
    /// The kernel refused a watch.
    #[error(
        "{}: cannot be watched: {source}; check its permissions and fs.inotify.max_user_watches",
        path.display()
    )]
    Watch {
        /// The directory.
        path: PathBuf,
        /// The error number.
        source: io::Error,
    },
    /// Reading events failed.
    #[error("inotify: reading events failed: {source}; open the watch again")]
    Read {
        /// The error number.
        source: io::Error,
    },
    /// The mount table cannot be watched.
    #[error("/proc/thread-self/mountinfo: {source}; mount procfs at /proc")]
    MountTable {
        /// The error number.
        source: io::Error,
    },
}

/// Watches directories for namespaces.
#[derive(Debug)]
pub struct DirectoryWatch {
    inotify: OwnedFd,
    mounts: OwnedFd,
    /// Whether mounts have changed since the directories were brought up to date.
    mounted: bool,
    directories: Vec<Directory>,
    pending: VecDeque<DirectoryEvent>,
    waker: Waker,
}

impl DirectoryWatch {
    /// Starts to watch; namespaces that are already there are reported first.
    ///
    /// A directory that does not exist is awaited.
    pub fn open(
        directories: impl IntoIterator<Item = impl Into<PathBuf>>,
    ) -> Result<Self, WatchError> {
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)
            .map_err(|errno| WatchError::Instance { source: errno.into() })?;
        let mounts =
            open("/proc/thread-self/mountinfo", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(|errno| WatchError::MountTable { source: errno.into() })?;
        let waker = Waker::new().map_err(|errno| WatchError::Instance { source: errno.into() })?;
        let directories = directories.into_iter().map(|path| Directory::new(path.into())).collect();
        let mut watch =
            Self { inotify, mounts, mounted: false, directories, pending: VecDeque::new(), waker };
        for position in 0..watch.directories.len() {
            watch.settle(position)?;
        }
        Ok(watch)
    }

    /// Waits for the next event; `None` when there was none in time.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<DirectoryEvent>, WatchError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if self.waker.take() {
                return Ok(Some(DirectoryEvent::Woken));
            }
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let left = deadline.map_or(Duration::MAX, |at| at.duration_since(Instant::now()));
            // Looked at even when no time is left, so that polling with zero makes progress.
            let waker = self.waker.clone();
            self.wait_beside([readable(&waker)], left)?;
            self.read()?;
            if std::mem::take(&mut self.mounted) {
                self.settle_stale(&vec![true; self.directories.len()])?;
            }
            if left.is_zero() && self.pending.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Ends a [`DirectoryWatch::poll`] from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Waits for events here or from one of the other sources, for a caller that has those too.
    pub(crate) fn wait_beside<const N: usize>(
        &mut self,
        others: [PollFd<'_>; N],
        timeout: Duration,
    ) -> Result<(), WatchError> {
        // The kernel marks the mount table as exceptional after a change.
        let mounts = PollFd::new(&self.mounts, PollFlags::PRI);
        let mut waits = vec![mounts, readable(&self.inotify)];
        waits.extend(others);
        wait(&mut waits, timeout).map_err(|errno| WatchError::Read { source: errno.into() })?;
        let mounted = waits.first().is_some_and(|mounts| mounts.revents().contains(PollFlags::PRI));
        drop(waits);
        // Told once for each change, so whoever asks keeps the answer.
        self.mounted |= mounted;
        Ok(())
    }

    /// Takes what inotify has and brings the directories concerned up to date.
    fn read(&mut self) -> Result<(), WatchError> {
        let mut stale = vec![false; self.directories.len()];
        for change in self.changes()? {
            self.apply(&change, &mut stale);
        }
        self.settle_stale(&stale)
    }

    fn changes(&self) -> Result<Vec<Change>, WatchError> {
        let mut buffer = [MaybeUninit::uninit(); EVENT_BUFFER];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut changes = Vec::new();
        // What the reader still holds in its buffer would be lost with it.
        while changes.len() < EVENTS_AT_ONCE || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => changes.push(Change::new(&event)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => {
                    return Err(WatchError::Read { source: errno.into() });
                }
            }
        }
        Ok(changes)
    }

    fn apply(&mut self, change: &Change, stale: &mut [bool]) {
        if change.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            self.pending.push_back(DirectoryEvent::Overrun);
            stale.fill(true);
            return;
        }
        for (directory, stale) in self.directories.iter_mut().zip(stale) {
            if directory.watch != Some(change.watch) {
                continue;
            }
            *stale = true;
            // A name that is removed and made again within one batch is a new namespace.
            if let Some(name) = change.removed_name() {
                self.pending.extend(directory.forget(name));
            }
        }
    }

    fn settle_stale(&mut self, stale: &[bool]) -> Result<(), WatchError> {
        let positions = 0..self.directories.len();
        positions.filter(|&position| stale[position]).try_for_each(|stale| self.settle(stale))
    }

    /// Watches the right place again and reports what changed in the directory meanwhile.
    fn settle(&mut self, position: usize) -> Result<(), WatchError> {
        let directory = &mut self.directories[position];
        let before = directory.watch;
        directory.watch(&self.inotify)?;
        self.pending.extend(directory.list());
        match before {
            Some(before) if !self.watches(before) => {
                // It is gone already if its directory is.
                remove_watch(&self.inotify, before).ok();
            }
            _ => {}
        }
        Ok(())
    }

    /// inotify gives one number to all watches on one directory, so several may share it.
    fn watches(&self, watch: i32) -> bool {
        self.directories.iter().any(|directory| directory.watch == Some(watch))
    }
}

/// One inotify event, detached from the read buffer.
#[derive(Debug)]
struct Change {
    watch: i32,
    flags: ReadFlags,
    name: Option<OsString>,
}

impl Change {
    fn new(event: &inotify::Event<'_>) -> Self {
        let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
        Self { watch: event.wd(), flags: event.events(), name }
    }

    fn removed_name(&self) -> Option<&OsStr> {
        let removed = self.flags.intersects(ReadFlags::DELETE | ReadFlags::MOVED_FROM);
        self.name.as_deref().filter(|_| removed)
    }
}

const EVENT_BUFFER: usize = 16 * 1024;

/// Bounds one round of reading while somebody produces events without end.
const EVENTS_AT_ONCE: usize = 4096;

#[cfg(test)]
mod tests;
