//! Durations as Go programs spell them: `25s`, `1m30s`, `500ms`.
//!
//! Every flag, variable and file of fathom takes this spelling. A number without a unit is
//! refused, because the tools that fathom replaces disagree about what it would mean.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time that is read and written the way Go does it.
///
/// ```
/// use telemetry::duration::GoDuration;
///
/// let interval: GoDuration = "1m30s".parse().unwrap();
/// assert_eq!(interval.get().as_secs(), 90);
/// assert_eq!(interval.to_string(), "1m30s");
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GoDuration(Duration);

impl GoDuration {
    /// Wraps a standard duration.
    pub const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    /// Whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Whole milliseconds.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(Duration::from_millis(milliseconds))
    }

    /// The standard duration inside.
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl From<Duration> for GoDuration {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl From<GoDuration> for Duration {
    fn from(duration: GoDuration) -> Self {
        duration.0
    }
}

impl FromStr for GoDuration {
    type Err = DurationError;

    fn from_str(text: &str) -> Result<Self, DurationError> {
        if text.is_empty() {
            return Err(DurationError::Empty);
        }
        if text.starts_with(['-', '+']) {
            return Err(DurationError::Signed);
        }
        if text.len() > MAX_LEN {
            return Err(DurationError::TooLong);
        }
        let nanos = sum_of_parts(text)?;
        u64::try_from(nanos)
            .map(|nanos| Self(Duration::from_nanos(nanos)))
            .map_err(|_| DurationError::TooLarge)
    }
}

impl fmt::Display for GoDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.as_secs();
        let (hours, minutes, rest) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        if seconds == 0 {
            return write_below_one_second(f, self.0.subsec_nanos());
        }
        if hours > 0 {
            write!(f, "{hours}h")?;
        }
        if minutes > 0 {
            write!(f, "{minutes}m")?;
        }
        match (rest, self.0.subsec_nanos()) {
            (0, 0) => Ok(()),
            (_, nanos) => write_decimal(f, rest, nanos, 9, "s"),
        }
    }
}

impl Serialize for GoDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Visitor)
    }
}

/// Why a text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DurationError {
    /// Nothing was given.
    #[error("a duration is missing; write for example 25s, 1m30s or 500ms")]
    Empty,
    /// A number without a unit.
    #[error("{number} has no unit; write {number}s for seconds or {number}ms for milliseconds")]
    BareNumber {
        /// The number as it was given.
        number: Box<str>,
    },
    /// A unit that Go does not know either.
    #[error("{unit:?} is not a unit of time; use ns, us, ms, s, m or h")]
    UnknownUnit {
        /// The unit as it was given.
        unit: Box<str>,
    },
    /// A place where a number was expected.
    #[error("a number is missing before {rest:?}; write for example 25s, 1m30s or 500ms")]
    NoNumber {
        /// What stands where the number should be.
        rest: Box<str>,
    },
    /// A sign.
    #[error("a duration has no sign; write for example 25s")]
    Signed,
    /// More than any real duration needs.
    #[error("the duration is longer than {MAX_LEN} characters; write for example 25s")]
    TooLong,
    /// Beyond 64 bits of nanoseconds.
    #[error("the duration is beyond 584 years; choose a shorter one")]
    TooLarge,
}

struct Visitor;

impl de::Visitor<'_> for Visitor {
    type Value = GoDuration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as 25s, 1m30s or 500ms")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<GoDuration, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<GoDuration, E> {
        Err(E::custom(bare(&number.to_string())))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<GoDuration, E> {
        Err(E::custom(bare(&number.to_string())))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<GoDuration, E> {
        Err(E::custom(bare(&number.to_string())))
    }
}

fn bare(number: &str) -> DurationError {
    DurationError::BareNumber { number: number.into() }
}

fn sum_of_parts(text: &str) -> Result<u128, DurationError> {
    let (mut rest, mut total) = (text, 0_u128);
    while !rest.is_empty() {
        let (number, after) = split_while(rest, |c| c.is_ascii_digit() || c == '.');
        let (unit, next) = split_while(after, |c| !c.is_ascii_digit() && c != '.');
        if unit.is_empty() {
            return Err(bare(number));
        }
        total = total.saturating_add(part(number, unit)?);
        rest = next;
    }
    Ok(total)
}

fn split_while(text: &str, wanted: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !wanted(c)).unwrap_or(text.len()))
}

fn part(number: &str, unit: &str) -> Result<u128, DurationError> {
    let scale = nanos_per(unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        let rest = format!("{number}{unit}").into();
        return Err(DurationError::NoNumber { rest });
    }
    let whole = if whole.is_empty() { Ok(0) } else { whole.parse::<u128>() };
    let whole = whole.map_err(|_| DurationError::TooLarge)?;
    whole
        .checked_mul(scale)
        .map(|nanos| nanos.saturating_add(fraction_nanos(fraction, scale)))
        .ok_or(DurationError::TooLarge)
}

fn fraction_nanos(digits: &str, scale: u128) -> u128 {
    let mut place = scale;
    let mut nanos = 0;
    // An hour is 3.6e12 ns: digits beyond the 13th place are below a nanosecond.
    for digit in digits.bytes().take(13) {
        let value = u128::from(digit - b'0');
        nanos += value * place / 10;
        place /= 10;
    }
    nanos
}

fn nanos_per(unit: &str) -> Result<u128, DurationError> {
    Ok(match unit {
        "ns" => 1,
        "us" | "µs" | "μs" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return Err(DurationError::UnknownUnit { unit: unit.into() }),
    })
}

fn write_below_one_second(f: &mut fmt::Formatter<'_>, nanos: u32) -> fmt::Result {
    match nanos {
        0 => f.write_str("0s"),
        1..1_000 => write!(f, "{nanos}ns"),
        1_000..1_000_000 => write_decimal(f, u64::from(nanos / 1_000), nanos % 1_000, 3, "us"),
        _ => write_decimal(f, u64::from(nanos / 1_000_000), nanos % 1_000_000, 6, "ms"),
    }
}

fn write_decimal(
    f: &mut fmt::Formatter<'_>,
    whole: u64,
    fraction: u32,
    digits: usize,
    unit: &str,
) -> fmt::Result {
    if fraction == 0 {
        return write!(f, "{whole}{unit}");
    }
    let padded = format!("{fraction:0digits$}");
    write!(f, "{whole}.{}{unit}", padded.trim_end_matches('0'))
}

/// Longer texts are not durations that anybody wrote.
const MAX_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert_eq, proptest};

    use super::{DurationError, GoDuration};

    fn parse(text: &str) -> Result<GoDuration, DurationError> {
        text.parse()
    }

    #[test]
    fn go_spellings_are_understood() {
        for (text, millis) in [
            ("25s", 25_000),
            ("1m30s", 90_000),
            ("500ms", 500),
            ("1h", 3_600_000),
            ("1.5s", 1_500),
            (".5m", 30_000),
            ("0s", 0),
            ("1h0m0.25s", 3_600_250),
        ] {
            assert_eq!(parse(text), Ok(GoDuration::from_millis(millis)), "{text}");
        }
        assert_eq!(parse("3µs").unwrap().get().as_nanos(), 3_000);
    }

    #[test]
    fn a_bare_number_is_refused_with_the_corrected_spelling() {
        let message = parse("25").unwrap_err().to_string();
        assert_eq!(message, "25 has no unit; write 25s for seconds or 25ms for milliseconds");
        assert!(matches!(parse("1m30"), Err(DurationError::BareNumber { .. })));
    }

    #[test]
    fn nonsense_is_refused_by_kind() {
        assert_eq!(parse(""), Err(DurationError::Empty));
        assert_eq!(parse("-1s"), Err(DurationError::Signed));
        assert!(matches!(parse("1d"), Err(DurationError::UnknownUnit { .. })));
        assert!(matches!(parse("s"), Err(DurationError::NoNumber { .. })));
        assert!(matches!(parse("1.2.3s"), Err(DurationError::NoNumber { .. })));
        assert_eq!(parse("99999999999h"), Err(DurationError::TooLarge));
        assert_eq!(parse(&"1".repeat(100)), Err(DurationError::TooLong));
    }

    #[test]
    fn the_shortest_spelling_is_written() {
        for text in ["0s", "25s", "1m30s", "1h", "1h1s", "500ms", "1.5s", "2.5ms", "7us", "9ns"] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_number_in_a_document_is_refused_with_the_corrected_spelling() {
        let error = serde_json::from_str::<GoDuration>("25").unwrap_err().to_string();
        assert!(error.contains("write 25s"), "{error}");
        assert_eq!(
            serde_json::from_str::<GoDuration>("\"25s\"").unwrap(),
            GoDuration::from_secs(25)
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(nanos in any::<u64>()) {
            let duration = GoDuration::new(std::time::Duration::from_nanos(nanos));
            prop_assert_eq!(parse(&duration.to_string()), Ok(duration));
        }

        #[test]
        fn no_text_makes_the_parser_panic(text in ".{0,80}") {
            let parsed = parse(&text);
            prop_assert_eq!(parsed.clone().and_then(|d| parse(&d.to_string())), parsed);
        }
    }
}
