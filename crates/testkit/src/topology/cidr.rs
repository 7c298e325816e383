//! An address with the length of its network prefix.

use std::fmt;
use std::net::{AddrParseError, IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::ParseIntError;
use std::str::FromStr;

/// An address and its network, as in `10.244.1.11/24`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

impl Cidr {
    /// Everything, for a default route: `0.0.0.0/0`.
    pub const ANY_V4: Self = Self { address: IpAddr::V4(Ipv4Addr::UNSPECIFIED), prefix: 0 };
    /// Everything, for a default route: `::/0`.
    pub const ANY_V6: Self = Self { address: IpAddr::V6(Ipv6Addr::UNSPECIFIED), prefix: 0 };

    /// An address in a network of `prefix` bits.
    pub fn new(address: impl Into<IpAddr>, prefix: u8) -> Result<Self, CidrError> {
        let address = address.into();
        let longest = width(address);
        if prefix > longest {
            return Err(CidrError::Prefix { prefix, longest });
        }
        Ok(Self { address, prefix })
    }

    /// The network of this address alone.
    pub fn host(address: impl Into<IpAddr>) -> Self {
        let address = address.into();
        Self { address, prefix: width(address) }
    }

    /// The address.
    pub const fn address(self) -> IpAddr {
        self.address
    }

    /// Length of the network prefix in bits.
    pub const fn prefix(self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let (address, prefix) = text.split_once('/').ok_or(CidrError::NoPrefix)?;
        Self::new(address.parse::<IpAddr>()?, prefix.parse()?)
    }
}

/// Text that is no address with a prefix.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CidrError {
    /// The part behind the slash is missing.
    #[error("no prefix length; write it behind the address, as in 10.0.0.1/24")]
    NoPrefix,
    /// The part before the slash is no address.
    #[error("{0}; write an IPv4 or IPv6 address before the slash")]
    Address(#[from] AddrParseError),
    /// The part behind the slash is no number.
    #[error("prefix length: {0}; write a number of bits behind the slash")]
    Number(#[from] ParseIntError),
    /// More bits than the address has.
    #[error("a prefix of {prefix} bits is longer than the address; use at most {longest}")]
    Prefix {
        /// Bits asked for.
        prefix: u8,
        /// Bits of the address.
        longest: u8,
    },
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_goes_in_and_comes_out() {
        for text in ["10.244.1.11/24", "fd00:244:1::b/64", "0.0.0.0/0", "192.0.2.1/32"] {
            assert_eq!(text.parse::<Cidr>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn every_mistake_is_told_apart() {
        assert_eq!("10.0.0.1".parse::<Cidr>(), Err(CidrError::NoPrefix));
        assert!(matches!("ten/8".parse::<Cidr>(), Err(CidrError::Address(_))));
        assert!(matches!("10.0.0.1/x".parse::<Cidr>(), Err(CidrError::Number(_))));
        let long = "10.0.0.1/33".parse::<Cidr>();
        assert_eq!(long, Err(CidrError::Prefix { prefix: 33, longest: 32 }));
    }

    #[test]
    fn a_host_is_its_own_network() {
        assert_eq!(Cidr::host(Ipv6Addr::LOCALHOST).to_string(), "::1/128");
    }
}
