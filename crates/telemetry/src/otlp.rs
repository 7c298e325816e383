//! Pushing the same families by OTLP, over HTTP or gRPC.
//!
//! Everything pushed is cumulative, so a push that is lost costs resolution and no amount;
//! it is counted all the same. One push runs at a time: while a receiver is away, later
//! snapshots replace the waiting one instead of queueing behind it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use tokio::time::{MissedTickBehavior, interval_at, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::logs::EventLimit;
use crate::registry::Registry;

mod counters;
mod encode;
mod grpc;
mod http;
mod retry;
mod tls;

pub use self::counters::Counters;
pub use self::tls::RootsError;

pub(crate) use self::counters::CATALOGUE;

use self::counters::Loss;
use self::retry::{Backoff, Failure};

/// Where and how to push. What the `OTEL_*` variables mean is resolved by the caller.
#[derive(Clone, Debug)]
pub struct Config {
    /// For HTTP the whole URL of the metrics receiver (see [`metrics_url`]); for gRPC scheme,
    /// host and port.
    pub endpoint: String,
    /// How to speak.
    pub protocol: Protocol,
    /// Between pushes.
    pub interval: Duration,
    /// For one attempt.
    pub timeout: Duration,
    /// Sent with each request.
    pub headers: Vec<(String, String)>,
    /// Who pushes, such as `service.name`.
    pub resource: BTreeMap<String, String>,
    /// Authorities to trust instead of the system's, as PEM.
    pub certificate: Option<PathBuf>,
}

/// A transport of OTLP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Protocol {
    /// Protobuf over HTTP.
    #[default]
    HttpProtobuf,
    /// gRPC.
    Grpc,
}

impl FromStr for Protocol {
    type Err = OtlpError;

    fn from_str(text: &str) -> Result<Self, OtlpError> {
        match text {
            "http/protobuf" => Ok(Self::HttpProtobuf),
            "grpc" => Ok(Self::Grpc),
            _ => Err(OtlpError::Protocol { given: text.into() }),
        }
    }
}

/// The URL for metrics under the base URL of `OTEL_EXPORTER_OTLP_ENDPOINT`.
pub fn metrics_url(base: &str) -> String {
    format!("{}/v1/metrics", base.trim_end_matches('/'))
}

/// Whether a text can be the endpoint of a configuration.
pub fn is_endpoint(text: &str) -> bool {
    http::endpoint(text).is_ok()
}

/// Whether HTTP allows a header of this name and value.
pub fn is_header(name: &str, value: &str) -> bool {
    http::headers(&[(name.to_owned(), value.to_owned())]).is_ok()
}

/// Pushes the registry's numbers to one receiver.
#[derive(Debug)]
pub struct Exporter {
    registry: Registry,
    counters: Arc<Counters>,
    resource: BTreeMap<String, String>,
    transport: Transport,
    interval: Duration,
    timeout: Duration,
    limit: EventLimit,
}

#[derive(Debug)]
enum Transport {
    Http(Box<http::Sender>),
    Grpc(Box<grpc::Sender>),
}

impl Exporter {
    /// Prepares to push; connects only with the first push. Must be called inside a tokio
    /// runtime.
    pub fn new(
        config: &Config,
        registry: Registry,
        counters: Arc<Counters>,
    ) -> Result<Self, OtlpError> {
        let transport = match config.protocol {
            Protocol::HttpProtobuf => Transport::Http(Box::new(http::Sender::new(config)?)),
            Protocol::Grpc => Transport::Grpc(Box::new(grpc::Sender::new(config)?)),
        };
        Ok(Self {
            registry,
            counters,
            resource: config.resource.clone(),
            transport,
            interval: config.interval.max(SHORTEST_INTERVAL),
            timeout: config.timeout,
            limit: EventLimit::default(),
        })
    }

    /// Pushes at each interval until `stop`, then once more within `deadline`.
    pub async fn run(self, stop: CancellationToken, deadline: Duration) {
        let mut tick = interval_at(tokio::time::Instant::now() + self.interval, self.interval);
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = tick.tick() => {}
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = self.push() => {}
            }
        }
        self.counters.abandon();
        if timeout(deadline, self.push()).await.is_err() {
            let lost = self.counters.lose_pending(Loss::Shutdown);
            tracing::warn!(
                event = "otlp.failed",
                reason = "shutdown",
                points = lost,
                "Last push not finished"
            );
        }
    }

    /// Pushes what is known now.
    async fn push(&self) {
        let snapshot = self.registry.snapshot();
        let scene = encode::Scene {
            resource: &self.resource,
            started: self.registry.started(),
            now: SystemTime::now(),
        };
        let requests = encode::requests(&snapshot.families(), &scene);
        drop(snapshot);
        self.counters.begin(requests.iter().map(|request| request.points).sum());
        let mut backoff = Backoff::new(Instant::now());
        for request in &requests {
            if let Err(loss) = self.deliver(&request.message, request.points, &mut backoff).await {
                self.counters.lose(loss, request.points);
                if loss == Loss::Expired {
                    self.counters.lose_pending(Loss::Expired);
                    return;
                }
            }
        }
    }

    async fn deliver(
        &self,
        message: &ExportMetricsServiceRequest,
        points: u64,
        backoff: &mut Backoff,
    ) -> Result<(), Loss> {
        loop {
            let failure = match self.attempt(message).await {
                Ok(rejected) => {
                    self.counters.delivered(points, rejected.min(points));
                    backoff.succeeded();
                    return Ok(());
                }
                Err(failure) => failure,
            };
            self.report(&failure);
            if !failure.transient {
                self.counters.request_failed();
                return Err(Loss::Refused);
            }
            self.counters.request_retried();
            let Some(pause) = backoff.next(Instant::now(), failure.after, retry::jitter()) else {
                return Err(Loss::Expired);
            };
            sleep(pause).await;
        }
    }

    /// How many points the receiver rejected of those that it took.
    async fn attempt(&self, message: &ExportMetricsServiceRequest) -> Result<u64, Failure> {
        let attempt = async {
            match &self.transport {
                Transport::Http(sender) => sender.send(message).await,
                Transport::Grpc(sender) => sender.send(message).await,
            }
        };
        timeout(self.timeout, attempt).await.unwrap_or(Err(Failure::transient("timeout")))
    }

    fn report(&self, failure: &Failure) {
        if let Some(suppressed) = self.limit.admit("otlp.failed", failure.reason, Instant::now()) {
            let (reason, retry) = (failure.reason, failure.transient);
            tracing::warn!(event = "otlp.failed", reason, retry, suppressed, "Push not accepted");
        }
    }
}

/// Why pushing could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OtlpError {
    /// An endpoint that is no URL.
    #[error("{given:?} is no OTLP endpoint; write for example http://collector:4318/v1/metrics")]
    Endpoint {
        /// What was given.
        given: Box<str>,
    },
    /// A protocol that is not spoken.
    #[error("{given:?} is no protocol of OTLP spoken here; use http/protobuf or grpc")]
    Protocol {
        /// What was given.
        given: Box<str>,
    },
    /// A header that HTTP does not allow.
    #[error("the OTLP header {name:?} is not allowed; use a name and value of printable ASCII")]
    Header {
        /// The name.
        name: Box<str>,
    },
    /// Authorities that cannot be used.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// TLS that cannot be set up for gRPC.
    #[error("TLS for OTLP over gRPC cannot be set up: {source}; check endpoint and certificate")]
    Tls {
        /// What tonic said.
        source: tonic::transport::Error,
    },
}

/// A faster push would only load the receiver: collections are slower.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);
