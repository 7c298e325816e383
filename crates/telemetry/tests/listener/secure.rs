use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ProtocolVersion};
use telemetry::admin::{Admin, AdminError, Config, Limits};
use tokio::io::AsyncWriteExt;

use crate::stage::{Authority, Stage, ask, registry, rest, until};

pub(crate) const PAIR: &str = "cert_file: tls.crt, key_file: tls.key";

/// A directory with a certificate of `authority` and a web configuration.
pub(crate) fn directory(authority: &Authority, config: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    write_pair(directory.path(), &authority.pair());
    fs::write(directory.path().join("ca.crt"), &authority.pem).unwrap();
    let path = directory.path().join("web.yml");
    fs::write(&path, config).unwrap();
    (directory, path)
}

pub(crate) fn write_pair(directory: &Path, (certificate, key): &(String, String)) {
    fs::write(directory.join("tls.crt"), certificate).unwrap();
    fs::write(directory.join("tls.key"), key).unwrap();
}

fn secure(authority: &Authority, tls: &str) -> (tempfile::TempDir, Stage) {
    let config = format!("tls_server_config: {{{PAIR}{tls}}}\n");
    let (directory, path) = directory(authority, &config);
    (directory, Stage::start(Limits::default(), Some(path), Router::new()))
}

async fn refused(stage: &Stage, client: &Arc<ClientConfig>) -> bool {
    match stage.connect_tls(client).await {
        Err(_) => true,
        // In TLS 1.3 the client believes itself connected before its certificate is judged.
        Ok(mut stream) => {
            let request = b"GET /health/live HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
            stream.write_all(request).await.is_err() || rest(&mut stream).await.is_empty()
        }
    }
}

#[tokio::test]
async fn answers_come_over_tls_and_not_without() {
    let authority = Authority::new();
    let (_directory, stage) = secure(&authority, "");
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)]
    {
        let client = authority.client_of(None, &[version]);
        let stream = stage.connect_tls(&client).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(name));
        assert!(ask(stream, "/metrics", "").await.starts_with("HTTP/1.1 200"));
    }
    assert!(!stage.get("/health/live", "").await.starts_with("HTTP/1.1 200"));
    until("the refusal is counted", async || stage.refused("tls_handshake") == 1).await;
}

#[tokio::test]
async fn the_least_version_is_kept() {
    let authority = Authority::new();
    let (_directory, stage) = secure(&authority, ", min_version: TLS13");
    assert!(refused(&stage, &authority.client_of(None, &[&TLS12])).await);
    assert!(!refused(&stage, &authority.client_of(None, &[&TLS13])).await);
}

#[tokio::test]
async fn a_client_certificate_is_demanded_and_verified() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let policy = ", client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert";
    let (_directory, stage) = secure(&authority, policy);
    let (known, unknown) = (authority.pair(), stranger.pair());
    assert!(refused(&stage, &authority.client(None)).await, "no certificate");
    assert!(refused(&stage, &authority.client(Some(&unknown))).await, "of another authority");
    assert!(!refused(&stage, &authority.client(Some(&known))).await, "of our authority");
}

#[tokio::test]
async fn a_certificate_is_verified_only_if_given() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let policy = ", client_ca_file: ca.crt, client_auth_type: VerifyClientCertIfGiven";
    let (_directory, stage) = secure(&authority, policy);
    let unknown = stranger.pair();
    assert!(!refused(&stage, &authority.client(None)).await);
    assert!(refused(&stage, &authority.client(Some(&unknown))).await);
}

#[tokio::test]
async fn any_certificate_will_do_but_one_is_required() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (_directory, stage) = secure(&authority, ", client_auth_type: RequireAnyClientCert");
    let unknown = stranger.pair();
    assert!(refused(&stage, &authority.client(None)).await);
    assert!(!refused(&stage, &authority.client(Some(&unknown))).await);
    let tls12 = authority.client_of(Some(&unknown), &[&TLS12]);
    assert!(!refused(&stage, &tls12).await);
}

#[tokio::test]
async fn a_requested_certificate_may_be_missing() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let (_directory, stage) = secure(&authority, ", client_auth_type: RequestClientCert");
    let unknown = stranger.pair();
    assert!(!refused(&stage, &authority.client(None)).await);
    assert!(!refused(&stage, &authority.client(Some(&unknown))).await);
}

#[tokio::test]
async fn http2_is_not_offered_even_where_it_is_allowed() {
    let authority = Authority::new();
    let config = format!("tls_server_config: {{{PAIR}}}\nhttp_server_config: {{http2: true}}\n");
    let (_directory, path) = directory(&authority, &config);
    let stage = Stage::start(Limits::default(), Some(path), Router::new());
    let mut client = (*authority.client(None)).clone();
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = stage.connect_tls(&Arc::new(client.clone())).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    client.alpn_protocols = vec![b"h2".to_vec()];
    assert!(stage.connect_tls(&Arc::new(client)).await.is_err());
}

#[tokio::test]
async fn everything_but_health_asks_for_credentials() {
    let hash = bcrypt::hash("right", 4).unwrap();
    let config = format!(
        "basic_auth_users: {{alice: \"{hash}\"}}\n\
         http_server_config: {{headers: {{X-Frame-Options: deny}}}}\n"
    );
    let (_directory, path) = directory(&Authority::new(), &config);
    let router = Router::new().route("/health/extra", get(|| async { "secret" }));
    let stage = Stage::start(Limits::default(), Some(path), router);
    let credentials = "Authorization: Basic YWxpY2U6cmlnaHQ=\r\n"; // alice:right
    let wrong = "Authorization: Basic YWxpY2U6d3Jvbmc=\r\n"; // alice:wrong
    for path in ["/metrics", "/nothing", "/health/extra", "//health", "/health/"] {
        let refused = stage.get(path, "").await;
        assert!(refused.starts_with("HTTP/1.1 401"), "{path}: {refused}");
        assert!(refused.contains("www-authenticate: Basic"), "{path}: {refused}");
        assert!(refused.contains("x-frame-options: deny"), "{path}: {refused}");
    }
    assert!(stage.get("/metrics", wrong).await.starts_with("HTTP/1.1 401"));
    assert!(stage.get("/metrics", credentials).await.starts_with("HTTP/1.1 200"));
    for path in ["/health", "/health/live", "/health/ready", "/healthz", "/readyz"] {
        assert!(stage.get(path, "").await.starts_with("HTTP/1.1 200"), "{path}");
    }
    assert_eq!(stage.refused("unauthorised"), 6);
}

#[tokio::test]
async fn a_wrong_file_is_told_with_its_path_and_all_problems() {
    let config = "tls_server_config: {key_file: tls.key}\nbasic_auth_users: {bob: x}\n";
    let (_directory, path) = directory(&Authority::new(), config);
    let config = Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        web_config: Some(path.clone()),
        limits: Limits::default(),
    };
    let error = Admin::bind(&config, &registry()).unwrap_err();
    let told = error.to_string();
    let AdminError::WebConfig(error) = error else { panic!("{told}") };
    assert_eq!((error.path, error.problems.len()), (path.clone(), 2));
    assert!(told.contains(path.to_str().unwrap()) && told.contains("cert_file is missing"));
}
