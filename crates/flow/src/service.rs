//! The thread that owns the engine: starts it, drains it on time, obeys, and ends it.

mod begin;
mod edges;
mod mend;
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

use edges::{Discovered, Waiting};
use flow_bpf::Event;
use flow_model::{
    edge::EdgeId,
    flow::{Counts, Parity},
    ledger::{DrainError, KernelStep},
    page::{Pages, Region, control},
    snapshot::Snapshot,
};
use net_sys::lock::Lock;
use telemetry::{logs::EventLimit, registry::CollectorHandle};
use tokio::sync::oneshot;

use crate::{
    command::{Command, NoticeThread},
    config::Config,
    discover::{EARLY, SurveyThread},
    dump::{Closed, Dumper, Place},
    engine::Engine,
    error::Error,
    families::Info,
    overflow::{Overflow, Turn},
    pins::PinDir,
    published::{EdgeNames, Published},
    ready::ReadyFile,
    schedule::{Due, Schedule},
    settings::OnExit,
    tally::{Cause, Fault, Tally},
    time::{monotonic, tick_clock},
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
    refused: BTreeMap<String, &'static str>,
    named: BTreeMap<String, EdgeId>,
    discovered: Option<Discovered>,
    interface_drift: Counts,
    epoch: Arc<Epoch>,
    fill: [f64; 2],
    schedule: Schedule,
    overflow: Overflow,
    last_resync: Instant,
    fresh: Vec<oneshot::Sender<()>>,
    // In the order in which they end.
    _ready: Option<ReadyFile>,
    _survey: Option<SurveyThread>,
    _notices: NoticeThread,
    _lock: Option<Lock>,
}

/// How often fill is looked at, whatever the notices say.
/// The most commands that are taken before the clock is looked at again.
const BATCH: usize = 1024;
const FILL_PERIOD: Duration = Duration::from_secs(1);

impl Service {
    /// Drains and obeys until told to stop.
    pub(crate) fn run(mut self, commands: &Receiver<Command>) -> Result<(), Error> {
        loop {
            match commands.recv_timeout(self.next_wake()) {
                Ok(first) => {
                    // What came together is answered together: a burst of pods costs one
                    // grace period, not one for each.
                    let mut changes = Vec::new();
                    for command in iter::once(first).chain(commands.try_iter().take(BATCH)) {
                        match command {
                            Command::Stop => return self.stop(),
                            Command::Device(change) => changes.push(change),
                            other => self.obey(other),
                        }
                    }
                    self.devices(changes);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.look_at_fill();
                    self.hook_some(Instant::now());
                }
                Err(RecvTimeoutError::Disconnected) => return self.stop(),
            }
            if let Some(due) = self.due() {
                self.drain(due)?;
            }
            if self.last_resync.elapsed() >= self.config.settings().resync_interval {
                self.resync();
            }
        }
    }

    fn obey(&mut self, command: Command) {
        match command {
            Command::Notice(_) => self.schedule.hasten(Cause::Fill),
            Command::Fresh(reply) => self.fresh.push(reply),
            Command::Reload(config) => self.reload(*config),
            // The loop takes these itself.
            Command::Stop | Command::Device(_) => {}
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

    /// One epoch. A step that the kernel refuses is counted and tried again at the next.
    fn drain(&mut self, due: Due) -> Result<(), Error> {
        let now = Instant::now();
        let late = self.schedule.is_late(self.config.interval(), now);
        self.schedule.begin(now);
        let fill = self.engine.reader().fill(self.open_parity());
        self.fill = [fill.v4, fill.v6];
        match self.drain_once() {
            Ok(snapshot) => {
                self.note_drain(due, late);
                self.note_overflow();
                self.publish(&snapshot)?;
                for reader in self.fresh.drain(..) {
                    // A reader that went away needs no answer.
                    reader.send(()).ok();
                }
            }
            Err(Error::Drain(DrainError::Kernel { step, source })) => {
                self.tally.fault(fault_of(step));
                tracing::warn!(error = %source, step = step.as_str(), "A drain could not be finished; it is tried again");
            }
            Err(error) => return Err(error),
        }
        self.handle.beat();
        Ok(())
    }

    fn drain_once(&mut self) -> Result<Arc<Snapshot>, Error> {
        let clock = tick_clock(&self.engine.tables().clock()?);
        self.watch.start(clock);
        let mut drained = self.engine.drain(&mut self.watch)?;
        if drained.resumed.is_some() {
            drained = self.engine.drain(&mut self.watch)?;
        }
        self.epoch = Arc::new(self.watch.take_epoch());
        if let Some(dumper) = &self.dumper {
            dumper.offer(Closed {
                number: drained.epoch,
                flows: Arc::clone(&self.epoch),
                names: Arc::new(self.names.clone()),
                clock,
            });
        }
        Ok(drained.snapshot)
    }

    fn note_drain(&mut self, due: Due, late: bool) {
        if let Due::Early(cause) = due {
            self.tally.early(cause);
            tracing::debug!(event = "drain.early", cause = cause.as_str(), "Drained ahead of time");
        }
        let Some(course) = self.watch.course() else {
            return;
        };
        self.tally.grace.observe(course.grace.as_secs_f64());
        self.tally.collection.observe(course.whole.as_secs_f64());
        self.handle.took(course.whole);
        if late || course.whole > self.config.interval() {
            self.tally.overruns += 1;
            if let Some(suppressed) = self.limit.admit("drain.overrun", "", Instant::now()) {
                tracing::warn!(event = "drain.overrun", took = ?course.whole, suppressed, "A drain took longer than the interval");
            }
        }
    }

    /// Tells when flows begin to find no room, and when all find room again.
    fn note_overflow(&mut self) {
        let Ok(count) = self.engine.tables().events(Event::Overflow) else {
            return;
        };
        match self.overflow.observe(count) {
            Some(Turn::Begin) => {
                tracing::warn!(
                    event = "overflow.begin",
                    "New flows find no room: their amounts are folded; raise --flow-capacity"
                );
            }
            Some(Turn::End(insertions)) => {
                tracing::info!(event = "overflow.end", insertions, "All flows find room again");
            }
            None => {}
        }
    }

    fn resync(&mut self) {
        self.last_resync = Instant::now();
        self.retry_refused();
        self.renew_named();
        self.mend_hooks();
        self.look_for_bypass();
        match self.engine.check_interfaces() {
            Ok(drift) => self.interface_drift = drift,
            Err(error) => tracing::warn!(%error, "Interface counters could not be compared"),
        }
        if !self.interface_drift.is_zero() {
            let Counts { packets, bytes } = self.interface_drift;
            self.report_violation("interface", packets, bytes);
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
        self.drain(Due::Regular)?;
        let detach = self.config.settings().on_exit == OnExit::Detach;
        let Some(pins) = self.pins.clone() else {
            self.engine.detach_all(None)?;
            tracing::info!(event = "flows.stop", left = "nothing", "Hooks are removed");
            return Ok(());
        };
        if detach {
            self.engine.detach_all(Some(&pins))?;
            flow_bpf::Tables::unpin(pins.path())?;
            pins.remove()?;
            tracing::info!(event = "flows.stop", left = "nothing", "Hooks and pins are removed");
        } else {
            tracing::info!(
                event = "flows.stop",
                left = "counting",
                undo = format!("fathom flows detach --bpf-pin-dir {}", pins.path().display()),
                "The kernel goes on counting"
            );
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

const fn fault_of(step: KernelStep) -> Fault {
    match step {
        KernelStep::Grace => Fault::Flip,
        KernelStep::Clear => Fault::Clear,
        KernelStep::Read | KernelStep::Totals | KernelStep::Folded => Fault::Read,
    }
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
