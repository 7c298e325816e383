//! What a metric is and what a snapshot of one looks like.
//!
//! [`Metric`] is the static description, written once in a catalogue. [`Family`] is one
//! reading of it: label values and numbers. Counters are `u64` and stay so up to the last
//! digit that is printed. Nothing here keeps state; systems own their numbers.

use std::time::SystemTime;

mod histogram;
mod label;

pub use self::histogram::{Histogram, HistogramError};
pub use self::label::LabelValue;

/// The static description of one metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    /// The name as Prometheus shows it, with `_total` where it belongs.
    pub name: &'static str,
    /// How its values behave.
    pub kind: Kind,
    /// What is measured.
    pub unit: Unit,
    /// One sentence for the operator.
    pub help: &'static str,
    /// Label names, in the order in which points give their values.
    pub labels: &'static [&'static str],
}

impl Metric {
    /// A number that only grows.
    pub const fn counter(
        name: &'static str,
        unit: Unit,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, kind: Kind::Counter, unit, help, labels }
    }

    /// A number that goes up and down.
    pub const fn gauge(
        name: &'static str,
        unit: Unit,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, kind: Kind::Gauge, unit, help, labels }
    }

    /// A distribution in buckets.
    pub const fn histogram(
        name: &'static str,
        unit: Unit,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, kind: Kind::Histogram, unit, help, labels }
    }

    /// Facts in labels, with the constant value 1; the name ends in `_info`.
    pub const fn info(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
    ) -> Self {
        Self { name, kind: Kind::Info, unit: Unit::None, help, labels }
    }

    /// The name without the suffix that its kind demands in text formats.
    pub fn stem(&self) -> &'static str {
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Info => "_info",
            Kind::Gauge | Kind::Histogram => "",
        };
        self.name.strip_suffix(suffix).unwrap_or(self.name)
    }
}

/// How the values of a metric behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Only grows, except when the process restarts.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts of observations in buckets, with their sum.
    Histogram,
    /// Constant 1 with facts in labels; a gauge in text 0.0.4.
    Info,
}

impl Kind {
    /// The word for the kind in Prometheus text 0.0.4.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge | Self::Info => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a metric counts or measures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Nothing with a unit: states, ratios of states, info.
    None,
    /// Octets.
    Bytes,
    /// Packets.
    Packets,
    /// Seconds.
    Seconds,
    /// A share between 0 and 1.
    Ratio,
    /// A share between 0 and 100, where an older name demands it.
    Percent,
    /// Things of a sort; the text is the UCUM annotation, such as `{flow}`.
    Count(&'static str),
}

impl Unit {
    /// The unit as OpenTelemetry writes it (UCUM).
    pub const fn ucum(self) -> &'static str {
        match self {
            Self::None | Self::Ratio => "1",
            Self::Bytes => "By",
            Self::Packets => "{packet}",
            Self::Seconds => "s",
            Self::Percent => "%",
            Self::Count(annotation) => annotation,
        }
    }

    /// The word that OpenMetrics wants at the end of the name, if there is one.
    pub const fn suffix(self) -> Option<&'static str> {
        match self {
            Self::Bytes => Some("bytes"),
            Self::Packets => Some("packets"),
            Self::Seconds => Some("seconds"),
            Self::Ratio => Some("ratio"),
            Self::Percent => Some("percent"),
            Self::None | Self::Count(_) => None,
        }
    }
}

/// One value of a point.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// An exact whole number.
    Whole(u64),
    /// Anything measured.
    Real(f64),
    /// A distribution.
    Histogram(Box<Histogram>),
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Whole(number)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Real(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Whole(u64::from(truth))
    }
}

impl From<Histogram> for Value {
    fn from(histogram: Histogram) -> Self {
        Self::Histogram(Box::new(histogram))
    }
}

/// One series of a family at the time of the snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Label values, in the order of [`Metric::labels`].
    pub labels: Box<[LabelValue]>,
    /// The reading.
    pub value: Value,
    /// When the series began to count, where the system knows it.
    pub created: Option<SystemTime>,
}

/// One reading of one metric: all its series.
#[derive(Clone, Debug, PartialEq)]
pub struct Family {
    metric: &'static Metric,
    points: Vec<Point>,
    malformed: u64,
}

impl Family {
    /// An empty reading.
    pub const fn new(metric: &'static Metric) -> Self {
        Self { metric, points: Vec::new(), malformed: 0 }
    }

    /// An empty reading with room for `series` points.
    pub fn with_capacity(metric: &'static Metric, series: usize) -> Self {
        Self { metric, points: Vec::with_capacity(series), malformed: 0 }
    }

    /// The reading of a metric that has no labels.
    pub fn single(metric: &'static Metric, value: impl Into<Value>) -> Self {
        let mut family = Self::with_capacity(metric, 1);
        family.push([], value);
        family
    }

    /// Adds a series; label values come in the order of [`Metric::labels`].
    ///
    /// A point that does not fit the metric (number of labels, kind of value) is left out
    /// and counted as dropped by the registry.
    pub fn push<const N: usize>(&mut self, labels: [LabelValue; N], value: impl Into<Value>) {
        self.add(Point { labels: labels.into(), value: value.into(), created: None });
    }

    /// Adds a series that began to count at `created`.
    pub fn push_created<const N: usize>(
        &mut self,
        labels: [LabelValue; N],
        value: impl Into<Value>,
        created: SystemTime,
    ) {
        let (labels, value) = (labels.into(), value.into());
        self.add(Point { labels, value, created: Some(created) });
    }

    /// Adds a series that was built elsewhere, under the rules of [`Family::push`].
    pub fn add(&mut self, point: Point) {
        let fits = point.labels.len() == self.metric.labels.len() && self.suits(&point.value);
        debug_assert!(fits, "{} was given a point that it does not describe", self.metric.name);
        if fits {
            self.points.push(point);
        } else {
            self.malformed += 1;
        }
    }

    /// Keeps what the registry admits: sorted, unique, at most `limit` series, those that
    /// `known` accepts first. Returns how many points were left out.
    pub(crate) fn settle(&mut self, limit: usize, known: impl Fn(&[LabelValue]) -> bool) -> u64 {
        let offered = self.points.len();
        self.points.sort_by(|a, b| a.labels.cmp(&b.labels));
        self.points.dedup_by(|later, earlier| later.labels == earlier.labels);
        if self.points.len() > limit {
            // Stable: known series keep label order, then newcomers in label order.
            self.points.sort_by_key(|point| !known(&point.labels));
            self.points.truncate(limit);
            self.points.sort_by(|a, b| a.labels.cmp(&b.labels));
        }
        self.malformed + (offered - self.points.len()) as u64
    }

    /// The description of the metric.
    pub const fn metric(&self) -> &'static Metric {
        self.metric
    }

    /// The series, in label order once published.
    pub fn points(&self) -> &[Point] {
        &self.points
    }

    fn suits(&self, value: &Value) -> bool {
        match value {
            Value::Histogram(_) => self.metric.kind == Kind::Histogram,
            Value::Whole(_) | Value::Real(_) => self.metric.kind != Kind::Histogram,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Family, LabelValue, Metric, Unit};

    static PACKETS: Metric =
        Metric::counter("t_packets_total", Unit::Packets, "Packets seen.", &["pod"]);

    fn pods(names: &[&'static str]) -> Family {
        let mut family = Family::new(&PACKETS);
        for name in names {
            family.push([LabelValue::from(*name)], 1);
        }
        family
    }

    fn names(family: &Family) -> Vec<&str> {
        family.points().iter().map(|point| point.labels[0].as_str()).collect()
    }

    #[test]
    fn series_come_out_sorted_and_unique() {
        let mut family = pods(&["b", "a", "b"]);
        assert_eq!(family.settle(10, |_| false), 1);
        assert_eq!(names(&family), ["a", "b"]);
    }

    #[test]
    fn at_the_limit_known_series_stay_and_newcomers_are_dropped() {
        let mut family = pods(&["a", "b", "c", "z"]);
        assert_eq!(family.settle(2, |labels| labels[0].as_str() == "z"), 2);
        assert_eq!(names(&family), ["a", "z"]);
    }

    #[test]
    #[should_panic(expected = "does not describe")]
    fn a_point_with_too_many_labels_is_a_bug_that_debug_builds_show() {
        Family::new(&PACKETS).push(["a".into(), "b".into()], 1);
    }

    #[test]
    fn the_stem_is_the_name_without_its_kind() {
        assert_eq!(PACKETS.stem(), "t_packets");
        assert_eq!(Metric::info("t_build_info", "Build.", &[]).stem(), "t_build");
        assert_eq!(Metric::gauge("t_total", Unit::None, "Odd.", &[]).stem(), "t_total");
    }
}
