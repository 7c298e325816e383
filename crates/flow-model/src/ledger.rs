//! The ledger: what survives, and how an epoch gets into it exactly once.
//!
//! At rest `cleared = commit = journal = epoch − 1`. Closing epoch E takes these steps:
//!
//! 1. `epoch = E + 1`, permitted only at rest: the maps of the next parity are empty;
//! 2. a grace period, after which no program run that saw E is alive;
//! 3. read the maps of E, removing nothing; 4. add up, in process memory only;
//! 5. write the redo log, then `journal = E`; 6. apply it;
//! 7. `commit = E`, publish; 8. empty the maps of E, then `cleared = E`.
//!
//! **Exactness.** From step 3 on the maps of E have no writer, so reading them again
//! gives the same sums. Until `journal = E` nothing that counts has changed and the
//! epoch can be read again. From then on the log alone decides, and applying it any
//! number of times ends the same. The maps lose their content only behind
//! `commit = E`. So whichever step a crash or an error hits, the four control words
//! tell which steps remain, and running those gives what an uninterrupted drain gives.
//!
//! One store each, hence never half done: the steps in the life of an edge except
//! departure, which moves sums and is part of the log.

mod book;
mod collect;
mod create;
mod drain;
mod life;
mod naming;
mod open;
mod plan;
mod progress;
mod rebuild;
mod snapshot;

use std::collections::HashMap;
use std::sync::Arc;

use book::{Arrays, Roster, Tally};
pub use create::{CreateError, Legacy};
pub use drain::{DrainError, Drained, KernelStep};
pub use life::{AddEdgeError, EdgeRefused, UnknownEdge};
pub use naming::NameRefused;
pub use open::{Foreign, Found, How, OpenError, Recovery, inspect};
pub use progress::Progress;

use crate::edge::{EdgeId, EdgeRecord};
use crate::flow::{Counts, FlowEntry, Slot};
use crate::page::{EDGE_WORDS, Geometry, Pages, Region, load_words};
use crate::prefix::Prefixes;
use crate::redo::Log;
use crate::series::PairSeries;
use crate::snapshot::{Activity, Snapshot};

/// Both clocks at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Now {
    /// Nanoseconds since 1970: what creation times are told in.
    pub wall_ns: u64,
    /// Nanoseconds of a clock that is never set: what idle times are measured with.
    pub monotonic_ns: u64,
}

/// Behaviour that may change while the ledger is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Destinations whose traffic goes to `ignored`.
    pub ignored_peers: Prefixes,
    /// A pair silent for this long gives up its series.
    pub series_idle_ns: u64,
    /// Pods that may be exposed at a time.
    pub pod_series: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            ignored_peers: Prefixes::default(),
            series_idle_ns: 15 * 60 * 1_000_000_000,
            pod_series: 1024,
        }
    }
}

/// A point that a drain has passed; what lies between two of them can be timed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// New packets count in the next epoch.
    Flipped,
    /// The closed epoch has no writer.
    Graced,
    /// Its flows are read.
    Read,
    /// Its redo log is complete.
    Journalled,
    /// Its amounts are in the ledger.
    Committed,
    /// Its maps are empty.
    Cleared,
}

/// Sees a drain as it happens. Every method does nothing unless implemented.
pub trait Observer {
    /// An epoch is about to be read from its start. What an earlier reading of the same
    /// epoch showed is void.
    fn begin(&mut self, epoch: u64) {
        let _ = epoch;
    }

    /// A flow of the epoch, and the edge that it crossed if its slot has one.
    fn flow(&mut self, edge: Option<EdgeId>, flow: &FlowEntry) {
        let _ = (edge, flow);
    }

    /// The drain got this far.
    fn phase(&mut self, phase: Phase) {
        let _ = phase;
    }

    /// The epoch is in the ledger; its maps are about to be emptied.
    fn committed(&mut self, snapshot: &Arc<Snapshot>) {
        let _ = snapshot;
    }
}

/// Sees nothing.
impl Observer for () {}

/// The ledger over its surviving pages. One per set of pages, by whatever lock.
#[derive(Debug)]
pub struct Ledger<P> {
    pages: P,
    geometry: Geometry,
    settings: Settings,
    roster: Roster,
    pairs: PairSeries,
    arrays: Arrays,
    tally: Tally,
    log: Log,
    /// What drains have added up by direction, beside the edge book.
    node: [Counts; 2],
    pair_batch: u64,
    pods_refused: u64,
    activity: Activity,
    at_ns: u64,
}

impl<P: Pages> Ledger<P> {
    /// Replaces the behaviour from the next drain on.
    pub fn set_settings(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// Behaviour in force.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Sizes of the pages.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// The surviving memory itself.
    pub const fn pages(&self) -> &P {
        &self.pages
    }

    /// Gives the surviving memory back, as an exit does.
    pub fn into_pages(self) -> P {
        self.pages
    }

    /// How far the ledger is with the epoch that was closed last.
    pub fn progress(&self) -> Progress {
        Progress::read(&self.pages)
    }

    /// The edge in a slot, if it is live or draining.
    pub fn edge_in(&self, slot: Slot) -> Option<EdgeId> {
        self.roster.counting(slot)
    }

    /// The record of an edge that is not yet free.
    pub fn edge(&self, id: EdgeId) -> Option<EdgeRecord> {
        self.record(self.roster.slot(id)?)
    }

    /// Edges that are live or draining, by slot.
    pub fn edges(&self) -> impl Iterator<Item = EdgeRecord> {
        self.roster.counting_slots().filter_map(|slot| self.record(slot))
    }

    /// Reads a record. Records were checked when the ledger was opened; one that someone
    /// else broke since counts as absent and shows in the laws.
    fn record(&self, slot: Slot) -> Option<EdgeRecord> {
        let words: [u64; EDGE_WORDS] =
            load_words(&self.pages, Region::EdgeBook, usize::from(slot.0), 0);
        EdgeRecord::decode(slot, &words).ok()
    }
}

/// Edges by id.
type ById = HashMap<EdgeId, Slot>;
