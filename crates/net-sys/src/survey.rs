//! The devices that lead from this network namespace into others, and what lies in others alone.
//!
//! Facts only: which of them to measure, and where, is the caller's business. Host sides are found
//! by rtnetlink and matched to namespace files by id, without entering. What has no side here is
//! found through the files: when one appears, a few times while its namespace is young, when a
//! device moves there, and at each [`Survey::scan`]. Nothing that would keep a namespace alive is
//! open between two calls.
//!
//! Names of devices and files are the work of strangers. What cannot be read in one namespace is
//! counted and ends nothing.

use std::path::PathBuf;
use std::time::{Duration, Instant};

mod book;
mod change;
mod crossing;
mod error;
mod namespaces;
mod pairs;
mod tracker;
mod view;

pub use change::Change;
pub use crossing::{Crossing, Device, Key, Namespace};
pub use error::SurveyError;

use change::Changes;
use tracker::Tracker;

use crate::monitor::{self, Event, Monitor};
use crate::netns::Netns;
use crate::netns_dir::{DirectoryEvent, DirectoryWatch, WatchError};
use crate::wake::{Waker, readable};

/// Finds crossings and follows them.
///
/// Belongs to one thread, which opens and uses it in the namespace that it is about.
#[derive(Debug)]
pub struct Survey {
    directories: Vec<PathBuf>,
    monitor: Monitor,
    watch: DirectoryWatch,
    tracker: Tracker,
    waker: Waker,
    /// Whether the caller must list everything before changes mean anything.
    stale: bool,
}

/// What a survey could not see; all of it counts up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// What its event subscription could not use.
    pub events: monitor::Losses,
    /// Looks into namespaces that need CAP_SYS_ADMIN to be entered.
    pub not_entered: u64,
    /// Looks into namespaces, or directories of them, that failed for another reason.
    pub not_read: u64,
    /// Devices in other namespaces beyond those that are looked at there.
    pub surplus_devices: u64,
}

impl Survey {
    /// Subscribes to what happens in this namespace and in directories of namespace files.
    ///
    /// The directories need not exist yet. Nothing is listed before [`Survey::scan`].
    pub fn open(netns_dirs: &[PathBuf]) -> Result<Self, SurveyError> {
        let monitor = Monitor::open()?;
        let own = Netns::current()?;
        Ok(Self {
            directories: netns_dirs.to_vec(),
            monitor,
            watch: DirectoryWatch::open(netns_dirs)?,
            tracker: Tracker::open(own)?,
            waker: Waker::new().map_err(SurveyError::wait)?,
            stale: true,
        })
    }

    /// Lists everything, ordered by key; later changes are told relative to it.
    ///
    /// A namespace that cannot be read this time keeps what was known of it.
    pub fn scan(&mut self) -> Result<Vec<Crossing>, SurveyError> {
        self.stale = true;
        // Opened anew: that lists the files even if a change of theirs was never told.
        self.watch = DirectoryWatch::open(&self.directories)?;
        let files = self.files()?;
        let crossings = self.tracker.scan(&files)?;
        self.stale = false;
        Ok(crossings)
    }

    /// Waits for changes and returns all that are known then; none when time ran out.
    ///
    /// [`Change::Resync`] comes alone, and again until [`Survey::scan`] succeeds; before the first
    /// one it is the only answer, after an error it is the next.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Change>, SurveyError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if self.stale {
                return Ok(vec![Change::Resync]);
            }
            if self.waker.take() {
                return Ok(Vec::new());
            }
            let changes = self.news()?;
            if self.stale {
                continue;
            }
            let left = deadline.map_or(Duration::MAX, |at| at.duration_since(Instant::now()));
            if !changes.is_empty() || left.is_zero() {
                return Ok(changes.into_list());
            }
            // Whoever gets an error does not know what it kept from being told.
            self.sleep(left).inspect_err(|_| self.stale = true)?;
        }
    }

    /// Ends a [`Survey::wait`] from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// Inode number of the namespace that the survey is about.
    pub const fn namespace_inode(&self) -> u64 {
        self.tracker.own_inode()
    }

    /// What could not be seen so far.
    pub const fn losses(&self) -> Losses {
        Losses { events: self.monitor.losses(), ..self.tracker.losses }
    }

    /// The files that are there now.
    fn files(&mut self) -> Result<Vec<PathBuf>, SurveyError> {
        let mut files = Vec::new();
        while let Some(event) = self.watch.poll(Duration::ZERO)? {
            match event {
                DirectoryEvent::Created { directory, name } => files.push(directory.join(name)),
                DirectoryEvent::Removed { directory, name } => {
                    let path = directory.join(name);
                    files.retain(|file| *file != path);
                }
                DirectoryEvent::Overrun => self.tracker.losses.not_read += 1,
                DirectoryEvent::Woken => {}
            }
            if files.len() > MAX_FILES {
                self.tracker.losses.not_read += 1;
                break;
            }
        }
        Ok(files)
    }

    /// Takes in what happened; an error in the middle of it leaves the rest unknown.
    fn news(&mut self) -> Result<Changes, SurveyError> {
        let mut changes = Changes::default();
        let outcome = self.follow(&mut changes);
        self.stale |= outcome.is_err();
        outcome.map(|()| changes)
    }

    fn follow(&mut self, changes: &mut Changes) -> Result<(), SurveyError> {
        let mut events = Vec::new();
        for _event in 0..EVENTS_AT_ONCE {
            match self.monitor.poll(Duration::ZERO)? {
                None => break,
                Some(Event::Overrun) => self.stale = true,
                Some(event) => events.push((event, Instant::now())),
            }
        }
        self.tracker.link_events(events, changes)?;
        for _event in 0..EVENTS_AT_ONCE {
            match self.watch.poll(Duration::ZERO)? {
                None => break,
                Some(DirectoryEvent::Overrun) => self.stale = true,
                Some(event) => self.tracker.file_event(event, changes),
            }
        }
        if !self.stale {
            self.tracker.settle(changes)?;
            self.tracker.look_around(changes)?;
        }
        Ok(())
    }

    /// Waits for an event, a wake-up, the next look or the end of `longest`.
    fn sleep(&mut self, longest: Duration) -> Result<(), WatchError> {
        let until_look = self.tracker.until_look(Instant::now());
        let others = [readable(&self.monitor), readable(&self.waker)];
        self.watch.wait_beside(others, longest.min(until_look))
    }
}

/// Bounds one round of reading while somebody produces events without end.
const EVENTS_AT_ONCE: usize = 4096;

/// Ends a listing that grows as fast as it is read.
const MAX_FILES: usize = 65_536;

#[cfg(test)]
mod tests;
