use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use telemetry::otlp::{Config, Counters, Exporter, OtlpError, Protocol, RootsError};
use telemetry::registry::{Build, Registry};

use crate::receiver::{Push, Receiver, config, until};

struct Authority {
    directory: tempfile::TempDir,
    server: Arc<ServerConfig>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let authority = params.self_signed(&key).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.crt"), authority.pem()).unwrap();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let mut server = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key)
            .unwrap();
        server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Self { directory, server: Arc::new(server) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("ca.crt")
    }

    async fn receiver(&self) -> (Receiver, u16) {
        let receiver = Receiver::default();
        let address = receiver.serve(Some(Arc::clone(&self.server))).await;
        (receiver, address.port())
    }
}

fn secure(port: u16, protocol: Protocol, certificate: Option<PathBuf>) -> Config {
    let path = if protocol == Protocol::Grpc { "" } else { "/v1/metrics" };
    let endpoint = format!("https://localhost:{port}{path}");
    Config { certificate, ..config(endpoint, protocol) }
}

#[tokio::test]
async fn points_arrive_over_tls_by_either_protocol() {
    let authority = Authority::new();
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let (receiver, port) = authority.receiver().await;
        let mut push = Push::start(&secure(port, protocol, Some(authority.path())), 1);
        until("a push has arrived", || !receiver.taken().is_empty()).await;
        push.end().await;
    }
}

#[tokio::test]
async fn a_receiver_of_another_authority_gets_nothing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for protocol in [Protocol::HttpProtobuf, Protocol::Grpc] {
        let (receiver, port) = authority.receiver().await;
        let mut push = Push::start(&secure(port, protocol, Some(stranger.path())), 1);
        until("an attempt has failed", || push.results("retry") + push.results("failure") > 0)
            .await;
        push.end().await;
        assert_eq!(receiver.requests(), 0, "{protocol:?}");
    }
}

#[tokio::test]
async fn authorities_that_cannot_be_read_are_an_error_with_the_path() {
    let build = Build { version: "1", revision: "2", rustc: "3", target: "4" };
    let registry = Registry::new(build);
    let counters = Counters::register(&registry).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca.crt");
    let error = || {
        let config = secure(1, Protocol::HttpProtobuf, Some(path.clone()));
        Exporter::new(&config, registry.clone(), Arc::clone(&counters)).unwrap_err()
    };
    assert!(matches!(error(), OtlpError::Roots(RootsError::Read { .. })));
    fs::write(&path, "nothing here").unwrap();
    assert!(matches!(error(), OtlpError::Roots(RootsError::Certificate { .. })));
    assert!(error().to_string().contains(path.to_str().unwrap()));
}

/// rustls reads the system's authorities where `SSL_CERT_FILE` says; a process of its own
/// can be told so without a race with other tests.
#[tokio::test(flavor = "multi_thread")]
async fn the_authorities_of_the_system_are_trusted() {
    let authority = Authority::new();
    for protocol in ["http/protobuf", "grpc"] {
        let (receiver, port) = authority.receiver().await;
        let mut inner = Command::new(std::env::current_exe().unwrap());
        inner.args(["--exact", "tls::pushes_once_with_the_authorities_of_the_system"]);
        inner.args(["--ignored", "--nocapture"]);
        inner.env("SSL_CERT_FILE", authority.path());
        inner.env("PUSH_PORT", port.to_string()).env("PUSH_PROTOCOL", protocol);
        let ended = tokio::task::spawn_blocking(move || inner.output().unwrap()).await.unwrap();
        let said = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success(), "{said}");
        assert!(!receiver.taken().is_empty(), "{protocol}: nothing arrived: {said}");
    }
}

#[tokio::test]
#[ignore = "started by the_authorities_of_the_system_are_trusted with its variables"]
async fn pushes_once_with_the_authorities_of_the_system() {
    let port = std::env::var("PUSH_PORT").expect("PUSH_PORT is set by the outer test");
    let protocol = std::env::var("PUSH_PROTOCOL").expect("PUSH_PROTOCOL is set, too");
    let config = secure(port.parse().unwrap(), protocol.parse().unwrap(), None);
    let mut push = Push::start(&config, 1);
    until("a push was accepted", || push.results("success") > 0).await;
    push.end().await;
}
