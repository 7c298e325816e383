//! The systems that run: each on a thread of its own, each failing alone.

use std::net::SocketAddr;
use std::thread;

use anyhow::{Context, anyhow};
use axum::Router;
use flow::{Controls, System};
use telemetry::catalogue::Catalogue;
use telemetry::registry::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::plan::Plan;
use super::stamp::{self, Stage};
use crate::failure::Failure;

/// All of them.
#[derive(Debug)]
pub(crate) struct Systems {
    routes: Router,
    flows: Option<Controls>,
    stamp: Option<Stage>,
    ends: JoinSet<Ended>,
}

/// How a system came to its end.
#[derive(Debug)]
pub(crate) struct Ended {
    name: &'static str,
    result: Result<(), Failure>,
}

impl Ended {
    /// The end of the process too, or a line in the log.
    pub(crate) fn into_result(self, plan: &Plan) -> Result<(), Failure> {
        match self.result {
            Err(failure) if plan.alone => Err(failure),
            Err(failure) => {
                tell(self.name, &failure);
                Ok(())
            }
            Ok(()) if plan.alone => {
                Err(Failure::bug(anyhow!("{} ended by itself; please report this", self.name)))
            }
            Ok(()) => Ok(()),
        }
    }
}

impl Systems {
    /// Starts every system of the plan. For an agent one that can't start is a state.
    pub(crate) fn start(
        plan: &Plan,
        registry: &Registry,
        listen: Option<SocketAddr>,
    ) -> Result<Self, Failure> {
        let mut systems =
            Self { routes: Router::new(), flows: None, stamp: None, ends: JoinSet::new() };
        if plan.counts {
            let started = systems.start_flows(plan, registry, listen);
            alone_or_told(plan, registry, FLOWS, started)?;
        }
        let started = systems.start_stamp(plan, registry);
        alone_or_told(plan, registry, stamp::NAME, started)?;
        Ok(systems)
    }

    /// Whether it can begin is found out on its own thread: names are looked up for it.
    fn start_stamp(&mut self, plan: &Plan, registry: &Registry) -> Result<(), Failure> {
        let Some(section) = &plan.stamp else { return Ok(()) };
        let stage = Stage::new(registry, section.clone()).map_err(Failure::bug)?;
        self.routes = self.routes.clone().merge(stage.routes());
        tokio::spawn(stage.clone().show());
        self.stamp = Some(stage.clone());
        self.run(stamp::NAME, plan, move || {
            stage.live();
            Ok(())
        })
    }

    fn start_flows(
        &mut self,
        plan: &Plan,
        registry: &Registry,
        listen: Option<SocketAddr>,
    ) -> Result<(), Failure> {
        let build = if plan.alone { System::alone } else { System::new };
        let system = build(plan.flows.clone(), registry)?;
        if let Some(address) = listen {
            system.listening(address);
        }
        self.routes = self.routes.clone().merge(system.routes());
        self.flows = Some(system.controls());
        self.run(FLOWS, plan, move || system.run().map_err(Failure::from))
    }

    /// Runs a system on a thread that bears its name.
    fn run(
        &mut self,
        name: &'static str,
        plan: &Plan,
        system: impl FnOnce() -> Result<(), Failure> + Send + 'static,
    ) -> Result<(), Failure> {
        let (sender, end) = oneshot::channel();
        // Nobody waits any more once the deadline of the process has passed.
        let work = move || drop(sender.send(system()));
        let started = match &plan.place {
            Some(place) => place.thread(name, work).map(drop).map_err(anyhow::Error::from),
            None => {
                thread::Builder::new().name(name.into()).spawn(work).map(drop).map_err(Into::into)
            }
        };
        started
            .context("a thread can't start; check the limit of processes")
            .map_err(Failure::unavailable)?;
        self.ends.spawn(async move {
            let panicked =
                |_| Err(Failure::bug(anyhow!("the {name} system panicked; please report this")));
            Ended { name, result: end.await.unwrap_or_else(panicked) }
        });
        Ok(())
    }

    /// What they serve.
    pub(crate) fn routes(&self) -> Router {
        self.routes.clone()
    }

    /// Hands the settings of a new plan to each.
    pub(crate) fn reload(&self, plan: &Plan) {
        if let Some(flows) = &self.flows {
            flows.reload(plan.flows.clone());
        }
        if let (Some(stage), Some(section)) = (&self.stamp, &plan.stamp) {
            stage.reload(section);
        }
    }

    /// Waits for the next end; none if nothing runs.
    pub(crate) async fn ended(&mut self) -> Option<Ended> {
        let joined = self.ends.join_next().await?;
        joined.ok()
    }

    /// Asks all to end and waits until they have.
    pub(crate) async fn stop(&mut self) {
        if let Some(flows) = &self.flows {
            flows.stop();
        }
        if let Some(stage) = &self.stamp {
            stage.stop();
        }
        while let Some(Ended { name, result }) = self.ended().await {
            if let Err(failure) = result {
                tell(name, &failure);
            }
        }
    }
}

/// For an agent a system that can't start is a state.
fn alone_or_told(
    plan: &Plan,
    registry: &Registry,
    name: &'static str,
    started: Result<(), Failure>,
) -> Result<(), Failure> {
    match started {
        Err(failure) if !plan.alone => {
            tell(name, &failure);
            show_down(registry, name, &failure);
            Ok(())
        }
        result => result,
    }
}

pub(super) fn tell(name: &str, failure: &Failure) {
    tracing::error!(event = "system.failed", system = name, error = %failure, "A system failed; the others go on");
}

/// A system that failed before it knew the registry still shows as being down.
fn show_down(registry: &Registry, name: &'static str, failure: &Failure) {
    if let Ok(handle) = registry.collector(name, Catalogue::EMPTY) {
        handle.down(failure.reason());
    }
}

const FLOWS: &str = "flows";
