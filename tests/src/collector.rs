//! A real OpenTelemetry Collector, and what it says it was sent.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use testkit::Place;
use testkit::proc::{Command, Process, wait_for};

use crate::binary::SOON;
use crate::exposition::{Exposition, Sample};

/// A running collector; dropping it kills it.
#[derive(Debug)]
pub struct Collector {
    process: Process,
    _scratch: TempDir,
}

impl Collector {
    /// Starts one on the usual ports of loopback inside `place`.
    ///
    /// # Panics
    ///
    /// If it cannot be built or does not start.
    pub fn start(place: &Place) -> Self {
        let scratch = TempDir::new().unwrap_or_else(|error| panic!("scratch: {error}"));
        let config = scratch.path().join("collector.yml");
        fs::write(&config, CONFIG).unwrap_or_else(|error| panic!("configuration: {error}"));
        let command = place.command(program()).arg(format!("--config={}", config.display()));
        let started = command.output_limit(LONGEST_OUTPUT).spawn().and_then(|mut process| {
            process.wait_for_stderr("Everything is ready", SOON)?;
            Ok(process)
        });
        let process = started.unwrap_or_else(|error| panic!("collector: {error}"));
        Self { process, _scratch: scratch }
    }

    /// The next push that begins and ends after this call.
    ///
    /// # Panics
    ///
    /// If none comes.
    pub fn next_push(&self) -> Push {
        let before = self.lines().len();
        // The first of two may have been under way already.
        let come = wait_for("two pushes", SOON, || {
            let mut lines = self.lines();
            (lines.len() >= before + 2).then(|| lines.remove(before + 1))
        });
        let line = come.unwrap_or_else(|error| panic!("{error}: {}", self.process.stderr()));
        let read = serde_json::from_str(&line);
        Push::read(&read.unwrap_or_else(|error| panic!("{error}: {line}")))
    }

    /// Documents that are whole.
    fn lines(&self) -> Vec<String> {
        let text = self.process.stdout();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }
}

/// One request as the collector read it.
#[derive(Debug, Clone)]
pub struct Push {
    /// Attributes of the resource.
    pub resource: BTreeMap<String, String>,
    /// All metrics by name.
    pub metrics: BTreeMap<String, Metric>,
}

/// One metric of a push.
#[derive(Debug, Clone)]
pub struct Metric {
    /// Its unit.
    pub unit: String,
    /// `sum`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Whether its points count from their start.
    pub cumulative: bool,
    /// Whether it never falls.
    pub monotonic: bool,
    /// Its points.
    pub points: Vec<Point>,
}

/// One point of a metric.
#[derive(Debug, Clone)]
pub struct Point {
    /// Attributes.
    pub labels: BTreeMap<String, String>,
    /// Nanoseconds since 1970; 0 where it has no start.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    raw: Value,
}

impl Push {
    fn read(document: &Value) -> Self {
        let [resource] = items(document, "resourceMetrics") else { panic!("{document:#}") };
        let [scope] = items(resource, "scopeMetrics") else { panic!("{resource:#}") };
        assert_eq!(scope["scope"]["name"], "fathom");
        let metrics = items(scope, "metrics").iter();
        Self {
            resource: attributes(&resource["resource"]),
            metrics: metrics.map(|m| (text(&m["name"]), Metric::read(m))).collect(),
        }
    }

    /// The samples that a scrape with these `types` would show, by [`Sample::key`].
    pub fn samples(&self, types: &BTreeMap<String, String>) -> BTreeMap<String, f64> {
        let metrics = self.metrics.iter();
        let samples = metrics.flat_map(|(name, metric)| {
            let counter = format!("{name}_total");
            let name = if types.contains_key(&counter) { counter } else { name.clone() };
            metric.points.iter().flat_map(move |point| point.samples(&name))
        });
        samples.map(|sample| (sample.key(), sample.value)).collect()
    }
}

impl Metric {
    fn read(metric: &Value) -> Self {
        let kind = ["sum", "gauge", "histogram"].into_iter().find(|kind| metric[kind].is_object());
        let kind = kind.unwrap_or_else(|| panic!("a kind of metric: {metric:#}"));
        let data = &metric[kind];
        Self {
            unit: text(&metric["unit"]),
            kind,
            cumulative: data["aggregationTemporality"] == CUMULATIVE,
            monotonic: data["isMonotonic"] == true,
            points: items(data, "dataPoints").iter().map(Point::read).collect(),
        }
    }
}

impl Point {
    fn read(point: &Value) -> Self {
        Self {
            labels: attributes(point),
            start: whole(&point["startTimeUnixNano"]),
            time: whole(&point["timeUnixNano"]),
            raw: point.clone(),
        }
    }

    fn samples(&self, name: &str) -> Vec<Sample> {
        let sample = |suffix: &str, value| Sample {
            name: format!("{name}{suffix}"),
            labels: self.labels.clone(),
            value,
        };
        let Some(counts) = self.raw["bucketCounts"].as_array() else {
            return vec![sample("", self.number())];
        };
        let bounds = items(&self.raw, "explicitBounds").iter().map(Value::to_string);
        let mut below = 0;
        let mut samples = Vec::new();
        for (bound, count) in bounds.chain(["+Inf".to_owned()]).zip(counts) {
            below += whole(count);
            let mut bucket = sample("_bucket", below as f64);
            bucket.labels.insert("le".to_owned(), shortest(&bound));
            samples.push(bucket);
        }
        assert_eq!(below, whole(&self.raw["count"]), "buckets are all there is");
        samples.push(sample("_count", below as f64));
        samples.push(sample("_sum", self.raw["sum"].as_f64().unwrap_or(0.0)));
        samples
    }

    fn number(&self) -> f64 {
        match self.raw["asDouble"].as_f64() {
            Some(number) => number,
            None => whole(&self.raw["asInt"]) as f64,
        }
    }
}

/// The program that `scripts/collector.sh` names, built now if it never was.
fn program() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../scripts/collector.sh");
    let named = Command::new(script).succeed(COLD_BUILD);
    let named = named.unwrap_or_else(|error| panic!("collector: {error}"));
    PathBuf::from(named.text().trim())
}

/// Fields at their default are left out of the document.
fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

fn attributes(value: &Value) -> BTreeMap<String, String> {
    let pairs = items(value, "attributes").iter();
    pairs.map(|pair| (text(&pair["key"]), text(&pair["value"]["stringValue"]))).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// A 64-bit number, which JSON carries as text.
fn whole(value: &Value) -> u64 {
    text(value).parse().unwrap_or(0)
}

/// `1` for `1.0`, as Prometheus labels have it.
fn shortest(bound: &str) -> String {
    bound.strip_suffix(".0").unwrap_or(bound).to_owned()
}

/// The samples of a scrape, by [`Sample::key`].
pub fn samples(scrape: &Exposition) -> BTreeMap<String, f64> {
    scrape.samples.iter().map(|sample| (sample.key(), sample.value)).collect()
}

const CONFIG: &str = "
receivers:
  otlp:
    protocols:
      grpc: {endpoint: 127.0.0.1:4317}
      http: {endpoint: 127.0.0.1:4318}
exporters:
  lines: {}
service:
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [lines]}
";
/// `AGGREGATION_TEMPORALITY_CUMULATIVE`.
const CUMULATIVE: u64 = 2;
const LONGEST_OUTPUT: u64 = 256 << 20;
const COLD_BUILD: Duration = Duration::from_secs(900);
