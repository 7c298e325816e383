//! Record 0 of the edge book: everything that edges no longer in it have counted.

use crate::flow::{Class, Counts, Folded};
use crate::page::{EDGE_WORDS, Pages, Region, load_words};

/// First word of record 0 when it is ours.
pub(crate) const BOOK_MAGIC: u64 = u64::from_le_bytes(*b"edgebook");

/// Sums of departed edges, by direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Departed {
    /// Flows.
    pub(crate) flows: [Counts; 2],
    /// The same packets before segmentation, folded ones included.
    pub(crate) skb: [Counts; 2],
    /// The part that the pod family shows as `other`.
    pub(crate) pod_other: [Counts; 2],
    /// The part that the pod family shows as retired.
    pub(crate) pod_retired: [Counts; 2],
    /// Amounts without flow detail, by class.
    pub(crate) folded: Folded,
}

impl Departed {
    /// Words behind the magic.
    pub(crate) const WORDS: usize = 16 + 4 * Class::CELLS;
    /// Where they start in the record.
    pub(crate) const OFFSET: usize = 1;

    pub(crate) fn load(pages: &impl Pages) -> Self {
        let words: [u64; Self::WORDS] = load_words(pages, Region::EdgeBook, 0, Self::OFFSET);
        let at = |i: usize| Counts { packets: words[2 * i], bytes: words[2 * i + 1] };
        let both = |i| [at(i), at(i + 1)];
        Self {
            flows: both(0),
            skb: both(2),
            pod_other: both(4),
            pod_retired: both(6),
            folded: [8, 8 + Class::CELLS].map(|start| std::array::from_fn(|i| at(start + i))),
        }
    }

    pub(crate) fn to_words(self) -> Vec<u64> {
        let sums = [self.flows, self.skb, self.pod_other, self.pod_retired];
        let sums = sums.into_iter().flatten();
        sums.chain(self.folded.into_iter().flatten()).flat_map(Counts::words).collect()
    }

    /// All of a direction, with and without flow detail.
    pub(crate) fn wire(&self, direction: usize) -> Counts {
        self.flows[direction] + self.folded[direction].into_iter().sum()
    }
}

const _: () = assert!(Departed::OFFSET + Departed::WORDS <= EDGE_WORDS);

#[cfg(test)]
mod tests {
    use super::{BOOK_MAGIC, Departed};
    use crate::flow::Counts;
    use crate::page::{FlowKeyMode, Geometry, Memory, Pages, Region, store_words};

    #[test]
    fn sums_survive_their_words_beside_the_magic() {
        let geometry = Geometry {
            flow_capacity4: 1,
            flow_capacity6: 1,
            shards: 1,
            max_edges: 1,
            pair_series: 1,
            flow_key: FlowKeyMode::FiveTuple,
        };
        let mut memory = Memory::new(&geometry);
        let mut next = 0;
        let mut count = || {
            next += 2;
            Counts { packets: next, bytes: next + 1 }
        };
        let departed = Departed {
            flows: [count(), count()],
            skb: [count(), count()],
            pod_other: [count(), count()],
            pod_retired: [count(), count()],
            folded: std::array::from_fn(|_| std::array::from_fn(|_| count())),
        };
        memory.store(Region::EdgeBook, 0, BOOK_MAGIC);
        let words = departed.to_words();
        assert_eq!(words.len(), Departed::WORDS);
        store_words(&mut memory, Region::EdgeBook, 0, Departed::OFFSET, &words);
        assert_eq!(Departed::load(&memory), departed);
        assert_eq!(memory.load(Region::EdgeBook, 0), BOOK_MAGIC);
    }
}
