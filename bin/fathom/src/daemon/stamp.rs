//! The stamp system of an agent, run after run.
//!
//! Other settings are another run: the sockets of the old one are closed before those of the
//! new one are bound. A run that can't begin is tried again, since names, devices and ports may
//! come. What scrapes and callers see is that of the present run, whichever it is.

use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use serde_json::json;
use stamp::config::Stamp as Section;
use stamp::{CATALOGUE, Controls, System};
use telemetry::metric::Family;
use telemetry::registry::{CollectorHandle, Options, Registry, RegistryError};
use tower::ServiceExt;

use crate::failure::Failure;
use crate::version;

/// The name of the system, of its thread and of its collector.
pub(super) const NAME: &str = "stamp";

/// Where runs take place; clones are the same one.
#[derive(Debug, Clone)]
pub(super) struct Stage {
    handle: CollectorHandle,
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Debug)]
struct State {
    section: Section,
    /// Whether the section waits for a run.
    is_new: bool,
    stopped: bool,
    run: Option<Run>,
}

/// What is under way.
#[derive(Debug, Clone)]
struct Run {
    controls: Controls,
    routes: Router,
    registry: Registry,
}

impl Stage {
    /// A stage on which nothing happens yet.
    pub(super) fn new(registry: &Registry, section: Section) -> Result<Self, RegistryError> {
        // The registry of each run has cut off what is too much already.
        let options = Options {
            beat_limit: Some(BEAT_LIMIT),
            series_limit: usize::MAX,
            ..Options::default()
        };
        let handle = registry.collector_with(NAME, CATALOGUE, options)?;
        let state = State { section, is_new: true, stopped: false, run: None };
        Ok(Self { handle, state: Arc::new((Mutex::new(state), Condvar::new())) })
    }

    /// Runs whatever is wanted, until there is nothing more.
    pub(super) fn live(&self) {
        let mut told = String::new();
        let mut retry = None;
        while let Some(section) = self.next(retry) {
            retry = None;
            let Err(failure) = self.play(&section) else { continue };
            self.handle.down(failure.reason());
            retry = Some(RETRY);
            let text = failure.to_string();
            // What fails each time is told once.
            if std::mem::replace(&mut told, text) != told {
                super::systems::tell(NAME, &failure);
            }
        }
    }

    /// Goes on with other settings, if they are others.
    pub(super) fn reload(&self, section: &Section) {
        let mut state = self.state();
        if state.section == *section {
            // The key files it names may hold other keys by now.
            state.run.iter().for_each(|run| run.controls.reload());
            return;
        }
        state.section = section.clone();
        state.is_new = true;
        self.end(state);
    }

    /// Ends for good.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        self.end(state);
    }

    /// What the present run serves, or that there is none.
    pub(super) fn routes(&self) -> Router {
        let stage = self.clone();
        let answer = move |request: Request| {
            let run = stage.state().run.clone();
            async move { answer(run, request).await }
        };
        Router::new().route(ROOT, any(answer.clone())).route(BELOW, any(answer))
    }

    /// Shows what the runs show, for as long as there may be one.
    pub(super) async fn show(self) {
        let mut each = tokio::time::interval(EACH);
        while !self.state().stopped {
            each.tick().await;
            self.show_once();
        }
    }

    fn show_once(&self) {
        let Some(Run { registry, .. }) = self.state().run.clone() else { return };
        if registry.liveness(Instant::now()).good {
            self.handle.beat();
        }
        for check in registry.readiness().checks {
            self.handle.condition(check.name, check.passed, check.detail);
        }
        self.handle.publish(families(&registry));
    }

    /// One run from its first to its last packet.
    fn play(&self, section: &Section) -> Result<(), Failure> {
        let registry = Registry::new(version::build());
        let system = System::new(&section.senders, &section.reflectors, &section.host)?
            .exposed_in(&registry)?;
        let run = Run { controls: system.controls(), routes: system.routes(), registry };
        {
            let mut state = self.state();
            if state.is_new || state.stopped {
                return Ok(());
            }
            state.run = Some(run);
        }
        tracing::info!(event = "stamp.start", ports = ?system.ports(), "Sockets are bound");
        self.handle.up();
        let ended = system.run();
        self.show_once();
        self.state().run = None;
        Ok(ended.map(drop)?)
    }

    /// Waits for the next section to run; none if it is all over.
    fn next(&self, retry: Option<Duration>) -> Option<Section> {
        let mut state = self.state();
        while !state.stopped && !state.is_new {
            let changed = &self.state.1;
            let waited = changed.wait_timeout(state, retry.unwrap_or(Duration::MAX));
            let (woken, waited) = waited.unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if waited.timed_out() {
                break;
            }
        }
        state.is_new = false;
        (!state.stopped).then(|| state.section.clone())
    }

    /// Nobody reads what would still be answered, so that nothing is waited for.
    fn end(&self, state: MutexGuard<'_, State>) {
        if let Some(run) = &state.run {
            run.controls.stop();
            run.controls.stop();
        }
        self.state.1.notify_all();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(run: Option<Run>, request: Request) -> Response {
    match run {
        Some(run) => run.routes.oneshot(request).await.into_response(),
        None => {
            let error =
                "the stamp system does not run; fathom_collector_down_info and the log say why";
            (StatusCode::SERVICE_UNAVAILABLE, Json(json!({ "error": error }))).into_response()
        }
    }
}

/// What the system itself shows; each registry also tells of the process.
fn families(registry: &Registry) -> Vec<Family> {
    let own: HashSet<_> = CATALOGUE.metrics.iter().map(|metric| metric.name).collect();
    let snapshot = registry.snapshot();
    let all = snapshot.families().into_iter();
    all.filter(|family| own.contains(family.metric().name)).cloned().collect()
}

const ROOT: &str = "/api/v1/stamp";
const BELOW: &str = "/api/v1/stamp/{*part}";

/// As often as a run shows something new.
const EACH: Duration = Duration::from_secs(1);

/// A run that has shown nothing for so long hangs.
const BEAT_LIMIT: Duration = Duration::from_secs(10);

/// Until a run that could not begin is tried again.
const RETRY: Duration = Duration::from_secs(10);
