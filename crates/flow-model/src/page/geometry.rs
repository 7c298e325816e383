//! Sizes that the pages and the kernel's maps were made for.

use super::{Pages, Region, control};

/// What the kernel program keeps of ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum FlowKeyMode {
    /// Both ports.
    FiveTuple = 0,
    /// The port of the server only.
    PairServicePort = 1,
    /// No port.
    Pair = 2,
}

impl FlowKeyMode {
    /// The value of the flag that selects it, and of the `flow_key` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::FiveTuple => "5tuple",
            Self::PairServicePort => "pair+service-port",
            Self::Pair => "pair",
        }
    }
}

/// Everything that decides how large the maps and pages are.
///
/// Two ledgers can share pages only when their geometries are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Geometry {
    /// Entries of the IPv4 flow table per epoch.
    pub flow_capacity4: u32,
    /// Entries of the IPv6 flow table per epoch.
    pub flow_capacity6: u32,
    /// Inner maps per epoch and family.
    pub shards: u32,
    /// Edges that can be hooked at a time.
    pub max_edges: u32,
    /// Address pairs that can be exposed at a time.
    pub pair_series: u32,
    /// What the kernel folds into one flow.
    pub flow_key: FlowKeyMode,
}

impl Geometry {
    /// Pair records with a meaning of their own: other, ignored, retired.
    pub const RESERVED_PAIRS: usize = 3;

    /// Length of every kernel array indexed by slot. Slot 0 is never given to an edge:
    /// its record holds departed edges, and in the kernel it means "no slot".
    pub const fn slots(&self) -> usize {
        self.max_edges as usize + 1
    }

    /// Series that one drain may hand from a light pair to a heavy one.
    pub const fn promotions(&self) -> usize {
        let one_percent = self.pair_series as usize / 100;
        if one_percent == 0 { 1 } else { one_percent }
    }

    /// Records of a region: `max_entries` of its map.
    pub const fn records(&self, region: Region) -> usize {
        match region {
            Region::Control => 1,
            Region::EdgeBook => self.slots(),
            Region::Pairs => self.pair_series as usize + Self::RESERVED_PAIRS,
            Region::Redo => self.redo_records(),
        }
    }

    /// Words of a region.
    pub const fn words(&self, region: Region) -> usize {
        self.records(region) * region.record_words()
    }

    /// The most that one drain can log: each pair once and promoted ones twice more; of
    /// each edge its sums, its departure and its inheritance; record 0 and the header.
    const fn redo_records(&self) -> usize {
        self.records(Region::Pairs) + 2 * self.promotions() + 3 * self.slots() + 16
    }

    /// Notes the sizes in pages that have no ledger yet, so that [`Geometry::stored`]
    /// can tell them after a crash.
    pub fn note(&self, pages: &mut impl Pages) {
        for (_, word, value) in self.items() {
            pages.store(Region::Control, word, value);
        }
    }

    /// The items in the order of their control words.
    pub(crate) const fn items(&self) -> [(&'static str, usize, u64); 6] {
        [
            ("flow capacity", control::FLOW_CAPACITY4, self.flow_capacity4 as u64),
            ("IPv6 flow capacity", control::FLOW_CAPACITY6, self.flow_capacity6 as u64),
            ("shards", control::SHARDS, self.shards as u64),
            ("edge limit", control::MAX_EDGES, self.max_edges as u64),
            ("pair series limit", control::PAIR_SERIES, self.pair_series as u64),
            ("flow key", control::FLOW_KEY, self.flow_key as u64),
        ]
    }

    /// Compares with what the control page says, item by item.
    pub(crate) fn check(&self, pages: &impl Pages) -> Result<(), Mismatch> {
        for (item, word, wanted) in self.items() {
            let found = pages.load(Region::Control, word);
            if found != wanted {
                return Err(Mismatch { item, found, wanted });
            }
        }
        Ok(())
    }

    /// The geometry that the control page describes, if a release of this program could
    /// have written it.
    pub fn stored(pages: &impl Pages) -> Option<Self> {
        let word = |number| u32::try_from(pages.load(Region::Control, number)).ok();
        let flow_key = match word(control::FLOW_KEY)? {
            0 => FlowKeyMode::FiveTuple,
            1 => FlowKeyMode::PairServicePort,
            2 => FlowKeyMode::Pair,
            _ => return None,
        };
        Some(Self {
            flow_capacity4: word(control::FLOW_CAPACITY4)?,
            flow_capacity6: word(control::FLOW_CAPACITY6)?,
            shards: word(control::SHARDS)?,
            max_edges: word(control::MAX_EDGES).filter(|edges| *edges <= MAX_EDGES)?,
            pair_series: word(control::PAIR_SERIES).filter(|pairs| *pairs <= MAX_PAIRS)?,
            flow_key,
        })
    }
}

/// Upper ends of the flags; a control page that asks for more was not written by us.
const MAX_EDGES: u32 = 32_768;
const MAX_PAIRS: u32 = 262_144;

/// The first item in which stored pages differ from what is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the pinned {item} is {found} but {wanted} is wanted; the ledger must move to new maps")]
pub struct Mismatch {
    /// What differs.
    pub item: &'static str,
    /// What the control page says.
    pub found: u64,
    /// What the configuration asks for.
    pub wanted: u64,
}
