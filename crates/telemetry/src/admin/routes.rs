//! `/metrics`, the health endpoints and the landing page.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;

use super::stats::Stats;
use crate::expose::{Format, accepts_gzip, render};
use crate::registry::{Health, Registry};

/// One line of the landing page.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    /// The path.
    pub path: &'static str,
    /// What it answers.
    pub about: &'static str,
}

/// Whether `path` is open without credentials.
pub(super) fn is_health(path: &str) -> bool {
    LIVE.contains(&path) || READY.contains(&path)
}

pub(super) fn standard(registry: Registry, stats: Arc<Stats>) -> Router {
    let mut router = Router::new().route("/metrics", get(metrics));
    for path in LIVE {
        router = router.route(path, get(live));
    }
    for path in READY {
        router = router.route(path, get(ready));
    }
    let writers = Arc::new(Semaphore::new(WRITERS));
    router.with_state(Scrape { registry, stats, writers })
}

pub(super) fn landing(title: &'static str, endpoints: &[Endpoint]) -> Router {
    let mut page =
        format!("<!doctype html><html lang=\"en\"><title>{title}</title><h1>{title}</h1><ul>");
    for Endpoint { path, about } in endpoints {
        page.push_str(&format!("<li><a href=\"{path}\">{path}</a>: {about}"));
    }
    page.push_str("</ul></html>\n");
    let page: Arc<str> = page.into();
    Router::new().route("/", get(async move || Html(page.to_string())))
}

#[derive(Clone)]
struct Scrape {
    registry: Registry,
    stats: Arc<Stats>,
    writers: Arc<Semaphore>,
}

async fn metrics(State(scrape): State<Scrape>, headers: HeaderMap) -> Response {
    if let Some(collector) = scrape.registry.withheld_by() {
        let later = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
        let told = format!("{collector} is starting; its numbers follow when it has recovered\n");
        return (StatusCode::SERVICE_UNAVAILABLE, later, told).into_response();
    }
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let format = Format::negotiate(text(header::ACCEPT));
    let gzip = accepts_gzip(text(header::ACCEPT_ENCODING));
    let Ok(turn) = scrape.writers.acquire_owned().await else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let written = tokio::task::spawn_blocking(move || {
        let page = write(&scrape.registry, &scrape.stats, format, gzip);
        drop(turn);
        page
    });
    match written.await {
        Ok(page) => page_response(format, gzip, page),
        Err(_) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

fn write(registry: &Registry, stats: &Stats, format: Format, gzip: bool) -> Vec<u8> {
    let started = Instant::now();
    let snapshot = registry.snapshot();
    let mut page = Vec::with_capacity(64 << 10);
    render(format, snapshot.families(), &mut page);
    if gzip {
        page = compressed(&page);
    }
    stats.scraped(started.elapsed());
    page
}

fn compressed(page: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(page.len() / 8), Compression::fast());
    // Writing to a Vec cannot fail.
    drop(encoder.write_all(page));
    encoder.finish().unwrap_or_default()
}

fn page_response(format: Format, gzip: bool, page: Vec<u8>) -> Response {
    let mut response = page.into_response();
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(format.content_type());
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if gzip {
        headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    response
}

async fn live(State(scrape): State<Scrape>) -> Response {
    answer(&scrape.registry.liveness(Instant::now()))
}

async fn ready(State(scrape): State<Scrape>) -> Response {
    answer(&scrape.registry.readiness())
}

fn answer(health: &Health) -> Response {
    let status = if health.good { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, health.to_string()).into_response()
}

const LIVE: [&str; 2] = ["/health/live", "/healthz"];
const READY: [&str; 3] = ["/health/ready", "/readyz", "/health"];

/// Scrapes written at once: each may hold tens of megabytes.
const WRITERS: usize = 2;
