//! Which pod an edge belongs to.
//!
//! The texts take many stores, so the word with their checksum is taken back before
//! and given again after: a crash in between leaves an edge that must be named again,
//! never one with half a name. Amounts of an edge in `other` stay there meanwhile.

use std::collections::HashSet;

use super::{Ledger, Now, UnknownEdge};
use crate::edge::{EdgeId, EdgeRecord, Exposure, Identity, Text, field, identity_word};
use crate::page::Pages;

/// Why an edge keeps its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameRefused {
    /// There is no such edge.
    #[error(transparent)]
    Unknown(#[from] UnknownEdge),
    /// Its amounts are part of a pod that other edges belong to as well.
    #[error("the pod of edge {} has other edges and would lose its amounts; the name is kept", .0.0)]
    Shared(EdgeId),
}

impl<P: Pages> Ledger<P> {
    /// Gives an edge its final identity: its amounts appear under it in full.
    ///
    /// The exposure is decided once. An edge that went to `other` stays there under any
    /// name, so that neither `other` nor a pod ever falls.
    pub fn name_edge(
        &mut self,
        id: EdgeId,
        identity: &Identity,
        now: Now,
    ) -> Result<Exposure, NameRefused> {
        let slot = self.counting_slot(id)?;
        let Some(record) = self.record(slot) else {
            return Err(UnknownEdge(id).into());
        };
        let unchanged = record.identity == *identity;
        if unchanged && record.exposure != Exposure::Unnamed {
            return Ok(record.exposure);
        }
        let renamed = !record.identity.same_pod(identity);
        let mut siblings = self.roster.series_of(&record.identity).filter(|other| *other != slot);
        if record.exposure == Exposure::Series && renamed && siblings.next().is_some() {
            return Err(NameRefused::Shared(id));
        }
        drop(siblings);
        let exposure = self.next_exposure(&record, identity);
        self.write_name(&record, exposure, identity, renamed, now);
        Ok(exposure)
    }

    /// How an edge with this identity will appear.
    pub(super) fn expose(&mut self, named: bool, identity: &Identity) -> Exposure {
        if !named {
            return Exposure::Unnamed;
        }
        if let Some(exposure) = self.exposure_of(identity) {
            return exposure;
        }
        if self.pods_in_use() < self.settings.pod_series {
            return Exposure::Series;
        }
        self.pods_refused += 1;
        Exposure::Other
    }

    /// Pods that own a series.
    pub(super) fn pods_in_use(&self) -> usize {
        let seats = self.roster.counting_slots().map(|slot| self.roster.at(slot));
        let exposed = seats.filter(|seat| seat.exposure == Exposure::Series);
        let pods: HashSet<_> =
            exposed.map(|seat| (seat.identity.namespace, seat.identity.name)).collect();
        pods.len()
    }

    fn exposure_of(&self, identity: &Identity) -> Option<Exposure> {
        let seats = self.roster.counting_slots().map(|slot| self.roster.at(slot));
        let named = seats.filter(|seat| seat.exposure != Exposure::Unnamed);
        let same = named.filter(|seat| seat.identity.same_pod(identity));
        same.map(|seat| seat.exposure).min_by_key(|exposure| *exposure as u8)
    }

    fn next_exposure(&mut self, record: &EdgeRecord, identity: &Identity) -> Exposure {
        match record.exposure {
            Exposure::Other => Exposure::Other,
            // It has a series, which it takes along.
            Exposure::Series => self.exposure_of(identity).unwrap_or(Exposure::Series),
            Exposure::Unnamed => self.expose(true, identity),
        }
    }

    fn write_name(
        &mut self,
        record: &EdgeRecord,
        exposure: Exposure,
        identity: &Identity,
        renamed: bool,
        now: Now,
    ) {
        let slot = record.slot;
        let while_torn =
            if exposure == Exposure::Other { Exposure::Other } else { Exposure::Unnamed };
        self.store_field(slot, field::IDENTITY, &[while_torn as u64]);
        for (i, text) in [identity.name, identity.namespace, identity.uid].into_iter().enumerate() {
            self.store_field(slot, field::TEXTS + i * Text::WORDS, &text.to_words());
        }
        if renamed || record.exposure == Exposure::Unnamed {
            self.store_field(slot, field::POD_CREATED, &[now.wall_ns]);
        }
        self.store_field(slot, field::IDENTITY, &[identity_word(exposure, identity)]);
        if let Some(record) = self.record(slot) {
            self.roster.seat(&record);
        }
    }
}
