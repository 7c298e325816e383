//! From events to changes.
//!
//! Of all events about a device that wait at one time, the last one says what is true: the kernel
//! writes them while it holds the lock of its tables, so nothing newer can be read there. Taking
//! its word saves a query, which would have to wait for that lock while pods are being made. What
//! no event tells (the other end of a pair, where an end moved on to, other namespaces) is asked
//! for.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::book::Book;
use super::change::Changes;
use super::crossing::{crosses, is_paired};
use super::namespaces::Namespaces;
use super::pairs::Pairs;
use super::view::{Blind, View};
use super::{Crossing, Losses, SurveyError};
use crate::link::{Link, Nsid, Route};
use crate::monitor::Event;
use crate::netlink::NetlinkError;
use crate::netns::Netns;
use crate::netns_dir::DirectoryEvent;

/// What is known, and the connection to ask for more.
#[derive(Debug)]
pub(super) struct Tracker {
    route: Route,
    pub(super) own: Netns,
    book: Book,
    pub(super) namespaces: Namespaces,
    pairs: Pairs,
    todo: Todo,
    pub(super) losses: Losses,
}

/// What events left to be found out.
#[derive(Debug, Default)]
struct Todo {
    /// Namespaces that a device leads to.
    lead_to: BTreeSet<Nsid>,
    /// Whether some namespace may have got an id.
    identify: bool,
}

impl Tracker {
    /// Starts with an empty book; `own` is the namespace of the calling thread.
    pub(super) fn open(own: Netns) -> Result<Self, NetlinkError> {
        Ok(Self {
            route: Route::open()?,
            book: Book::default(),
            namespaces: Namespaces::new(own.inode()),
            own,
            pairs: Pairs::default(),
            todo: Todo::default(),
            losses: Losses::default(),
        })
    }

    /// Reads everything; `files` are all there are.
    pub(super) fn scan(&mut self, files: &[PathBuf]) -> Result<Vec<Crossing>, SurveyError> {
        let now = Instant::now();
        self.todo = Todo::default();
        // The caller compares listings itself.
        let mut changes = Changes::default();
        let links = self.route.links(None)?;
        self.scan_hosts(&links, now, &mut changes);
        self.scan_files(files, now, &mut changes);
        // What is due now is part of this very look.
        self.namespaces.due(now, usize::MAX);
        for inode in self.namespaces.inodes() {
            self.look(inode, &mut changes);
        }
        self.ask_for_peers(|_all| true, &mut changes)?;
        Ok(self.book.crossings())
    }

    /// Takes in the events of our namespace that waited, in order, with the times they came.
    pub(super) fn link_events(
        &mut self,
        events: Vec<(Event, Instant)>,
        changes: &mut Changes,
    ) -> Result<(), NetlinkError> {
        let last_words: HashMap<_, _> = events
            .iter()
            .enumerate()
            .filter_map(|(position, (event, _))| Some((device_of(event)?, position)))
            .collect();
        for (position, (event, noticed)) in events.into_iter().enumerate() {
            let last_word = device_of(&event).and_then(|ifindex| last_words.get(&ifindex));
            let outdated = last_word.is_some_and(|&last| last > position);
            match event {
                Event::LinkChanged(_) if outdated => {}
                Event::LinkChanged(link) => self.link_changed(&link, noticed, changes)?,
                Event::LinkGone { ifindex, moved_to } => {
                    self.link_gone(ifindex, moved_to, noticed, changes)?;
                }
                Event::NamespaceKnown { .. } => self.todo.identify = true,
                Event::NamespaceGone { nsid } => self.namespaces.forget_nsid(nsid),
                Event::Overrun | Event::Woken | Event::AddressesChanged { .. } => {}
            }
        }
        Ok(())
    }

    /// Takes in a change of the directories.
    pub(super) fn file_event(&mut self, event: DirectoryEvent, changes: &mut Changes) {
        match event {
            DirectoryEvent::Created { directory, name } => {
                self.file_found(directory.join(name), Instant::now(), changes);
            }
            DirectoryEvent::Removed { directory, name } => {
                let gone = self.namespaces.file_gone(&directory.join(name));
                self.namespace_gone(gone, changes);
            }
            DirectoryEvent::Overrun | DirectoryEvent::Woken => {}
        }
    }

    /// Finds out some of what events left open; the rest follows at the next call, so that the
    /// caller hears of all devices before much time is spent on each.
    pub(super) fn settle(&mut self, changes: &mut Changes) -> Result<(), NetlinkError> {
        let lead_to: Vec<_> = self.todo.lead_to.iter().copied().take(LOOKS_AT_ONCE).collect();
        let unknown = |&nsid: &Nsid| self.namespaces.by_nsid(nsid).is_none();
        if std::mem::take(&mut self.todo.identify) || lead_to.iter().any(unknown) {
            self.identify(Instant::now());
        }
        for nsid in lead_to {
            self.todo.lead_to.remove(&nsid);
            if let Some(inode) = self.namespaces.by_nsid(nsid) {
                self.look(inode, changes);
            }
            self.ask_for_peers(|leads_to| leads_to == nsid, changes)?;
        }
        Ok(())
    }

    /// Looks into a namespace whose time has come, if there is nothing else to tell first.
    pub(super) fn look_around(&mut self, changes: &mut Changes) -> Result<(), NetlinkError> {
        let now = Instant::now();
        let busy = !changes.is_empty() && !self.namespaces.is_overdue(now);
        if busy {
            return Ok(());
        }
        for inode in self.namespaces.due(now, 1) {
            self.look(inode, changes);
            let looked_at = self.namespaces.nsid(inode);
            self.ask_for_peers(|nsid| Some(nsid) == looked_at, changes)?;
        }
        Ok(())
    }

    /// Time until there is something to look at.
    pub(super) fn until_look(&self, now: Instant) -> Duration {
        if !self.todo.lead_to.is_empty() || self.todo.identify {
            return Duration::ZERO;
        }
        let next = self.namespaces.next_look();
        next.map_or(Duration::MAX, |at| at.duration_since(now))
    }

    pub(super) const fn own_inode(&self) -> u64 {
        self.own.inode()
    }

    fn scan_hosts(&mut self, links: &[Link], now: Instant, changes: &mut Changes) {
        let crossing = || links.iter().filter(|link| crosses(link));
        let there: BTreeSet<_> = crossing().map(|link| link.ifindex).collect();
        self.book.retain_hosts(|ifindex| there.contains(&ifindex));
        for link in crossing() {
            self.book.host_seen(link, now, changes);
        }
        self.pairs.clear();
        for link in links {
            self.pairs.seen(link);
        }
    }

    fn scan_files(&mut self, files: &[PathBuf], now: Instant, changes: &mut Changes) {
        let there: BTreeSet<_> = files.iter().map(PathBuf::as_path).collect();
        let known = self.namespaces.paths();
        let gone: Vec<_> =
            known.filter(|path| !there.contains(path)).map(ToOwned::to_owned).collect();
        for path in gone {
            let gone = self.namespaces.file_gone(&path);
            self.namespace_gone(gone, changes);
        }
        for path in files {
            self.file_found(path.clone(), now, changes);
        }
        let namespaces = &self.namespaces;
        self.book.forget_files(|said| namespaces.path(said.inode) == Some(&said.path));
    }

    fn link_changed(
        &mut self,
        link: &Link,
        noticed: Instant,
        changes: &mut Changes,
    ) -> Result<(), NetlinkError> {
        let peer = self.pairs.seen(link);
        // The other end said that it leads elsewhere, and will not say that it no longer does.
        if let Some(peer) = peer.filter(|&peer| self.book.has_host(peer)) {
            self.ask_again(peer, noticed, changes)?;
        }
        if crosses(link) {
            self.host_seen(link, noticed, changes);
        } else if is_paired(link) && link.peer_ifindex.is_none() {
            // The kernel announces the end it makes first before it joins the two.
            self.ask_again(link.ifindex, noticed, changes)?;
        } else {
            self.book.host_gone(link.ifindex, changes);
        }
        Ok(())
    }

    fn link_gone(
        &mut self,
        ifindex: u32,
        moved_to: Option<Nsid>,
        noticed: Instant,
        changes: &mut Changes,
    ) -> Result<(), NetlinkError> {
        self.book.host_gone(ifindex, changes);
        if let Some(nsid) = moved_to {
            self.moved_to(nsid, noticed);
        }
        match self.pairs.parted(ifindex) {
            Some(peer) => self.ask_again(peer, noticed, changes),
            None => Ok(()),
        }
    }

    fn host_seen(&mut self, link: &Link, noticed: Instant, changes: &mut Changes) {
        if self.book.host_seen(link, noticed, changes) {
            self.todo.lead_to.extend(link.link_netnsid);
        }
    }

    /// Asks what a device of our namespace is now.
    fn ask_again(
        &mut self,
        ifindex: u32,
        noticed: Instant,
        changes: &mut Changes,
    ) -> Result<(), NetlinkError> {
        match self.route.link(ifindex, None) {
            Ok(link) if crosses(&link) => {
                self.host_seen(&link, noticed, changes);
                Ok(())
            }
            Ok(link) => {
                self.pairs.seen(&link);
                self.book.host_gone(ifindex, changes);
                Ok(())
            }
            Err(NetlinkError::NoDevice { .. }) => {
                self.book.host_gone(ifindex, changes);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    fn moved_to(&mut self, nsid: Nsid, now: Instant) {
        match self.namespaces.by_nsid(nsid) {
            Some(inode) => self.namespaces.look_soon(inode, now),
            None => self.todo.identify = true,
        }
    }

    /// Asks for the ids of the namespaces that had none.
    fn identify(&mut self, now: Instant) {
        for (inode, path) in self.namespaces.unidentified() {
            let Ok(namespace) = Netns::open(&path) else {
                continue;
            };
            if namespace.inode() != inode {
                continue;
            }
            if let Ok(Some(nsid)) = self.route.nsid(&namespace) {
                self.namespaces.set_nsid(inode, Some(nsid));
                self.namespaces.look_soon(inode, now);
            }
        }
    }

    /// Reads the other ends that looking did not find, because there is no file or they are not
    /// there any more.
    fn ask_for_peers(
        &mut self,
        lead_to: impl Fn(Nsid) -> bool,
        changes: &mut Changes,
    ) -> Result<(), NetlinkError> {
        let now = Instant::now();
        for (ifindex, peer, nsid) in self.book.half_known(lead_to) {
            let there = self.route.link(peer, Some(nsid));
            let found = there.is_ok_and(|pod| self.book.pod_seen(ifindex, &pod, changes));
            if !found {
                self.ask_again(ifindex, now, changes)?;
            }
        }
        Ok(())
    }

    fn file_found(&mut self, path: PathBuf, now: Instant, changes: &mut Changes) {
        match Netns::open(&path) {
            Ok(namespace) => {
                let inode = namespace.inode();
                let replaced = self.namespaces.file_found(&path, inode, now);
                self.namespace_gone(replaced, changes);
            }
            Err(error) => self.count(error.into()),
        }
    }

    fn namespace_gone(&mut self, gone: Option<u64>, changes: &mut Changes) {
        if let Some(inode) = gone {
            self.book.namespace_gone(inode, changes);
        }
    }

    fn look(&mut self, inode: u64, changes: &mut Changes) {
        let Some(path) = self.namespaces.path(inode) else {
            return;
        };
        let now = Instant::now();
        match View::take(&mut self.route, &self.own, path) {
            Ok(view) if view.namespace.inode == inode => {
                self.namespaces.set_nsid(inode, view.nsid);
                self.losses.surplus_devices += self.book.viewed(&view, now, changes);
                view.devices.err().into_iter().for_each(|blind| self.count(blind));
            }
            // The name is in use again; the directory watch is about to say so.
            Ok(_) => {}
            Err(blind) => self.count(blind),
        }
    }

    const fn count(&mut self, blind: Blind) {
        match blind {
            Blind::Gone => {}
            Blind::NotEntered => self.losses.not_entered += 1,
            Blind::NotRead => self.losses.not_read += 1,
        }
    }
}

const fn device_of(event: &Event) -> Option<u32> {
    match event {
        Event::LinkChanged(link) => Some(link.ifindex),
        Event::LinkGone { ifindex, .. } => Some(*ifindex),
        _ => None,
    }
}

/// Each look may have to wait for the kernel some milliseconds while pods are being made.
const LOOKS_AT_ONCE: usize = 4;
