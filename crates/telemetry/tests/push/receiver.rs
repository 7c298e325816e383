//! A receiver that answers by script, and an exporter to push to it.

use std::collections::{BTreeMap, VecDeque};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use flate2::read::GzDecoder;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::metrics::v1::Metric as Message;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use prost::Message as _;
use rustls::ServerConfig;
use telemetry::catalogue::Catalogue;
use telemetry::metric::{Family, Metric, Unit, Value};
use telemetry::otlp::{Config, Counters, Exporter, Protocol};
use telemetry::registry::{Build, Registry};
use tokio::net::TcpListener;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::codec::CompressionEncoding;
use tonic::{Request, Status};

static PODS: Metric = Metric::counter("t_pods_total", Unit::Count("{pod}"), "Pods seen.", &["pod"]);
const CATALOGUE: Catalogue = Catalogue { title: "Test", metrics: &[&PODS] };

/// Far beyond what any step takes; only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One answer of the receiver; after the script it accepts everything.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Status(u16),
    RetryAfter(u16, &'static str),
    Rejected(i64),
    Grpc(Status),
    Stall,
}

#[derive(Clone, Default)]
pub(crate) struct Receiver {
    script: Arc<Mutex<VecDeque<Answer>>>,
    taken: Arc<Mutex<Vec<ExportMetricsServiceRequest>>>,
    headers: Arc<Mutex<Vec<HeaderMap>>>,
}

impl Receiver {
    pub(crate) fn scripted(answers: impl IntoIterator<Item = Answer>) -> Self {
        let receiver = Self::default();
        receiver.script.lock().unwrap().extend(answers);
        receiver
    }

    /// Serves both transports on a free port until the runtime ends.
    pub(crate) async fn serve(&self, tls: Option<Arc<ServerConfig>>) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let grpc = MetricsServiceServer::new(self.clone())
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(16 << 20);
        let router = Router::new()
            .route("/v1/metrics", post(take))
            .with_state(self.clone())
            .route_service("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export", grpc);
        tokio::spawn(accept(listener, router, tls.map(TlsAcceptor::from)));
        address
    }

    pub(crate) fn requests(&self) -> usize {
        self.headers.lock().unwrap().len()
    }

    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let headers = self.headers.lock().unwrap();
        Some(headers.first()?.get(name)?.to_str().ok()?.to_owned())
    }

    pub(crate) fn taken(&self) -> Vec<ExportMetricsServiceRequest> {
        self.taken.lock().unwrap().clone()
    }

    /// The metric of that name in everything taken.
    pub(crate) fn metric(&self, name: &str) -> Option<Message> {
        let taken = self.taken();
        let all = taken.into_iter().flat_map(|request| request.resource_metrics);
        let mut all = all.flat_map(|resource| resource.scope_metrics).flat_map(|s| s.metrics);
        all.find(|metric| metric.name == name)
    }

    fn next(&self) -> Option<Answer> {
        self.script.lock().unwrap().pop_front()
    }

    fn note(&self, request: ExportMetricsServiceRequest) {
        self.taken.lock().unwrap().push(request);
    }
}

async fn accept(listener: TcpListener, router: Router, tls: Option<TlsAcceptor>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (router, tls) = (router.clone(), tls.clone());
        connections.spawn(async move {
            let service = TowerToHyperService::new(router);
            let builder = auto::Builder::new(TokioExecutor::new());
            match tls {
                None => drop(builder.serve_connection(TokioIo::new(stream), service).await),
                Some(tls) => {
                    let Ok(stream) = tls.accept(stream).await else {
                        return;
                    };
                    drop(builder.serve_connection(TokioIo::new(stream), service).await);
                }
            }
        });
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> Response {
    receiver.headers.lock().unwrap().push(headers);
    let mut octets = Vec::new();
    GzDecoder::new(&*body).read_to_end(&mut octets).expect("the body is gzip");
    let request = ExportMetricsServiceRequest::decode(&*octets).expect("the body is OTLP");
    let rejected = match receiver.next() {
        None => 0,
        Some(Answer::Rejected(points)) => points,
        Some(Answer::Status(status)) => {
            return StatusCode::from_u16(status).unwrap().into_response();
        }
        Some(Answer::RetryAfter(status, after)) => {
            let later = [("retry-after", HeaderValue::from_static(after))];
            return (StatusCode::from_u16(status).unwrap(), later).into_response();
        }
        Some(Answer::Grpc(status)) => unreachable!("{status} is for gRPC"),
        Some(Answer::Stall) => std::future::pending().await,
    };
    receiver.note(request);
    answer(rejected).encode_to_vec().into_response()
}

fn answer(rejected_data_points: i64) -> ExportMetricsServiceResponse {
    let error_message = String::new();
    let partial = ExportMetricsPartialSuccess { rejected_data_points, error_message };
    ExportMetricsServiceResponse { partial_success: Some(partial) }
}

#[tonic::async_trait]
impl MetricsService for Receiver {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        self.headers.lock().unwrap().push(request.metadata().clone().into_headers());
        let rejected = match self.next() {
            None => 0,
            Some(Answer::Rejected(points)) => points,
            Some(Answer::Grpc(status)) => return Err(status),
            Some(Answer::Stall) => std::future::pending().await,
            Some(other) => unreachable!("{other:?} is for HTTP"),
        };
        self.note(request.into_inner());
        Ok(tonic::Response::new(answer(rejected)))
    }
}

/// A pushing process.
pub(crate) struct Push {
    pub(crate) registry: Registry,
    pub(crate) stop: CancellationToken,
    pub(crate) ended: JoinHandle<()>,
}

impl Push {
    /// Pushes at each interval from a registry with `pods` series of its own.
    pub(crate) fn start(config: &Config, pods: usize) -> Self {
        let build = Build { version: "1", revision: "2", rustc: "3", target: "4" };
        let registry = Registry::new(build);
        let counters = Counters::register(&registry).unwrap();
        let collector = registry.collector("t", CATALOGUE).unwrap();
        let mut family = Family::new(&PODS);
        for n in 0..pods {
            family.push([format!("pod-{n:05}").into()], n as u64);
        }
        collector.publish(vec![family]);
        let exporter = Exporter::new(config, registry.clone(), counters).unwrap();
        let stop = CancellationToken::new();
        let ended = tokio::spawn(exporter.run(stop.clone(), Duration::from_secs(3)));
        Self { registry, stop, ended }
    }

    pub(crate) async fn end(&mut self) {
        self.stop.cancel();
        timeout(PATIENCE, &mut self.ended).await.expect("the exporter never ends").unwrap();
    }

    pub(crate) fn number(&self, name: &str, labels: &[&str]) -> u64 {
        let snapshot = self.registry.snapshot();
        let family = snapshot.family(name).expect("the family is registered");
        let point = family.points().iter().find(|point| {
            point.labels.iter().map(|label| label.as_str()).eq(labels.iter().copied())
        });
        let Value::Whole(number) = point.expect("the series exists").value else { panic!() };
        number
    }

    pub(crate) fn dropped(&self, reason: &str) -> u64 {
        self.number("fathom_otlp_dropped_points_total", &[reason])
    }

    pub(crate) fn results(&self, result: &str) -> u64 {
        self.number("fathom_otlp_requests_total", &[result])
    }
}

pub(crate) fn config(endpoint: String, protocol: Protocol) -> Config {
    Config {
        endpoint,
        protocol,
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(10),
        headers: vec![("x-tenant".to_owned(), "blue".to_owned())],
        resource: BTreeMap::from([("service.name".to_owned(), "fathom".to_owned())]),
        certificate: None,
    }
}

/// Waits until `holds`, looking again every few milliseconds.
pub(crate) async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let looks = async {
        while !holds() {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, looks).await.is_ok(), "waited in vain until {what}");
}

/// How many points of all kinds a request carries.
pub(crate) fn points(request: &ExportMetricsServiceRequest) -> usize {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    metrics
        .map(|metric| match metric.data.as_ref() {
            Some(Data::Gauge(gauge)) => gauge.data_points.len(),
            Some(Data::Sum(sum)) => sum.data_points.len(),
            Some(Data::Histogram(histogram)) => histogram.data_points.len(),
            _ => 0,
        })
        .sum()
}
