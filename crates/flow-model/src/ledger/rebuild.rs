//! Going on when the ledger can't be believed but the kernel's totals can.
//!
//! The flows of both parities are given up and each edge is set to what its totals
//! say, so node counters and pods go on without a step. No pair can be told from a
//! made-up one any more: all of them end, and what they carried is retired.
//! A flag in the control page makes the whole repeatable: totals of a closed parity
//! don't move, so starting over ends the same.

use super::{DrainError, How, KernelStep, Ledger, Progress, Recovery};
use crate::edge::{EdgeState, field};
use crate::flow::{Counts, Direction, Parity};
use crate::kernel::Kernel;
use crate::page::{PAIR_WORDS, Pages, Region, control, control_word, set_control, store_words};
use crate::series::{COUNTS, PAIRS_MAGIC, PairSeries, reserved};

impl<P: Pages> Ledger<P> {
    pub(super) fn rebuild<K: Kernel>(
        &mut self,
        kernel: &mut K,
    ) -> Result<Recovery, DrainError<K::Error>> {
        set_control(&mut self.pages, control::REBUILDING, 1);
        let mut epochs = 1;
        if self.progress() != Progress::AtRest {
            self.close_by_totals(kernel)?;
            epochs += 1;
        }
        let open = control_word(&self.pages, control::EPOCH);
        set_control(&mut self.pages, control::EPOCH, open + 1);
        self.close_by_totals(kernel)?;
        self.count_recovered(How::Foreign, epochs);
        self.node = self.book_sums();
        self.end_all_pairs();
        self.pairs = PairSeries::fresh(&self.geometry);
        set_control(&mut self.pages, control::REBUILDING, 0);
        self.release();
        Ok(Recovery { how: Some(How::Foreign), epochs })
    }

    /// Closes the epoch before the open one without looking at its flows.
    fn close_by_totals<K: Kernel>(&mut self, kernel: &mut K) -> Result<(), DrainError<K::Error>> {
        let epoch = control_word(&self.pages, control::EPOCH).saturating_sub(1);
        let parity = Parity::of(epoch);
        kernel.grace().map_err(KernelStep::Grace.failed())?;
        self.read_arrays(kernel, parity)?;
        self.set_sums_by_totals(parity);
        set_control(&mut self.pages, control::JOURNAL, epoch);
        set_control(&mut self.pages, control::COMMIT, epoch);
        kernel.clear(parity).map_err(KernelStep::Clear.failed())?;
        set_control(&mut self.pages, control::CLEARED, epoch);
        Ok(())
    }

    fn set_sums_by_totals(&mut self, parity: Parity) {
        let slots: Vec<_> = self.roster.in_state(|state| state != EdgeState::Free).collect();
        for slot in slots {
            let index = usize::from(slot.0);
            for direction in Direction::ALL {
                let [d, p] = [direction as usize, parity as usize];
                let totals = self.arrays.totals[p][index][d].wire;
                let folded: Counts = self.arrays.folded[p][index][d].into_iter().sum();
                let offset = field::SUMS + 4 * p + 2 * d;
                self.store_field(slot, offset, &totals.saturating_sub(folded).words());
            }
        }
    }

    fn end_all_pairs(&mut self) {
        let [tx, _] = self.book_sums();
        let folded = self.snapshot().folded[Direction::Tx as usize].into_iter().sum();
        for record in 0..self.geometry.records(Region::Pairs) {
            store_words(&mut self.pages, Region::Pairs, record, 0, &[0; PAIR_WORDS]);
        }
        let retired = tx.saturating_sub(folded).words();
        store_words(&mut self.pages, Region::Pairs, reserved::RETIRED, COUNTS, &retired);
        store_words(&mut self.pages, Region::Pairs, 0, 0, &[PAIRS_MAGIC]);
    }
}
