//! OTLP over HTTP: protobuf, compressed, one POST for each request.

use std::fmt;
use std::io::Write;
use std::time::Duration;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode, Uri};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message;

use super::retry::Failure;
use super::{Config, OtlpError, tls};

/// Sends to one URL over kept connections.
pub(super) struct Sender {
    uri: Uri,
    headers: HeaderMap,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Sender {
    pub(super) fn new(config: &Config) -> Result<Self, OtlpError> {
        let uri = endpoint(&config.endpoint)?;
        let secure = uri.scheme_str() == Some("https");
        let connector = tls::connector(secure, config.certificate.as_deref())?;
        let mut headers = headers(&config.headers)?;
        for (name, value) in FIXED {
            headers.insert(name, HeaderValue::from_static(value));
        }
        let client = Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { uri, headers, client })
    }

    /// Returns how many points of an accepted request were rejected.
    pub(super) async fn send(&self, message: &ExportMetricsServiceRequest) -> Result<u64, Failure> {
        let body = Full::from(compressed(&message.encode_to_vec()));
        let mut request = Request::post(self.uri.clone())
            .body(body)
            .map_err(|_| Failure::permanent("request"))?;
        *request.headers_mut() = self.headers.clone();
        let response = self.client.request(request).await;
        let response = response.map_err(|_| Failure::transient("connection"))?;
        match response.status() {
            status if status.is_success() => Ok(rejected(response).await),
            status => Err(failure(status, response.headers())),
        }
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Headers may carry credentials.
        f.debug_struct("Sender").field("uri", &self.uri).finish_non_exhaustive()
    }
}

/// Checks that an endpoint has a scheme and an authority that can be connected to.
pub(super) fn endpoint(text: &str) -> Result<Uri, OtlpError> {
    let uri: Option<Uri> = text.parse().ok();
    uri.filter(|uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some())
        .ok_or_else(|| OtlpError::Endpoint { given: text.into() })
}

/// Checks headers that are sent with each request.
pub(super) fn headers(pairs: &[(String, String)]) -> Result<HeaderMap, OtlpError> {
    let mut headers = HeaderMap::new();
    for (name, value) in pairs {
        let fault = || OtlpError::Header { name: name.as_str().into() };
        let key = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| fault())?;
        value.set_sensitive(true);
        headers.append(key, value);
    }
    Ok(headers)
}

fn compressed(octets: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(octets.len() / 4), Compression::fast());
    // Writing to a Vec cannot fail.
    encoder.write_all(octets).ok();
    encoder.finish().unwrap_or_default()
}

/// An answer that cannot be read is taken as full success: the status said so.
async fn rejected(response: Response<Incoming>) -> u64 {
    let body = Limited::new(response.into_body(), ANSWER_LIMIT).collect().await;
    let octets = body.map(|body| body.to_bytes()).unwrap_or_default();
    let answer = ExportMetricsServiceResponse::decode(octets).unwrap_or_default();
    let partial = answer.partial_success.unwrap_or_default();
    u64::try_from(partial.rejected_data_points).unwrap_or(0)
}

fn failure(status: StatusCode, headers: &HeaderMap) -> Failure {
    let transient = |reason| Failure { after: retry_after(headers), ..Failure::transient(reason) };
    match status.as_u16() {
        429 => transient("throttled"),
        502..=504 => transient("unavailable"),
        401 | 403 => Failure::permanent("unauthorised"),
        300..=399 => Failure::permanent("redirected"),
        400..=499 => Failure::permanent("client_error"),
        _ => Failure::permanent("server_error"),
    }
}

/// Seconds only: the form with a date depends on two clocks that may not agree.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

const FIXED: [(HeaderName, &str); 3] = [
    (header::CONTENT_TYPE, "application/x-protobuf"),
    (header::CONTENT_ENCODING, "gzip"),
    (header::USER_AGENT, concat!("fathom/", env!("CARGO_PKG_VERSION"))),
];

/// A sane answer is a few octets; a hostile one is not read further.
const ANSWER_LIMIT: usize = 64 << 10;
