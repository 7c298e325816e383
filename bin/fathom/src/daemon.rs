//! The life of a process that measures until it is told to stop.
//!
//! `fathom agent` and `fathom flows` live the same life; they differ in where settings come
//! from and in what a failing system means: an agent shows it and goes on with the others,
//! a command for one system ends with it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, anyhow};
use telemetry::logs::Logs;
use telemetry::registry::Registry;
use tokio::runtime::{Builder, Runtime};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

mod plan;
mod push;
mod reload;
pub(crate) mod signals;
mod systems;

pub(crate) use self::plan::Plan;

use self::push::Push;
use self::signals::{Signal, Signals};
use self::systems::Systems;
use crate::failure::Failure;
use crate::serving::{Listener, serve_profiles};
use crate::settings::{Input, Told};
use crate::{logging, version};

/// Runs until a signal.
pub(crate) fn run(input: &Input, told: Told) -> Result<(), Failure> {
    let plan = Plan::new(told)?;
    let logs = logging::install(input, &plan.process)?;
    let runtime = runtime()?;
    let silent = |_| Ok(());
    let life =
        runtime.block_on(live(plan, &logs, silent, |plan, parts| reload::take(input, plan, parts)));
    runtime.shutdown_timeout(LAST_TASKS);
    life.map_err(|failure| failure.logged("fathom.failed"))
}

/// Runs a plan that is nobody's configuration; `announce` is told where it listens.
pub(crate) fn rehearse(
    input: &Input,
    plan: Plan,
    announce: impl FnOnce(Option<SocketAddr>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let logs = logging::install(input, &plan.process)?;
    let runtime = runtime()?;
    let life = runtime.block_on(live(plan, &logs, announce, |_, _| {}));
    runtime.shutdown_timeout(LAST_TASKS);
    life
}

/// What a reload may change.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    logs: &'a Logs,
    registry: &'a Registry,
    systems: &'a Systems,
    push: &'a mut Push,
}

/// Runs a plan on the present runtime until a signal; `reload` is called for each SIGHUP.
async fn live(
    mut plan: Plan,
    logs: &Logs,
    announce: impl FnOnce(Option<SocketAddr>) -> Result<(), Failure>,
    mut reload: impl FnMut(&mut Plan, Parts<'_>),
) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let stop = CancellationToken::new();
    let registry = Registry::new(version::build());
    logs.register(&registry).map_err(Failure::bug)?;
    let listener = Listener::bind(plan.listen, plan.process.web_config_file.clone(), &registry)?;
    if let Some(address) = plan.profiling() {
        serve_profiles(address, stop.clone())?;
    }
    let mut push = Push::start(&plan, &registry)?;
    let mut systems = Systems::start(&plan, &registry, listener.address())?;
    log_start(&plan, &listener);
    announce(listener.address())?;
    let serving = listener.serve(systems.routes(), stop.clone(), plan.deadline);

    let end = plan.lifetime.map(|lifetime| Instant::now() + lifetime);
    let life = loop {
        tokio::select! {
            signal = signals.next() => match signal {
                Signal::Stop => break Ok(()),
                Signal::Reload => {
                    let parts = Parts { logs, registry: &registry, systems: &systems, push: &mut push };
                    reload(&mut plan, parts);
                }
            },
            () = over(end) => break Ok(()),
            Some(ended) = systems.ended() => match ended.into_result(&plan) {
                Ok(()) => {}
                result => break result,
            },
        }
    };
    let ending = async {
        systems.stop().await;
        push.stop(plan.deadline).await;
        stop.cancel();
        if let Some(serving) = serving {
            // A panic there was reported by the panic hook.
            drop(serving.await);
        }
    };
    tokio::select! {
        ended = timeout(plan.deadline + GRACE, ending) => ended.map_err(|_| overdue(plan.deadline))?,
        () = signals.again() => return Err(Failure::unavailable(anyhow!("A second signal ended the wait for a good end"))),
    }
    life
}

/// Waits for the end of a life that has one.
async fn over(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn log_start(plan: &Plan, listener: &Listener) {
    let listen = listener.address().map(tracing::field::display);
    tracing::info!(event = "fathom.start", version = version::build().version, listen, "Started");
    for key in &plan.unused {
        tracing::warn!(event = "config.unused", key, "The agent does not use this key");
    }
}

fn runtime() -> Result<Runtime, Failure> {
    let built = Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    built
        .context("the runtime can't start; check the limit of processes")
        .map_err(Failure::unavailable)
}

fn overdue(deadline: Duration) -> Failure {
    Failure::unavailable(anyhow!(
        "not everything ended within {deadline:?}; what is pinned goes on counting, raise --shutdown-deadline"
    ))
}

/// Scrapes and pushes are all there is to do; measuring has its own threads.
const WORKERS: usize = 2;

/// For a system that keeps its own deadline to say so.
const GRACE: Duration = Duration::from_secs(1);

/// For tasks that nobody waits for.
const LAST_TASKS: Duration = Duration::from_millis(200);
