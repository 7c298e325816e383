//! Whether a raw one-way delay may be taken for one.

use super::Sample;
use crate::loss::Direction;
use crate::offset::Offset;

/// What this host says of its own clock while a sample was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalClock {
    /// It follows UTC by an outside source.
    pub synchronized: bool,
    /// By how much it may be wrong; absent when nothing tells.
    pub error_ns: Option<u64>,
    /// The kernel is to insert or leave out a leap second at the end of this UTC day, or
    /// has just done so.
    pub leaping: bool,
}

/// Why a raw one-way delay is not trusted. The set is closed: it is the values of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Unusable {
    /// One of the clocks does not follow UTC.
    Unsynchronised,
    /// The clocks may be wrong by a quarter of the value or more.
    ErrorTooLarge,
    /// It came out negative.
    Negative,
    /// Our clock was stepped meanwhile.
    LocalStep,
    /// The clocks are apart by what TAI and UTC are apart.
    Timescale,
    /// A leap second is about now.
    Leap,
    /// A clock does not say by how much it may be wrong.
    InvalidEstimate,
}

impl Unusable {
    /// Every reason.
    pub const ALL: [Self; 7] = [
        Self::Unsynchronised,
        Self::ErrorTooLarge,
        Self::Negative,
        Self::LocalStep,
        Self::Timescale,
        Self::Leap,
        Self::InvalidEstimate,
    ];

    /// Value of the `reason` label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Unsynchronised => "unsynchronised",
            Self::ErrorTooLarge => "error_too_large",
            Self::Negative => "negative",
            Self::LocalStep => "local_step",
            Self::Timescale => "timescale",
            Self::Leap => "leap",
            Self::InvalidEstimate => "invalid_estimate",
        }
    }
}

/// The delay of one direction: as the clocks tell it, and as it certainly is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneWay {
    /// The difference of the two clocks; absent when one of the times is.
    pub raw_ns: Option<i64>,
    /// The delay is not below the first and not above the second; absent without an offset.
    pub certain_ns: Option<(i64, i64)>,
    /// Why the raw value may not be taken for the delay.
    pub unusable: Option<Unusable>,
}

impl OneWay {
    /// What a sample says of one direction, with what is known of the clocks.
    pub fn of(
        sample: &Sample,
        direction: Direction,
        local: LocalClock,
        offset: Option<&Offset>,
        suspect: bool,
    ) -> Self {
        let raw_ns = match direction {
            Direction::Forward => sample.near_raw_ns(),
            Direction::Reverse => sample.far_raw_ns(),
        };
        let certain_ns = raw_ns.zip(offset).map(|(raw, offset)| certain(direction, raw, offset));
        let unusable = unusable(sample, raw_ns, local, suspect);
        Self { raw_ns, certain_ns, unusable }
    }

    /// The raw value where it is trusted.
    pub fn trusted_ns(&self) -> Option<i64> {
        self.raw_ns.filter(|_| self.unusable.is_none())
    }
}

/// The delay is the raw value without the offset, which lies within its bounds, and it is
/// not negative.
fn certain(direction: Direction, raw: i64, offset: &Offset) -> (i64, i64) {
    let (low, high) = offset.interval();
    let (shortest, longest) = match direction {
        Direction::Forward => (raw.saturating_sub(high), raw.saturating_sub(low)),
        Direction::Reverse => (raw.saturating_add(low), raw.saturating_add(high)),
    };
    (shortest.max(0), longest)
}

fn unusable(
    sample: &Sample,
    raw_ns: Option<i64>,
    local: LocalClock,
    suspect: bool,
) -> Option<Unusable> {
    if !sample.is_even() {
        return Some(Unusable::LocalStep);
    }
    if local.leaping && [sample.t1, sample.t4].iter().any(|at| at.wall.is_about_midnight()) {
        return Some(Unusable::Leap);
    }
    if suspect {
        return Some(Unusable::Timescale);
    }
    let (Some(own), Some(peer)) = (local.error_ns, sample.error_estimate.error_ns_ceil()) else {
        return Some(Unusable::InvalidEstimate);
    };
    if !local.synchronized || !sample.error_estimate.synchronized() {
        return Some(Unusable::Unsynchronised);
    }
    // Without both times there is nothing to trust, and nothing to give a reason for.
    let raw = raw_ns?;
    if raw < 0 {
        return Some(Unusable::Negative);
    }
    let too_large = own.saturating_add(peer).saturating_mul(4) >= raw.unsigned_abs();
    too_large.then_some(Unusable::ErrorTooLarge)
}
