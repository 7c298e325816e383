//! From lists of prefixes to one table in which the longest match decides.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use stamp_proto::reflector::Prefix;

use crate::layout::{PREFIX_LEN, mapped};

const ALLOW: u32 = 1;
const DENY: u32 = 2;
const LIGHT: u32 = 4;

/// Keys and values of the table. The one prefix that matches longest knows all that any
/// list says of an address, since every shorter one that matches contains it.
pub(crate) fn table(
    allow: &[Prefix],
    deny: &[Prefix],
    light: &[Prefix],
) -> Vec<([u8; PREFIX_LEN], u32)> {
    let lists = [(allow, ALLOW), (deny, DENY), (light, LIGHT)];
    let all: Vec<(Row, u32)> = lists
        .iter()
        .flat_map(|&(list, bit)| list.iter().map(move |prefix| (Row::of(prefix), bit)))
        .filter(|(row, _)| !row.is_shadowed())
        .collect();
    let mut rows: BTreeMap<Row, u32> = [(Row::ALL_IPV4, 0)].into();
    rows.extend(all.iter().map(|&(row, _)| (row, 0)));
    for (row, bits) in &mut rows {
        *bits =
            all.iter().filter(|(other, _)| other.contains(row)).fold(0, |or, (_, bit)| or | bit);
    }
    rows.iter().map(|(row, &bits)| (row.key(), bits)).collect()
}

/// A prefix in the address space of the programs, where IPv4 is mapped into IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Row {
    len: u32,
    bits: u128,
    v4: bool,
}

impl Row {
    /// A prefix of IPv6 that is shorter must not speak for IPv4.
    const ALL_IPV4: Self = Self { len: 96, bits: 0xffff << 32, v4: true };

    fn of(prefix: &Prefix) -> Self {
        let v4 = matches!(prefix.address(), IpAddr::V4(_));
        let len = u32::from(prefix.prefix_len()) + if v4 { 96 } else { 0 };
        Self { len, bits: mapped(prefix.address()).to_bits(), v4 }
    }

    /// A prefix of IPv6 that names mapped addresses: those count as IPv4.
    fn is_shadowed(&self) -> bool {
        !self.v4 && self.len >= 96 && self.bits >> 32 == 0xffff
    }

    fn contains(&self, other: &Self) -> bool {
        let host = u128::MAX.checked_shr(self.len).unwrap_or(0);
        self.v4 == other.v4 && self.len <= other.len && self.bits == other.bits & !host
    }

    fn key(&self) -> [u8; PREFIX_LEN] {
        let mut key = [0; PREFIX_LEN];
        key[..4].copy_from_slice(&self.len.to_ne_bytes());
        key[4..].copy_from_slice(&Ipv6Addr::from_bits(self.bits).octets());
        key
    }
}

#[cfg(test)]
mod tests {
    use super::{ALLOW, DENY, LIGHT, mapped, table};
    use proptest::prelude::{Strategy, any, prop_assert_eq, prop_oneof, proptest};
    use stamp_proto::reflector::{Prefix, Prefixes};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    /// What the kernel does with the table.
    fn longest(rows: &[([u8; 20], u32)], address: IpAddr) -> u32 {
        let bits = mapped(address).to_bits();
        let matches = |key: &[u8; 20]| {
            let len = u32::from_ne_bytes(key[..4].try_into().unwrap());
            let own = u128::from_be_bytes(key[4..].try_into().unwrap());
            let host = u128::MAX.checked_shr(len).unwrap_or(0);
            (own == bits & !host).then_some(len)
        };
        let best = rows.iter().filter_map(|(key, bits)| Some((matches(key)?, *bits))).max();
        best.map_or(0, |(_, bits)| bits)
    }

    fn address() -> impl Strategy<Value = IpAddr> {
        let few = prop_oneof![0..3_u8, any::<u8>()];
        let v4 = proptest::array::uniform4(few).prop_map(|octets| Ipv4Addr::from(octets).into());
        let v6 =
            (0..3_u16, 0..3_u16).prop_map(|(a, b)| Ipv6Addr::from([a, 0, 0, 0, 0, 0, 0, b]).into());
        let odd = (0..3_u8).prop_map(|n| Ipv4Addr::new(n, 0, 0, n).to_ipv6_mapped().into());
        prop_oneof![v4, v6, odd]
    }

    fn prefix() -> impl Strategy<Value = Prefix> {
        (address(), 0..=128_u8).prop_filter_map("host bits", |(address, len)| {
            let longest = if address.is_ipv4() { 32 } else { 128 };
            match Prefix::new(address, len.min(longest)) {
                Err(stamp_proto::reflector::PrefixError::HostBits { network }) => Some(network),
                other => other.ok(),
            }
        })
    }

    proptest! {
        #[test]
        fn the_longest_match_knows_what_the_lists_know(
            lists in proptest::array::uniform3(proptest::collection::vec(prefix(), 0..6)),
            asked in proptest::collection::vec(address(), 1..20),
        ) {
            let rows = table(&lists[0], &lists[1], &lists[2]);
            let sets: [Prefixes; 3] = lists.map(|list| list.into_iter().collect());
            for address in asked {
                let bits = longest(&rows, address);
                for (set, bit) in sets.iter().zip([ALLOW, DENY, LIGHT]) {
                    prop_assert_eq!(bits & bit != 0, set.contains(address), "{}", address);
                }
            }
        }
    }
}
