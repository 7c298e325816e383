//! What tells address pairs apart, and the words of their records.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::edge::{EdgeId, upper};
use crate::flow::{Counts, FlowKey, Protocol};
use crate::page::PAIR_WORDS;

/// First word of the pair region when it is ours.
pub(crate) const PAIRS_MAGIC: u64 = u64::from_le_bytes(*b"pairbook");

/// Numbers of the records in front of the series.
pub(crate) mod reserved {
    pub(crate) const OTHER: usize = 0;
    pub(crate) const IGNORED: usize = 1;
    pub(crate) const RETIRED: usize = 2;
}

/// Source, destination and protocol of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairKey {
    src: u128,
    dst: u128,
    v6: bool,
    protocol: Protocol,
}

impl PairKey {
    /// The pair that a flow belongs to.
    pub fn of(flow: &FlowKey) -> Self {
        Self::new(flow.src, flow.dst, Protocol::of(flow.protocol))
    }

    /// A pair of addresses of the same family.
    pub fn new(src: IpAddr, dst: IpAddr, protocol: Protocol) -> Self {
        Self { src: bits(src), dst: bits(dst), v6: src.is_ipv6(), protocol }
    }

    /// Source address.
    pub const fn src(&self) -> IpAddr {
        address(self.src, self.v6)
    }

    /// Destination address.
    pub const fn dst(&self) -> IpAddr {
        address(self.dst, self.v6)
    }

    /// Protocol.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }
}

/// A record in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PairRecord {
    pub(crate) key: PairKey,
    /// Edge that first carried it.
    pub(crate) owner: EdgeId,
    pub(crate) created_ns: u64,
    pub(crate) counts: Counts,
}

impl PairRecord {
    /// Words that hold the key; written before the record is in use.
    pub(crate) const KEY_WORDS: usize = 4;

    /// Reads a record; `None` when it is free.
    pub(crate) fn decode(
        record: usize,
        words: &[u64; PAIR_WORDS],
    ) -> Result<Option<Self>, CorruptPair> {
        let [src_low, src_high, dst_low, dst_high, head, created_ns, packets, bytes] = *words;
        let [state, protocol, family, zero, ..] = head.to_le_bytes();
        if state == 0 {
            return Ok(None);
        }
        let protocol = Protocol::ALL.get(usize::from(protocol)).copied();
        let (USED, Some(protocol), 4 | 6, 0) = (state, protocol, family, zero) else {
            return Err(CorruptPair::Head { record });
        };
        let v6 = family == 6;
        if !v6 && (src_low | dst_low) >> 32 | src_high | dst_high != 0 {
            return Err(CorruptPair::Head { record });
        }
        let (src, dst) = (join(src_low, src_high), join(dst_low, dst_high));
        let key = PairKey { src, dst, v6, protocol };
        let counts = Counts { packets, bytes };
        Ok(Some(Self { key, owner: EdgeId(upper(head)), created_ns, counts }))
    }

    /// The words of the key.
    pub(crate) const fn key_words(key: &PairKey) -> [u64; Self::KEY_WORDS] {
        [key.src as u64, (key.src >> 64) as u64, key.dst as u64, (key.dst >> 64) as u64]
    }

    /// The words behind the key.
    pub(crate) fn tail_words(&self) -> [u64; 4] {
        let family = if self.key.v6 { 6_u64 } else { 4 };
        let head = u64::from(USED)
            | (self.key.protocol as u64) << 8
            | family << 16
            | u64::from(self.owner.0) << 32;
        [head, self.created_ns, self.counts.packets, self.counts.bytes]
    }
}

/// Why the pair region can't be continued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CorruptPair {
    #[error("the pair region has no header; something else wrote to the pinned map")]
    Magic,
    #[error("pair record {record} is none of ours; something else wrote to the pinned map")]
    Head { record: usize },
    #[error("pair record {record} repeats an earlier pair; something else wrote to the pinned map")]
    Twice { record: usize },
}

const USED: u8 = 1;

const fn join(low: u64, high: u64) -> u128 {
    low as u128 | (high as u128) << 64
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => address.to_bits(),
    }
}

const fn address(bits: u128, v6: bool) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::from_bits(bits))
    } else {
        IpAddr::V4(Ipv4Addr::from_bits((bits & 0xffff_ffff) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::{CorruptPair, PairKey, PairRecord};
    use crate::edge::EdgeId;
    use crate::flow::{Counts, Protocol};
    use crate::page::PAIR_WORDS;
    use proptest::prelude::{any, prop_assert_eq, proptest};

    fn words(record: &PairRecord) -> [u64; PAIR_WORDS] {
        let mut words = [0; PAIR_WORDS];
        words[..4].copy_from_slice(&PairRecord::key_words(&record.key));
        words[4..].copy_from_slice(&record.tail_words());
        words
    }

    #[test]
    fn both_families_survive_their_words() {
        for (src, dst, v6) in [(0xffff_ffff, 1, false), (u128::MAX, 1 << 64, true)] {
            let key = PairKey { src, dst, v6, protocol: Protocol::Sctp };
            let counts = Counts { packets: 3, bytes: 4 };
            let record = PairRecord { key, owner: EdgeId(7), created_ns: 2, counts };
            assert_eq!(PairRecord::decode(0, &words(&record)), Ok(Some(record)));
        }
    }

    #[test]
    fn zeroed_pages_are_a_free_record() {
        assert_eq!(PairRecord::decode(0, &[0; PAIR_WORDS]), Ok(None));
    }

    #[test]
    fn a_version_4_pair_with_longer_addresses_is_refused() {
        let mut words = [0; PAIR_WORDS];
        words[4] = 1 | 4 << 16;
        words[2] = 1 << 32;
        assert_eq!(PairRecord::decode(5, &words), Err(CorruptPair::Head { record: 5 }));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_written_the_same(
            key in any::<[u64; 4]>(), head in any::<[u8; 3]>(), owner: u32, rest in any::<[u64; 3]>(),
        ) {
            let mut given = [0; PAIR_WORDS];
            given[..4].copy_from_slice(&key);
            let [state, protocol, family] = head.map(u64::from);
            given[4] = (state % 3)
                | ((protocol % 8) << 8)
                | ((family % 8) << 16)
                | (u64::from(owner) << 32);
            given[5..].copy_from_slice(&rest);
            match PairRecord::decode(0, &given) {
                Ok(Some(record)) => prop_assert_eq!(words(&record), given),
                Ok(None) => prop_assert_eq!(state % 3, 0),
                Err(_) => prop_assert_eq!(state % 3 == 0, false),
            }
        }
    }
}
