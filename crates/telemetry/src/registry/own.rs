//! What the registry tells about the build, its collectors and configuration reloads.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use super::Source;
use super::collector::Collector;
use crate::catalogue::Catalogue;
use crate::metric::{Family, LabelValue, Metric, Unit};

static BUILD_INFO: Metric = Metric::info(
    "fathom_build_info",
    "What this program was built from.",
    &["version", "revision", "rustc", "target"],
);
static UP: Metric = Metric::gauge(
    "fathom_collector_up",
    Unit::None,
    "Whether the collector works: 1 or 0.",
    &["collector"],
);
static DOWN_INFO: Metric = Metric::info(
    "fathom_collector_down_info",
    "Why a collector is not up; absent while it is.",
    &["collector", "reason"],
);
static DURATION: Metric = Metric::gauge(
    "fathom_collector_duration_seconds",
    Unit::Seconds,
    "How long the last collection took.",
    &["collector"],
);
static DROPPED: Metric = Metric::counter(
    "fathom_series_dropped_total",
    Unit::Count("{series}"),
    "Series left out of published snapshots: above the limit, duplicate or not described.",
    &["family"],
);
static RELOADS: Metric = Metric::counter(
    "fathom_config_reloads_total",
    Unit::Count("{reload}"),
    "Reloads of the configuration by result.",
    &["result"],
);
static RELOAD_GOOD: Metric = Metric::gauge(
    "fathom_config_last_reload_successful",
    Unit::None,
    "Whether the last reload of the configuration was accepted; 1 before the first.",
    &[],
);
static RELOAD_TIME: Metric = Metric::gauge(
    "fathom_config_last_reload_success_timestamp_seconds",
    Unit::Seconds,
    "When the configuration in use was loaded, in seconds since 1970.",
    &[],
);

/// Metrics of the registry itself.
pub(super) const CATALOGUE: Catalogue = Catalogue {
    title: "fathom itself",
    metrics: &[
        &BUILD_INFO,
        &UP,
        &DOWN_INFO,
        &DURATION,
        &DROPPED,
        &RELOADS,
        &RELOAD_GOOD,
        &RELOAD_TIME,
    ],
};

/// What a program was built from.
#[derive(Clone, Copy, Debug)]
pub struct Build {
    /// Version of the release.
    pub version: &'static str,
    /// Revision of the source.
    pub revision: &'static str,
    /// Version of the compiler.
    pub rustc: &'static str,
    /// Target triple.
    pub target: &'static str,
}

/// The build, as a source.
pub(super) struct Own(Build);

impl Own {
    pub(super) const fn new(build: Build) -> Self {
        Self(build)
    }
}

impl Source for Own {
    fn families(&self) -> Vec<Family> {
        let Build { version, revision, rustc, target } = self.0;
        let mut build = Family::new(&BUILD_INFO);
        build.push([version, revision, rustc, target].map(LabelValue::from), 1);
        vec![build]
    }
}

/// The state of all collectors.
pub(super) fn collectors(collectors: &[Arc<Collector>]) -> Vec<Family> {
    let mut up = Family::with_capacity(&UP, collectors.len());
    let mut down = Family::new(&DOWN_INFO);
    let mut duration = Family::new(&DURATION);
    let mut dropped = Family::new(&DROPPED);
    for collector in collectors {
        let name = collector.name();
        let reason = collector.phase().reason();
        up.push([name.into()], reason.is_none());
        if let Some(reason) = reason {
            down.push([name.into(), reason.into()], 1);
        }
        if let Some(took) = collector.duration() {
            duration.push([name.into()], took.as_secs_f64());
        }
        for (family, count) in collector.dropped() {
            dropped.push([family.into()], count);
        }
    }
    vec![up, down, duration, dropped]
}

/// How reloads of the configuration went; the first load counts as a good one.
pub(super) struct Reloads {
    good: AtomicU64,
    bad: AtomicU64,
    last_was_good: AtomicU64,
    last_good_at: AtomicU64,
}

impl Default for Reloads {
    fn default() -> Self {
        Self {
            good: AtomicU64::new(0),
            bad: AtomicU64::new(0),
            last_was_good: AtomicU64::new(1),
            last_good_at: AtomicU64::new(millis(SystemTime::now())),
        }
    }
}

impl Reloads {
    pub(super) fn note(&self, good: bool, at: SystemTime) {
        let counter = if good { &self.good } else { &self.bad };
        counter.fetch_add(1, Ordering::Relaxed);
        self.last_was_good.store(u64::from(good), Ordering::Relaxed);
        if good {
            self.last_good_at.store(millis(at), Ordering::Relaxed);
        }
    }

    pub(super) fn families(&self) -> Vec<Family> {
        let mut reloads = Family::new(&RELOADS);
        reloads.push(["success".into()], self.good.load(Ordering::Relaxed));
        reloads.push(["failure".into()], self.bad.load(Ordering::Relaxed));
        let at = self.last_good_at.load(Ordering::Relaxed) as f64 / 1000.0;
        vec![
            reloads,
            Family::single(&RELOAD_GOOD, self.last_was_good.load(Ordering::Relaxed)),
            Family::single(&RELOAD_TIME, at),
        ]
    }
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
