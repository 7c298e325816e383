//! What the listener counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;

use crate::catalogue::Catalogue;
use crate::metric::{Family, Histogram, Metric, Unit};
use crate::registry::Source;

static REQUESTS: Metric = Metric::counter(
    "fathom_http_requests_total",
    Unit::Count("{request}"),
    "Requests answered, by group of paths and class of status.",
    &["path", "code"],
);
static CONNECTIONS: Metric =
    Metric::gauge("fathom_http_connections", Unit::Count("{connection}"), "Open connections.", &[]);
static REFUSED: Metric = Metric::counter(
    "fathom_http_refused_total",
    Unit::Count("{connection}"),
    "Connections or requests given up, by reason.",
    &["reason"],
);
static SCRAPE: Metric = Metric::histogram(
    "fathom_scrape_duration_seconds",
    Unit::Seconds,
    "Time to write the answer to one scrape.",
    &[],
);
static WEB_CONFIG_GOOD: Metric = Metric::gauge(
    "fathom_web_config_last_reload_successful",
    Unit::None,
    "Whether the web configuration on disk is the one in use; 1 without such a file.",
    &[],
);
static WEB_CONFIG_RELOADS: Metric = Metric::counter(
    "fathom_web_config_reloads_total",
    Unit::Count("{reload}"),
    "Changes of the web configuration that were seen, by result.",
    &["result"],
);

/// Metrics of the listener.
pub(crate) const CATALOGUE: Catalogue = Catalogue {
    title: "The HTTP listener",
    metrics: &[&REQUESTS, &CONNECTIONS, &REFUSED, &SCRAPE, &WEB_CONFIG_GOOD, &WEB_CONFIG_RELOADS],
};

/// Why a connection or request was given up.
#[derive(Clone, Copy, Debug)]
pub(super) enum Refusal {
    ConnectionLimit,
    TlsHandshake,
    HeaderTimeout,
    WriteTimeout,
    IdleTimeout,
    Malformed,
    Unauthorised,
    AuthBusy,
}

/// Counters of the listener.
#[derive(Debug)]
pub(super) struct Stats {
    requests: [[AtomicU64; CLASSES.len()]; PATHS.len()],
    refused: [AtomicU64; REFUSALS.len()],
    connections: AtomicU64,
    scrapes: Mutex<Option<Histogram>>,
    web_config_stale: AtomicU64,
    web_config_good: AtomicU64,
    web_config_bad: AtomicU64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            requests: Default::default(),
            refused: Default::default(),
            connections: AtomicU64::new(0),
            scrapes: Mutex::new(Histogram::new(&SCRAPE_BOUNDS[..]).ok()),
            web_config_stale: AtomicU64::new(0),
            web_config_good: AtomicU64::new(0),
            web_config_bad: AtomicU64::new(0),
        }
    }
}

impl Stats {
    pub(super) fn answered(&self, path: &str, status: StatusCode) {
        let class = usize::from(status.as_u16() / 100).clamp(2, 5) - 2;
        self.requests[group(path)][class].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn opened(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn closed(&self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn scraped(&self, took: Duration) {
        let mut scrapes = self.scrapes.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(scrapes) = scrapes.as_mut() {
            scrapes.observe(took.as_secs_f64());
        }
    }

    pub(super) fn web_config_changed(&self, good: bool) {
        let counter = if good { &self.web_config_good } else { &self.web_config_bad };
        counter.fetch_add(1, Ordering::Relaxed);
        self.web_config_stale.store(u64::from(!good), Ordering::Relaxed);
    }

    fn scrapes(&self) -> Family {
        let scrapes = self.scrapes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut family = Family::new(&SCRAPE);
        if let Some(histogram) = scrapes.as_ref() {
            family.push([], histogram.clone());
        }
        family
    }
}

impl Source for Stats {
    fn families(&self) -> Vec<Family> {
        let mut requests = Family::with_capacity(&REQUESTS, PATHS.len() * CLASSES.len());
        for (path, row) in PATHS.iter().zip(&self.requests) {
            for (class, count) in CLASSES.iter().zip(row) {
                requests.push([(*path).into(), (*class).into()], count.load(Ordering::Relaxed));
            }
        }
        let mut refused = Family::with_capacity(&REFUSED, REFUSALS.len());
        for (reason, count) in REFUSALS.iter().zip(&self.refused) {
            refused.push([(*reason).into()], count.load(Ordering::Relaxed));
        }
        let mut reloads = Family::new(&WEB_CONFIG_RELOADS);
        reloads.push(["success".into()], self.web_config_good.load(Ordering::Relaxed));
        reloads.push(["failure".into()], self.web_config_bad.load(Ordering::Relaxed));
        let in_use = self.web_config_stale.load(Ordering::Relaxed) == 0;
        vec![
            requests,
            refused,
            reloads,
            self.scrapes(),
            Family::single(&CONNECTIONS, self.connections.load(Ordering::Relaxed)),
            Family::single(&WEB_CONFIG_GOOD, in_use),
        ]
    }
}

fn group(path: &str) -> usize {
    let first = path.trim_start_matches('/').split('/').next().unwrap_or_default();
    match first {
        "metrics" => 0,
        "health" | "healthz" | "readyz" => 1,
        "api" => 2,
        "debug" => 3,
        _ => 4,
    }
}

const PATHS: [&str; 5] = ["metrics", "health", "api", "debug", "other"];
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// In the order of [`Refusal`].
const REFUSALS: [&str; 8] = [
    "connection_limit",
    "tls_handshake",
    "header_timeout",
    "write_timeout",
    "idle_timeout",
    "malformed",
    "unauthorised",
    "auth_busy",
];

static SCRAPE_BOUNDS: [f64; 10] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5];
