use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use telemetry::admin::Limits;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::stage::{PATIENCE, Stage, rest, until};

const SOON: Duration = Duration::from_millis(200);

fn impatient() -> Stage {
    let limits = Limits { header: SOON, ..Limits::default() };
    Stage::start(limits, None, Router::new())
}

#[tokio::test]
async fn the_sixty_fifth_connection_is_refused_and_the_others_live() {
    let stage = Stage::plain();
    let mut held = Vec::new();
    for _ in 0..64 {
        held.push(stage.connect().await);
    }
    until("64 connections are open", async || stage.number("fathom_http_connections", &[]) == 64)
        .await;
    let mut extra = stage.connect().await;
    let told = rest(&mut extra).await;
    assert!(told.starts_with("HTTP/1.1 503"), "{told:?}");
    assert_eq!(stage.refused("connection_limit"), 1);
    let mut first = held.remove(0);
    let request = b"GET /health/live HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n";
    first.write_all(request).await.unwrap();
    assert!(rest(&mut first).await.starts_with("HTTP/1.1 200"));
    until("a place is free", async || stage.number("fathom_http_connections", &[]) < 64).await;
    assert!(stage.get("/health/live", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn a_client_that_sends_its_head_slowly_is_cut_off() {
    let stage = impatient();
    let mut stream = stage.connect().await;
    let started = Instant::now();
    let dripping = async {
        for octet in b"GET /health/live HTTP/1.1\r\nHost: t\r\n".iter().cycle() {
            if stream.write_all(&[*octet]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, dripping).await.expect("the client was never cut off");
    assert!(started.elapsed() >= SOON);
    until("the refusal is counted", async || stage.refused("header_timeout") == 1).await;
}

#[tokio::test]
async fn a_client_that_says_nothing_is_cut_off() {
    let stage = impatient();
    for beginning in [&b""[..], b"P", b"PRI * HTTP/2.0\r\n"] {
        let mut stream = stage.connect().await;
        stream.write_all(beginning).await.unwrap();
        assert_eq!(rest(&mut stream).await, "", "after {beginning:?}");
    }
    until("the refusals are counted", async || stage.refused("header_timeout") == 3).await;
}

#[tokio::test]
async fn a_huge_request_line_is_refused() {
    let stage = Stage::plain();
    let answer = stage.get(&format!("/{}", "x".repeat(64 << 10)), "").await;
    let refused = answer.is_empty()
        || answer.starts_with("HTTP/1.1 414")
        || answer.starts_with("HTTP/1.1 431");
    assert!(refused, "{answer}");
    until("the refusal is counted", async || stage.refused("malformed") == 1).await;
    let headers = "x: y\r\n".repeat(4096);
    assert!(!stage.get("/health/live", &headers).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn garbage_is_refused_and_counted() {
    let stage = Stage::plain();
    let mut stream = stage.connect().await;
    stream.write_all(b"\x16\x03\x01 hello?\r\n\r\n").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{answer}");
    until("the refusal is counted", async || stage.refused("malformed") == 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let answer = || async { Bytes::from(vec![b'x'; 64 << 20]) };
    let limits = Limits { write: SOON, ..Limits::default() };
    let stage = Stage::start(limits, None, Router::new().route("/big", get(answer)));
    let mut stream = stage.connect().await;
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    until("the client is given up", async || stage.refused("write_timeout") == 1).await;
    until("its place is free", async || stage.number("fathom_http_connections", &[]) == 0).await;
    let got = rest(&mut stream).await;
    assert!(got.len() < 64 << 20, "the answer was not cut");
}

#[tokio::test]
async fn an_idle_connection_is_closed() {
    let stage = impatient();
    let mut stream = stage.connect().await;
    stream.write_all(b"GET /health/live HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn bodies_are_bounded_whether_announced_or_not() {
    let swallow = post(|body: Bytes| async move { body.len().to_string() });
    let limits = Limits { body: 1024, ..Limits::default() };
    let stage = Stage::start(limits, None, Router::new().route("/in", swallow));
    let say = async |head: &str, body: Vec<u8>| {
        let mut stream: TcpStream = stage.connect().await;
        let head = format!("POST /in HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{head}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        // The listener may answer and close before it has read everything.
        drop(stream.write_all(&body).await);
        rest(&mut stream).await
    };
    let fits = say("Content-Length: 1024", vec![0; 1024]).await;
    assert!(fits.starts_with("HTTP/1.1 200") && fits.ends_with("1024"), "{fits}");
    let announced = say("Content-Length: 1025", Vec::new()).await;
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    let mut chunk = b"401\r\n".to_vec();
    chunk.extend([0; 1025]);
    chunk.extend(b"\r\n0\r\n\r\n");
    let hidden = say("Transfer-Encoding: chunked", chunk).await;
    assert!(hidden.starts_with("HTTP/1.1 413"), "{hidden}");
}

#[tokio::test]
async fn a_handler_that_never_answers_is_given_up() {
    let limits = Limits { handler: SOON, ..Limits::default() };
    let stuck = get(std::future::pending::<&str>);
    let stage = Stage::start(limits, None, Router::new().route("/stuck", stuck));
    assert!(stage.get("/stuck", "").await.starts_with("HTTP/1.1 503"));
}
