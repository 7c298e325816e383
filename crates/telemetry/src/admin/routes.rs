//! `/metrics`, the health endpoints and the landing page.

use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::write::GzEncoder;
use tokio::sync::Semaphore;

use super::Shared;
use super::outbox::Parcel;
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

pub(super) fn standard(registry: Registry, shared: Arc<Shared>) -> Router {
    let mut router = Router::new().route("/metrics", get(metrics));
    for path in LIVE {
        router = router.route(path, get(live));
    }
    for path in READY {
        router = router.route(path, get(ready));
    }
    let writers = Arc::new(Semaphore::new(WRITERS));
    router.with_state(Scrape { registry, shared, writers, pages: Arc::default() })
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
    shared: Arc<Shared>,
    writers: Arc<Semaphore>,
    pages: Arc<Pages>,
}

/// The newest page of each form, for as long as somebody is reading it.
#[derive(Default)]
struct Pages(Mutex<Vec<Page>>);

struct Page {
    form: Form,
    written: Instant,
    parcel: Weak<Parcel>,
}

/// What two pages of the same moment may differ in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Form {
    format: Format,
    gzip: bool,
}

impl Pages {
    /// A page that is as good as a new one.
    fn recent(&self, form: Form) -> Option<Arc<Parcel>> {
        let pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let page = pages.iter().find(|page| page.form == form)?;
        let fresh = page.written.elapsed() < RECENT;
        page.parcel.upgrade().filter(|parcel| fresh && parcel.is_whole())
    }

    fn keep(&self, form: Form, parcel: &Arc<Parcel>) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.retain(|page| page.form != form);
        let parcel = Arc::downgrade(parcel);
        pages.push(Page { form, written: Instant::now(), parcel });
    }
}

async fn metrics(State(scrape): State<Scrape>, headers: HeaderMap) -> Response {
    if let Some(collector) = scrape.registry.withheld_by() {
        let later = [(header::RETRY_AFTER, HeaderValue::from_static("1"))];
        let told = format!("{collector} is starting; its numbers follow when it has recovered\n");
        return (StatusCode::SERVICE_UNAVAILABLE, later, told).into_response();
    }
    let format = Format::negotiate(Some(&list(&headers, header::ACCEPT)));
    let gzip = accepts_gzip(Some(&list(&headers, header::ACCEPT_ENCODING)));
    let form = Form { format, gzip };
    match page(scrape, form).await {
        Some(page) => page_response(form, &page),
        None => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
    }
}

/// Several lines of one header are one list (RFC 9110, section 5.3).
fn list(headers: &HeaderMap, name: HeaderName) -> String {
    let lines = headers.get_all(name).iter().filter_map(|line| line.to_str().ok());
    lines.collect::<Vec<_>>().join(",")
}

/// A new page, or the one that others got a moment ago and are still reading: a flood of
/// scrapes is a flood of readers of one page.
async fn page(scrape: Scrape, form: Form) -> Option<Arc<Parcel>> {
    let turn = Arc::clone(&scrape.writers).acquire_owned().await.ok()?;
    if let Some(page) = scrape.pages.recent(form) {
        return Some(page);
    }
    let written = tokio::task::spawn_blocking(move || {
        let page = write(&scrape.registry, &scrape.shared.stats, form);
        let parcel = scrape.shared.outbox.post(page.into());
        scrape.pages.keep(form, &parcel);
        drop(turn);
        parcel
    });
    written.await.ok()
}

fn write(registry: &Registry, stats: &Stats, form: Form) -> Vec<u8> {
    let started = Instant::now();
    let snapshot = registry.snapshot();
    let mut page = Vec::with_capacity(64 << 10);
    render(form.format, snapshot.families(), &mut page);
    if form.gzip {
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

fn page_response(form: Form, page: &Arc<Parcel>) -> Response {
    let mut response = page.response();
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(form.format.content_type());
    headers.insert(header::CONTENT_TYPE, content_type);
    headers.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
    if form.gzip {
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

/// Readers who come within this time of each other may get the same page.
const RECENT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::{Form, Format, Pages};
    use crate::admin::outbox::Outbox;

    #[test]
    fn a_page_is_shared_while_somebody_reads_it_and_all_of_it_is_there() {
        let (outbox, pages) = (Outbox::default(), Pages::default());
        let form = Form { format: Format::Text, gzip: false };
        let page = outbox.post(vec![0; 40 << 20].into());
        pages.keep(form, &page);
        assert!(pages.recent(form).is_some());
        assert!(pages.recent(Form { gzip: true, ..form }).is_none(), "another form");
        let newer: Vec<_> = (0..4).map(|_| outbox.post(vec![0; 40 << 20].into())).collect();
        assert!(pages.recent(form).is_none(), "it was given up for newer ones");
        pages.keep(form, &newer[3]);
        assert!(pages.recent(form).is_some());
        drop(newer);
        assert!(pages.recent(form).is_none(), "nobody reads it any more");
    }
}
