//! Continuing a ledger that another process left.
//!
//! | found | the other process | action |
//! |---|---|---|
//! | at rest | had finished | continue |
//! | closing | had not completed its redo log | drain the epoch again → redrained |
//! | journalled | had not committed | apply the log again → replayed |
//! | committed | had not emptied the maps | empty them → cleared |
//! | log or pairs not ours | was not alone | rebuild from totals → foreign |

use std::fmt;

use super::book::{Arrays, Roster, Tally};
use super::{DrainError, Ledger, Now, Observer, Progress, Settings};
use crate::edge::{BOOK_MAGIC, CorruptEdge, EdgeState};
use crate::flow::{Counts, Parity};
use crate::kernel::Kernel;
use crate::page::{
    ABI, Geometry, MAGIC, Mismatch, Pages, Region, control, control_word, set_control,
};
use crate::redo::Log;
use crate::series::PairSeries;
use crate::snapshot::Activity;

/// What pages hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or a ledger that was never completed: create one.
    Fresh,
    /// A ledger that can be opened.
    Ours,
    /// A ledger of this release with other sizes: move it.
    OtherGeometry(Mismatch),
    /// A ledger of the release before: move it.
    Previous {
        /// Its ABI number.
        abi: u64,
    },
    /// Something of which only the kernel's totals can be believed.
    Foreign(Foreign),
}

/// Why pages are not a ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Foreign {
    /// The control page begins otherwise.
    #[error("the control page is not one of fathom; choose another --bpf-pin-dir")]
    Magic,
    /// The layout is of a release that this one does not know.
    #[error(
        "the pinned maps have ABI {found}, which this release can't read; only totals are kept"
    )]
    Abi {
        /// The number found.
        found: u64,
    },
    /// A region is shorter than the control page says.
    #[error("a pinned map is shorter than its control page says; only totals are kept")]
    Size,
    /// The control words contradict each other.
    #[error("the control page contradicts itself; only totals are kept")]
    Progress,
    /// Record 0 is not one of ours.
    #[error("the edge book has no header; only totals are kept")]
    BookHeader,
    /// A record of the edge book is impossible.
    #[error(transparent)]
    Edge(#[from] CorruptEdge),
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fresh => f.write_str("they are empty; create a ledger"),
            Self::Ours => f.write_str("they hold a sound ledger"),
            Self::OtherGeometry(mismatch) => mismatch.fmt(f),
            Self::Previous { abi } => write!(f, "they have the older ABI {abi}; move the ledger"),
            Self::Foreign(why) => why.fmt(f),
        }
    }
}

/// Why a ledger was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError<E> {
    /// There is no ledger that could be continued as it is.
    #[error("the pinned maps hold no ledger that can be continued as it is: {0}")]
    NotOurs(Found),
    /// The unfinished epoch could not be finished.
    #[error(transparent)]
    Drain(#[from] DrainError<E>),
}

/// What became of an epoch that another process left unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum How {
    /// Drained again from the start.
    Redrained = 0,
    /// Taken from its redo log.
    Replayed = 1,
    /// Only its maps were emptied.
    Cleared = 2,
    /// Known by totals alone.
    Foreign = 3,
}

impl How {
    /// Value of the `how` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Redrained => "redrained",
            Self::Replayed => "replayed",
            Self::Cleared => "cleared",
            Self::Foreign => "foreign",
        }
    }
}

/// What opening a ledger found to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recovery {
    /// Nothing when the ledger was at rest.
    pub how: Option<How>,
    /// Epochs that were finished that way.
    pub epochs: u64,
}

/// Tells what pages hold without changing them.
pub fn inspect(pages: &impl Pages, geometry: &Geometry) -> Found {
    if pages.words(Region::Control) < Region::Control.record_words() {
        return Found::Foreign(Foreign::Size);
    }
    match control_word(pages, control::MAGIC) {
        // The magic is the last word of a creation.
        0 => return Found::Fresh,
        MAGIC => {}
        _ => return Found::Foreign(Foreign::Magic),
    }
    match control_word(pages, control::ABI) {
        ABI => inspect_ours(pages, geometry),
        found if precedes(found, ABI) => Found::Previous { abi: found },
        found => Found::Foreign(Foreign::Abi { found }),
    }
}

fn inspect_ours(pages: &impl Pages, geometry: &Geometry) -> Found {
    if let Err(mismatch) = geometry.check(pages) {
        return Found::OtherGeometry(mismatch);
    }
    if Region::ALL.into_iter().any(|region| pages.words(region) < geometry.words(region)) {
        return Found::Foreign(Foreign::Size);
    }
    if Progress::read(pages) == Progress::Impossible {
        return Found::Foreign(Foreign::Progress);
    }
    if pages.load(Region::EdgeBook, 0) != BOOK_MAGIC {
        return Found::Foreign(Foreign::BookHeader);
    }
    match Roster::load(pages, geometry) {
        Ok(_) => Found::Ours,
        Err(corrupt) => Found::Foreign(Foreign::Edge(corrupt)),
    }
}

/// Whether `found` is the release before `ours`. Number 0 was never given out.
fn precedes(found: u64, ours: u64) -> bool {
    found != 0 && found.checked_add(1) == Some(ours)
}

impl<P: Pages> Ledger<P> {
    /// Continues the ledger in `pages` and finishes what its last owner left half done.
    ///
    /// The caller holds whatever lock makes it the only one. Afterwards the ledger is at
    /// rest; publish its [`snapshot`](Self::snapshot) before anything else.
    pub fn open<K: Kernel>(
        mut pages: P,
        geometry: Geometry,
        settings: Settings,
        kernel: &mut K,
        now: Now,
        observer: &mut impl Observer,
    ) -> Result<(Self, Recovery), OpenError<K::Error>> {
        match inspect(&pages, &geometry) {
            Found::Ours => {}
            found => return Err(OpenError::NotOurs(found)),
        }
        let log_is_sound = replay(&mut pages, &geometry);
        let pairs = PairSeries::load(&pages, &geometry, now.monotonic_ns);
        let rebuilding = control_word(&pages, control::REBUILDING) != 0;
        let sound = pairs.is_ok() && log_is_sound && !rebuilding;
        let pairs = pairs.unwrap_or_else(|_| PairSeries::fresh(&geometry));
        let roster = Roster::load(&pages, &geometry)
            .map_err(|corrupt| OpenError::NotOurs(Found::Foreign(Foreign::Edge(corrupt))))?;
        let mut ledger = Self::assemble(pages, geometry, settings, roster, pairs);
        ledger.tidy_unborn();
        ledger.release();
        for parity in Parity::ALL {
            ledger.read_arrays(kernel, parity)?;
        }
        ledger.node = ledger.book_sums();
        let recovery =
            if sound { ledger.recover(kernel, now, observer)? } else { ledger.rebuild(kernel)? };
        ledger.at_ns = now.wall_ns;
        Ok((ledger, recovery))
    }

    /// A ledger that has counted nothing in this process.
    pub(super) fn assemble(
        pages: P,
        geometry: Geometry,
        settings: Settings,
        roster: Roster,
        pairs: PairSeries,
    ) -> Self {
        Self {
            pages,
            settings,
            roster,
            pairs,
            arrays: Arrays::empty(&geometry),
            tally: Tally::empty(&geometry),
            log: Log::default(),
            node: [Counts::ZERO; 2],
            pair_batch: 0,
            pods_refused: 0,
            activity: Activity::default(),
            at_ns: 0,
            geometry,
        }
    }

    fn recover<K: Kernel>(
        &mut self,
        kernel: &mut K,
        now: Now,
        observer: &mut impl Observer,
    ) -> Result<Recovery, DrainError<K::Error>> {
        let how = match self.progress() {
            Progress::AtRest | Progress::Impossible => {
                return Ok(Recovery { how: None, epochs: 0 });
            }
            Progress::Closing => How::Redrained,
            Progress::Journalled => How::Replayed,
            Progress::Committed => How::Cleared,
        };
        self.count_recovered(how, 1);
        self.finish(kernel, now, observer)?;
        Ok(Recovery { how: Some(how), epochs: 1 })
    }

    /// A recovery that crashes and is repeated may count twice: it was tried twice.
    pub(super) fn count_recovered(&mut self, how: How, epochs: u64) {
        let word = control::RECOVERED + how as usize;
        let count = control_word(&self.pages, word).saturating_add(epochs);
        set_control(&mut self.pages, word, count);
    }

    /// Frees slots whose edge was never added: nobody knows of them.
    fn tidy_unborn(&mut self) {
        let unborn = self.roster.in_state(|state| state == EdgeState::Zeroing);
        let unborn: Vec<_> = unborn.collect();
        for slot in unborn {
            self.set_head(slot, 0);
            self.roster.free(slot);
        }
    }
}

/// Applies a log that waits for it. Says no if there should be one and it is not ours.
fn replay(pages: &mut impl Pages, geometry: &Geometry) -> bool {
    let rebuilding = control_word(pages, control::REBUILDING) != 0;
    if rebuilding || Progress::read(pages) != Progress::Journalled {
        return true;
    }
    let epoch = control_word(pages, control::JOURNAL);
    let log = Log::read(pages, geometry, epoch);
    if let Ok(log) = &log {
        log.apply(pages);
    }
    log.is_ok()
}

#[cfg(test)]
mod tests {
    use super::precedes;

    #[test]
    fn only_the_release_before_can_be_moved() {
        assert!(precedes(1, 2) && precedes(6, 7));
        assert!(!precedes(0, 1) && !precedes(7, 7) && !precedes(8, 7) && !precedes(5, 7));
        assert!(!precedes(u64::MAX, 0));
    }
}
