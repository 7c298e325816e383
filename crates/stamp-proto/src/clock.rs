//! Two kinds of time that are never mixed.
//!
//! Wall time is what two machines compare; it steps and is slewed. Monotonic time is
//! what one machine measures durations with. Each is nanoseconds since its own epoch,
//! and differences are plain signed nanoseconds.

/// Nanoseconds since 1970-01-01 00:00:00 UTC; leap seconds are not counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct WallTime(i64);

impl WallTime {
    /// The time `ns` nanoseconds after the start of 1970.
    pub const fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the start of 1970.
    pub const fn as_ns(self) -> i64 {
        self.0
    }

    /// This time, moved by `ns`, at the ends of what can be told held there.
    pub const fn shifted(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this time, negative when it is the later one.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }

    /// True from a second before a leap second of this midnight, inserted or left out, to a
    /// second behind it. The kernel shows an inserted one as 23:59:59 once more, and leaves
    /// out 23:59:59.
    pub const fn is_about_midnight(self) -> bool {
        let of_day = self.0.rem_euclid(DAY_NS);
        of_day >= DAY_NS - 2 * SECOND_NS || of_day <= SECOND_NS
    }
}

/// Whether two clocks are apart by what TAI and UTC are, were or will soon be apart: a
/// whole number of seconds from 30 to 45, give or take half of one.
pub const fn looks_like_tai(apart_ns: i64) -> bool {
    let seconds = (apart_ns.unsigned_abs() + 500_000_000) / 1_000_000_000;
    30 <= seconds && seconds <= 45
}

/// Nanoseconds since the machine was started, never set and never going back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoTime(i64);

impl MonoTime {
    /// The time `ns` nanoseconds after the epoch of the clock.
    pub const fn from_ns(ns: i64) -> Self {
        Self(ns)
    }

    /// Nanoseconds since the epoch of the clock.
    pub const fn as_ns(self) -> i64 {
        self.0
    }

    /// The time `ns` nanoseconds later.
    pub const fn after(self, ns: i64) -> Self {
        Self(self.0.saturating_add(ns))
    }

    /// Nanoseconds from `earlier` to this time, negative when it is the later one.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

const SECOND_NS: i64 = 1_000_000_000;
const DAY_NS: i64 = 86_400 * SECOND_NS;

#[cfg(test)]
mod tests {
    use super::{DAY_NS, SECOND_NS, WallTime, looks_like_tai};

    #[test]
    fn leap_seconds_are_about_midnight() {
        let about = |of_day: i64| {
            [0, 20_000, -3].map(|day| WallTime::from_ns(day * DAY_NS + of_day).is_about_midnight())
        };
        for within in [-2 * SECOND_NS, -1, 0, SECOND_NS] {
            assert_eq!(about(within), [true; 3], "{within}");
        }
        for outside in [-2 * SECOND_NS - 1, SECOND_NS + 1, DAY_NS / 2] {
            assert_eq!(about(outside), [false; 3], "{outside}");
        }
    }

    #[test]
    fn offsets_of_whole_leap_seconds_are_suspect() {
        let cases =
            [(37.0, true), (-37.3, true), (29.4, false), (45.4, true), (45.6, false), (0.0, false)];
        for (seconds, expected) in cases {
            assert_eq!(looks_like_tai((seconds * 1e9) as i64), expected, "{seconds}");
        }
        assert!(!looks_like_tai(i64::MIN));
    }
}
