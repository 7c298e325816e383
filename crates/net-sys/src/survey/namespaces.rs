//! The namespace files that were found, and when to look behind them.
//!
//! A new namespace is empty: its devices come a moment later and tell nobody outside. It is
//! therefore looked at again at growing intervals while it is young. Pure but for the clock that
//! the caller brings.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::link::Nsid;

/// Namespaces other than ours by inode number, and their files.
#[derive(Debug)]
pub(super) struct Namespaces {
    own: u64,
    known: BTreeMap<u64, Known>,
    inodes: HashMap<PathBuf, u64>,
}

#[derive(Debug)]
struct Known {
    /// Its files, in the order in which they were found; the first one stands for it.
    paths: Vec<PathBuf>,
    nsid: Option<Nsid>,
    next_look: Option<Instant>,
    looks: u32,
}

impl Namespaces {
    /// Starts with none; `own` is the inode number of our namespace.
    pub(super) fn new(own: u64) -> Self {
        Self { own, known: BTreeMap::new(), inodes: HashMap::new() }
    }

    /// Takes in a file; returns the namespace that has none any more because of it.
    pub(super) fn file_found(&mut self, path: &Path, inode: u64, now: Instant) -> Option<u64> {
        if self.inodes.get(path) == Some(&inode) {
            return None;
        }
        let replaced = self.file_gone(path);
        if inode != self.own {
            self.inodes.insert(path.to_owned(), inode);
            let known = self.known.entry(inode).or_insert_with(|| Known::new(now));
            known.paths.push(path.to_owned());
        }
        replaced
    }

    /// Drops a file; returns the namespace that has none any more because of it.
    pub(super) fn file_gone(&mut self, path: &Path) -> Option<u64> {
        let inode = self.inodes.remove(path)?;
        let known = self.known.get_mut(&inode)?;
        known.paths.retain(|other| other != path);
        if !known.paths.is_empty() {
            return None;
        }
        self.known.remove(&inode);
        Some(inode)
    }

    /// Looks at a namespace as soon as possible, and as often as at a new one.
    pub(super) fn look_soon(&mut self, inode: u64, now: Instant) {
        if let Some(known) = self.known.get_mut(&inode) {
            known.next_look = Some(now);
            known.looks = 0;
        }
    }

    /// The namespaces whose time has come, `limit` at most; their next look is set.
    pub(super) fn due(&mut self, now: Instant, limit: usize) -> Vec<u64> {
        let is_due = |known: &Known| known.next_look.is_some_and(|at| at <= now);
        let due = self.known.iter_mut().filter(|(_, known)| is_due(known));
        due.take(limit)
            .map(|(&inode, known)| {
                known.looked(now);
                inode
            })
            .collect()
    }

    pub(super) fn set_nsid(&mut self, inode: u64, nsid: Option<Nsid>) {
        if let Some(known) = self.known.get_mut(&inode) {
            known.nsid = nsid;
        }
    }

    /// The id is free for another namespace.
    pub(super) fn forget_nsid(&mut self, nsid: Nsid) {
        for known in self.known.values_mut() {
            known.nsid = known.nsid.filter(|&id| id != nsid);
        }
    }

    /// When the next look is due.
    pub(super) fn next_look(&self) -> Option<Instant> {
        self.known.values().filter_map(|known| known.next_look).min()
    }

    /// Whether a look has been put off for too long.
    pub(super) fn is_overdue(&self, now: Instant) -> bool {
        self.next_look().is_some_and(|at| at + PATIENCE < now)
    }

    pub(super) fn by_nsid(&self, nsid: Nsid) -> Option<u64> {
        let mut all = self.known.iter();
        all.find(|(_, known)| known.nsid == Some(nsid)).map(|(&inode, _)| inode)
    }

    pub(super) fn nsid(&self, inode: u64) -> Option<Nsid> {
        self.known.get(&inode)?.nsid
    }

    pub(super) fn path(&self, inode: u64) -> Option<&Path> {
        self.known.get(&inode)?.paths.first().map(PathBuf::as_path)
    }

    pub(super) fn inodes(&self) -> Vec<u64> {
        self.known.keys().copied().collect()
    }

    /// One file of each namespace whose id is not known.
    pub(super) fn unidentified(&self) -> Vec<(u64, PathBuf)> {
        let unknown = self.known.iter().filter(|(_, known)| known.nsid.is_none());
        unknown.filter_map(|(&inode, known)| Some((inode, known.paths.first()?.clone()))).collect()
    }

    /// All files.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.inodes.keys().map(PathBuf::as_path)
    }
}

impl Known {
    const fn new(now: Instant) -> Self {
        Self { paths: Vec::new(), nsid: None, next_look: Some(now), looks: 0 }
    }

    /// Sets the time of the next look; a namespace that is no longer young has none.
    fn looked(&mut self, now: Instant) {
        let pause = FIRST_PAUSE * 2_u32.pow(self.looks);
        self.looks += 1;
        self.next_look = (self.looks < LOOKS).then(|| now + pause);
        self.looks = self.looks.min(LOOKS);
    }
}

/// How long events may come before a look.
const PATIENCE: Duration = Duration::from_millis(100);

const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// With pauses that double, the last look is 20 s after the first; attaching a pod takes a few.
const LOOKS: u32 = 11;

#[cfg(test)]
mod tests;
