//! Address ranges whose traffic is set apart.

use std::net::IpAddr;
use std::str::FromStr;

/// One range of addresses, such as `10.0.0.0/8`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prefix {
    network: IpAddr,
    length: u8,
}

impl Prefix {
    /// A range; bits of `address` behind `length` are ignored.
    pub const fn new(address: IpAddr, length: u8) -> Result<Self, PrefixError> {
        if length > width(address) {
            return Err(PrefixError::Length { max: width(address) });
        }
        Ok(Self { network: address, length })
    }

    /// Whether the address lies in the range. Families never match each other.
    pub const fn contains(&self, address: IpAddr) -> bool {
        match (self.network, address) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => {
                let differing = net.to_bits() ^ ip.to_bits();
                differing.leading_zeros() >= self.length as u32
            }
            (IpAddr::V6(net), IpAddr::V6(ip)) => {
                let differing = net.to_bits() ^ ip.to_bits();
                differing.leading_zeros() >= self.length as u32
            }
            _ => false,
        }
    }
}

impl FromStr for Prefix {
    type Err = PrefixError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (address, length) = match text.split_once('/') {
            Some((address, length)) => (address, Some(length)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| PrefixError::Address)?;
        let max = width(address);
        let length = match length {
            Some(digits) => digits.parse().map_err(|_| PrefixError::Length { max })?,
            None => max,
        };
        Self::new(address, length)
    }
}

/// A handful of ranges, any of which may match.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Prefixes(Vec<Prefix>);

impl Prefixes {
    /// Whether any of the ranges holds the address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|prefix| prefix.contains(address))
    }
}

impl FromIterator<Prefix> for Prefixes {
    fn from_iter<I: IntoIterator<Item = Prefix>>(ranges: I) -> Self {
        Self(ranges.into_iter().collect())
    }
}

/// Why a text is not a range of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrefixError {
    /// The part before the slash.
    #[error("not an IP address; write a range such as 10.0.0.0/8 or fd00::/8")]
    Address,
    /// The part behind the slash.
    #[error("the prefix length must be a number from 0 to {max}")]
    Length {
        /// Longest prefix of the family.
        max: u8,
    },
}

const fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

#[cfg(test)]
mod tests {
    use super::{Prefix, PrefixError, Prefixes};

    fn holds(range: &str, address: &str) -> bool {
        range.parse::<Prefix>().unwrap().contains(address.parse().unwrap())
    }

    #[test]
    fn a_range_holds_its_first_and_last_address_only() {
        assert!(holds("10.1.2.77/24", "10.1.2.0") && holds("10.1.2.0/24", "10.1.2.255"));
        assert!(!holds("10.1.2.0/24", "10.1.3.0") && !holds("10.1.2.0/24", "10.1.1.255"));
        assert!(holds("fd00::/8", "fdff::1") && !holds("fd00::/8", "fe00::"));
    }

    #[test]
    fn length_zero_holds_one_family_and_no_length_holds_one_address() {
        assert!(holds("0.0.0.0/0", "203.0.113.9") && !holds("0.0.0.0/0", "::1"));
        assert!(holds("::1", "::1") && !holds("::1", "::2") && !holds("192.0.2.1", "192.0.2.2"));
    }

    #[test]
    fn impossible_ranges_are_refused_with_the_limit() {
        assert_eq!("10.0.0.0/33".parse::<Prefix>(), Err(PrefixError::Length { max: 32 }));
        assert_eq!("::/129".parse::<Prefix>(), Err(PrefixError::Length { max: 128 }));
        assert_eq!("::/-1".parse::<Prefix>(), Err(PrefixError::Length { max: 128 }));
        assert_eq!("pods/8".parse::<Prefix>(), Err(PrefixError::Address));
    }

    #[test]
    fn no_range_holds_nothing() {
        assert!(!Prefixes::default().contains("::1".parse().unwrap()));
    }
}
