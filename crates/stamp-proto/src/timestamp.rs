//! The two timestamp formats of a test packet: NTP and truncated PTP.
//!
//! A [`Timestamp`] is the 64 bits as they stand in the packet. Which format they are
//! in is said elsewhere, by bit Z of an Error Estimate, so decoding takes it as an
//! argument. Both formats wrap (NTP in 2036, PTP in 2106); the era that is nearest to
//! a time the reader knows is the one that is meant.

use crate::clock::WallTime;

/// How the 64 bits of a timestamp are to be read: bit Z of the Error Estimate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Seconds since 1900 and a fraction of 2⁻³² s. RFC 5905 §6.
    Ntp,
    /// Seconds since 1970 and nanoseconds, the lower 64 bits of IEEE 1588's format.
    Ptp,
}

impl Format {
    /// What this format is called in settings and documents.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ntp => "ntp",
            Self::Ptp => "ptp",
        }
    }
}

/// The 64 bits of a timestamp as they stand in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// No time at all: what stands where nothing was written.
    pub const ZERO: Self = Self(0);

    /// The timestamp with these bits.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// The bits of the timestamp.
    pub const fn bits(self) -> u64 {
        self.0
    }

    /// True when nothing was written.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The more significant half: seconds in either format.
    pub const fn seconds(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The less significant half: a fraction of 2⁻³² s (NTP) or nanoseconds (PTP).
    pub const fn fraction(self) -> u32 {
        self.0 as u32
    }

    /// `time` in `format`; finer than the format can tell is cut off.
    pub const fn encode(format: Format, time: WallTime) -> Self {
        let seconds = time.as_ns().div_euclid(NS_PER_S);
        let ns = time.as_ns().rem_euclid(NS_PER_S) as u64;
        match format {
            Format::Ntp => {
                Self::of((seconds + UNIX_IN_NTP) as u32, ((ns << 32) / NS_PER_S as u64) as u32)
            }
            Format::Ptp => Self::of(seconds as u32, ns as u32),
        }
    }

    /// The time that is meant, to the nearest nanosecond, in the era nearest to `near`.
    ///
    /// `None` where the bits are no time: nanoseconds of a whole second and more, or a
    /// time that [`WallTime`] cannot hold.
    pub const fn decode(self, format: Format, near: WallTime) -> Option<WallTime> {
        let near_s = near.as_ns().div_euclid(NS_PER_S);
        let fraction = self.fraction() as u64;
        let (seconds, ns) = match format {
            Format::Ntp => (
                nearest_era(self.seconds(), near_s + UNIX_IN_NTP) - UNIX_IN_NTP,
                (fraction * NS_PER_S as u64 + (1 << 31)) >> 32,
            ),
            Format::Ptp if fraction >= NS_PER_S as u64 => return None,
            Format::Ptp => (nearest_era(self.seconds(), near_s), fraction),
        };
        let Some(whole) = seconds.checked_mul(NS_PER_S) else { return None };
        match whole.checked_add(ns as i64) {
            Some(sum) => Some(WallTime::from_ns(sum)),
            None => None,
        }
    }

    const fn of(seconds: u32, fraction: u32) -> Self {
        Self((seconds as u64) << 32 | fraction as u64)
    }
}

/// The second closest to `near` whose lower 32 bits are `wrapped`.
const fn nearest_era(wrapped: u32, near: i64) -> i64 {
    near + wrapped.wrapping_sub(near as u32) as i32 as i64
}

const NS_PER_S: i64 = 1_000_000_000;

/// 1970-01-01 in seconds since 1900-01-01.
const UNIX_IN_NTP: i64 = 2_208_988_800;

#[cfg(test)]
mod tests {
    use super::{Format, NS_PER_S, Timestamp, UNIX_IN_NTP};
    use crate::clock::WallTime;
    use proptest::prelude::{prop_assert_eq, proptest};

    /// 2036-02-07 06:28:16 UTC, where NTP seconds start again at 0.
    const ERA_1: i64 = ((1 << 32) - UNIX_IN_NTP) * NS_PER_S;

    fn there_and_back(format: Format, ns: i64) -> Option<i64> {
        let time = WallTime::from_ns(ns);
        Timestamp::encode(format, time).decode(format, time).map(WallTime::as_ns)
    }

    #[test]
    fn a_million_random_times_survive_both_formats() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..1_000_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let ns = (state % (120 * 365 * 86_400 * NS_PER_S as u64)) as i64;
            assert_eq!(there_and_back(Format::Ntp, ns), Some(ns));
            assert_eq!(there_and_back(Format::Ptp, ns), Some(ns));
        }
    }

    #[test]
    fn ntp_goes_on_beyond_the_end_of_its_first_era() {
        for ns in [ERA_1 - NS_PER_S, ERA_1 - 1, ERA_1, ERA_1 + 1, ERA_1 + NS_PER_S] {
            assert_eq!(there_and_back(Format::Ntp, ns), Some(ns));
        }
        let last = Timestamp::from_bits(u64::from(u32::MAX) << 32);
        let seen = last.decode(Format::Ntp, WallTime::from_ns(ERA_1 + NS_PER_S));
        assert_eq!(seen, Some(WallTime::from_ns(ERA_1 - NS_PER_S)));
    }

    #[test]
    fn a_fraction_that_rounds_up_carries_into_the_second() {
        let almost = Timestamp::from_bits(u64::from(u32::MAX));
        let near = WallTime::from_ns(ERA_1);
        assert_eq!(almost.decode(Format::Ntp, near), Some(WallTime::from_ns(ERA_1 + NS_PER_S)));
    }

    #[test]
    fn a_whole_second_of_ptp_nanoseconds_is_no_time() {
        let near = WallTime::from_ns(0);
        assert_eq!(Timestamp::from_bits(NS_PER_S as u64).decode(Format::Ptp, near), None);
        assert_eq!(
            Timestamp::from_bits(NS_PER_S as u64 - 1).decode(Format::Ptp, near),
            Some(WallTime::from_ns(NS_PER_S - 1))
        );
    }

    proptest! {
        #[test]
        fn no_bits_and_no_clock_make_decoding_overflow(bits: u64, near: i64) {
            let near = WallTime::from_ns(near);
            let timestamp = Timestamp::from_bits(bits);
            if let Some(time) = timestamp.decode(Format::Ptp, near) {
                prop_assert_eq!(time.as_ns().rem_euclid(NS_PER_S) as u32, timestamp.fraction());
            }
            let _ = timestamp.decode(Format::Ntp, near);
        }
    }
}
