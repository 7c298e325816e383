//! The optional extensions behind a base packet: type, length, value.
//!
//! RFC 8972 §4 with the types of RFC 9503, 9534 and 10052. This module finds the
//! extensions and knows their fields; what a reflector does with them is in
//! [`crate::reflector`]. Code points that are not known survive.

mod control;
mod value;

pub use control::{AddressGroup, PacketControl};
pub use value::{
    AccessReport, ClassOfService, DirectMeasurement, FollowUp, MicroSession, SyncSource,
    TimestampInformation, TimestampMethod,
};

/// Octets in front of each value: flags, type and length.
pub const HEADER_LEN: usize = 4;

/// What the two ends say of an extension's understanding. RFC 8972 §4, RFC 10052 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flags(u8);

impl Flags {
    /// No flag: the reflector understood everything.
    pub const NONE: Self = Self(0);
    /// U: the type is not understood. A sender sets it, so that it comes back set from a
    /// reflector that knows no extensions at all.
    pub const UNRECOGNIZED: Self = Self(0x80);
    /// M: the length is impossible.
    pub const MALFORMED: Self = Self(0x40);
    /// I: the extensions are not what the sender signed.
    pub const INTEGRITY_FAILED: Self = Self(0x20);
    /// C: what was asked for is more than the reflector grants.
    pub const CONSTRAINED: Self = Self(0x10);

    /// The flags with these bits, of which the lower four mean nothing.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The octet as it stands in a packet.
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// True when every flag of `other` is set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// What an extension is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Octets that only make the packet longer. RFC 8972 §4.1.
    ExtraPadding,
    /// Where the packet went in and out. RFC 8972 §4.2.
    Location,
    /// How the reflector's times are made. RFC 8972 §4.3.
    TimestampInformation,
    /// DSCP and ECN, asked for and seen. RFC 8972 §4.4.
    ClassOfService,
    /// Counters of both ends. RFC 8972 §4.5.
    DirectMeasurement,
    /// State of an access network. RFC 8972 §4.6.
    AccessReport,
    /// The better time of the previous reply. RFC 8972 §4.7.
    FollowUpTelemetry,
    /// Signature of the extensions in front of it. RFC 8972 §4.8.
    Hmac,
    /// Who is meant to answer. RFC 9503 §3.
    DestinationNodeAddress,
    /// Which way the reply is to take. RFC 9503 §4.
    ReturnPath,
    /// Which members of an aggregated link are measured. RFC 9534 §3.
    MicroSessionId,
    /// How many replies of which length are wanted. RFC 10052 §3.
    ReflectedTestPacketControl,
    /// Any other code point.
    Other(u8),
}

impl Kind {
    /// The kind with this code point.
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::ExtraPadding,
            2 => Self::Location,
            3 => Self::TimestampInformation,
            4 => Self::ClassOfService,
            5 => Self::DirectMeasurement,
            6 => Self::AccessReport,
            7 => Self::FollowUpTelemetry,
            8 => Self::Hmac,
            9 => Self::DestinationNodeAddress,
            10 => Self::ReturnPath,
            11 => Self::MicroSessionId,
            12 => Self::ReflectedTestPacketControl,
            other => Self::Other(other),
        }
    }

    /// The code point of the kind.
    pub const fn code(self) -> u8 {
        match self {
            Self::ExtraPadding => 1,
            Self::Location => 2,
            Self::TimestampInformation => 3,
            Self::ClassOfService => 4,
            Self::DirectMeasurement => 5,
            Self::AccessReport => 6,
            Self::FollowUpTelemetry => 7,
            Self::Hmac => 8,
            Self::DestinationNodeAddress => 9,
            Self::ReturnPath => 10,
            Self::MicroSessionId => 11,
            Self::ReflectedTestPacketControl => 12,
            Self::Other(code) => code,
        }
    }

    /// True when a value of `len` octets can be one of this kind.
    pub const fn accepts(self, len: usize) -> bool {
        match self {
            Self::ExtraPadding | Self::ReturnPath | Self::Other(_) => true,
            Self::Location => len >= 4,
            Self::TimestampInformation
            | Self::ClassOfService
            | Self::AccessReport
            | Self::MicroSessionId => len == 4,
            Self::DirectMeasurement => len == 12,
            Self::FollowUpTelemetry | Self::Hmac => len == 16,
            Self::DestinationNodeAddress => len == 4 || len == 16,
            Self::ReflectedTestPacketControl => len >= 12,
        }
    }
}

/// One extension, as it stands in the area behind the base packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tlv<'a> {
    /// Where its header starts in the area.
    pub offset: usize,
    /// What has been said of it.
    pub flags: Flags,
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub value: &'a [u8],
}

impl Tlv<'_> {
    /// The first octet behind it, in the area.
    pub const fn end(&self) -> usize {
        self.offset + HEADER_LEN + self.value.len()
    }
}

/// Appends an extension as a sender sends it, with U set and nothing else.
///
/// # Panics
///
/// When the value is longer than a length field can say.
pub fn append(area: &mut Vec<u8>, kind: Kind, value: &[u8]) {
    let len = u16::try_from(value.len()).expect("a value fits into a datagram");
    area.extend([Flags::UNRECOGNIZED.bits(), kind.code()]);
    area.extend(len.to_be_bytes());
    area.extend(value);
}

/// Walks the extensions of `area`, what follows a base packet in its datagram.
///
/// An area of nothing but zeros holds padding and no extension, and so do up to three
/// octets at its end. The walk ends behind the first extension that says it is longer
/// than the rest.
pub fn walk(area: &[u8]) -> Walk<'_> {
    let end = if area.iter().all(|&octet| octet == 0) { 0 } else { area.len() };
    Walk { area: &area[..end], at: 0 }
}

/// The extensions of an area, in order; see [`walk`].
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    area: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Walk<'a> {
    type Item = Result<Tlv<'a>, CutOff>;

    fn next(&mut self) -> Option<Self::Item> {
        let (header, rest) = self.area.get(self.at..)?.split_first_chunk::<HEADER_LEN>()?;
        let [flags, code, high, low] = *header;
        let (offset, kind, flags) = (self.at, Kind::from_code(code), Flags::from_bits(flags));
        let told = u16::from_be_bytes([high, low]);
        let Some(value) = rest.get(..usize::from(told)) else {
            self.at = self.area.len();
            return Some(Err(CutOff { offset, flags, kind, told, have: rest.len() }));
        };
        self.at += HEADER_LEN + value.len();
        Some(Ok(Tlv { offset, flags, kind, value }))
    }
}

/// An extension says that it is longer than what is left of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the extension at octet {offset} says it has {told} octets, {have} are left; was the packet cut off?"
)]
pub struct CutOff {
    /// Where its header starts in the area.
    pub offset: usize,
    /// What has been said of it.
    pub flags: Flags,
    /// What it would be.
    pub kind: Kind,
    /// Octets its length field says.
    pub told: u16,
    /// Octets that follow its header.
    pub have: usize,
}

#[cfg(test)]
mod tests {
    use super::{CutOff, Flags, HEADER_LEN, Kind, Tlv, append, walk};
    use proptest::prelude::{prop_assert, prop_assert_eq, proptest};

    #[test]
    fn extensions_are_walked_in_order() {
        let mut area = Vec::new();
        append(&mut area, Kind::ClassOfService, &[1, 2, 3, 4]);
        append(&mut area, Kind::Other(0xfc), &[]);
        append(&mut area, Kind::ExtraPadding, &[9; 3]);
        assert_eq!(area, [0x80, 4, 0, 4, 1, 2, 3, 4, 0x80, 0xfc, 0, 0, 0x80, 1, 0, 3, 9, 9, 9]);
        let tlv = |offset, kind, value| Tlv { offset, flags: Flags::UNRECOGNIZED, kind, value };
        let seen: Result<Vec<_>, _> = walk(&area).collect();
        let expected = vec![
            tlv(0, Kind::ClassOfService, &[1, 2, 3, 4][..]),
            tlv(8, Kind::Other(0xfc), &[]),
            tlv(12, Kind::ExtraPadding, &[9; 3]),
        ];
        assert_eq!(seen, Ok(expected));
    }

    #[test]
    fn each_truncation_keeps_what_is_whole_and_tells_the_one_that_is_not() {
        let mut area = Vec::new();
        append(&mut area, Kind::Location, &[1; 8]);
        append(&mut area, Kind::Hmac, &[2; 16]);
        for len in 0..area.len() {
            let seen: Vec<_> = walk(&area[..len]).collect();
            let cut = |offset, kind, told, have| {
                Err(CutOff { offset, flags: Flags::UNRECOGNIZED, kind, told, have })
            };
            let last = match len {
                0..4 | 12..16 => None,
                4..12 => Some(cut(0, Kind::Location, 8, len - 4)),
                _ => Some(cut(12, Kind::Hmac, 16, len - 16)),
            };
            assert_eq!(
                seen.len(),
                usize::from(len >= 12) + usize::from(last.is_some()),
                "{len} octets"
            );
            assert_eq!(seen.last().copied().filter(Result::is_err), last, "{len} octets");
        }
    }

    #[test]
    fn an_area_of_zeros_holds_no_extension() {
        for len in 0..64 {
            assert_eq!(walk(&vec![0; len]).count(), 0, "{len} octets");
        }
        assert_eq!(walk(&[0, 0, 0, 0, 0, 0, 0, 1]).count(), 2);
    }

    #[test]
    fn every_code_point_survives() {
        for code in 0..=u8::MAX {
            assert_eq!(Kind::from_code(code).code(), code);
        }
    }

    proptest! {
        #[test]
        fn the_walk_stays_inside_any_octets_and_covers_them(area: Vec<u8>) {
            let mut end = 0;
            for tlv in walk(&area) {
                match tlv {
                    Ok(tlv) => {
                        prop_assert_eq!(tlv.offset, end);
                        end = tlv.end();
                        prop_assert!(end <= area.len());
                    }
                    Err(cut) => {
                        prop_assert_eq!(cut.offset, end);
                        prop_assert!(usize::from(cut.told) > cut.have);
                        prop_assert_eq!(cut.offset + HEADER_LEN + cut.have, area.len());
                        end = area.len();
                    }
                }
            }
            let padding = area.iter().all(|&octet| octet == 0);
            prop_assert!(padding || area.len() - end < HEADER_LEN);
        }
    }
}
