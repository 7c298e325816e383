//! A running listener and clients that speak in octets.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use telemetry::admin::{Admin, Config, Limits};
use telemetry::metric::{Metric, Unit, Value};
use telemetry::registry::{Build, Registry};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

pub(crate) static PODS: Metric =
    Metric::counter("t_pods_total", Unit::Count("{pod}"), "Pods seen.", &["pod"]);

/// Far beyond what any step takes; only a hang meets it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Stage {
    pub(crate) address: SocketAddr,
    pub(crate) registry: Registry,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<()>,
}

impl Stage {
    pub(crate) fn start(limits: Limits, web_config: Option<PathBuf>, extra: Router) -> Self {
        let registry = registry();
        let listen = vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))];
        let admin = Admin::bind(&Config { listen, web_config, limits }, &registry).unwrap();
        let address = admin.local_addrs()[0];
        let stop = CancellationToken::new();
        let router = admin.routes().merge(extra);
        let served = tokio::spawn(admin.serve(router, stop.clone(), Duration::from_secs(5)));
        Self { address, registry, stop, served }
    }

    pub(crate) fn plain() -> Self {
        Self::start(Limits::default(), None, Router::new())
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// The answer to a GET with `headers`, each ending in CRLF.
    pub(crate) async fn get(&self, path: &str, headers: &str) -> String {
        ask(self.connect().await, path, headers).await
    }

    pub(crate) async fn get_tls(&self, client: &Arc<ClientConfig>, path: &str) -> String {
        ask(self.connect_tls(client).await.unwrap(), path, "").await
    }

    pub(crate) async fn connect_tls(
        &self,
        client: &Arc<ClientConfig>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from("localhost").unwrap();
        let connector = TlsConnector::from(Arc::clone(client));
        connector.connect(name, self.connect().await).await
    }

    pub(crate) fn number(&self, name: &str, labels: &[&str]) -> u64 {
        let snapshot = self.registry.snapshot();
        let points = snapshot.family(name).expect("the family is registered").points();
        let fits = |labels_of: &[telemetry::metric::LabelValue]| {
            labels_of.iter().map(|label| label.as_str()).eq(labels.iter().copied())
        };
        let point = points.iter().find(|point| fits(&point.labels)).expect("the series exists");
        let Value::Whole(number) = point.value else { panic!("{name} is no whole number") };
        number
    }

    pub(crate) fn refused(&self, reason: &str) -> u64 {
        self.number("fathom_http_refused_total", &[reason])
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn registry() -> Registry {
    Registry::new(Build { version: "1.2.3", revision: "abc", rustc: "1.95", target: "x" })
}

pub(crate) async fn ask<S>(mut stream: S, path: &str, headers: &str) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    rest(&mut stream).await
}

/// All that the peer says until it closes or fails.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut octets = Vec::new();
    let end = timeout(PATIENCE, stream.read_to_end(&mut octets)).await;
    // A reset after the answer is an end as good as any other.
    drop(end.expect("the listener neither answers nor closes"));
    String::from_utf8_lossy(&octets).into_owned()
}

/// Waits until `holds`, looking again every few milliseconds.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let looks = async {
        while !holds().await {
            sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(timeout(PATIENCE, looks).await.is_ok(), "waited in vain until {what}");
}

/// A certificate authority that lives as long as a test.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(params, key) }
    }

    /// Certificate and key for `localhost`, as PEM.
    pub(crate) fn pair(&self) -> (String, String) {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// A client that trusts this authority and may show a certificate.
    pub(crate) fn client(&self, shows: Option<&(String, String)>) -> Arc<ClientConfig> {
        self.client_of(shows, rustls::ALL_VERSIONS)
    }

    pub(crate) fn client_of(
        &self,
        shows: Option<&(String, String)>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        Arc::new(match shows {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        })
    }
}
