//! Steps 2 to 4: wait for the writers of an epoch and add up what they left.

use super::book::Arrays;
use super::{DrainError, KernelStep, Ledger, Observer, Phase};
use crate::flow::{Counts, FlowEntry, Parity};
use crate::kernel::Kernel;
use crate::page::Pages;

impl<P: Pages> Ledger<P> {
    /// Changes nothing that counts: after an error it starts over.
    pub(super) fn collect<K: Kernel>(
        &mut self,
        kernel: &mut K,
        epoch: u64,
        observer: &mut impl Observer,
    ) -> Result<(), DrainError<K::Error>> {
        kernel.grace().map_err(KernelStep::Grace.failed())?;
        observer.phase(Phase::Graced);
        self.read_flows(kernel, epoch, observer)?;
        self.read_arrays(kernel, Parity::of(epoch))?;
        observer.phase(Phase::Read);
        Ok(())
    }

    fn read_flows<K: Kernel>(
        &mut self,
        kernel: &mut K,
        epoch: u64,
        observer: &mut impl Observer,
    ) -> Result<(), DrainError<K::Error>> {
        let Self { tally, pairs, roster, settings, .. } = self;
        tally.reset();
        pairs.begin_epoch();
        observer.begin(epoch);
        let mut sink = |flow: &FlowEntry| {
            let edge = roster.counting(flow.key.slot);
            tally.add(edge, flow);
            pairs.absorb(flow, edge.unwrap_or_default(), &settings.ignored_peers);
            observer.flow(edge, flow);
        };
        kernel.read(Parity::of(epoch), &mut sink).map_err(KernelStep::Read.failed())
    }

    /// Reads totals and folded amounts. What an error leaves half read is still true of
    /// the slots that were read, and is booked as such.
    pub(super) fn read_arrays<K: Kernel>(
        &mut self,
        kernel: &mut K,
        parity: Parity,
    ) -> Result<(), DrainError<K::Error>> {
        let span = self.roster.span();
        let before = self.folded_in(parity);
        let read = self.arrays.read(kernel, parity, span);
        let after = self.folded_in(parity);
        for ((node, after), before) in self.node.iter_mut().zip(after).zip(before) {
            *node += after.saturating_sub(before);
        }
        read
    }

    /// Folded amounts of all counting edges in one parity, by direction.
    fn folded_in(&self, parity: Parity) -> [Counts; 2] {
        let slots = &self.arrays.folded[parity as usize];
        [0, 1].map(|direction| {
            let cells = self.roster.counting_slots();
            cells.flat_map(|slot| slots[usize::from(slot.0)][direction]).sum()
        })
    }
}

impl Arrays {
    fn read<K: Kernel>(
        &mut self,
        kernel: &mut K,
        parity: Parity,
        span: usize,
    ) -> Result<(), DrainError<K::Error>> {
        let totals = self.totals[parity as usize].split_at_mut(span).0;
        kernel.totals(parity, totals).map_err(KernelStep::Totals.failed())?;
        let folded = self.folded[parity as usize].split_at_mut(span).0;
        kernel.folded(parity, folded).map_err(KernelStep::Folded.failed())
    }
}
