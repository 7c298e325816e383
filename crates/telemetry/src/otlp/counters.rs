//! What became of pushed points.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::catalogue::Catalogue;
use crate::metric::{Family, Metric, Unit};
use crate::registry::{Registry, RegistryError, Source};

static SENT: Metric = Metric::counter(
    "fathom_otlp_sent_points_total",
    Unit::Count("{point}"),
    "Points that the receiver accepted.",
    &[],
);
static DROPPED: Metric = Metric::counter(
    "fathom_otlp_dropped_points_total",
    Unit::Count("{point}"),
    "Points given up, by reason; their amounts are in later points.",
    &["reason"],
);
static REQUESTS: Metric = Metric::counter(
    "fathom_otlp_requests_total",
    Unit::Count("{request}"),
    "Attempts to push, by result.",
    &["result"],
);
static LAST: Metric = Metric::gauge(
    "fathom_otlp_last_success_timestamp_seconds",
    Unit::Seconds,
    "When the receiver last accepted a request, in seconds since 1970; absent before.",
    &[],
);

/// Metrics of the push.
pub(crate) const CATALOGUE: Catalogue =
    Catalogue { title: "OTLP push", metrics: &[&SENT, &DROPPED, &REQUESTS, &LAST] };

/// Why points were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Loss {
    /// The receiver took the request but not all of its points.
    Rejected,
    /// The receiver will never take the request.
    Refused,
    /// The receiver did not take the request in time.
    Expired,
    /// The process ended first.
    Shutdown,
}

/// Counters of the push; they outlive an exporter that a reload replaces.
#[derive(Debug, Default)]
pub struct Counters {
    sent: AtomicU64,
    dropped: [AtomicU64; LOSSES.len()],
    requests: [AtomicU64; RESULTS.len()],
    /// Points of the present push that are neither sent nor dropped.
    pending: AtomicU64,
    last_success: AtomicU64,
}

impl Counters {
    /// Counters that show in `registry`; once for each registry.
    pub fn register(registry: &Registry) -> Result<Arc<Self>, RegistryError> {
        let counters = Arc::new(Self::default());
        registry.source("otlp", CATALOGUE, Arc::clone(&counters) as _)?;
        Ok(counters)
    }

    pub(super) fn begin(&self, points: u64) {
        self.pending.store(points, Ordering::Relaxed);
    }

    /// Forgets a push that a newer one replaces: its points are all in that one.
    pub(super) fn abandon(&self) {
        self.pending.store(0, Ordering::Relaxed);
    }

    pub(super) fn delivered(&self, points: u64, rejected: u64) {
        self.sent.fetch_add(points - rejected, Ordering::Relaxed);
        self.dropped[Loss::Rejected as usize].fetch_add(rejected, Ordering::Relaxed);
        self.settle(points);
        self.requests[0].fetch_add(1, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_success.store(now.as_secs(), Ordering::Relaxed);
    }

    pub(super) fn request_retried(&self) {
        self.requests[1].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn request_failed(&self) {
        self.requests[2].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn lose(&self, loss: Loss, points: u64) {
        self.dropped[loss as usize].fetch_add(points, Ordering::Relaxed);
        self.settle(points);
    }

    pub(super) fn lose_pending(&self, loss: Loss) -> u64 {
        let pending = self.pending.swap(0, Ordering::Relaxed);
        self.dropped[loss as usize].fetch_add(pending, Ordering::Relaxed);
        pending
    }

    fn settle(&self, points: u64) {
        let less = |pending: u64| Some(pending.saturating_sub(points));
        // The closure never refuses.
        self.pending.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).ok();
    }
}

impl Source for Counters {
    fn families(&self) -> Vec<Family> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut dropped = Family::new(&DROPPED);
        for (reason, counter) in LOSSES.iter().zip(&self.dropped) {
            dropped.push([(*reason).into()], read(counter));
        }
        let mut requests = Family::new(&REQUESTS);
        for (result, counter) in RESULTS.iter().zip(&self.requests) {
            requests.push([(*result).into()], read(counter));
        }
        let mut families = vec![Family::single(&SENT, read(&self.sent)), dropped, requests];
        if read(&self.last_success) > 0 {
            families.push(Family::single(&LAST, read(&self.last_success)));
        }
        families
    }
}

/// In the order of [`Loss`].
const LOSSES: [&str; 4] = ["rejected", "refused", "expired", "shutdown"];
const RESULTS: [&str; 3] = ["success", "retry", "failure"];
