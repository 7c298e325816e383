//! Type 12: how many replies to one request, how long, and of whom. RFC 10052 §3.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Flags, Kind, Tlv, append, walk};

/// The fixed part of a value: how many replies, how long and how far apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketControl {
    /// Octets that each reply is to have.
    pub reply_len: u16,
    /// How many replies are wanted.
    pub count: u16,
    /// Nanoseconds between two of them.
    pub interval_ns: u32,
}

impl PacketControl {
    /// Takes a value apart into its fixed part and what [`AddressGroup::walk`] reads;
    /// `None` when it is too short.
    pub fn parse(value: &[u8]) -> Option<(Self, &[u8])> {
        let (fixed, groups) = value.split_first_chunk::<8>()?;
        let [a, b, c, d, interval @ ..] = *fixed;
        let control = Self {
            reply_len: u16::from_be_bytes([a, b]),
            count: u16::from_be_bytes([c, d]),
            interval_ns: u32::from_be_bytes(interval),
        };
        (groups.len() >= PLACEHOLDER.len()).then_some((control, groups))
    }

    /// The value as it stands in a packet, with a placeholder where it has no group.
    pub fn emit(self, groups: &[AddressGroup<'_>]) -> Vec<u8> {
        let mut value = Vec::new();
        value.extend(self.reply_len.to_be_bytes());
        value.extend(self.count.to_be_bytes());
        value.extend(self.interval_ns.to_be_bytes());
        groups.iter().for_each(|group| group.emit(&mut value));
        if groups.is_empty() {
            value.extend(PLACEHOLDER);
        }
        value
    }
}

/// Who of those that a packet to many reaches is to answer it. RFC 10052 §3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddressGroup<'a> {
    /// Whose hardware address is `group` under `mask`.
    Hardware {
        /// The bits that count.
        mask: &'a [u8],
        /// What they are, in as many octets.
        group: &'a [u8],
    },
    /// Whose IP address begins like this one.
    Network {
        /// The address.
        address: IpAddr,
        /// How many of its bits count.
        len: u8,
    },
}

impl<'a> AddressGroup<'a> {
    /// The groups behind the fixed part of a value. What is none has the flag with which
    /// its extension is to come back; nothing behind what is cut off is read.
    pub fn walk(groups: &'a [u8]) -> impl Iterator<Item = Result<Self, Flags>> {
        let parsed = |sub: Tlv<'a>| match (sub.kind.code(), sub.value) {
            (HARDWARE, value) => Some(hardware(value).ok_or(Flags::MALFORMED)),
            (NETWORK, value) => Some(network(value).ok_or(Flags::MALFORMED)),
            (0, []) => None,
            _ => Some(Err(Flags::UNRECOGNIZED)),
        };
        walk(groups).filter_map(move |sub| sub.map_or(Some(Err(Flags::MALFORMED)), parsed))
    }

    /// True when the group has the node with this hardware address.
    pub fn has_hardware(&self, own: &[u8]) -> bool {
        let Self::Hardware { mask, group } = self else { return false };
        let masked = own.iter().zip(*mask).map(|(own, mask)| own & mask);
        own.len() == mask.len() && masked.eq(group.iter().copied())
    }

    /// True when the group has the node with this IP address.
    pub fn has_address(&self, own: IpAddr) -> bool {
        let Self::Network { address, len } = self else { return false };
        let (width, own, group) = match (own.to_canonical(), address) {
            (IpAddr::V4(own), IpAddr::V4(group)) => {
                (32, own.to_bits().into(), group.to_bits().into())
            }
            (IpAddr::V6(own), IpAddr::V6(group)) => (128, own.to_bits(), group.to_bits()),
            _ => return false,
        };
        let host = width - u32::from(*len);
        let kept = |bits: u128| bits.checked_shr(host).map_or(0, |kept| kept << host);
        kept(own) == group
    }

    fn emit(&self, value: &mut Vec<u8>) {
        match self {
            Self::Hardware { mask, group } => {
                append(value, Kind::from_code(HARDWARE), &[*mask, *group].concat());
            }
            Self::Network { address: IpAddr::V4(address), len } => {
                let fixed = [*len, 0, 0, 0];
                append(value, Kind::from_code(NETWORK), &[&fixed[..], &address.octets()].concat());
            }
            Self::Network { address: IpAddr::V6(address), len } => {
                let fixed = [*len, 0, 0, 0];
                append(value, Kind::from_code(NETWORK), &[&fixed[..], &address.octets()].concat());
            }
        }
    }
}

/// Mask and group of the same length: a short, a 48-bit or a 64-bit address.
fn hardware(value: &[u8]) -> Option<AddressGroup<'_>> {
    let (mask, group) = value.split_at(value.len() / 2);
    matches!(value.len(), 4 | 12 | 16).then_some(AddressGroup::Hardware { mask, group })
}

fn network(value: &[u8]) -> Option<AddressGroup<'static>> {
    let (&[len, _, _, _], address) = value.split_first_chunk::<4>()?;
    let v4 = <[u8; 4]>::try_from(address).map(|octets| (Ipv4Addr::from(octets).into(), 32));
    let v6 = <[u8; 16]>::try_from(address).map(|octets| (Ipv6Addr::from(octets).into(), 128));
    let (address, width) = v4.or(v6).ok()?;
    (len <= width).then_some(AddressGroup::Network { address, len })
}

/// Makes a value as long as it must be.
const PLACEHOLDER: [u8; 4] = [0; 4];

const HARDWARE: u8 = 10;
const NETWORK: u8 = 11;

#[cfg(test)]
mod tests {
    use super::{AddressGroup, Flags, PacketControl};
    use crate::tlv::Kind;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};
    use std::net::IpAddr;

    const CONTROL: PacketControl = PacketControl { reply_len: 0x0102, count: 3, interval_ns: 4 };
    const FIXED: [u8; 8] = [1, 2, 0, 3, 0, 0, 0, 4];

    fn network(address: &str, len: u8) -> AddressGroup<'static> {
        AddressGroup::Network { address: address.parse().unwrap(), len }
    }

    fn ip(address: &str) -> IpAddr {
        address.parse().unwrap()
    }

    #[test]
    fn a_control_without_groups_has_a_placeholder() {
        let value = CONTROL.emit(&[]);
        assert_eq!(value, [&FIXED[..], &[0; 4]].concat());
        assert_eq!(PacketControl::parse(&value), Some((CONTROL, &[0; 4][..])));
        assert_eq!(AddressGroup::walk(&value[8..]).count(), 0);
        for len in 0..12 {
            assert_eq!(PacketControl::parse(&value[..len]), None, "{len} octets");
        }
    }

    #[test]
    fn groups_are_built_and_read() {
        let hardware = AddressGroup::Hardware { mask: &[0xff; 6], group: &[2, 0, 0, 0, 0, 7] };
        let groups = [hardware, network("10.0.0.0", 8), network("fd00::", 16)];
        let value = CONTROL.emit(&groups);
        assert_eq!(value[8..12], [0x80, 10, 0, 12]);
        assert_eq!(value[24..36], [0x80, 11, 0, 8, 8, 0, 0, 0, 10, 0, 0, 0]);
        assert!(Kind::ReflectedTestPacketControl.accepts(value.len()));
        let (_, area) = PacketControl::parse(&value).unwrap();
        assert_eq!(AddressGroup::walk(area).collect::<Vec<_>>(), groups.map(Ok));
        let behind = [area, &[0; 4]].concat();
        assert_eq!(AddressGroup::walk(&behind).count(), 3);
    }

    #[test]
    fn groups_of_an_impossible_length_and_of_another_kind_are_told() {
        let read =
            |area: &[u8]| AddressGroup::walk(area).map(|group| group.err()).collect::<Vec<_>>();
        let malformed = vec![Some(Flags::MALFORMED)];
        for area in [
            &[0x80, 10, 0, 2, 1, 1][..],
            &[0x80, 10, 0, 9, 1, 1, 1, 1],
            &[0x80, 11, 0, 8, 33, 0, 0, 0, 10, 0, 0, 0],
            &[0x80, 11, 0, 3, 8, 0, 0],
            &[0x80, 11, 0, 7, 8, 0, 0, 0, 10, 0, 0],
        ] {
            assert_eq!(read(area), malformed, "{area:?}");
        }
        assert_eq!(read(&[0x80, 9, 0, 0]), [Some(Flags::UNRECOGNIZED)]);
        assert_eq!(read(&[0x80, 0, 0, 1, 7]), [Some(Flags::UNRECOGNIZED)]);
    }

    #[test]
    fn a_group_has_who_agrees_in_the_bits_that_count() {
        let group = AddressGroup::Hardware {
            mask: &[0xff, 0xf0, 0, 0, 0, 0],
            group: &[2, 0x10, 0, 0, 0, 0],
        };
        assert!(group.has_hardware(&[2, 0x1f, 9, 9, 9, 9]));
        assert!(!group.has_hardware(&[2, 0x2f, 9, 9, 9, 9]) && !group.has_hardware(&[2, 0x1f]));
        assert!(!group.has_address(ip("10.0.0.1")));
        let group = network("10.1.0.0", 16);
        assert!(group.has_address(ip("10.1.9.9")) && group.has_address(ip("::ffff:10.1.9.9")));
        assert!(!group.has_address(ip("10.2.0.0")) && !group.has_address(ip("fd00::1")));
        assert!(!group.has_hardware(&[10, 1, 0, 0, 0, 0]));
        assert!(!network("10.1.0.1", 16).has_address(ip("10.1.0.1")));
        for all in [network("0.0.0.0", 0), network("::", 0)] {
            assert!(all.has_address(ip("9.9.9.9")) != all.has_address(ip("2001:db8::1")));
        }
        assert!(network("fd00::1", 128).has_address(ip("fd00::1")));
    }

    proptest! {
        #[test]
        fn what_is_read_is_built_again(
            reply_len: u16, count: u16, interval_ns: u32, len in 0_u8..=32, v4: [u8; 4], octets: [u8; 16], half in proptest::sample::select(vec![2, 6, 8]),
        ) {
            let control = PacketControl { reply_len, count, interval_ns };
            let hardware = AddressGroup::Hardware { mask: &octets[..half], group: &octets[8..8 + half] };
            let groups = [AddressGroup::Network { address: v4.into(), len }, hardware, AddressGroup::Network { address: octets.into(), len }];
            let value = control.emit(&groups);
            let (read, area) = PacketControl::parse(&value).unwrap();
            prop_assert_eq!(read, control);
            prop_assert_eq!(AddressGroup::walk(area).collect::<Vec<_>>(), groups.map(Ok));
        }

        #[test]
        fn any_octets_are_walked(area in proptest::collection::vec(any::<u8>(), 0..64), own: [u8; 6], ip: [u8; 16]) {
            for group in AddressGroup::walk(&area).flatten() {
                prop_assert!(!(group.has_hardware(&own) && group.has_address(ip.into())));
            }
        }
    }
}
