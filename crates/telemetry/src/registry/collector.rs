//! One collector: its snapshot, its state, its conditions and its heartbeat.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use super::health::Check;
use crate::catalogue::Catalogue;
use crate::metric::{Family, LabelValue};

/// How a collector is treated.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Answer 503 on `/metrics` until the collector has left its starting phase, so that
    /// nobody reads a zero between a crash and the recovery. Meant for a command with one
    /// system; in an agent it would hide the other systems.
    pub withhold_until_started: bool,
    /// How long the heartbeat may be silent before the process counts as hung.
    pub beat_limit: Option<Duration>,
    /// Most series of one family; what is beyond is left out and counted.
    pub series_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { withhold_until_started: false, beat_limit: None, series_limit: SERIES_LIMIT }
    }
}

/// What a collector uses to tell about itself; cheap to clone.
#[derive(Clone)]
pub struct CollectorHandle {
    collector: Arc<Collector>,
}

impl CollectorHandle {
    pub(super) const fn new(collector: Arc<Collector>) -> Self {
        Self { collector }
    }

    /// Replaces everything that was published before, in one step.
    ///
    /// Families of metrics that are not in the catalogue, duplicate series and series above
    /// the limit are left out and counted in `fathom_series_dropped_total`.
    pub fn publish(&self, families: Vec<Family>) {
        self.collector.publish(families);
    }

    /// Tells that the collector works; ends its starting phase.
    pub fn up(&self) {
        self.collector.enter(Phase::Up);
    }

    /// Tells that the collector does not work; `reason` comes from a closed set.
    pub fn down(&self, reason: &'static str) {
        self.collector.enter(Phase::Down(reason));
    }

    /// Declares or updates a condition of readiness.
    pub fn condition(&self, name: &'static str, met: bool, detail: impl Into<Cow<'static, str>>) {
        let condition = Condition { name, met, detail: detail.into() };
        self.collector.set_condition(condition);
    }

    /// Shows that the collector's thread advances.
    pub fn beat(&self) {
        self.collector.beat(Instant::now());
    }

    /// Changes how long the heartbeat may be silent, as after a reload.
    pub fn limit_beat(&self, limit: Duration) {
        self.collector.beat_limit.store(nanos(limit), Ordering::Relaxed);
    }

    /// Notes how long the last collection took.
    pub fn took(&self, duration: Duration) {
        self.collector.duration.store(nanos(duration), Ordering::Relaxed);
    }

    /// The name under which the collector registered.
    pub fn name(&self) -> &'static str {
        self.collector.name
    }
}

impl std::fmt::Debug for CollectorHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CollectorHandle").field("name", &self.name()).finish_non_exhaustive()
    }
}

pub(super) struct Collector {
    name: &'static str,
    metrics: HashSet<&'static str>,
    withhold: bool,
    series_limit: usize,
    began: Instant,
    snapshot: ArcSwap<Vec<Family>>,
    state: Mutex<State>,
    dropped: Mutex<BTreeMap<&'static str, u64>>,
    /// Nanoseconds since `began`; `UNKNOWN` before the first beat.
    last_beat: AtomicU64,
    beat_limit: AtomicU64,
    duration: AtomicU64,
}

struct State {
    phase: Phase,
    conditions: Vec<Condition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Starting,
    Up,
    Down(&'static str),
}

impl Phase {
    /// Why the collector is not up.
    pub(super) const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Starting => Some("starting"),
            Self::Up => None,
            Self::Down(reason) => Some(reason),
        }
    }
}

struct Condition {
    name: &'static str,
    met: bool,
    detail: Cow<'static, str>,
}

impl Collector {
    pub(super) fn new(
        name: &'static str,
        catalogue: Catalogue,
        options: Options,
        began: Instant,
    ) -> Self {
        let metrics: HashSet<_> = catalogue.metrics.iter().map(|metric| metric.name).collect();
        Self {
            name,
            dropped: Mutex::new(metrics.iter().map(|name| (*name, 0)).collect()),
            metrics,
            withhold: options.withhold_until_started,
            series_limit: options.series_limit,
            began,
            snapshot: ArcSwap::default(),
            state: Mutex::new(State { phase: Phase::Starting, conditions: Vec::new() }),
            last_beat: AtomicU64::new(UNKNOWN),
            beat_limit: AtomicU64::new(options.beat_limit.map_or(UNKNOWN, nanos)),
            duration: AtomicU64::new(UNKNOWN),
        }
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn snapshot(&self) -> Arc<Vec<Family>> {
        self.snapshot.load_full()
    }

    pub(super) fn phase(&self) -> Phase {
        self.state().phase
    }

    pub(super) fn duration(&self) -> Option<Duration> {
        known(self.duration.load(Ordering::Relaxed))
    }

    pub(super) fn dropped(&self) -> Vec<(&'static str, u64)> {
        let dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
        dropped.iter().map(|(name, count)| (*name, *count)).collect()
    }

    pub(super) fn withholds(&self) -> bool {
        self.withhold && self.phase() == Phase::Starting
    }

    pub(super) fn readiness(&self) -> Vec<Check> {
        let state = self.state();
        let phase = self.withhold.then(|| Check {
            collector: self.name,
            name: "started",
            passed: state.phase != Phase::Starting,
            detail: Cow::Borrowed(""),
        });
        phase.into_iter().chain(state.conditions.iter().map(|c| self.check(c))).collect()
    }

    /// Judged from the first beat on, so that a long start is not taken for a hang, and not
    /// while the collector is down, because one failed part must not restart the others.
    pub(super) fn liveness(&self, now: Instant) -> Option<Check> {
        let limit = known(self.beat_limit.load(Ordering::Relaxed))?;
        let last = known(self.last_beat.load(Ordering::Acquire))?;
        let silent = now.saturating_duration_since(self.began + last);
        let down = matches!(self.phase(), Phase::Down(_));
        let detail = format!(
            "{:.1}s since the last beat, limit {}s",
            silent.as_secs_f64(),
            limit.as_secs_f64()
        );
        Some(Check {
            collector: self.name,
            name: "advancing",
            passed: down || silent <= limit,
            detail: detail.into(),
        })
    }

    pub(super) fn publish(&self, mut families: Vec<Family>) {
        let before = self.snapshot.load();
        families.sort_by_key(|family| family.metric().name);
        families.dedup_by(|later, earlier| self.is_twice(later, earlier));
        families.retain_mut(|family| self.admit(family, &before));
        self.snapshot.store(Arc::new(families));
    }

    pub(super) fn beat(&self, now: Instant) {
        let since = nanos(now.saturating_duration_since(self.began));
        self.last_beat.store(since, Ordering::Release);
    }

    fn enter(&self, phase: Phase) {
        self.state().phase = phase;
    }

    fn set_condition(&self, condition: Condition) {
        let mut state = self.state();
        match state.conditions.iter_mut().find(|known| known.name == condition.name) {
            Some(known) => *known = condition,
            None => state.conditions.push(condition),
        }
    }

    fn check(&self, condition: &Condition) -> Check {
        Check {
            collector: self.name,
            name: condition.name,
            passed: condition.met,
            detail: condition.detail.clone(),
        }
    }

    fn is_twice(&self, later: &Family, earlier: &Family) -> bool {
        let twice = later.metric().name == earlier.metric().name;
        debug_assert!(!twice, "{} was published twice in one snapshot", later.metric().name);
        if twice {
            self.count_dropped(later.metric().name, later.points().len() as u64);
        }
        twice
    }

    fn admit(&self, family: &mut Family, before: &[Family]) -> bool {
        let name = family.metric().name;
        let listed = self.metrics.contains(name);
        debug_assert!(listed, "{name} is not in the catalogue of {}", self.name);
        if !listed {
            self.count_dropped(name, family.points().len() as u64);
            return false;
        }
        let known = self.known_series(family, before);
        let dropped = family.settle(self.series_limit, |labels| known.contains(labels));
        self.count_dropped(name, dropped);
        true
    }

    /// Series of the last snapshot; only looked up when the limit bites, so that a flood of
    /// newcomers never displaces a series that somebody already graphs.
    fn known_series<'a>(&self, family: &Family, before: &'a [Family]) -> HashSet<&'a [LabelValue]> {
        if family.points().len() <= self.series_limit {
            return HashSet::new();
        }
        let name = family.metric().name;
        let before = before.iter().filter(|family| family.metric().name == name);
        before.flat_map(Family::points).map(|point| &*point.labels).collect()
    }

    fn count_dropped(&self, name: &'static str, series: u64) {
        if series > 0 {
            let mut dropped = self.dropped.lock().unwrap_or_else(PoisonError::into_inner);
            *dropped.entry(name).or_default() += series;
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(UNKNOWN - 1)
}

const fn known(nanos: u64) -> Option<Duration> {
    if nanos == UNKNOWN { None } else { Some(Duration::from_nanos(nanos)) }
}

const UNKNOWN: u64 = u64::MAX;

/// Ten times what the largest system publishes by default; a scrape of it is 15 MB.
const SERIES_LIMIT: usize = 100_000;
