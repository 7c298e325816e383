//! The memory that survives a crash, seen as words.
//!
//! Four regions, each an array of fixed records that belongs to the kernel and
//! outlives the process: the control page, the edge book, the pair series and
//! the redo log. A word is stored whole or not at all, and stores of one thread
//! reach the region in program order; everything else in this crate builds on
//! those two facts and on nothing more.

mod geometry;
mod memory;

pub use geometry::{FlowKeyMode, Geometry, Mismatch};
pub use memory::Memory;

/// First word of a control page that is ours: `fathomfl` read as little-endian text.
pub const MAGIC: u64 = u64::from_le_bytes(*b"fathomfl");

/// Version of everything that the kernel program and two releases of the agent share.
pub const ABI: u64 = 1;

/// One of the arrays that survive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Region {
    /// One page: identity of the layout and progress of the drain.
    Control,
    /// One record per slot; record 0 holds the sums of departed edges.
    EdgeBook,
    /// One record per address pair, behind the reserved ones.
    Pairs,
    /// After-images of the drain under way, behind one header record.
    Redo,
}

impl Region {
    /// All regions.
    pub const ALL: [Self; 4] = [Self::Control, Self::EdgeBook, Self::Pairs, Self::Redo];

    /// Words in one record of the region.
    pub const fn record_words(self) -> usize {
        match self {
            Self::Control => CONTROL_WORDS,
            Self::EdgeBook => EDGE_WORDS,
            Self::Pairs => PAIR_WORDS,
            Self::Redo => REDO_WORDS,
        }
    }

    /// Bytes in one record of the region: the value size of its map.
    pub const fn record_bytes(self) -> usize {
        self.record_words() * size_of::<u64>()
    }
}

/// Words of the control page (4096 bytes).
pub const CONTROL_WORDS: usize = 512;
/// Words of one edge book record (512 bytes).
pub const EDGE_WORDS: usize = 64;
/// Words of one pair record (64 bytes).
pub const PAIR_WORDS: usize = 8;
/// Words of one redo record (48 bytes).
pub const REDO_WORDS: usize = 6;

/// Word numbers of the control page.
pub mod control {
    /// [`MAGIC`](super::MAGIC), stored last when a ledger is created.
    pub const MAGIC: usize = 0;
    /// [`ABI`](super::ABI).
    pub const ABI: usize = 1;
    /// The open epoch: the one word that the kernel program reads.
    pub const EPOCH: usize = 2;
    /// Last epoch whose redo log is complete.
    pub const JOURNAL: usize = 3;
    /// Last epoch whose redo log is applied.
    pub const COMMIT: usize = 4;
    /// Last epoch whose flow maps are empty again.
    pub const CLEARED: usize = 5;
    /// Identity of the next edge; only grows.
    pub const NEXT_EDGE_ID: usize = 6;
    /// Entries of the IPv4 flow table per epoch.
    pub const FLOW_CAPACITY4: usize = 7;
    /// Entries of the IPv6 flow table per epoch.
    pub const FLOW_CAPACITY6: usize = 8;
    /// Inner maps per epoch and family.
    pub const SHARDS: usize = 9;
    /// Edges that can be hooked at a time.
    pub const MAX_EDGES: usize = 10;
    /// Address pairs that can be exposed at a time.
    pub const PAIR_SERIES: usize = 11;
    /// What the kernel folds into one flow.
    pub const FLOW_KEY: usize = 12;
    /// Wall time at which the ledger was created, nanoseconds since 1970.
    pub const CREATED_NS: usize = 13;
    /// 1 while the ledger is being rebuilt from the kernel's totals.
    pub const REBUILDING: usize = 14;
    /// First of four counts of recovered epochs: redrained, replayed, cleared, foreign.
    pub const RECOVERED: usize = 15;
    /// Inode of the network namespace in which the driver hooks the node's devices; 0 if
    /// nobody noted it. The last word, since what is before it grows.
    pub const HOME: usize = super::CONTROL_WORDS - 1;
}

/// Access to the surviving memory, one word at a time.
///
/// Callers stay below [`Pages::words`]; an implementation may panic beyond it.
pub trait Pages {
    /// Reads a word; at least an acquire load where another process may have written it.
    fn load(&self, region: Region, word: usize) -> u64;

    /// Writes a word; at least a release store, never torn and never reordered before
    /// an earlier one.
    fn store(&mut self, region: Region, word: usize, value: u64);

    /// How many words the region has.
    fn words(&self, region: Region) -> usize;
}

/// Reads consecutive words of one record.
pub(crate) fn load_words<const N: usize>(
    pages: &impl Pages,
    region: Region,
    record: usize,
    offset: usize,
) -> [u64; N] {
    let start = record * region.record_words() + offset;
    std::array::from_fn(|i| pages.load(region, start + i))
}

/// Writes consecutive words of one record, first word first.
///
/// Words that already hold their value are left alone: most of a reused record is
/// zero before and after, and pages are cheaper to read than to dirty.
pub(crate) fn store_words(
    pages: &mut impl Pages,
    region: Region,
    record: usize,
    offset: usize,
    values: &[u64],
) {
    let start = record * region.record_words() + offset;
    for (word, &value) in (start..).zip(values) {
        if pages.load(region, word) != value {
            pages.store(region, word, value);
        }
    }
}

/// Reads one word of the control page.
pub(crate) fn control_word(pages: &impl Pages, word: usize) -> u64 {
    pages.load(Region::Control, word)
}

/// Writes one word of the control page.
pub(crate) fn set_control(pages: &mut impl Pages, word: usize, value: u64) {
    pages.store(Region::Control, word, value);
}
