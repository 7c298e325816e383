//! The steps in the life of an edge that are single stores.

use super::{Ledger, Now};
use crate::edge::{EdgeId, EdgeRecord, EdgeSpec, EdgeState, Hook, field, head_word, hook_word};
use crate::flow::{Direction, Slot};
use crate::kernel::Kernel;
use crate::page::{Pages, Region, control, control_word, set_control, store_words};

/// Why an edge can't be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EdgeRefused {
    /// Every slot is taken or resting.
    #[error("all {max} edges are in use or resting after use; raise --max-edges")]
    Full {
        /// Slots for edges.
        max: u32,
    },
    /// Ids are 32 bits and never given twice.
    #[error("this ledger has given out every edge id; run `fathom flows detach` to start anew")]
    IdsExhausted,
}

/// Why an edge was not added.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddEdgeError<E> {
    /// There is no room for it.
    #[error(transparent)]
    Refused(#[from] EdgeRefused),
    /// The counters of its slot could not be zeroed.
    #[error("the kernel counters of a new edge could not be zeroed; it is added again later")]
    Kernel {
        /// What the kernel side said.
        source: E,
    },
}

/// The edge has departed, or never was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("edge {} is not in the edge book any more; nothing needs to be done for it", .0.0)]
pub struct UnknownEdge(pub EdgeId);

impl<P: Pages> Ledger<P> {
    /// Gives an edge an id and a slot with zeroed counters. Attach its hooks after this.
    pub fn add_edge<K: Kernel>(
        &mut self,
        kernel: &mut K,
        spec: &EdgeSpec,
        now: Now,
    ) -> Result<(EdgeId, Slot), AddEdgeError<K::Error>> {
        let max = self.geometry.max_edges;
        let slot = self.roster.lowest_free().ok_or(EdgeRefused::Full { max })?;
        let id = self.next_id()?;
        self.set_head(slot, head_word(EdgeState::Zeroing, id));
        if let Err(source) = kernel.zero_slot(slot) {
            self.set_head(slot, 0);
            return Err(AddEdgeError::Kernel { source });
        }
        self.arrays.zero(slot);
        let record = self.new_record(id, slot, spec, now);
        let [_, words @ ..] = record.encode();
        store_words(&mut self.pages, Region::EdgeBook, slot.0.into(), field::HEAD + 1, &words);
        self.set_head(slot, head_word(EdgeState::Live, id));
        self.roster.seat(&record);
        Ok((id, slot))
    }

    /// The hooks of an edge are gone: its last packets are drained, then its slot rests.
    /// Dropping it again changes nothing.
    pub fn drop_edge(&mut self, id: EdgeId) -> Result<(), UnknownEdge> {
        let slot = self.counting_slot(id)?;
        if self.roster.at(slot).state == EdgeState::Live {
            let epoch = control_word(&self.pages, control::EPOCH);
            self.store_field(slot, field::SINCE, &[epoch]);
            self.set_head(slot, head_word(EdgeState::Draining, id));
            self.roster.set_state(slot, EdgeState::Draining);
        }
        Ok(())
    }

    /// Notes where the hook of one direction is, or that there is none.
    pub fn set_hook(
        &mut self,
        id: EdgeId,
        direction: Direction,
        hook: Hook,
    ) -> Result<(), UnknownEdge> {
        let slot = self.counting_slot(id)?;
        self.store_field(slot, hook_word(direction), &[hook.to_word()]);
        Ok(())
    }

    /// Notes the devices of an edge; 0 stands for none.
    pub fn set_devices(&mut self, id: EdgeId, host: u32, pod: u32) -> Result<(), UnknownEdge> {
        let slot = self.counting_slot(id)?;
        let word = u64::from(host) | u64::from(pod) << 32;
        self.store_field(slot, field::DEVICES, &[word]);
        Ok(())
    }

    /// Notes what the driver has to know of the devices of an edge. Word by word, the first
    /// one first: a crash may keep a part.
    pub fn set_baseline(&mut self, id: EdgeId, words: [u64; 8]) -> Result<(), UnknownEdge> {
        let slot = self.counting_slot(id)?;
        self.store_field(slot, field::BASELINE, &words);
        Ok(())
    }

    pub(super) fn counting_slot(&self, id: EdgeId) -> Result<Slot, UnknownEdge> {
        let slot = self.roster.slot(id);
        slot.filter(|slot| self.roster.at(*slot).state.counts()).ok_or(UnknownEdge(id))
    }

    pub(super) fn store_field(&mut self, slot: Slot, offset: usize, words: &[u64]) {
        store_words(&mut self.pages, Region::EdgeBook, slot.0.into(), offset, words);
    }

    /// Takes the next id for good, whatever becomes of the edge.
    fn next_id(&mut self) -> Result<EdgeId, EdgeRefused> {
        let next = control_word(&self.pages, control::NEXT_EDGE_ID);
        let id = u32::try_from(next).map_err(|_| EdgeRefused::IdsExhausted)?;
        set_control(&mut self.pages, control::NEXT_EDGE_ID, next + 1);
        Ok(EdgeId(id))
    }

    fn new_record(&mut self, id: EdgeId, slot: Slot, spec: &EdgeSpec, now: Now) -> EdgeRecord {
        let exposure = self.expose(spec.named, &spec.identity);
        EdgeRecord {
            state: EdgeState::Live,
            netns_inode: spec.netns_inode,
            host_ifindex: spec.host_ifindex,
            pod_ifindex: spec.pod_ifindex,
            created_ns: now.wall_ns,
            exposure,
            identity: spec.identity,
            pod_created_ns: now.wall_ns,
            ..EdgeRecord::new(id, slot)
        }
    }
}
