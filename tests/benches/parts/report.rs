//! Rows of numbers, as a table and as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// One number and what it should be.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Row {
    metric: String,
    value: f64,
    unit: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reach: Option<Reach>,
    #[serde(skip_serializing_if = "String::is_empty")]
    note: String,
}

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reach {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
}

impl Row {
    /// A number.
    pub(crate) fn new(metric: impl Into<String>, value: f64, unit: &'static str) -> Self {
        Self { metric: metric.into(), value, unit, reach: None, note: String::new() }
    }

    /// Should not be more.
    pub(crate) fn at_most(self, reach: f64) -> Self {
        Self { reach: Some(Reach::AtMost(reach)), ..self }
    }

    /// Should not be less.
    pub(crate) fn at_least(self, reach: f64) -> Self {
        Self { reach: Some(Reach::AtLeast(reach)), ..self }
    }

    /// Should be nothing else.
    pub(crate) fn exactly(self, reach: f64) -> Self {
        Self { reach: Some(Reach::Exactly(reach)), ..self }
    }

    /// What to know about it.
    pub(crate) fn note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }
}

impl Reach {
    fn text(self, value: f64) -> String {
        let (sign, reach, met) = match self {
            Self::AtMost(reach) => ("≤", reach, value <= reach),
            Self::AtLeast(reach) => ("≥", reach, value >= reach),
            Self::Exactly(reach) => ("=", reach, value == reach),
        };
        format!("{sign} {reach}, {}", if met { "met" } else { "missed" })
    }
}

/// The table of a part, and below it one line of JSON.
pub(crate) fn of(part: &str, rows: &[Row]) -> String {
    let mut out = format!("\n| {part} | measured | reach | |\n|---|---|---|---|\n");
    for Row { metric, value, unit, reach, note } in rows {
        let reach = reach.map(|reach| reach.text(*value)).unwrap_or_default();
        let value = rounded(*value);
        writeln!(out, "| {metric} | {value} {unit} | {reach} | {note} |").unwrap();
    }
    let document = serde_json::json!({ "part": part, "rows": rows });
    writeln!(out, "\n{document}").unwrap();
    out
}

fn rounded(value: f64) -> String {
    let digits = if value == value.trunc() || value.abs() >= 1000.0 { 0 } else { 3 };
    format!("{value:.digits$}")
}

/// Minimum, median and maximum.
pub(crate) fn spread(samples: &[f64]) -> [f64; 3] {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len() - 1;
    [0, last / 2, last].map(|at| sorted[at])
}
