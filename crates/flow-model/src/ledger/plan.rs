//! Step 5: what the ledger will hold once an epoch is in it.

use std::collections::BTreeMap;

use super::book::add_folded;
use super::{Ledger, Now};
use crate::edge::{Departed, EdgeRecord, EdgeState, Exposure, field, head_word};
use crate::flow::{Counts, Parity, Slot};
use crate::page::{Pages, Region};

/// What an edge receives from departing edges of its pod.
#[derive(Debug, Clone, Copy)]
struct Inheritance {
    amounts: [Counts; 2],
    created_ns: u64,
}

/// Full epochs that an edge spends without hooks before its sums move.
const QUIET_EPOCHS: u64 = 2;

impl<P: Pages> Ledger<P> {
    /// Fills the log with the after-images of `epoch` and tells which edges depart.
    pub(super) fn plan(&mut self, epoch: u64, now: Now) -> Vec<Slot> {
        self.log.clear();
        let leaving = self.leaving(epoch);
        self.plan_sums(Parity::of(epoch));
        self.plan_departures(epoch, &leaving);
        let idle_ns = self.settings.series_idle_ns;
        self.pairs.plan(&mut self.log, &mut self.pages, now, idle_ns);
        leaving
    }

    /// The epoch in which the last hook went counts as none of the full ones.
    fn leaving(&self, epoch: u64) -> Vec<Slot> {
        let draining = self.roster.in_state(|state| state == EdgeState::Draining);
        let due = |slot: &Slot| {
            let since = self.record(*slot).map(|record| record.since_epoch);
            since.is_some_and(|since| epoch >= since.saturating_add(QUIET_EPOCHS))
        };
        draining.filter(due).collect()
    }

    fn plan_sums(&mut self, parity: Parity) {
        for slot in self.roster.counting_slots() {
            let gain = self.tally.edges[usize::from(slot.0)];
            let Some(record) = self.record(slot) else {
                continue;
            };
            if gain.iter().all(|gain| gain.is_zero()) {
                continue;
            }
            let [[tx_packets, tx_bytes], [rx_packets, rx_bytes]] =
                sums_after(&record, parity, gain)[parity as usize].map(Counts::words);
            let words = [tx_packets, tx_bytes, rx_packets, rx_bytes];
            let offset = field::SUMS + words.len() * parity as usize;
            self.log.record(Region::EdgeBook, slot.0.into(), offset, &words);
        }
    }

    /// Moves the sums of departing edges to record 0, and what they mean for their pod
    /// to another edge of it or to retired. Strays have no edge, so they depart at once.
    fn plan_departures(&mut self, epoch: u64, leaving: &[Slot]) {
        let before = Departed::load(&self.pages);
        let mut departed = before;
        let mut heirs = BTreeMap::new();
        for (i, stray) in self.tally.stray.into_iter().enumerate() {
            departed.flows[i] += stray;
            departed.pod_retired[i] += stray;
        }
        let records: Vec<_> = leaving.iter().filter_map(|slot| self.record(*slot)).collect();
        for record in records {
            let amounts = self.depart(&record, Parity::of(epoch), &mut departed);
            self.bequeath(&record, amounts, leaving, &mut departed, &mut heirs);
            let head = head_word(EdgeState::Quarantined, record.id);
            self.log.record(Region::EdgeBook, record.slot.0.into(), field::HEAD, &[head, epoch]);
        }
        self.record_heirs(&heirs);
        if departed != before {
            let words = departed.to_words();
            self.log.record(Region::EdgeBook, 0, Departed::OFFSET, &words);
        }
    }

    /// Adds everything that an edge has counted to the departed ones; returns it.
    fn depart(&self, record: &EdgeRecord, parity: Parity, departed: &mut Departed) -> [Counts; 2] {
        let gain = self.tally.edges[usize::from(record.slot.0)];
        let sums = sums_after(record, parity, gain);
        let folded = self.arrays.folded(record.slot);
        let totals = self.arrays.totals(record.slot);
        add_folded(&mut departed.folded, &folded);
        [0, 1].map(|direction| {
            let flows = sums[0][direction] + sums[1][direction];
            departed.flows[direction] += flows;
            departed.skb[direction] += totals[direction].skb;
            flows + folded[direction].into_iter().sum()
        })
    }

    /// Where the amounts of a departing edge go among the pods, so that no pod that is
    /// still there loses them.
    fn bequeath(
        &self,
        record: &EdgeRecord,
        amounts: [Counts; 2],
        leaving: &[Slot],
        departed: &mut Departed,
        heirs: &mut BTreeMap<Slot, Inheritance>,
    ) {
        let mut amounts = amounts;
        add(&mut amounts, record.inherited);
        match (record.exposure, self.heir(record, leaving)) {
            (Exposure::Other, _) => add(&mut departed.pod_other, amounts),
            (Exposure::Series, Some(heir)) => {
                let inheritance = heirs.entry(heir.slot).or_insert(Inheritance {
                    amounts: heir.inherited,
                    created_ns: heir.pod_created_ns,
                });
                add(&mut inheritance.amounts, amounts);
                inheritance.created_ns = inheritance.created_ns.min(record.pod_created_ns);
            }
            _ => add(&mut departed.pod_retired, amounts),
        }
    }

    /// Another edge of the same pod, one that stays longest first.
    fn heir(&self, record: &EdgeRecord, leaving: &[Slot]) -> Option<EdgeRecord> {
        let siblings = self.roster.series_of(&record.identity);
        let staying = siblings.filter(|slot| !leaving.contains(slot));
        let heir =
            staying.min_by_key(|slot| (self.roster.at(*slot).state != EdgeState::Live, *slot));
        self.record(heir?)
    }

    fn record_heirs(&mut self, heirs: &BTreeMap<Slot, Inheritance>) {
        for (slot, Inheritance { amounts: [tx, rx], created_ns }) in heirs {
            let words = [tx.packets, tx.bytes, rx.packets, rx.bytes, *created_ns];
            self.log.record(Region::EdgeBook, slot.0.into(), field::INHERITED, &words);
        }
    }
}

fn sums_after(record: &EdgeRecord, parity: Parity, gain: [Counts; 2]) -> [[Counts; 2]; 2] {
    let mut sums = record.sums;
    add(&mut sums[parity as usize], gain);
    sums
}

fn add(sums: &mut [Counts; 2], gains: [Counts; 2]) {
    for (sum, gain) in sums.iter_mut().zip(gains) {
        *sum += gain;
    }
}
