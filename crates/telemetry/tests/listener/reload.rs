use std::fs;
use std::time::Duration;

use axum::Router;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use telemetry::admin::Limits;

use crate::secure::{PAIR, directory, write_pair};
use crate::stage::{Authority, Stage, until};

fn watchful() -> Limits {
    Limits { reload: Duration::from_millis(20), ..Limits::default() }
}

#[tokio::test]
async fn a_renewed_certificate_is_served_without_a_restart() {
    let authority = Authority::new();
    let (directory, path) = directory(&authority, &format!("tls_server_config: {{{PAIR}}}\n"));
    let stage = Stage::start(watchful(), Some(path), Router::new());
    let client = authority.client(None);
    let renewed = authority.pair();
    write_pair(directory.path(), &renewed);
    let expected = CertificateDer::from_pem_slice(renewed.0.as_bytes()).unwrap();
    until("the new certificate is served", async || {
        let stream = stage.connect_tls(&client).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0] == expected
    })
    .await;
    assert!(stage.number("fathom_web_config_reloads_total", &["success"]) >= 1);
}

#[tokio::test]
async fn a_broken_change_keeps_the_last_good_configuration() {
    let authority = Authority::new();
    let (directory, path) = directory(&authority, &format!("tls_server_config: {{{PAIR}}}\n"));
    let stage = Stage::start(watchful(), Some(path.clone()), Router::new());
    let client = authority.client(None);
    let failures = || stage.number("fathom_web_config_reloads_total", &["failure"]);
    fs::write(directory.path().join("tls.key"), "nonsense").unwrap();
    until("the failure is seen", async || failures() == 1).await;
    assert_eq!(stage.number("fathom_web_config_last_reload_successful", &[]), 0);
    assert!(stage.get_tls(&client, "/metrics").await.starts_with("HTTP/1.1 200"));
    fs::remove_file(&path).unwrap();
    until("the second failure is seen", async || failures() == 2).await;
    assert!(stage.get_tls(&client, "/metrics").await.starts_with("HTTP/1.1 200"));
    write_pair(directory.path(), &authority.pair());
    fs::write(&path, format!("tls_server_config: {{{PAIR}, min_version: TLS13}}\n")).unwrap();
    until("the repair is seen", async || {
        stage.number("fathom_web_config_last_reload_successful", &[]) == 1
    })
    .await;
    assert!(stage.get_tls(&client, "/metrics").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_file_that_becomes_empty_opens_nothing() {
    let authority = Authority::new();
    let users = format!("basic_auth_users: {{alice: \"{}\"}}\n", bcrypt::hash("x", 4).unwrap());
    let (_directory, path) = directory(&authority, &users);
    let stage = Stage::start(watchful(), Some(path.clone()), Router::new());
    for (nothing, failures) in [("", 1), ("# nothing\n", 2), ("basic_auth_users: {}\n", 3)] {
        fs::write(&path, nothing).unwrap();
        until("the failure is seen", async || {
            stage.number("fathom_web_config_reloads_total", &["failure"]) >= failures
        })
        .await;
        let answer = stage.get("/metrics", "").await;
        assert!(answer.starts_with("HTTP/1.1 401"), "{nothing:?} gave: {answer}");
    }
}

#[tokio::test]
async fn a_file_that_was_empty_may_stay_so_or_get_content() {
    let (_directory, path) = directory(&Authority::new(), "");
    let stage = Stage::start(watchful(), Some(path.clone()), Router::new());
    fs::write(&path, "# still nothing\n").unwrap();
    until("the change is seen", async || {
        stage.number("fathom_web_config_reloads_total", &["success"]) >= 1
    })
    .await;
    assert!(stage.get("/metrics", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn withdrawn_credentials_stop_to_work() {
    let user = |password: &str| {
        format!("basic_auth_users: {{alice: \"{}\"}}\n", bcrypt::hash(password, 4).unwrap())
    };
    let (_directory, path) = directory(&Authority::new(), &user("right"));
    let stage = Stage::start(watchful(), Some(path.clone()), Router::new());
    let credentials = "Authorization: Basic YWxpY2U6cmlnaHQ=\r\n"; // alice:right
    assert!(stage.get("/metrics", credentials).await.starts_with("HTTP/1.1 200"));
    fs::write(&path, user("changed")).unwrap();
    until("the old password is refused", async || {
        stage.get("/metrics", credentials).await.starts_with("HTTP/1.1 401")
    })
    .await;
}
