//! Sets of addresses, written as prefixes and looked up as ranges.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Addresses that begin alike, as in `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Prefix {
    address: IpAddr,
    len: u8,
}

impl Prefix {
    /// The addresses whose first `len` bits are those of `address`.
    pub fn new(address: IpAddr, len: u8) -> Result<Self, PrefixError> {
        let longest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = Self { address, len };
        if len > longest {
            return Err(PrefixError::TooLong { longest });
        }
        let (first, _) = prefix.range();
        if bits(address) != first {
            return Err(PrefixError::HostBits {
                network: Self { address: unbits(address, first), len },
            });
        }
        Ok(prefix)
    }

    /// The address of the network.
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits are fixed.
    pub const fn prefix_len(&self) -> u8 {
        self.len
    }

    fn range(&self) -> (u128, u128) {
        let width = if self.address.is_ipv4() { 32 } else { 128 };
        let host = u128::MAX.checked_shr(128 - width + u32::from(self.len)).unwrap_or(0);
        (bits(self.address) & !host, bits(self.address) | host)
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    /// Reads `address/length`; an address alone is itself only.
    fn from_str(text: &str) -> Result<Self, PrefixError> {
        let (address, len) =
            text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
        let address: IpAddr = address.parse().map_err(|_| PrefixError::NoAddress)?;
        let whole = if address.is_ipv4() { 32 } else { 128 };
        let len = len.map_or(Ok(whole), |len| len.parse().map_err(|_| PrefixError::NoLength))?;
        Self::new(address, len)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.len)
    }
}

/// What is no prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// Not an address in front of the slash.
    #[error("is no address; write a prefix as 10.0.0.0/8 or fd00::/8")]
    NoAddress,
    /// Not a number behind the slash.
    #[error("has no length behind the slash; write a prefix as 10.0.0.0/8 or fd00::/8")]
    NoLength,
    /// More bits than an address has.
    #[error("is longer than an address; the length is at most {longest}")]
    TooLong {
        /// Bits of an address of this family.
        longest: u8,
    },
    /// Bits behind the length are set.
    #[error("has bits behind its length; the network is {network}")]
    HostBits {
        /// The prefix that was probably meant.
        network: Prefix,
    },
}

/// A set of addresses of both families.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// Rising, apart from each other, both ends included; one list per family.
    v4: Vec<(u128, u128)>,
    v6: Vec<(u128, u128)>,
}

impl Prefixes {
    /// Every address there is.
    pub fn all() -> Self {
        Self { v4: vec![(0, u128::from(u32::MAX))], v6: vec![(0, u128::MAX)] }
    }

    /// Private, shared, link-local and loopback addresses: RFC 1918, 6598, 3927, 4193.
    pub fn private() -> Self {
        PRIVATE.iter().map(|&(address, len)| Prefix { address, len }).collect()
    }

    /// This set and some more prefixes.
    #[must_use]
    pub fn with(self, more: impl IntoIterator<Item = Prefix>) -> Self {
        let more: Self = more.into_iter().collect();
        Self { v4: merged([self.v4, more.v4].concat()), v6: merged([self.v6, more.v6].concat()) }
    }

    /// The fewest prefixes that have the same addresses, IPv4 first and then rising.
    pub fn iter(&self) -> impl Iterator<Item = Prefix> {
        let v4 = self.v4.iter().map(|&range| (V4, range));
        let v6 = self.v6.iter().map(|&range| (V6, range));
        v4.chain(v6).flat_map(|(family, range)| split(family, range))
    }

    /// True when any of the prefixes has this address; an IPv4 address that is mapped
    /// into IPv6 is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let ranges = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        let address = bits(address);
        let behind = ranges.partition_point(|&(first, _)| first <= address);
        behind > 0 && address <= ranges[behind - 1].1
    }
}

impl FromIterator<Prefix> for Prefixes {
    fn from_iter<I: IntoIterator<Item = Prefix>>(prefixes: I) -> Self {
        let (v4, v6): (Vec<_>, Vec<_>) =
            prefixes.into_iter().partition(|prefix| prefix.address.is_ipv4());
        Self { v4: joined(&v4), v6: joined(&v6) }
    }
}

fn joined(prefixes: &[Prefix]) -> Vec<(u128, u128)> {
    merged(prefixes.iter().map(Prefix::range).collect())
}

fn merged(mut ranges: Vec<(u128, u128)>) -> Vec<(u128, u128)> {
    ranges.sort_unstable();
    let mut joined: Vec<(u128, u128)> = Vec::with_capacity(ranges.len());
    for (first, last) in ranges {
        // A range that begins where the one before it ends goes on with it.
        match joined.last_mut().filter(|before| before.1.saturating_add(1) >= first) {
            Some(before) => before.1 = before.1.max(last),
            None => joined.push((first, last)),
        }
    }
    joined
}

/// The prefixes that a range consists of, each as short as its first address permits.
fn split(family: IpAddr, (first, last): (u128, u128)) -> impl Iterator<Item = Prefix> {
    let width: u32 = if family.is_ipv4() { 32 } else { 128 };
    let mut rest = Some(first);
    std::iter::from_fn(move || {
        let first = rest?;
        let room = (last - first).checked_add(1).map_or(128, u128::ilog2);
        let host = first.trailing_zeros().min(room).min(width);
        let size = 1_u128.checked_shl(host).unwrap_or(0);
        rest = first.checked_add(size).filter(|&next| size > 0 && next <= last);
        Some(Prefix { address: unbits(family, first), len: (width - host) as u8 })
    })
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits(),
    }
}

fn unbits(family: IpAddr, bits: u128) -> IpAddr {
    match family {
        IpAddr::V4(_) => Ipv4Addr::from_bits(bits as u32).into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(bits).into(),
    }
}

const V4: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

const PRIVATE: [(IpAddr, u8); 9] = [
    (IpAddr::V4(Ipv4Addr::new(10, 0, 0, 0)), 8),
    (IpAddr::V4(Ipv4Addr::new(172, 16, 0, 0)), 12),
    (IpAddr::V4(Ipv4Addr::new(192, 168, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)), 10),
    (IpAddr::V4(Ipv4Addr::new(169, 254, 0, 0)), 16),
    (IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8),
    (IpAddr::V6(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0)), 7),
    (IpAddr::V6(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0)), 10),
    (IpAddr::V6(Ipv6Addr::LOCALHOST), 128),
];

#[cfg(test)]
mod tests {
    use super::{Prefix, PrefixError, Prefixes};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};
    use std::net::IpAddr;

    fn set(prefixes: &[&str]) -> Prefixes {
        prefixes.iter().map(|text| text.parse::<Prefix>().unwrap()).collect()
    }

    #[test]
    fn private_addresses_are_told_from_public_ones() {
        let private = Prefixes::private();
        let inside = [
            "10.255.0.1",
            "172.31.9.9",
            "192.168.0.0",
            "100.127.1.1",
            "169.254.3.3",
            "127.0.0.1",
            "::1",
        ];
        let outside = [
            "11.0.0.0",
            "172.32.0.0",
            "192.169.0.1",
            "100.128.0.0",
            "8.8.8.8",
            "::2",
            "2001:db8::1",
            "ff02::1",
        ];
        for address in inside.iter().chain(&["fd12::1", "fe80::1", "febf::1", "::ffff:10.0.0.1"]) {
            assert!(private.contains(address.parse().unwrap()), "{address}");
        }
        for address in outside.iter().chain(&["fec0::1", "::ffff:8.8.8.8"]) {
            assert!(!private.contains(address.parse().unwrap()), "{address}");
        }
    }

    #[test]
    fn prefixes_inside_each_other_are_one_range() {
        let both = set(&["10.0.0.0/8", "10.1.0.0/16", "10.200.0.1", "11.0.0.0/8"]);
        for address in ["10.0.0.0", "10.200.0.1", "10.255.255.255", "11.255.255.255"] {
            assert!(both.contains(address.parse().unwrap()), "{address}");
        }
        assert!(!both.contains("12.0.0.0".parse().unwrap()));
        assert!(!both.contains("::a00:1".parse().unwrap()));
    }

    #[test]
    fn the_whole_of_a_family_is_a_prefix_of_no_length() {
        assert!(set(&["0.0.0.0/0"]).contains("255.255.255.255".parse().unwrap()));
        assert!(!set(&["0.0.0.0/0"]).contains("::".parse().unwrap()));
        assert!(set(&["::/0"]).contains("ffff::".parse().unwrap()));
        assert!(Prefixes::all().contains("9.9.9.9".parse().unwrap()));
        assert!(!Prefixes::default().contains("9.9.9.9".parse().unwrap()));
    }

    #[test]
    fn a_set_is_told_by_the_fewest_prefixes() {
        let told = |prefixes: &[&str]| {
            set(prefixes).iter().map(|prefix| prefix.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(told(&["10.0.0.2", "10.0.0.3", "10.0.0.1", "10.0.0.0/31"]), ["10.0.0.0/30"]);
        assert_eq!(
            told(&["fd00::1", "fd00::2", "10.0.0.1"]),
            ["10.0.0.1/32", "fd00::1/128", "fd00::2/128"]
        );
        let all: Vec<_> = Prefixes::all().iter().map(|prefix| prefix.to_string()).collect();
        assert_eq!(all, ["0.0.0.0/0", "::/0"]);
        assert_eq!(told(&["ffff::/16", "255.255.255.255"]), ["255.255.255.255/32", "ffff::/16"]);
        assert_eq!(Prefixes::default().iter().count(), 0);
    }

    #[test]
    fn what_is_no_prefix_says_why() {
        let parse = |text: &str| text.parse::<Prefix>();
        assert_eq!(parse("ten/8"), Err(PrefixError::NoAddress));
        assert_eq!(parse("10.0.0.0/x"), Err(PrefixError::NoLength));
        assert_eq!(parse("10.0.0.0/33"), Err(PrefixError::TooLong { longest: 32 }));
        let network = parse("10.0.0.0/8").unwrap();
        assert_eq!(parse("10.1.0.0/8"), Err(PrefixError::HostBits { network }));
        assert_eq!(
            PrefixError::HostBits { network }.to_string(),
            "has bits behind its length; the network is 10.0.0.0/8"
        );
    }

    proptest! {
        #[test]
        fn looking_up_equals_comparing_with_each_prefix(nets: Vec<(u32, u8)>, wide: Vec<(u128, u8)>, v4: u32, v6: u128) {
            let mask = |bits: u128, len: u8, width: u8| if len == 0 { 0 } else { bits >> (width - len) << (width - len) };
            let nets: Vec<_> = nets.into_iter().map(|(net, len)| (mask(net.into(), len % 33, 32) as u32, len % 33)).collect();
            let wide: Vec<_> = wide.into_iter().map(|(net, len)| (mask(net, len % 129, 128), len % 129)).collect();
            let all: Prefixes = nets.iter().map(|&(net, len)| Prefix::new(IpAddr::from(net.to_be_bytes()), len).unwrap())
                .chain(wide.iter().map(|&(net, len)| Prefix::new(IpAddr::from(net.to_be_bytes()), len).unwrap()))
                .collect();
            prop_assert_eq!(all.iter().collect::<Prefixes>(), all.clone());
            prop_assert!(all.iter().all(|prefix| Prefix::new(prefix.address(), prefix.prefix_len()) == Ok(prefix)));
            let in_v4 = nets.iter().any(|&(net, len)| mask(v4.into(), len, 32) == net.into());
            prop_assert_eq!(all.contains(IpAddr::from(v4.to_be_bytes())), in_v4);
            let address = IpAddr::from(v6.to_be_bytes());
            let in_v6 = wide.iter().any(|&(net, len)| mask(v6, len, 128) == net);
            prop_assert_eq!(all.contains(address) && address.to_canonical().is_ipv6(), in_v6 && address.to_canonical().is_ipv6());
        }
    }
}
