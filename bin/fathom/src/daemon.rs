//! The life of a process that measures until it is told to stop.
//!
//! `fathom agent` and `fathom flows` live the same life; they differ in where settings come
//! from and in what a failing system means: an agent shows it and goes on with the others,
//! a command for one system ends with it.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use telemetry::logs::Logs;
use telemetry::registry::Registry;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

mod plan;
mod push;
mod reload;
pub(crate) mod signals;
mod stamp;
mod systems;

pub(crate) use self::plan::Plan;

use self::push::Push;
use self::signals::{Signal, Signals};
use self::systems::Systems;
use crate::failure::Failure;
use crate::serving::{Listener, endpoints, serve_profiles};
use crate::settings::{Input, Told};
use crate::{logging, rights, runtime, version};

/// Runs until a signal.
pub(crate) fn run(input: &Input, told: Told) -> Result<(), Failure> {
    let plan = Plan::new(told)?;
    let reduced = rights::reduce();
    let logs = logging::install(input, &plan.process)?;
    rights::tell(reduced);
    let silent = |_| Ok(());
    let reload = |plan: &mut Plan, parts: Parts<'_>| reload::take(input, plan, parts);
    let life = live(plan, &logs, silent, Some(reload));
    life.map_err(|failure| failure.logged("fathom.failed"))
}

/// Runs a plan that is nobody's configuration; `announce` is told where it listens.
pub(crate) fn rehearse(
    input: &Input,
    plan: Plan,
    announce: impl FnOnce(Option<SocketAddr>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let logs = logging::install(input, &plan.process)?;
    live(plan, &logs, announce, None::<fn(&mut Plan, Parts<'_>)>)
}

/// What a reload may change.
#[derive(Debug)]
pub(crate) struct Parts<'a> {
    logs: &'a Logs,
    registry: &'a Registry,
    systems: &'a Systems,
    push: &'a mut Push,
}

/// From the first to the last moment. A life without `reload` ends at SIGHUP as well.
fn live(
    plan: Plan,
    logs: &Logs,
    announce: impl FnOnce(Option<SocketAddr>) -> Result<(), Failure>,
    reload: Option<impl FnMut(&mut Plan, Parts<'_>)>,
) -> Result<(), Failure> {
    let runtime = runtime::start(WORKERS)?;
    let life = runtime.block_on(async {
        let mut life = Life::begin(plan, logs, announce)?;
        let reason = life.go_on(reload).await;
        let ended = life.end().await;
        reason.and(ended)
    });
    runtime.shutdown_timeout(LAST_TASKS);
    life
}

/// Everything that lives.
#[derive(Debug)]
struct Life<'a> {
    plan: Plan,
    logs: &'a Logs,
    signals: Signals,
    registry: Registry,
    push: Push,
    systems: Systems,
    serving: Option<JoinHandle<()>>,
    stop: CancellationToken,
}

impl<'a> Life<'a> {
    /// Signals come first, so that none is missed; then what can fail without a trace, the
    /// listener; then what attaches to the kernel.
    fn begin(
        plan: Plan,
        logs: &'a Logs,
        announce: impl FnOnce(Option<SocketAddr>) -> Result<(), Failure>,
    ) -> Result<Self, Failure> {
        let signals = Signals::listen()?;
        let stop = CancellationToken::new();
        let registry = Registry::new(version::build());
        logs.register(&registry).map_err(Failure::bug)?;
        let web_config = plan.process.web_config_file.clone();
        let listener = Listener::bind(plan.listen, web_config, &registry)?;
        if let Some(address) = plan.profiling() {
            serve_profiles(address, stop.clone())?;
        }
        let push = Push::start(&plan, &registry)?;
        let address = listener.address();
        log_start(&plan, address);
        let systems = Systems::start(&plan, &registry, address)?;
        announce(address)?;
        let endpoints = endpoints(plan.counts, plan.stamp.is_some());
        let serving = listener.serve(systems.routes(), endpoints, stop.clone(), plan.deadline);
        Ok(Self { plan, logs, signals, registry, push, systems, serving, stop })
    }

    /// Until there is a reason to end.
    async fn go_on(
        &mut self,
        mut reload: Option<impl FnMut(&mut Plan, Parts<'_>)>,
    ) -> Result<(), Failure> {
        let end = self.plan.lifetime.map(|lifetime| Instant::now() + lifetime);
        loop {
            tokio::select! {
                signal = self.signals.next() => match (signal, &mut reload) {
                    (Signal::Reload, Some(reload)) => {
                        let Self { plan, logs, registry, systems, push, .. } = self;
                        reload(plan, Parts { logs, registry, systems, push });
                    }
                    _ => return Ok(()),
                },
                () = over(end) => return Ok(()),
                Some(ended) = self.systems.ended() => ended.into_result(&self.plan)?,
            }
        }
    }

    /// In good order within the deadline, or at once at a second signal. The listener goes
    /// last: what was counted at the end can still be scraped.
    async fn end(mut self) -> Result<(), Failure> {
        let deadline = self.plan.deadline;
        let ending = async {
            self.systems.stop().await;
            self.push.stop(deadline).await;
            self.stop.cancel();
            if let Some(serving) = self.serving {
                // A panic there was reported by the panic hook.
                drop(serving.await);
            }
        };
        tokio::select! {
            ended = timeout(deadline + GRACE, ending) => ended.map_err(|_| overdue(deadline)),
            () = impatience(&mut self.signals) => Err(impatient()),
        }
    }
}

/// Waits until somebody asks a second time. What asks twice at once asks once: `timeout`
/// and service managers signal a process and then its group.
async fn impatience(signals: &mut Signals) {
    let asked = Instant::now();
    loop {
        signals.again().await;
        if asked.elapsed() >= ONCE {
            return;
        }
    }
}

/// Waits for the end of a life that has one.
async fn over(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

fn log_start(plan: &Plan, listen: Option<SocketAddr>) {
    let listen = listen.map(tracing::field::display);
    tracing::info!(event = "fathom.start", version = version::build().version, listen, "Started");
    for key in &plan.unused {
        tracing::warn!(event = "config.unused", key, "This has no effect here");
    }
}

fn impatient() -> Failure {
    Failure::unavailable(anyhow!(
        "a second signal cut the end short; what is pinned goes on counting"
    ))
}

fn overdue(deadline: Duration) -> Failure {
    Failure::unavailable(anyhow!(
        "not everything ended within {deadline:?}; what is pinned goes on counting, raise --shutdown-deadline"
    ))
}

/// Scrapes and pushes are all there is to do; measuring has its own threads.
const WORKERS: usize = 2;

/// Signals within this time are one.
const ONCE: Duration = Duration::from_secs(1);

/// For a system that keeps its own deadline to say so.
const GRACE: Duration = Duration::from_secs(1);

/// For tasks that nobody waits for.
const LAST_TASKS: Duration = Duration::from_millis(200);
