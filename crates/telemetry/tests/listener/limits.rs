use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::{get, post};
use telemetry::admin::Limits;
use telemetry::catalogue::Catalogue;
use telemetry::metric::{Family, Value};
use telemetry::registry::Options;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::stage::{PATIENCE, PODS, Stage, rest, until};

const SOON: Duration = Duration::from_millis(200);

const CATALOGUE: Catalogue = Catalogue { title: "Test", metrics: &[&PODS] };

fn impatient() -> Stage {
    let limits = Limits { header: SOON, ..Limits::default() };
    Stage::start(limits, None, Router::new())
}

/// Asks and does not read the answer.
async fn begins(stage: &Stage, path: &str) -> TcpStream {
    let mut stream = stage.connect().await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

fn big(octets: usize) -> Router {
    Router::new().route("/big", get(move || async move { Bytes::from(vec![b'x'; octets]) }))
}

#[tokio::test]
async fn the_sixty_fifth_connection_gets_the_place_of_the_most_silent_one() {
    let stage = Stage::plain();
    let open = async |number| {
        until("connections are open", async || {
            stage.number("fathom_http_connections", &[]) == number
        })
        .await;
    };
    let mut first = stage.connect().await;
    open(1).await;
    let mut held = Vec::new();
    for _ in 1..64 {
        held.push(stage.connect().await);
    }
    open(64).await;
    assert!(stage.get("/health/live", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(rest(&mut first).await, "", "the first one came first and said nothing");
    assert_eq!(stage.refused("connection_limit"), 1);
    held[62]
        .write_all(b"GET /health/live HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    assert!(rest(&mut held[62]).await.starts_with("HTTP/1.1 200"), "the others live");
}

#[tokio::test]
async fn clients_who_do_not_read_keep_no_probe_out() {
    let limits = Limits { connections: 4, ..Limits::default() };
    let stage = Stage::start(limits, None, big(8 << 20));
    let mut stalled = Vec::new();
    for round in 0..20 {
        for _ in 0..4 {
            stalled.push(begins(&stage, "/big").await);
        }
        let asked = stalled.len() as u64;
        until("all are answered", async || {
            stage.number("fathom_http_requests_total", &["other", "2xx"]) == asked
        })
        .await;
        let probe = stage.get("/health/live", "").await;
        assert!(probe.starts_with("HTTP/1.1 200"), "round {round}: {probe:?}");
    }
}

#[tokio::test]
async fn where_every_client_is_being_answered_one_more_is_told_to_come_later() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let (entered, mut inside) = tokio::sync::mpsc::channel(1);
    let stuck = get(async move || {
        entered.send(()).await.unwrap();
        std::future::pending::<&str>().await
    });
    let stage = Stage::start(limits, None, Router::new().route("/stuck", stuck));
    let _held = begins(&stage, "/stuck").await;
    inside.recv().await.unwrap();
    let told = rest(&mut stage.connect().await).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("Retry-After"), "{told:?}");
    assert_eq!(stage.refused("connection_limit"), 1);
}

#[tokio::test]
async fn answers_that_nobody_reads_have_a_bound_together() {
    const EACH: usize = 8 << 20;
    let stage = Stage::start(Limits::default(), None, big(EACH));
    let mut streams = Vec::new();
    for asked in 1..=12 {
        streams.push(begins(&stage, "/big").await);
        until("it is answered", async || {
            stage.number("fathom_http_requests_total", &["other", "2xx"]) == asked
        })
        .await;
    }
    let mut whole = Vec::new();
    for stream in &mut streams {
        whole.push(rest(stream).await.len() > EACH);
    }
    assert_eq!(whole[..8], [false; 8], "the oldest made room");
    assert_eq!(whole[8..], [true; 4]);
    assert_eq!(stage.refused("write_timeout"), 8);
}

#[tokio::test]
async fn scrapes_at_one_moment_share_a_page() {
    let stage = Stage::plain();
    let options = Options { series_limit: 1 << 20, ..Options::default() };
    let collector = stage.registry.collector_with("t", CATALOGUE, options).unwrap();
    let mut family = Family::new(&PODS);
    (0..100_000).for_each(|pod| family.push([format!("{pod:0>100}").into()], 1));
    collector.publish(vec![family]);
    collector.up();
    let mut asked = Vec::new();
    for _ in 0..16 {
        asked.push(begins(&stage, "/metrics").await);
    }
    for stream in &mut asked {
        let page = rest(stream).await;
        assert!(page.len() > 10 << 20 && page.ends_with('\n'), "{} octets", page.len());
    }
    let snapshot = stage.registry.snapshot();
    let scrapes = snapshot.family("fathom_scrape_duration_seconds").unwrap().points();
    let Value::Histogram(scrapes) = &scrapes[0].value else { panic!("it is a histogram") };
    let written: u64 = scrapes.counts().iter().sum();
    assert!(written < 8, "{written} pages were written for 16 readers at once");
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
    for beginning in [&b""[..], b"P", b"GET / HTTP/1.1\r\n"] {
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
async fn http2_is_not_spoken() {
    let stage = Stage::plain();
    let mut stream = stage.connect().await;
    stream.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let answer = rest(&mut stream).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 "), "{answer:?}");
    until("the refusal is counted", async || stage.refused("malformed") == 1).await;
}

#[tokio::test]
async fn a_client_that_does_not_read_its_answer_is_cut_off() {
    let limits = Limits { write: SOON, ..Limits::default() };
    let stage = Stage::start(limits, None, big(64 << 20));
    let mut stream = begins(&stage, "/big").await;
    until("the client is given up", async || stage.refused("write_timeout") == 1).await;
    until("its place is free", async || stage.number("fathom_http_connections", &[]) == 0).await;
    let got = rest(&mut stream).await;
    assert!(got.len() < 1 << 20, "the kernel held {} octets for it", got.len());
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
