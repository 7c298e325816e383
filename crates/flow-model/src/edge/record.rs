//! Words of one edge book record and their typed reading.

use super::{EdgeId, EdgeState, Exposure, Hook, Identity, Text, lower, upper};
use crate::flow::{Counts, Direction, Parity, Slot};
use crate::page::EDGE_WORDS;

/// First word of each field.
pub(crate) mod field {
    pub(crate) const HEAD: usize = 0;
    pub(crate) const SINCE: usize = 1;
    pub(crate) const NETNS: usize = 2;
    pub(crate) const DEVICES: usize = 3;
    pub(crate) const HOOKS: usize = 4; // tx, rx
    pub(crate) const CREATED: usize = 6;
    pub(crate) const IDENTITY: usize = 7;
    pub(crate) const TEXTS: usize = 8; // name, namespace, uid
    pub(crate) const SUMS: usize = 32; // parity, direction, packets and bytes
    pub(crate) const INHERITED: usize = 40; // direction, packets and bytes
    pub(crate) const POD_CREATED: usize = 44; // behind INHERITED: logged as one
    pub(crate) const BASELINE: usize = 45;
}

/// One edge as its record tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EdgeRecord {
    /// Its identity in this ledger.
    pub id: EdgeId,
    /// Its place in the kernel's arrays.
    pub slot: Slot,
    /// Where it stands in its life.
    pub state: EdgeState,
    /// Epoch in which it entered draining, or departed.
    pub since_epoch: u64,
    /// Inode of its network namespace.
    pub netns_inode: u64,
    /// Device in the node's namespace, or 0.
    pub host_ifindex: u32,
    /// Device in the pod's namespace, or 0.
    pub pod_ifindex: u32,
    /// Its hooks, by direction.
    pub hooks: [Hook; 2],
    /// Wall time at which it was added.
    pub created_ns: u64,
    /// How it appears among the pods.
    pub exposure: Exposure,
    /// Who it belongs to; empty if a crash tore the texts.
    pub identity: Identity,
    /// Committed flows by parity and direction.
    pub sums: [[Counts; 2]; 2],
    /// What departed edges of the same pod left to it, by direction.
    pub inherited: [Counts; 2],
    /// Wall time at which the series of its pod began.
    pub pod_created_ns: u64,
    /// What the driver noted of its devices; the meaning is the driver's.
    pub baseline: [u64; 8],
}

impl EdgeRecord {
    /// An edge without anything counted.
    pub(crate) fn new(id: EdgeId, slot: Slot) -> Self {
        Self {
            id,
            slot,
            state: EdgeState::Free,
            since_epoch: 0,
            netns_inode: 0,
            host_ifindex: 0,
            pod_ifindex: 0,
            hooks: [Hook::default(); 2],
            created_ns: 0,
            exposure: Exposure::Unnamed,
            identity: Identity::default(),
            sums: [[Counts::ZERO; 2]; 2],
            inherited: [Counts::ZERO; 2],
            pod_created_ns: 0,
            baseline: [0; 8],
        }
    }

    /// Committed flows of a direction over both parities.
    pub fn flows(&self, direction: Direction) -> Counts {
        Parity::ALL.iter().map(|parity| self.sums[*parity as usize][direction as usize]).sum()
    }

    /// Reads the words of a record. Torn texts are not an error: a rename is not atomic,
    /// and the driver names the edge again.
    pub fn decode(slot: Slot, words: &[u64; EDGE_WORDS]) -> Result<Self, CorruptEdge> {
        let corrupt = |field| CorruptEdge { slot: slot.0, field };
        let state = state(words[field::HEAD]).ok_or_else(|| corrupt("state"))?;
        let id = EdgeId(upper(words[field::HEAD]));
        if (id.0 == 0) != (state == EdgeState::Free) {
            return Err(corrupt("id"));
        }
        let hook = |i| Hook::from_word(words[field::HOOKS + i]).ok_or_else(|| corrupt("hook"));
        let exposure = exposure(words[field::IDENTITY]).ok_or_else(|| corrupt("identity"))?;
        let identity = identity(words);
        Ok(Self {
            id,
            slot,
            state,
            since_epoch: words[field::SINCE],
            netns_inode: words[field::NETNS],
            host_ifindex: lower(words[field::DEVICES]),
            pod_ifindex: upper(words[field::DEVICES]),
            hooks: [hook(0)?, hook(1)?],
            created_ns: words[field::CREATED],
            exposure: without_texts(exposure, identity.is_none()),
            identity: identity.unwrap_or_default(),
            sums: [amounts(words, field::SUMS), amounts(words, field::SUMS + 4)],
            inherited: amounts(words, field::INHERITED),
            pod_created_ns: words[field::POD_CREATED],
            baseline: std::array::from_fn(|i| words[field::BASELINE + i]),
        })
    }

    /// The words that [`EdgeRecord::decode`] reads.
    pub fn encode(&self) -> [u64; EDGE_WORDS] {
        let mut words = [0; EDGE_WORDS];
        words[field::HEAD] = head_word(self.state, self.id);
        words[field::SINCE] = self.since_epoch;
        words[field::NETNS] = self.netns_inode;
        words[field::DEVICES] = u64::from(self.host_ifindex) | u64::from(self.pod_ifindex) << 32;
        words[field::CREATED] = self.created_ns;
        words[field::IDENTITY] = identity_word(self.exposure, &self.identity);
        words[field::POD_CREATED] = self.pod_created_ns;
        place(&mut words, field::HOOKS, self.hooks.map(Hook::to_word));
        place(&mut words, field::TEXTS, text_words(&self.identity));
        place(&mut words, field::SUMS, self.sums.into_iter().flatten().flat_map(Counts::words));
        place(&mut words, field::INHERITED, self.inherited.into_iter().flat_map(Counts::words));
        place(&mut words, field::BASELINE, self.baseline);
        words
    }
}

/// A record that no release of this program writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("edge book slot {slot} has an impossible {field}; something else wrote to the pinned map")]
pub struct CorruptEdge {
    /// The record.
    pub slot: u16,
    /// What is wrong with it.
    pub field: &'static str,
}

/// The first word: everything that a step of life changes.
pub(crate) const fn head_word(state: EdgeState, id: EdgeId) -> u64 {
    state as u64 | (id.0 as u64) << 32
}

/// The word that makes texts valid: how the edge appears, and a checksum of who it is.
pub(crate) fn identity_word(exposure: Exposure, identity: &Identity) -> u64 {
    exposure as u64 | u64::from(checksum(&text_words(identity))) << 32
}

/// Name, namespace and UID in the order of the record.
pub(crate) fn text_words(identity: &Identity) -> [u64; 3 * Text::WORDS] {
    let texts = [identity.name, identity.namespace, identity.uid].map(Text::to_words);
    std::array::from_fn(|i| texts[i / Text::WORDS][i % Text::WORDS])
}

fn identity(words: &[u64; EDGE_WORDS]) -> Option<Identity> {
    let text = |i| {
        let start = field::TEXTS + i * Text::WORDS;
        Text::from_words(&std::array::from_fn(|word| words[start + word]))
    };
    let identity = Identity { name: text(0)?, namespace: text(1)?, uid: text(2)? };
    let expected = upper(words[field::IDENTITY]);
    (checksum(&text_words(&identity)) == expected).then_some(identity)
}

/// A series needs its labels; `other` does not, and must not give its amounts back.
fn without_texts(exposure: Exposure, torn: bool) -> Exposure {
    match exposure {
        Exposure::Series if torn => Exposure::Unnamed,
        known => known,
    }
}

fn checksum(words: &[u64]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    for word in words {
        crc.update(&word.to_le_bytes());
    }
    crc.finalize()
}

const fn state(head: u64) -> Option<EdgeState> {
    Some(match lower(head) {
        0 => EdgeState::Free,
        1 => EdgeState::Zeroing,
        2 => EdgeState::Live,
        3 => EdgeState::Draining,
        4 => EdgeState::Quarantined,
        _ => return None,
    })
}

const fn exposure(word: u64) -> Option<Exposure> {
    Some(match lower(word) {
        0 => Exposure::Unnamed,
        1 => Exposure::Series,
        2 => Exposure::Other,
        _ => return None,
    })
}

pub(super) fn amounts(words: &[u64; EDGE_WORDS], start: usize) -> [Counts; 2] {
    [0, 2].map(|i| Counts { packets: words[start + i], bytes: words[start + i + 1] })
}

pub(super) fn place(
    words: &mut [u64; EDGE_WORDS],
    start: usize,
    values: impl IntoIterator<Item = u64>,
) {
    for (word, value) in words.iter_mut().skip(start).zip(values) {
        *word = value;
    }
}

#[cfg(test)]
mod tests {
    use super::{CorruptEdge, EdgeRecord, field};
    use crate::edge::{Attachment, EdgeId, EdgeState, Exposure, Hook, Place, Text};
    use crate::flow::{Counts, Slot};
    use crate::page::EDGE_WORDS;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    fn full() -> EdgeRecord {
        let mut record = EdgeRecord::new(EdgeId(u32::MAX), Slot(9));
        record.state = EdgeState::Draining;
        record.since_epoch = 3;
        record.netns_inode = 0xf000_0001;
        (record.host_ifindex, record.pod_ifindex) = (u32::MAX, 2);
        record.hooks[0] = Hook {
            place: Place::Host,
            attachment: Attachment::Clsact,
            preference: 0xabcd,
            handle: 0xdead_beef,
        };
        record.created_ns = 1;
        record.exposure = Exposure::Series;
        record.identity.name = Text::new("web-0").unwrap();
        record.identity.namespace = Text::new("shop").unwrap();
        record.sums[1][0] = Counts { packets: 5, bytes: 6 };
        record.inherited[1] = Counts { packets: 7, bytes: 8 };
        record.pod_created_ns = 2;
        record.baseline[7] = 11;
        record
    }

    #[test]
    fn a_record_survives_its_words() {
        assert_eq!(EdgeRecord::decode(Slot(9), &full().encode()), Ok(full()));
    }

    #[test]
    fn zeroed_pages_are_a_free_slot() {
        let free = EdgeRecord::decode(Slot(1), &[0; EDGE_WORDS]).unwrap();
        assert_eq!((free.state, free.id), (EdgeState::Free, EdgeId(0)));
    }

    #[test]
    fn torn_texts_cost_a_series_its_name_but_other_keeps_its_amounts() {
        for (exposure, kept) in
            [(Exposure::Series, Exposure::Unnamed), (Exposure::Other, Exposure::Other)]
        {
            let mut words = EdgeRecord { exposure, ..full() }.encode();
            words[field::TEXTS] ^= 1 << 16;
            let record = EdgeRecord::decode(Slot(9), &words).unwrap();
            assert_eq!((record.exposure, record.identity.name.as_str()), (kept, ""));
            assert_eq!(record.sums, full().sums);
        }
    }

    #[test]
    fn unassigned_codes_and_states_without_owner_name_the_field() {
        for (word, value, wrong) in [
            (field::HEAD, 5, "state"),
            (field::HEAD, 2, "id"),
            (field::HEAD, 1 << 32, "id"),
            (field::HOOKS + 1, 5, "hook"),
            (field::HOOKS, 5 << 8, "hook"),
            (field::IDENTITY, 3, "identity"),
        ] {
            let mut words = full().encode();
            words[word] = value;
            let error = CorruptEdge { slot: 9, field: wrong };
            assert_eq!(EdgeRecord::decode(Slot(9), &words), Err(error));
        }
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_and_read_the_same(
            head in 0_u64..6, id: u32, identity in 0_u64..4, hooks in any::<[u8; 4]>(),
            rest in any::<[u64; 8]>(),
        ) {
            let mut words: [u64; EDGE_WORDS] = std::array::from_fn(|i| rest[i % 8]);
            words[field::HEAD] = head | u64::from(id) << 32;
            words[field::IDENTITY] = identity;
            words[field::HOOKS] = u64::from(hooks[0] % 6) | u64::from(hooks[1] % 5) << 8;
            words[field::HOOKS + 1] = u64::from(hooks[2] % 6) | u64::from(hooks[3] % 5) << 8;
            if let Ok(record) = EdgeRecord::decode(Slot(1), &words) {
                prop_assert_eq!(EdgeRecord::decode(Slot(1), &record.encode()), Ok(record));
                prop_assert!(record.exposure != Exposure::Series || rest == [0; 8]);
            }
        }
    }
}
