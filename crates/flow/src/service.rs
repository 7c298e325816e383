//! The thread that owns the engine: starts it, drains it on time, obeys, and ends it.

mod begin;
mod discovered;
mod drain;
mod edges;
mod mend;
mod once;
mod publish;
mod reload;

use std::{
    collections::BTreeMap,
    iter,
    sync::{
        Arc,
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use discovered::{Discovered, Waiting};
use flow_model::{
    edge::EdgeId,
    flow::{Counts, Parity},
    page::{Pages, Region, control},
};
use net_sys::lock::Lock;
use telemetry::{logs::EventLimit, registry::CollectorHandle};
use tokio::sync::oneshot;

use crate::{
    command::{Command, NoticeThread},
    config::Config,
    discover::{EARLY, SurveyThread},
    dump::{Dumper, Place},
    engine::Engine,
    error::Error,
    families::Info,
    links::LinkThread,
    overflow::Overflow,
    pins::PinDir,
    published::{EdgeNames, Published},
    ready::ReadyFile,
    rows::Rows,
    schedule::{Due, Schedule},
    settings::OnExit,
    tally::{Cause, Tally},
    time::monotonic,
    watch::{Epoch, Watch},
};

/// The running system.
#[derive(Debug)]
pub(crate) struct Service {
    config: Config,
    handle: CollectorHandle,
    engine: Engine,
    pins: Option<PinDir>,
    watch: Watch,
    tally: Tally,
    info: Info,
    published: Published,
    dumper: Option<Dumper>,
    limit: EventLimit,
    names: EdgeNames,
    /// Named edges that can't be had, and why.
    refused: BTreeMap<String, &'static str>,
    named: BTreeMap<String, EdgeId>,
    discovered: Option<Discovered>,
    interface_drift: Counts,
    epoch: Arc<Epoch>,
    /// Flows of the whole life, where they are wanted.
    rows: Option<Rows>,
    fill: [f64; 2],
    schedule: Schedule,
    overflow: Overflow,
    last_resync: Instant,
    fresh: Vec<oneshot::Sender<()>>,
    ready_at: Duration,
    // In the order in which they end.
    _ready: Option<ReadyFile>,
    survey: Option<SurveyThread>,
    links: Option<LinkThread>,
    _notices: NoticeThread,
    _lock: Option<Lock>,
}

/// The most commands that are taken before the clock is looked at again.
const BATCH: usize = 1024;
/// How often fill is looked at, whatever the notices say.
const FILL_PERIOD: Duration = Duration::from_secs(1);

impl Service {
    /// Drains and obeys until told to stop.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) -> Result<(), Error> {
        while self.turn(commands, Duration::MAX)? {
            if self.last_resync.elapsed() >= self.config.settings().resync_interval {
                self.resync();
            }
        }
        self.stop()
    }

    /// Waits, but not longer than told, and does what that brought. False when it is time
    /// to stop.
    fn turn(&mut self, commands: &Receiver<Command>, longest: Duration) -> Result<bool, Error> {
        match commands.recv_timeout(self.next_wake().min(longest)) {
            Ok(first) => {
                // What came together is answered together: a burst of pods costs one
                // grace period, not one for each.
                let (mut changes, mut links) = (Vec::new(), false);
                for command in iter::once(first).chain(commands.try_iter().take(BATCH)) {
                    match command {
                        Command::Stop => return Ok(false),
                        Command::Device(change) => changes.push(change),
                        Command::Links => links = true,
                        other => self.obey(other),
                    }
                }
                self.devices(changes);
                if links {
                    self.follow_links();
                }
            }
            Err(RecvTimeoutError::Timeout) => self.look_at_fill(),
            Err(RecvTimeoutError::Disconnected) => return Ok(false),
        }
        // Whatever keeps coming, devices have their turn.
        self.hook_some(Instant::now());
        if let Some(due) = self.due() {
            self.drain(due)?;
        }
        Ok(true)
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Notice => self.schedule.hasten(Cause::Fill),
            Command::Fresh(reply) => self.fresh.push(reply),
            Command::Reload(config) => self.reload(*config),
            // The loop takes these itself.
            Command::Stop | Command::Device(_) | Command::Links => {}
        }
    }

    fn next_wake(&self) -> Duration {
        let asked = !self.fresh.is_empty();
        let drain = self.schedule.wait(self.config.interval(), asked, Instant::now());
        let look = match self.waiting() {
            Waiting::ToBeHooked => Duration::ZERO,
            Waiting::ForNamespace => EARLY,
            Waiting::Nothing => FILL_PERIOD,
        };
        drain.min(look)
    }

    fn due(&self) -> Option<Due> {
        self.schedule.due(self.config.interval(), !self.fresh.is_empty(), Instant::now())
    }

    fn open_parity(&self) -> Parity {
        Parity::of(self.engine.ledger().pages().load(Region::Control, control::EPOCH))
    }

    fn look_at_fill(&mut self) {
        let fill = self.engine.reader().fill(self.open_parity());
        let mark = f64::from(self.config.settings().early_drain_percent) / 100.0;
        if fill.v4 >= mark || fill.v6 >= mark {
            self.schedule.hasten(Cause::Fill);
        }
    }

    fn report_violation(&self, law: &'static str, packets: u64, bytes: u64) {
        if let Some(suppressed) = self.limit.admit("audit.violation", law, Instant::now()) {
            tracing::error!(
                event = "audit.violation",
                law,
                packets,
                bytes,
                suppressed,
                "The sides of a law differ"
            );
        }
    }

    /// The last drain, and hooks left as they were asked to be.
    fn stop(mut self) -> Result<(), Error> {
        let detach = self.config.settings().on_exit == OnExit::Detach;
        match self.pins.clone() {
            // Without pins nobody could take up what is left, nor remove it.
            Some(pins) if !detach && self.engine.is_pinned() => {
                self.drain(Due::Regular)?;
                let hooked = !self.engine.edges().is_empty();
                tracing::info!(
                    event = "flows.stop",
                    left = if hooked { "counting" } else { "counts" },
                    undo = format!("fathom flows detach --bpf-pin-dir {}", pins.path().display()),
                    "What is pinned stays"
                );
            }
            pins => {
                let detached = self.engine.detach_all();
                // Only now: nobody reads what is counted behind the last drain.
                self.close_epoch(Due::Regular)?;
                detached?;
                if let Some(pins) = pins {
                    flow_bpf::Tables::unpin(pins.path())?;
                    pins.remove()?;
                }
                tracing::info!(event = "flows.stop", left = "nothing", "Hooks are removed");
            }
        }
        Ok(())
    }

    fn active(&mut self) -> Option<flow_model::connections::Active> {
        self.watch.active(monotonic(), self.config.settings().connection_idle)
    }
}

/// How long the drains may be silent before the process counts as stuck.
pub(crate) fn beat_limit(config: &Config) -> Duration {
    const SLACK: Duration = Duration::from_secs(30);
    3 * config.interval() + SLACK
}

fn dumper(config: &Config) -> Result<Option<Dumper>, Error> {
    let settings = config.settings();
    if !settings.dump_bpf_maps {
        return Ok(None);
    }
    Dumper::start(Place {
        folder: settings.dump_dir.clone().unwrap_or_else(std::env::temp_dir),
        keep: settings.dump_keep as usize,
        max_bytes: settings.dump_max_bytes,
        mode: config.flow_key(),
    })
    .map(Some)
}

#[cfg(test)]
mod tests;
