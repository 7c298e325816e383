//! From families to OTLP requests.
//!
//! Names lose `_total` and units become UCUM, as the OpenTelemetry data model wants;
//! everything is cumulative from the creation of its series.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric as Message,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use crate::metric::{self, Family, Kind, Metric, Point, Value};

/// What all points of a push have in common.
pub(super) struct Scene<'a> {
    pub(super) resource: &'a BTreeMap<String, String>,
    /// Start time of series that do not know their own.
    pub(super) started: SystemTime,
    pub(super) now: SystemTime,
}

/// One request and the number of points in it.
pub(super) struct Request {
    pub(super) message: ExportMetricsServiceRequest,
    pub(super) points: u64,
}

/// Cuts `families` into requests of at most [`POINTS`] points.
pub(super) fn requests(families: &[&Family], scene: &Scene<'_>) -> Vec<Request> {
    let mut packer = Packer { scene, requests: Vec::new(), metrics: Vec::new(), room: POINTS };
    for family in families {
        packer.add(family);
    }
    packer.close();
    packer.requests
}

struct Packer<'a> {
    scene: &'a Scene<'a>,
    requests: Vec<Request>,
    metrics: Vec<Message>,
    room: usize,
}

impl Packer<'_> {
    fn add(&mut self, family: &Family) {
        let mut rest = family.points();
        while !rest.is_empty() {
            if self.room == 0 {
                self.close();
            }
            let (now, later) = rest.split_at(rest.len().min(self.room));
            self.room -= now.len();
            self.metrics.push(self.scene.message(family.metric(), now));
            rest = later;
        }
    }

    fn close(&mut self) {
        let points = (POINTS - std::mem::replace(&mut self.room, POINTS)) as u64;
        let metrics = std::mem::take(&mut self.metrics);
        if points > 0 {
            self.requests.push(Request { message: self.scene.request(metrics), points });
        }
    }
}

impl Scene<'_> {
    fn request(&self, metrics: Vec<Message>) -> ExportMetricsServiceRequest {
        let attributes = self.resource.iter().map(|(key, value)| attribute(key, value));
        let resource = Resource { attributes: attributes.collect(), ..Resource::default() };
        let scope = InstrumentationScope { name: "fathom".to_owned(), ..Default::default() };
        let scope_metrics =
            vec![ScopeMetrics { scope: Some(scope), metrics, schema_url: String::new() }];
        let resource = Some(resource);
        let all = ResourceMetrics { resource, scope_metrics, schema_url: String::new() };
        ExportMetricsServiceRequest { resource_metrics: vec![all] }
    }

    fn message(&self, metric: &'static Metric, points: &[Point]) -> Message {
        Message {
            name: name(metric).to_owned(),
            description: metric.help.to_owned(),
            unit: metric.unit.ucum().to_owned(),
            metadata: Vec::new(),
            data: Some(self.data(metric, points)),
        }
    }

    fn data(&self, metric: &'static Metric, points: &[Point]) -> Data {
        let numbers = || points.iter().filter_map(|point| self.number(metric, point)).collect();
        let aggregation_temporality = AggregationTemporality::Cumulative.into();
        match metric.kind {
            Kind::Gauge | Kind::Info => Data::Gauge(Gauge { data_points: numbers() }),
            Kind::Counter => Data::Sum(Sum {
                data_points: numbers(),
                aggregation_temporality,
                is_monotonic: true,
            }),
            Kind::Histogram => Data::Histogram(Histogram {
                data_points: points.iter().filter_map(|p| self.distribution(metric, p)).collect(),
                aggregation_temporality,
            }),
        }
    }

    fn number(&self, metric: &'static Metric, point: &Point) -> Option<NumberDataPoint> {
        let value = match point.value {
            Value::Whole(number) => {
                // OTLP integers are signed; beyond them precision is the lesser loss.
                i64::try_from(number).map_or(Number::AsDouble(number as f64), Number::AsInt)
            }
            Value::Real(number) => Number::AsDouble(number),
            Value::Histogram(_) => return None,
        };
        Some(NumberDataPoint {
            attributes: attributes(metric, point),
            start_time_unix_nano: self.start(metric, point),
            time_unix_nano: nanos(self.now),
            value: Some(value),
            ..NumberDataPoint::default()
        })
    }

    fn distribution(&self, metric: &'static Metric, point: &Point) -> Option<HistogramDataPoint> {
        let Value::Histogram(histogram) = &point.value else {
            return None;
        };
        let histogram: &metric::Histogram = histogram;
        Some(HistogramDataPoint {
            attributes: attributes(metric, point),
            start_time_unix_nano: self.start(metric, point),
            time_unix_nano: nanos(self.now),
            count: histogram.count(),
            sum: Some(histogram.sum()),
            bucket_counts: histogram.counts().to_vec(),
            explicit_bounds: histogram.bounds().to_vec(),
            ..HistogramDataPoint::default()
        })
    }

    /// A gauge has no beginning.
    fn start(&self, metric: &Metric, point: &Point) -> u64 {
        match metric.kind {
            Kind::Gauge | Kind::Info => 0,
            Kind::Counter | Kind::Histogram => nanos(point.created.unwrap_or(self.started)),
        }
    }
}

fn name(metric: &Metric) -> &'static str {
    match metric.kind {
        Kind::Counter => metric.stem(),
        Kind::Gauge | Kind::Histogram | Kind::Info => metric.name,
    }
}

fn attributes(metric: &Metric, point: &Point) -> Vec<KeyValue> {
    let pairs = metric.labels.iter().zip(&point.labels);
    pairs.map(|(name, value)| attribute(name, value.as_str())).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Any::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn nanos(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Keeps a request with long labels below the 4 MiB that gRPC receivers take by default.
pub(super) const POINTS: usize = 4096;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::{Duration, UNIX_EPOCH};

    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;

    use super::{POINTS, Request, Scene, requests};
    use crate::metric::{Family, Histogram, Metric, Unit};

    static BYTES: Metric = Metric::counter("t_tx_bytes_total", Unit::Bytes, "Octets.", &["pod"]);
    static LOAD: Metric = Metric::gauge("t_load_ratio", Unit::Ratio, "Load.", &[]);
    static DELAY: Metric = Metric::histogram("t_delay_seconds", Unit::Seconds, "Delay.", &[]);
    static BUILD: Metric = Metric::info("t_build_info", "Build.", &["version"]);

    fn encoded(families: &[Family]) -> Vec<Request> {
        let resource = BTreeMap::from([("service.name".to_owned(), "t".to_owned())]);
        let started = UNIX_EPOCH + Duration::from_nanos(7);
        let now = UNIX_EPOCH + Duration::from_nanos(99);
        let scene = Scene { resource: &resource, started, now };
        requests(&families.iter().collect::<Vec<_>>(), &scene)
    }

    fn only(family: Family) -> opentelemetry_proto::tonic::metrics::v1::Metric {
        let mut requests = encoded(&[family]);
        let resource = requests.remove(0).message.resource_metrics.remove(0);
        assert_eq!(resource.resource.unwrap().attributes[0].key, "service.name");
        resource.scope_metrics.into_iter().next().unwrap().metrics.remove(0)
    }

    #[test]
    fn a_counter_is_a_cumulative_sum_without_its_suffix() {
        let mut family = Family::new(&BYTES);
        family.push_created(["a".into()], 5, UNIX_EPOCH + Duration::from_nanos(42));
        family.push(["b".into()], u64::MAX);
        let metric = only(family);
        assert_eq!((&*metric.name, &*metric.unit), ("t_tx_bytes", "By"));
        let Some(Data::Sum(sum)) = metric.data else { panic!("no sum") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
        let starts: Vec<_> = sum.data_points.iter().map(|p| p.start_time_unix_nano).collect();
        assert_eq!(starts, [42, 7], "own creation, else that of the process");
        assert_eq!(sum.data_points[0].value, Some(Number::AsInt(5)));
        assert_eq!(sum.data_points[1].value, Some(Number::AsDouble(u64::MAX as f64)));
        assert_eq!(sum.data_points[0].attributes[0].key, "pod");
    }

    #[test]
    fn a_gauge_has_no_start_and_an_info_keeps_its_name() {
        let Some(Data::Gauge(gauge)) = only(Family::single(&LOAD, 0.5)).data else { panic!() };
        let point = &gauge.data_points[0];
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (0, 99));
        let mut build = Family::new(&BUILD);
        build.push(["1".into()], 1);
        assert_eq!(only(build).name, "t_build_info");
    }

    #[test]
    fn a_histogram_keeps_its_buckets() {
        let histogram = Histogram::from_counts(&[0.1, 1.0][..], vec![1, 0, 2], 9.5).unwrap();
        let metric = only(Family::single(&DELAY, histogram));
        let Some(Data::Histogram(histogram)) = metric.data else { panic!("no histogram") };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (3, Some(9.5)));
        assert_eq!(
            (&*point.bucket_counts, &*point.explicit_bounds),
            (&[1, 0, 2][..], &[0.1, 1.0][..])
        );
    }

    #[test]
    fn no_request_is_above_the_limit_and_no_point_is_lost() {
        let mut family = Family::new(&BYTES);
        for n in 0..2 * POINTS + 10 {
            family.push([n.to_string().into()], 1);
        }
        let requests = encoded(&[Family::single(&LOAD, 1.0), family]);
        let sizes: Vec<_> = requests.iter().map(|request| request.points as usize).collect();
        assert_eq!(sizes, [POINTS, POINTS, 11]);
        assert!(encoded(&[]).is_empty());
    }
}
