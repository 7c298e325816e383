//! One watched directory, existing or awaited.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::inotify::{WatchFlags, add_watch};
use rustix::io::Errno;

use super::{DirectoryEvent, WatchError};
use crate::netns::Netns;

/// A directory in which namespaces are looked for.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The inotify watch on the directory or on its nearest parent that exists.
    pub(super) watch: Option<i32>,
    /// Names that the caller knows of.
    reported: BTreeSet<OsString>,
    /// Whether the caller knows that the names cannot all be looked at.
    overrun: bool,
}

impl Directory {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, watch: None, reported: BTreeSet::new(), overrun: false }
    }

    /// Puts the watch on the directory, or on its nearest parent that exists.
    pub(super) fn watch(&mut self, inotify: &OwnedFd) -> Result<(), WatchError> {
        for _attempt in 0..ATTEMPTS {
            let place = self.watch_nearest(inotify)?;
            // The next component may have come into being before its parent was watched.
            if place.is_none_or(|place| !next_component(&self.path, &place).is_dir()) {
                break;
            }
        }
        Ok(())
    }

    /// Drops a name and tells the caller if it knew it.
    pub(super) fn forget(&mut self, name: &OsStr) -> Option<DirectoryEvent> {
        let name = self.reported.take(name)?;
        Some(DirectoryEvent::Removed { directory: self.path.clone(), name })
    }

    /// Compares what is there with what the caller knows.
    pub(super) fn list(&mut self) -> Vec<DirectoryEvent> {
        let Some(names) = self.names() else {
            let told = std::mem::replace(&mut self.overrun, true);
            return if told { Vec::new() } else { vec![DirectoryEvent::Overrun] };
        };
        self.overrun = false;
        let gone: Vec<_> = self.reported.difference(&names).cloned().collect();
        let mut events: Vec<_> = gone.iter().filter_map(|name| self.forget(name)).collect();
        for name in names {
            if !self.reported.contains(&name) && Netns::open(self.path.join(&name)).is_ok() {
                self.reported.insert(name.clone());
                events.push(DirectoryEvent::Created { directory: self.path.clone(), name });
            }
        }
        events
    }

    /// Watches the directory or the nearest parent, which it returns.
    fn watch_nearest(&mut self, inotify: &OwnedFd) -> Result<Option<PathBuf>, WatchError> {
        self.watch = None;
        for place in self.path.ancestors() {
            let place = if place.as_os_str().is_empty() { Path::new(".") } else { place };
            match add_watch(inotify, place, WATCHED) {
                Ok(watch) => {
                    self.watch = Some(watch);
                    return Ok((place != self.path).then(|| place.to_owned()));
                }
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                Err(errno) => {
                    let path = place.to_owned();
                    return Err(WatchError::Watch { path, source: errno.into() });
                }
            }
        }
        Ok(None)
    }

    /// The names in it, none if it does not exist; `None` if they cannot all be looked at.
    fn names(&self) -> Option<BTreeSet<OsString>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if is_absent(&error) => return Some(BTreeSet::new()),
            Err(_unreadable) => return None,
        };
        let names = entries.take(MAX_NAMES + 1).map(|entry| entry.ok().map(|e| e.file_name()));
        names.collect::<Option<BTreeSet<_>>>().filter(|names| names.len() <= MAX_NAMES)
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// What must come into being below `place` on the way to `path`.
fn next_component(path: &Path, place: &Path) -> PathBuf {
    let below = path.strip_prefix(place).unwrap_or(path);
    below.components().next().map_or_else(PathBuf::new, |component| place.join(component))
}

/// What concerns the names in a directory, and its own end.
const WATCHED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::DELETE_SELF)
    .union(WatchFlags::MOVE_SELF)
    .union(WatchFlags::ONLYDIR);

/// Each name may cost a look at its file; a node has some hundred namespaces.
const MAX_NAMES: usize = 8192;

/// A directory that comes and goes faster than it can be watched is left to the next event.
const ATTEMPTS: u32 = 8;
