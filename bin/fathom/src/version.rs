//! What this program was built from, as the build script noted it.

use std::sync::LazyLock;

use jiff::{Timestamp, tz::TimeZone};
use telemetry::registry::Build;

/// The build as metrics tell it.
pub(crate) const fn build() -> Build {
    Build {
        version: env!("CARGO_PKG_VERSION"),
        revision: env!("FATHOM_BUILD_REVISION"),
        rustc: env!("FATHOM_BUILD_RUSTC"),
        target: env!("FATHOM_BUILD_TARGET"),
    }
}

/// The build as `--version` tells it.
pub(crate) fn long() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| {
        let Build { version, revision, rustc, target } = build();
        let date = built();
        format!(
            "{version}\nrevision {revision}\nbuilt    {date}\nrustc    {rustc}\ntarget   {target}"
        )
    });
    &TEXT
}

/// The day of the source.
pub(crate) fn built() -> String {
    date(env!("FATHOM_BUILD_EPOCH"))
}

fn date(epoch: &str) -> String {
    let time = epoch.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    time.map_or_else(
        || "unknown".to_owned(),
        |time| time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn the_epoch_becomes_a_day_in_utc() {
        assert_eq!(date("0"), "1970-01-01");
        assert_eq!(date("1767225599"), "2025-12-31");
    }

    #[test]
    fn what_is_no_epoch_is_unknown() {
        for text in ["", "unknown", "1e9", "99999999999999999999"] {
            assert_eq!(date(text), "unknown", "{text}");
        }
    }
}
