//! The start: from settings to an agent that counts.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, mpsc::SyncSender},
    time::{Duration, Instant},
};

use flow_bpf::Event;
use flow_model::flow::Counts;
use net_sys::lock::Lock;
use telemetry::{logs::EventLimit, registry::CollectorHandle};

use super::{Service, dumper};
use crate::{
    command::{Command, NoticeThread},
    config::Config,
    error::Error,
    families::Info,
    hook::Lane,
    host,
    overflow::Overflow,
    pins::PinDir,
    published::{EdgeNames, Published},
    ready::ReadyFile,
    rows::{LIMIT, Rows},
    schedule::{Due, Schedule},
    start::{Started, start},
    tally::{Cause, Tally},
    time::monotonic,
    watch::Watch,
};

/// The kernel side, open and ours.
struct Opened {
    pins: Option<PinDir>,
    lock: Option<Lock>,
    lane: Lane,
    watch: Watch,
    tally: Tally,
    started: Started,
}

impl Service {
    /// Takes the lock, recovers, hooks what is named and starts to look for the rest.
    pub(crate) fn start(
        config: Config,
        handle: CollectorHandle,
        sender: SyncSender<Command>,
        published: Published,
        listening: Option<SocketAddr>,
    ) -> Result<Self, Error> {
        let node = config.node_name();
        tracing::info!(event = "flows.start", node, "Flows is starting");
        let unused = config.without_effect();
        if !unused.is_empty() {
            let settings = unused.join(",");
            tracing::warn!(
                event = "config.unused",
                settings,
                "Settings without effect in this release"
            );
        }
        config.settings().ready_file.as_deref().map_or(Ok(()), ReadyFile::check)?;
        let opened = open(&config, &handle)?;
        let mut service = Self::assemble(config, handle, &sender, published, opened)?;
        let snapshot = Arc::new(service.engine.ledger().snapshot());
        service.publish(&snapshot)?;
        service.handle.up();
        if service.config.is_once() {
            service.hook_present()?;
        } else {
            service.take_up_edges(sender)?;
        }
        service.handle.condition("discovery", true, "attached");
        service.drain(Due::Regular)?;
        let edges = service.engine.edges().len();
        let ready_file = service.config.settings().ready_file.as_deref();
        service.ready_at = monotonic();
        service._ready = Some(ReadyFile::create(ready_file, listening, edges)?);
        tracing::info!(event = "flows.ready", edges, "Every hook is in place");
        Ok(service)
    }

    fn assemble(
        config: Config,
        handle: CollectorHandle,
        sender: &SyncSender<Command>,
        published: Published,
        opened: Opened,
    ) -> Result<Self, Error> {
        let engine = opened.started.engine;
        Ok(Self {
            handle,
            pins: opened.pins,
            watch: opened.watch,
            tally: opened.tally,
            info: info(&config, opened.lane),
            published,
            dumper: dumper(&config)?,
            limit: EventLimit::default(),
            names: EdgeNames::new(),
            refused: BTreeMap::new(),
            named: BTreeMap::new(),
            discovered: None,
            interface_drift: Counts::ZERO,
            epoch: Arc::default(),
            rows: config.is_once().then(|| Rows::new(LIMIT)),
            fill: [0.0; 2],
            schedule: Schedule::new(Instant::now()),
            overflow: Overflow::new(engine.tables().events(Event::Overflow)?),
            last_resync: Instant::now(),
            fresh: Vec::new(),
            ready_at: Duration::ZERO,
            _ready: None,
            survey: None,
            links: None,
            _notices: NoticeThread::start(engine.tables().notices()?, sender.clone())?,
            _lock: opened.lock,
            engine,
            config,
        })
    }
}

fn open(config: &Config, handle: &CollectorHandle) -> Result<Opened, Error> {
    host::check_kernel()?;
    let settings = config.settings();
    let lane = host::lane(config.attach())?;
    let make = || {
        let pins = PinDir::make(&settings.pins.bpf_pin_dir)?;
        Ok::<_, Error>(pins.with_netns_dirs(&settings.netns_dir))
    };
    // A single measurement is nobody's but its own.
    let pinned = !settings.no_pin && !config.is_once();
    let pins = pinned.then(make).transpose()?;
    let lock = pins.as_ref().map(|pins| take_lock(config, pins)).transpose()?;
    handle.condition("lock", true, if lock.is_some() { "held" } else { "not needed" });

    let flows = settings.flow_capacity as usize + settings.flow_capacity6 as usize;
    let mut watch = Watch::new(config.counts_connections().then_some(2 * flows));
    let loading = Instant::now();
    let sizes = config.sizes(host::cpus());
    let started = start(sizes, config.ledger(), pins.as_ref(), lane, &mut watch)?;
    let mut tally = Tally::default();
    tally.load(loading.elapsed());
    if started.moved {
        tally.early(Cause::Takeover);
    }
    tell_recovery(&started);
    handle.condition("recovery", true, "done");
    Ok(Opened { pins, lock, lane, watch, tally, started })
}

fn take_lock(config: &Config, pins: &PinDir) -> Result<Lock, Error> {
    pins.lock(config.settings().takeover_wait, |holder| {
        tracing::info!(event = "lock.waiting", holder, "Another process writes to these pins");
    })
}

fn tell_recovery(started: &Started) {
    let Some(recovery) = started.recovery else { return };
    if let Some(how) = recovery.how {
        tracing::info!(
            event = "ledger.recovered",
            how = how.as_str(),
            epochs = recovery.epochs,
            "An unfinished epoch was recovered"
        );
    }
}

fn info(config: &Config, lane: Lane) -> Info {
    let settings = config.settings();
    Info {
        enabled: settings.connection_tracking,
        flow_key: config.flow_key().as_str(),
        node: config.node_name().into(),
        pod_uid: settings.pod_uid.as_deref().unwrap_or("").into(),
        attach: lane.as_str(),
    }
}
