//! The Error Estimate: what a clock says of itself in 16 bits. RFC 8762 §4.2.1.

use crate::timestamp::Format;

/// The 16 bits of an Error Estimate as they stand in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct ErrorEstimate(u16);

impl ErrorEstimate {
    /// The estimate with these bits.
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The bits of the estimate.
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// The smallest estimate that admits an error of `error_ps` picoseconds.
    ///
    /// The multiplier is never 0, which would make the estimate invalid, so a perfect
    /// clock claims the smallest error that can be said, 0.23 ns. An error beyond
    /// the largest, 255·2³¹ s, becomes that.
    pub const fn new(synchronized: bool, format: Format, error_ps: u128) -> Self {
        let mut scale = 0;
        while scale < MAX_SCALE && multiplier(error_ps, scale) > MAX_MULTIPLIER {
            scale += 1;
        }
        let multiplier = multiplier(error_ps, scale);
        let multiplier = if multiplier > MAX_MULTIPLIER { MAX_MULTIPLIER } else { multiplier };
        let flags = if synchronized { SYNCHRONIZED } else { 0 };
        let format = if matches!(format, Format::Ptp) { PTP } else { 0 };
        Self(
            flags
                | format
                | (scale as u16) << 8
                | if multiplier == 0 { 1 } else { multiplier as u16 },
        )
    }

    /// Bit S: the clock follows UTC by an outside source.
    pub const fn synchronized(self) -> bool {
        self.0 & SYNCHRONIZED != 0
    }

    /// Bit Z: the format of the timestamps that the estimate speaks of.
    pub const fn format(self) -> Format {
        if self.0 & PTP == 0 { Format::Ntp } else { Format::Ptp }
    }

    /// Exponent of the error: a unit of the multiplier is 2^(scale−32) s.
    pub const fn scale(self) -> u8 {
        (self.0 >> 8) as u8 & MAX_SCALE as u8
    }

    /// Mantissa of the error; 0 makes the estimate invalid.
    pub const fn multiplier(self) -> u8 {
        self.0 as u8
    }

    /// The claimed error in nanoseconds; absent when the estimate is invalid.
    pub fn error_ns(self) -> Option<f64> {
        let unit = 2_f64.powi(i32::from(self.scale()) - 32);
        self.is_valid().then(|| f64::from(self.multiplier()) * unit * 1e9)
    }

    /// The claimed error in whole nanoseconds, never less than what is claimed.
    pub const fn error_ns_ceil(self) -> Option<u64> {
        if !self.is_valid() {
            return None;
        }
        let ns = ((self.multiplier() as u128 * 1_000_000_000) << self.scale()).div_ceil(1 << 32);
        Some(if ns > u64::MAX as u128 { u64::MAX } else { ns as u64 })
    }

    /// False for a multiplier of 0, which no sender may use. RFC 4656 §4.1.2.
    pub const fn is_valid(self) -> bool {
        self.multiplier() != 0
    }
}

/// Units of 2^(scale−32) s in `error_ps`, rounded up.
const fn multiplier(error_ps: u128, scale: u32) -> u128 {
    let whole = error_ps / PS_PER_S;
    let rest = error_ps % PS_PER_S;
    if whole >> 64 != 0 {
        return u128::MAX;
    }
    let units = (whole << 32) + ((rest << 32).div_ceil(PS_PER_S));
    units.div_ceil(1 << scale)
}

const SYNCHRONIZED: u16 = 1 << 15;
const PTP: u16 = 1 << 14;
const MAX_SCALE: u32 = 63;
const MAX_MULTIPLIER: u128 = 255;
const PS_PER_S: u128 = 1_000_000_000_000;

#[cfg(test)]
mod tests {
    use super::{ErrorEstimate, PS_PER_S};
    use crate::timestamp::Format;
    use proptest::prelude::{prop_assert, proptest};

    fn encoded(error_ps: u128) -> u16 {
        ErrorEstimate::new(false, Format::Ntp, error_ps).bits()
    }

    #[test]
    fn known_errors_have_known_bits() {
        assert_eq!(encoded(50_000_000), 0x0ad2);
        assert_eq!(encoded(16 * PS_PER_S), 0x1d80);
        assert_eq!(encoded(1), 0x0001);
        assert_eq!(encoded(0), 0x0001);
        assert_eq!(encoded((1 << 31) * PS_PER_S), 0x3880);
        assert_eq!(encoded(u128::MAX), 0x3fff);
    }

    #[test]
    fn flags_stand_beside_the_error() {
        let both = ErrorEstimate::new(true, Format::Ptp, 50_000_000);
        assert_eq!(both.bits(), 0xcad2);
        assert!(both.synchronized());
        assert_eq!(both.format(), Format::Ptp);
        let none = ErrorEstimate::from_bits(0x0ad2);
        assert!(!none.synchronized());
        assert_eq!(none.format(), Format::Ntp);
    }

    #[test]
    fn every_scale_and_multiplier_is_told_to_the_octet() {
        for bits in 0..1 << 14 {
            let estimate = ErrorEstimate::from_bits(bits);
            let (scale, multiplier) = (bits >> 8, bits & 0xff);
            assert_eq!(
                (u16::from(estimate.scale()), u16::from(estimate.multiplier())),
                (scale, multiplier)
            );
            assert_eq!(estimate.is_valid(), multiplier != 0);
            let exact = estimate.error_ns().unwrap_or(0.0);
            let whole = estimate.error_ns_ceil().unwrap_or(0);
            assert!(
                whole == u64::MAX
                    || (whole as f64 - exact) >= 0.0 && whole as f64 - exact < 1.0 + exact * 1e-15
            );
        }
    }

    proptest! {
        #[test]
        fn an_estimate_admits_the_error_and_at_most_one_part_in_128_more(
            exponent in 0_u32..71, mantissa in 1_u128..4096,
        ) {
            let error_ps = (mantissa << exponent) >> 11;
            let told_ns = ErrorEstimate::new(true, Format::Ntp, error_ps).error_ns().unwrap();
            let error_ns = error_ps as f64 / 1000.0;
            prop_assert!(told_ns >= error_ns * (1.0 - 1e-12));
            prop_assert!(told_ns <= error_ns * (1.0 + 1.0 / 128.0) + 0.24);
        }
    }
}
