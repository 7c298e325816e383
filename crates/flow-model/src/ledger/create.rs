//! A new ledger, with or without a past.

use std::collections::HashSet;

use super::book::Roster;
use super::{Ledger, Now, Settings};
use crate::edge::{BOOK_MAGIC, Departed, EdgeRecord, EdgeState, Exposure};
use crate::flow::{Counts, Direction, Slot, Totals};
use crate::page::{ABI, Geometry, MAGIC, Pages, Region, control, set_control, store_words};
use crate::series::{COUNTS, PAIRS_MAGIC, PairKey, PairRecord, PairSeries, reserved};
use crate::snapshot::{EdgeRow, PairRow, PodRow, Snapshot};

/// What a new ledger continues.
#[derive(Debug, Clone, Copy, Default)]
pub enum Legacy<'a> {
    /// Nothing.
    #[default]
    None,
    /// A ledger of other sizes, drained to its end on both parities. Its live edges keep
    /// their ids and get slots of the new ledger, whose counters must be zero.
    Ledger(&'a Snapshot),
    /// Maps of which only the totals could be read, summed by direction. Everything is
    /// retired at once.
    Totals([Totals; 2]),
}

/// Why a ledger was not created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// The pages are not as large as the geometry asks for.
    #[error(
        "a page region has {found} words where the geometry needs {wanted}; create the maps anew"
    )]
    TooSmall {
        /// Words there.
        found: usize,
        /// Words needed.
        wanted: usize,
    },
}

impl<P: Pages> Ledger<P> {
    /// Starts a ledger in `pages`, whatever they held. The kernel's flow maps and
    /// counters must be zero, but for what was counted in the parity that the new ledger
    /// will have open: a ledger that continues another leaves the epoch word alone until
    /// it knows its own. Until it returns the pages count as fresh.
    pub fn create(
        mut pages: P,
        geometry: Geometry,
        settings: Settings,
        now: Now,
        legacy: Legacy<'_>,
    ) -> Result<Self, CreateError> {
        check_sizes(&pages, &geometry)?;
        set_control(&mut pages, control::MAGIC, 0);
        wipe(&mut pages, &geometry);
        write_identity(&mut pages, &geometry, now);
        match legacy {
            Legacy::None => set_control(&mut pages, control::EPOCH, 1),
            Legacy::Ledger(past) => inherit(&mut pages, &geometry, past),
            Legacy::Totals(totals) => {
                set_control(&mut pages, control::EPOCH, 1);
                inherit_totals(&mut pages, totals);
            }
        }
        set_control(&mut pages, control::MAGIC, MAGIC);
        // What was just written can be read; were it not so, the ledger would start with
        // no edge and no pair, and the laws would tell.
        let roster = Roster::load(&pages, &geometry).unwrap_or_else(|_| Roster::empty(&geometry));
        let pairs = PairSeries::load(&pages, &geometry, now.monotonic_ns)
            .unwrap_or_else(|_| PairSeries::fresh(&geometry));
        let mut ledger = Self::assemble(pages, geometry, settings, roster, pairs);
        ledger.node = ledger.book_sums();
        ledger.at_ns = now.wall_ns;
        Ok(ledger)
    }
}

fn check_sizes(pages: &impl Pages, geometry: &Geometry) -> Result<(), CreateError> {
    for region in Region::ALL {
        let (found, wanted) = (pages.words(region), geometry.words(region));
        if found < wanted {
            return Err(CreateError::TooSmall { found, wanted });
        }
    }
    Ok(())
}

fn wipe(pages: &mut impl Pages, geometry: &Geometry) {
    for region in Region::ALL {
        for word in 0..geometry.words(region) {
            let kept = region == Region::Control && word == control::EPOCH;
            if !kept && pages.load(region, word) != 0 {
                pages.store(region, word, 0);
            }
        }
    }
}

fn write_identity(pages: &mut impl Pages, geometry: &Geometry, now: Now) {
    for (_, word, value) in geometry.items() {
        set_control(pages, word, value);
    }
    set_control(pages, control::ABI, ABI);
    set_control(pages, control::NEXT_EDGE_ID, 1);
    set_control(pages, control::CREATED_NS, now.wall_ns);
    pages.store(Region::EdgeBook, 0, BOOK_MAGIC);
    pages.store(Region::Pairs, 0, PAIRS_MAGIC);
}

fn inherit_totals(pages: &mut impl Pages, totals: [Totals; 2]) {
    let wire = totals.map(|totals| totals.wire);
    let skb = totals.map(|totals| totals.skb);
    let departed = Departed { flows: wire, skb, pod_retired: wire, ..Departed::default() };
    store_words(pages, Region::EdgeBook, 0, Departed::OFFSET, &departed.to_words());
    let [tx, _] = wire;
    store_words(pages, Region::Pairs, reserved::RETIRED, COUNTS, &tx.words());
}

fn inherit(pages: &mut impl Pages, geometry: &Geometry, past: &Snapshot) {
    for word in [control::JOURNAL, control::COMMIT, control::CLEARED] {
        set_control(pages, word, past.epoch);
    }
    set_control(pages, control::EPOCH, past.epoch + 1);
    set_control(pages, control::NEXT_EDGE_ID, past.next_edge_id.into());
    set_control(pages, control::CREATED_NS, past.created_ns);
    let recovered = past.recovered;
    let counts = [recovered.redrained, recovered.replayed, recovered.cleared, recovered.foreign];
    store_words(pages, Region::Control, 0, control::RECOVERED, &counts);
    inherit_pairs(pages, geometry, past);
    inherit_edges(pages, geometry, past);
}

/// The heaviest pairs go on; the rest is retired.
fn inherit_pairs(pages: &mut impl Pages, geometry: &Geometry, past: &Snapshot) {
    let mut rows: Vec<&PairRow> = past.pairs.rows.iter().collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.counts.bytes));
    let kept = rows.len().min(geometry.pair_series as usize);
    let (kept, ended) = rows.split_at(kept);
    for (record, row) in (Geometry::RESERVED_PAIRS..).zip(kept) {
        let key = PairKey::new(row.src, row.dst, row.protocol);
        let pair =
            PairRecord { key, owner: row.owner, created_ns: row.created_ns, counts: row.counts };
        store_words(pages, Region::Pairs, record, 0, &PairRecord::key_words(&key));
        store_words(pages, Region::Pairs, record, PairRecord::KEY_WORDS, &pair.tail_words());
    }
    let ended: Counts = ended.iter().map(|row| row.counts).sum();
    let folded: Counts = past.folded[Direction::Tx as usize].into_iter().sum();
    for (record, counts) in [
        (reserved::OTHER, past.pairs.other.saturating_sub(folded)),
        (reserved::IGNORED, past.pairs.ignored),
        (reserved::RETIRED, past.pairs.retired + ended),
    ] {
        store_words(pages, Region::Pairs, record, COUNTS, &counts.words());
    }
}

/// Everything counted so far departs. One live edge of each pod inherits what the pod
/// shows; pods without one end.
fn inherit_edges(pages: &mut impl Pages, geometry: &Geometry, past: &Snapshot) {
    let live = past.edges.iter().filter(|edge| edge.record.state == EdgeState::Live);
    let carried: Vec<_> = live.take(geometry.max_edges as usize).collect();
    let mut departed = departed_of(past);
    let mut left: HashSet<_> = past.pods.rows.iter().map(|pod| (pod.namespace, pod.name)).collect();
    for (slot, edge) in (1..).zip(&carried) {
        let mut record = carry(edge, Slot(slot));
        let identity = edge.record.identity;
        if record.exposure == Exposure::Series && left.remove(&(identity.namespace, identity.name))
        {
            let pod = pod_of(past, &record);
            record.inherited = pod.map_or(record.inherited, |pod| pod.counts);
            record.pod_created_ns = pod.map_or(record.pod_created_ns, |pod| pod.created_ns);
        }
        store_words(pages, Region::EdgeBook, slot.into(), 0, &record.encode());
    }
    for pod in past.pods.rows.iter().filter(|pod| left.contains(&(pod.namespace, pod.name))) {
        retire(&mut departed, pod.counts);
    }
    let stays = |edge: &&EdgeRow| carried.iter().any(|one| one.record.id == edge.record.id);
    let unnamed = past.edges.iter().filter(|edge| edge.record.exposure == Exposure::Unnamed);
    for edge in unnamed.filter(|edge| !stays(edge)) {
        retire(&mut departed, shown(edge));
    }
    store_words(pages, Region::EdgeBook, 0, Departed::OFFSET, &departed.to_words());
}

fn departed_of(past: &Snapshot) -> Departed {
    let flows = |i: usize| past.node[i].wire.saturating_sub(past.folded[i].into_iter().sum());
    Departed {
        flows: [flows(0), flows(1)],
        skb: past.node.map(|totals| totals.skb),
        pod_other: past.pods.other,
        pod_retired: past.pods.retired,
        folded: past.folded,
    }
}

/// The edge in its new slot: nothing counted, and only held-back amounts its own.
fn carry(edge: &EdgeRow, slot: Slot) -> EdgeRecord {
    let held_back = edge.record.exposure == Exposure::Unnamed;
    let inherited = if held_back { shown(edge) } else { [Counts::ZERO; 2] };
    EdgeRecord { slot, sums: [[Counts::ZERO; 2]; 2], inherited, ..edge.record }
}

fn shown(edge: &EdgeRow) -> [Counts; 2] {
    [0, 1].map(|i| edge.wire(i) + edge.record.inherited[i])
}

fn pod_of<'a>(past: &'a Snapshot, edge: &EdgeRecord) -> Option<&'a PodRow> {
    let identity = edge.identity;
    let same = |pod: &&PodRow| pod.namespace == identity.namespace && pod.name == identity.name;
    past.pods.rows.iter().find(same)
}

fn retire(departed: &mut Departed, amounts: [Counts; 2]) {
    for (retired, amount) in departed.pod_retired.iter_mut().zip(amounts) {
        *retired += amount;
    }
}
