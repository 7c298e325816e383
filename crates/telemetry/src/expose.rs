//! The texts that Prometheus reads: text 0.0.4 and OpenMetrics 1.0.
//!
//! Written here and not taken from a library because snapshots arrive ready-made, because
//! `u64` counters must keep every digit, and because both formats must be served.
//! Families come sorted by name and series by labels, so that two texts can be compared.

mod accept;
mod render;

pub use self::accept::accepts_gzip;
pub use self::render::render;

/// A text format for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// Picks the format by the `Accept` header of a request.
    ///
    /// OpenMetrics must be named to be chosen; wildcards, nothing, and a header that allows
    /// neither get text 0.0.4, because a scraper can always be shown something.
    pub fn negotiate(accept: Option<&str>) -> Self {
        let offers = accept::preferences(accept.unwrap_or_default());
        let open = accept::best(&offers, |offer| offer.is_openmetrics()).unwrap_or(0);
        let text = accept::best(&offers, |offer| offer.is_text())
            .or_else(|| accept::best(&offers, |offer| offer.is_any()))
            .unwrap_or(0);
        if open > 0 && open >= text { Self::OpenMetrics } else { Self::Text }
    }

    /// The `Content-Type` of the format.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

#[cfg(test)]
mod tests;
