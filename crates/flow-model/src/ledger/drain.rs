//! One epoch from flip to cleared.

use std::sync::Arc;

use super::{Ledger, Now, Observer, Phase, Progress};
use crate::edge::EdgeState;
use crate::flow::{Parity, Slot};
use crate::kernel::Kernel;
use crate::page::{Pages, Region, control, control_word, set_control};
use crate::snapshot::Snapshot;

/// What a drain did.
#[derive(Debug, Clone)]
pub struct Drained {
    /// The epoch that was closed.
    pub epoch: u64,
    /// Flow entries read in this call.
    pub flows: u64,
    /// How far an earlier, failed drain of the same epoch had got. When set, the epoch
    /// that was open at the call is still open: drain again to see it.
    pub resumed: Option<Progress>,
    /// The ledger after the commit.
    pub snapshot: Arc<Snapshot>,
}

/// A call to the kernel side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum KernelStep {
    /// Waiting for the writers.
    Grace,
    /// Reading flows.
    Read,
    /// Reading totals.
    Totals,
    /// Reading folded amounts.
    Folded,
    /// Emptying the maps.
    Clear,
}

impl KernelStep {
    /// The step as a closed label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grace => "grace",
            Self::Read => "read",
            Self::Totals => "totals",
            Self::Folded => "folded",
            Self::Clear => "clear",
        }
    }

    pub(super) fn failed<E>(self) -> impl FnOnce(E) -> DrainError<E> {
        move |source| DrainError::Kernel { step: self, source }
    }
}

/// Why an epoch could not be finished. Nothing is lost: the next drain continues it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DrainError<E> {
    /// The kernel side refused a call.
    #[error("the kernel side failed at {}; the epoch is kept and the next drain continues it", .step.as_str())]
    Kernel {
        /// Which call.
        step: KernelStep,
        /// What it said.
        source: E,
    },
    /// The control words contradict each other.
    #[error("the control page was changed by something else; restart the agent to rebuild")]
    Tampered,
}

impl<P: Pages> Ledger<P> {
    /// Closes the open epoch and moves it into the ledger; or, if an earlier drain
    /// failed, finishes that one.
    pub fn drain<K: Kernel>(
        &mut self,
        kernel: &mut K,
        now: Now,
        observer: &mut impl Observer,
    ) -> Result<Drained, DrainError<K::Error>> {
        let progress = self.progress();
        if progress == Progress::Impossible {
            return Err(DrainError::Tampered);
        }
        let resumed = Some(progress).filter(|progress| *progress != Progress::AtRest);
        if resumed.is_none() {
            let open = control_word(&self.pages, control::EPOCH);
            set_control(&mut self.pages, control::EPOCH, open + 1);
            observer.phase(Phase::Flipped);
        }
        let drained = self.finish(kernel, now, observer)?;
        Ok(Drained { resumed, ..drained })
    }

    /// Runs the steps that remain of the epoch closed last.
    pub(super) fn finish<K: Kernel>(
        &mut self,
        kernel: &mut K,
        now: Now,
        observer: &mut impl Observer,
    ) -> Result<Drained, DrainError<K::Error>> {
        let epoch = control_word(&self.pages, control::EPOCH).saturating_sub(1);
        let mut flows = 0;
        if self.progress() == Progress::Closing {
            self.collect(kernel, epoch, observer)?;
            flows = self.tally.flows;
            self.pair_batch = self.pairs.distinct() as u64;
            let leaving = self.journal(epoch, now);
            observer.phase(Phase::Journalled);
            self.log.apply(&mut self.pages);
            self.settle(&leaving);
        }
        let snapshot = self.commit(epoch, now, observer);
        self.clear(kernel, epoch)?;
        observer.phase(Phase::Cleared);
        Ok(Drained { epoch, flows, resumed: None, snapshot })
    }

    /// Step 5. No call in here can fail, so memory and log agree from now on.
    fn journal(&mut self, epoch: u64, now: Now) -> Vec<Slot> {
        let leaving = self.plan(epoch, now);
        self.log.write(epoch, &mut self.pages);
        set_control(&mut self.pages, control::JOURNAL, epoch);
        leaving
    }

    /// Brings what the process remembers up to the log just applied.
    fn settle(&mut self, leaving: &[Slot]) {
        for slot in leaving {
            self.roster.set_state(*slot, EdgeState::Quarantined);
        }
        for (direction, node) in self.node.iter_mut().enumerate() {
            *node += self.tally.sum(direction);
        }
        self.activity.epochs += 1;
        self.activity.drained_flows += self.tally.flows;
        self.activity.stray_flows += self.tally.stray_flows;
    }

    /// Step 7. Harmless when the epoch is committed already.
    fn commit(&mut self, epoch: u64, now: Now, observer: &mut impl Observer) -> Arc<Snapshot> {
        self.at_ns = now.wall_ns;
        if control_word(&self.pages, control::COMMIT) != epoch {
            set_control(&mut self.pages, control::COMMIT, epoch);
        }
        let snapshot = Arc::new(self.snapshot());
        observer.phase(Phase::Committed);
        observer.committed(&snapshot);
        snapshot
    }

    /// Step 8.
    fn clear<K: Kernel>(&mut self, kernel: &mut K, epoch: u64) -> Result<(), DrainError<K::Error>> {
        kernel.clear(Parity::of(epoch)).map_err(KernelStep::Clear.failed())?;
        set_control(&mut self.pages, control::CLEARED, epoch);
        self.release();
        Ok(())
    }

    /// Frees slots that were quarantined before the epoch just cleared. Their last flow
    /// entries left the maps of both parities, and their totals had one more audit.
    pub(super) fn release(&mut self) {
        let cleared = control_word(&self.pages, control::CLEARED);
        let resting = self.roster.in_state(|state| state == EdgeState::Quarantined);
        let due = |slot: &Slot| self.record(*slot).is_some_and(|edge| edge.since_epoch < cleared);
        let due: Vec<_> = resting.filter(due).collect();
        for slot in due {
            self.set_head(slot, 0);
            self.roster.free(slot);
        }
    }

    pub(super) fn set_head(&mut self, slot: Slot, word: u64) {
        let head = usize::from(slot.0) * Region::EdgeBook.record_words();
        self.pages.store(Region::EdgeBook, head, word);
    }
}
