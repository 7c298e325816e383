//! OTLP over gRPC.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use prost::Message;
use tonic::codec::CompressionEncoding;
use tonic::metadata::MetadataMap;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request, Status};

use super::retry::Failure;
use super::{Config, OtlpError, http, tls};

/// Sends over one channel that connects by itself.
#[derive(Debug)]
pub(super) struct Sender {
    client: MetricsServiceClient<Channel>,
    metadata: MetadataMap,
}

impl Sender {
    pub(super) fn new(config: &Config) -> Result<Self, OtlpError> {
        let uri = http::endpoint(&config.endpoint)?;
        let metadata = MetadataMap::from_headers(http::headers(&config.headers)?);
        let secure = uri.scheme_str() == Some("https");
        let mut endpoint = Endpoint::from(uri).connect_timeout(config.timeout);
        if secure {
            let tls = client_tls(config)?;
            endpoint = endpoint.tls_config(tls).map_err(|source| OtlpError::Tls { source })?;
        }
        let client = MetricsServiceClient::new(endpoint.connect_lazy())
            .send_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(ANSWER_LIMIT);
        Ok(Self { client, metadata })
    }

    /// Returns how many points of an accepted request were rejected.
    pub(super) async fn send(&self, message: &ExportMetricsServiceRequest) -> Result<u64, Failure> {
        let mut request = Request::new(message.clone());
        *request.metadata_mut() = self.metadata.clone();
        let answer = self.client.clone().export(request).await;
        let answer = answer.map_err(|status| failure(&status))?.into_inner();
        let partial = answer.partial_success.unwrap_or_default();
        Ok(u64::try_from(partial.rejected_data_points).unwrap_or(0))
    }
}

fn client_tls(config: &Config) -> Result<ClientTlsConfig, OtlpError> {
    Ok(match config.certificate.as_deref() {
        Some(path) => ClientTlsConfig::new().ca_certificate(Certificate::from_pem(tls::pem(path)?)),
        None => ClientTlsConfig::new().with_native_roots(),
    })
}

/// Follows the table of the OTLP specification: an exhausted receiver is only asked again
/// when it says when.
fn failure(status: &Status) -> Failure {
    let after = retry_delay(status.details());
    match status.code() {
        Code::ResourceExhausted if after.is_some() => {
            Failure { after, ..Failure::transient("throttled") }
        }
        Code::ResourceExhausted => Failure::permanent("throttled"),
        Code::Unavailable => Failure { after, ..Failure::transient("unavailable") },
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::DataLoss => Failure { after, ..Failure::transient("connection") },
        Code::Unauthenticated | Code::PermissionDenied => Failure::permanent("unauthorised"),
        _ => Failure::permanent("server_error"),
    }
}

fn retry_delay(details: &[u8]) -> Option<Duration> {
    let status = RpcStatus::decode(details).ok()?;
    let info = status.details.iter().find(|any| any.type_url == RETRY_INFO)?;
    let delay = RetryInfo::decode(&*info.value).ok()?.retry_delay?;
    let seconds = u64::try_from(delay.seconds).ok()?;
    Some(Duration::new(seconds, u32::try_from(delay.nanos).ok()?.min(999_999_999)))
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RpcStatus {
    #[prost(message, repeated, tag = "3")]
    pub(super) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Any {
    #[prost(string, tag = "1")]
    pub(super) type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(super) value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    pub(super) retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Delay {
    #[prost(int64, tag = "1")]
    pub(super) seconds: i64,
    #[prost(int32, tag = "2")]
    pub(super) nanos: i32,
}

pub(super) const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// A sane answer is a few octets.
const ANSWER_LIMIT: usize = 64 << 10;
