//! Writing families as text.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Format;
use crate::metric::{Family, Histogram, Kind, LabelValue, Metric, Point, Value};

/// Writes `families` to the end of `out`; they are expected in order of their names.
pub fn render<'a>(
    format: Format,
    families: impl IntoIterator<Item = &'a Family>,
    out: &mut Vec<u8>,
) {
    let mut page = Page { format, out };
    for family in families {
        page.family(family);
    }
    if format == Format::OpenMetrics {
        page.text("# EOF\n");
    }
}

struct Page<'a> {
    format: Format,
    out: &'a mut Vec<u8>,
}

impl Page<'_> {
    fn family(&mut self, family: &Family) {
        if family.points().is_empty() {
            return;
        }
        self.head(family.metric());
        for point in family.points() {
            self.point(family.metric(), point);
        }
    }

    fn head(&mut self, metric: &Metric) {
        let (name, kind) = self.family_name_and_kind(metric);
        self.words(&["# HELP ", name, " "]);
        self.escaped(metric.help, self.format == Format::OpenMetrics);
        self.words(&["\n# TYPE ", name, " ", kind, "\n"]);
        let unit = metric.unit.suffix().filter(|unit| ends_in_word(name, unit));
        if let (Format::OpenMetrics, Some(unit)) = (self.format, unit) {
            self.words(&["# UNIT ", name, " ", unit, "\n"]);
        }
    }

    /// OpenMetrics names the family without `_total` and `_info`. A counter that a replaced
    /// tool published without `_total` keeps its name and becomes `unknown`, because the
    /// format would otherwise force another name on it.
    fn family_name_and_kind<'m>(&self, metric: &'m Metric) -> (&'m str, &'static str) {
        match (self.format, metric.kind) {
            (Format::OpenMetrics, Kind::Counter) if metric.stem() == metric.name => {
                (metric.name, "unknown")
            }
            (Format::OpenMetrics, Kind::Counter) => (metric.stem(), "counter"),
            (Format::OpenMetrics, Kind::Info) => (metric.stem(), "info"),
            (_, kind) => (metric.name, kind.text()),
        }
    }

    fn point(&mut self, metric: &Metric, point: &Point) {
        match &point.value {
            Value::Whole(number) => self.sample(metric, point, "", None, Number::Whole(*number)),
            Value::Real(number) => self.sample(metric, point, "", None, Number::Real(*number)),
            Value::Histogram(histogram) => self.histogram(metric, point, histogram),
        }
        if self.format == Format::OpenMetrics {
            self.created(metric, point);
        }
    }

    fn histogram(&mut self, metric: &Metric, point: &Point, histogram: &Histogram) {
        let bounds = histogram.bounds().iter().copied().chain([f64::INFINITY]);
        let mut below = 0_u64;
        for (bound, count) in bounds.zip(histogram.counts()) {
            below = below.saturating_add(*count);
            self.sample(metric, point, "_bucket", Some(bound), Number::Whole(below));
        }
        self.sample(metric, point, "_sum", None, Number::Real(histogram.sum()));
        self.sample(metric, point, "_count", None, Number::Whole(below));
    }

    fn created(&mut self, metric: &Metric, point: &Point) {
        let counts = match metric.kind {
            Kind::Counter => metric.stem() != metric.name,
            Kind::Histogram => true,
            Kind::Gauge | Kind::Info => false,
        };
        let Some(created) = point.created.filter(|_| counts) else {
            return;
        };
        self.words(&[metric.stem(), "_created"]);
        self.labels(metric, &point.labels, None);
        self.text(" ");
        self.timestamp(created);
        self.text("\n");
    }

    fn sample(
        &mut self,
        metric: &Metric,
        point: &Point,
        suffix: &str,
        le: Option<f64>,
        value: Number,
    ) {
        self.words(&[metric.name, suffix]);
        self.labels(metric, &point.labels, le);
        self.text(" ");
        self.number(value);
        self.text("\n");
    }

    fn labels(&mut self, metric: &Metric, values: &[LabelValue], le: Option<f64>) {
        if values.is_empty() && le.is_none() {
            return;
        }
        let mut open = "{";
        for (name, value) in metric.labels.iter().zip(values) {
            self.words(&[open, name, "=\""]);
            self.escaped(value.as_str(), true);
            self.text("\"");
            open = ",";
        }
        if let Some(bound) = le {
            self.words(&[open, "le=\""]);
            self.bound(bound);
            self.text("\"");
        }
        self.text("}");
    }

    /// Bounds as Go clients print them, so that series keep their identity: `1` in text
    /// 0.0.4, `1.0` in OpenMetrics.
    fn bound(&mut self, bound: f64) {
        match self.format {
            Format::OpenMetrics if bound.is_finite() => self.print(format_args!("{bound:?}")),
            _ => self.number(Number::Real(bound)),
        }
    }

    fn number(&mut self, number: Number) {
        match number {
            Number::Whole(number) => self.print(format_args!("{number}")),
            Number::Real(number) if number.is_nan() => self.text("NaN"),
            Number::Real(f64::INFINITY) => self.text("+Inf"),
            Number::Real(f64::NEG_INFINITY) => self.text("-Inf"),
            Number::Real(number) if needs_exponent(number) => {
                self.print(format_args!("{number:e}"));
            }
            Number::Real(number) => self.print(format_args!("{number}")),
        }
    }

    fn timestamp(&mut self, at: SystemTime) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.print(format_args!("{}.{:09}", since.as_secs(), since.subsec_nanos()));
    }

    fn escaped(&mut self, text: &str, quotes: bool) {
        let mut rest = text.as_bytes();
        let special = |octet: &u8| matches!(octet, b'\\' | b'\n') || (quotes && *octet == b'"');
        while let Some(position) = rest.iter().position(special) {
            let (plain, tail) = rest.split_at(position);
            self.out.extend_from_slice(plain);
            self.text(match tail.first() {
                Some(b'\n') => "\\n",
                Some(b'"') => "\\\"",
                _ => "\\\\",
            });
            rest = tail.get(1..).unwrap_or_default();
        }
        self.out.extend_from_slice(rest);
    }

    fn words(&mut self, words: &[&str]) {
        for word in words {
            self.text(word);
        }
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    fn print(&mut self, arguments: std::fmt::Arguments<'_>) {
        // Writing to a Vec cannot fail.
        drop(self.out.write_fmt(arguments));
    }
}

#[derive(Clone, Copy)]
enum Number {
    Whole(u64),
    Real(f64),
}

fn ends_in_word(name: &str, word: &str) -> bool {
    name.strip_suffix(word).is_some_and(|rest| rest.ends_with('_'))
}

/// Plain digits are exact but run to hundreds of characters at the ends of the range.
fn needs_exponent(number: f64) -> bool {
    let size = number.abs();
    size != 0.0 && !(1e-6..1e21).contains(&size)
}
