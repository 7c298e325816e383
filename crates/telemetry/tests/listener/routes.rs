use std::io::Read;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use flate2::read::GzDecoder;
use telemetry::admin::{Admin, AdminError, Config, Endpoint, Limits, landing};
use telemetry::catalogue::Catalogue;
use telemetry::metric::Family;
use telemetry::registry::Options;
use testkit::truth::promtool_complaints;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::stage::{PATIENCE, PODS, Stage, ask, registry, rest};

const CATALOGUE: Catalogue = Catalogue { title: "Test", metrics: &[&PODS] };

fn pods() -> Vec<Family> {
    let mut family = Family::new(&PODS);
    family.push(["a".into()], 3);
    vec![family]
}

#[tokio::test]
async fn metrics_come_in_the_format_that_was_asked_for() {
    let stage = Stage::plain();
    let collector = stage.registry.collector("t", CATALOGUE).unwrap();
    collector.publish(pods());
    collector.up();
    let text = stage.get("/metrics", "").await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(text.contains("content-type: text/plain; version=0.0.4; charset=utf-8"));
    assert!(text.contains("t_pods_total{pod=\"a\"} 3\n"));
    assert!(text.contains("fathom_collector_up{collector=\"t\"} 1\n"));
    assert!(text.contains("fathom_build_info{version=\"1.2.3\""));
    let open = stage.get("/metrics", "Accept: application/openmetrics-text\r\n").await;
    assert!(open.contains("application/openmetrics-text; version=1.0.0"));
    assert!(open.contains("# TYPE t_pods counter\n") && open.ends_with("# EOF\n"));
    assert_eq!(stage.number("fathom_http_requests_total", &["metrics", "2xx"]), 2);
}

#[tokio::test]
async fn a_whole_scrape_satisfies_promtool() {
    let stage = Stage::plain();
    let collector = stage.registry.collector("t", CATALOGUE).unwrap();
    collector.publish(pods());
    let text = stage.get("/metrics", "").await;
    let body = text.split_once("\r\n\r\n").unwrap().1.to_owned();
    let checked = tokio::task::spawn_blocking(move || promtool_complaints(body)).await.unwrap();
    assert_eq!(checked.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn metrics_are_compressed_for_those_who_take_it() {
    let stage = Stage::plain();
    let mut stream = stage.connect().await;
    let request = "GET /metrics HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\
                   Accept-Encoding: gzip\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut octets = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut octets)).await.unwrap().unwrap();
    let end = octets.windows(4).position(|window| window == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&octets[..end]).into_owned();
    assert!(head.contains("content-encoding: gzip"), "{head}");
    assert_eq!(head.matches("content-encoding").count(), 1, "compressed once");
    let mut text = String::new();
    GzDecoder::new(&octets[end + 4..]).read_to_string(&mut text).unwrap();
    assert!(text.contains("process_start_time_seconds"));
}

#[tokio::test]
async fn several_lines_of_a_header_are_one_list() {
    let stage = Stage::plain();
    let lines = "Accept: text/plain;q=0.1\r\nAccept: application/openmetrics-text\r\n";
    assert!(stage.get("/metrics", lines).await.ends_with("# EOF\n"));
}

#[tokio::test]
async fn a_client_that_likes_plain_pages_better_gets_one() {
    let stage = Stage::plain();
    for (wanted, gzip) in [
        ("gzip;q=0.5, identity;q=0.9", false),
        ("gzip;q=0.9, identity;q=0.5", true),
        ("identity", false),
        ("gzip", true),
    ] {
        let answer = stage.get("/metrics", &format!("Accept-Encoding: {wanted}\r\n")).await;
        assert_eq!(answer.contains("content-encoding: gzip"), gzip, "{wanted}: {answer}");
    }
}

#[tokio::test]
async fn a_single_system_answers_503_until_it_has_recovered() {
    let stage = Stage::plain();
    let options = Options { withhold_until_started: true, ..Options::default() };
    let collector = stage.registry.collector_with("t", CATALOGUE, options).unwrap();
    let early = stage.get("/metrics", "").await;
    assert!(early.starts_with("HTTP/1.1 503") && early.contains("retry-after: 1"), "{early}");
    assert!(!early.contains("t_pods_total"));
    collector.publish(pods());
    collector.up();
    assert!(stage.get("/metrics", "").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn health_lists_each_condition_under_all_its_names() {
    let stage = Stage::plain();
    let collector = stage.registry.collector("t", Catalogue::EMPTY).unwrap();
    collector.condition("index", false, "waiting");
    for path in ["/health/ready", "/readyz", "/health"] {
        let answer = stage.get(path, "").await;
        assert!(answer.starts_with("HTTP/1.1 503"), "{path}: {answer}");
        assert!(answer.ends_with("not ok\n[-] t/index: waiting\n"), "{path}: {answer}");
    }
    for path in ["/health/live", "/healthz"] {
        assert!(stage.get(path, "").await.starts_with("HTTP/1.1 200"), "{path}");
    }
    collector.condition("index", true, "");
    assert!(stage.get("/readyz", "").await.starts_with("HTTP/1.1 200"));
    collector.limit_beat(Duration::ZERO);
    collector.beat();
    let hung = stage.get("/health/live", "").await;
    assert!(hung.starts_with("HTTP/1.1 503") && hung.contains("[-] t/advancing"), "{hung}");
}

#[tokio::test]
async fn the_landing_page_lists_endpoints_and_other_paths_are_not_found() {
    let endpoints = [Endpoint { path: "/metrics", about: "numbers" }];
    let stage = Stage::start(Limits::default(), None, landing("fathom", &endpoints));
    let page = stage.get("/", "").await;
    assert!(page.contains("<a href=\"/metrics\">/metrics</a>: numbers"), "{page}");
    assert!(stage.get("/nothing", "").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn a_panic_in_a_handler_is_an_answer_and_not_an_end() {
    async fn broken() -> &'static str {
        panic!("broken on purpose")
    }
    let router = Router::new().route("/broken", get(broken));
    let stage = Stage::start(Limits::default(), None, router);
    assert!(stage.get("/broken", "").await.starts_with("HTTP/1.1 500"));
    assert!(stage.get("/health/live", "").await.starts_with("HTTP/1.1 200"));
    assert_eq!(stage.number("fathom_http_requests_total", &["other", "5xx"]), 1);
}

#[tokio::test]
async fn a_taken_port_is_told_before_anything_starts() {
    let stage = Stage::plain();
    let error = Admin::bind(&Config::plain(stage.address), &registry()).unwrap_err();
    assert!(matches!(error, AdminError::Taken { address } if address == stage.address));
    let foreign: SocketAddr = "192.0.2.1:1".parse().unwrap();
    let error = Admin::bind(&Config::plain(foreign), &registry()).unwrap_err();
    assert!(matches!(error, AdminError::Bind { .. }), "{error}");
}

#[tokio::test]
async fn one_registry_has_one_listener_but_others_may_stand_apart() {
    let stage = Stage::plain();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let second = Admin::bind(&Config::plain(any), &stage.registry);
    assert!(matches!(second.unwrap_err(), AdminError::Registry(_)));
    assert_eq!(Admin::bind_apart(&Config::plain(any)).unwrap().local_addrs().len(), 1);
}

#[tokio::test]
async fn open_requests_end_before_the_listener_does() {
    let (entered, mut inside) = tokio::sync::mpsc::channel(1);
    let (release, wait) = oneshot::channel::<()>();
    let wait = std::sync::Arc::new(tokio::sync::Mutex::new(Some(wait)));
    let slow = get(async move || {
        entered.send(()).await.unwrap();
        let wait = wait.lock().await.take().unwrap();
        wait.await.unwrap();
        "finished"
    });
    let mut stage = Stage::start(Limits::default(), None, Router::new().route("/slow", slow));
    let open = tokio::spawn(ask(stage.connect().await, "/slow", ""));
    inside.recv().await.unwrap();
    let mut idle = stage.connect().await;
    stage.stop.cancel();
    assert_eq!(rest(&mut idle).await, "", "an idle connection is closed at once");
    release.send(()).unwrap();
    assert!(open.await.unwrap().ends_with("finished"));
    timeout(PATIENCE, &mut stage.served).await.unwrap().unwrap();
    assert!(tokio::net::TcpStream::connect(stage.address).await.is_err(), "nobody listens now");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_at_the_deadline() {
    let registry = registry();
    let admin = Admin::bind(&Config::plain("127.0.0.1:0".parse().unwrap()), &registry).unwrap();
    let address = admin.local_addrs()[0];
    let (entered, mut inside) = tokio::sync::mpsc::channel(1);
    let stuck = get(async move || {
        entered.send(()).await.unwrap();
        std::future::pending::<&str>().await
    });
    let stop = tokio_util::sync::CancellationToken::new();
    let deadline = Duration::from_millis(50);
    let router = Router::new().route("/stuck", stuck);
    let served = tokio::spawn(admin.serve(router, stop.clone(), deadline));
    let stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let open = tokio::spawn(ask(stream, "/stuck", ""));
    inside.recv().await.unwrap();
    stop.cancel();
    timeout(PATIENCE, served).await.unwrap().unwrap();
    assert_eq!(open.await.unwrap(), "");
}
