//! Where everything that is known goes: files, metrics, documents.

use jiff::Timestamp;
use serde_json::Value;
use stamp_proto::clock::MonoTime;
use telemetry::registry::{CollectorHandle, Options, Registry};

use crate::catalogue::CATALOGUE;
use crate::clock::{HostClock, monotonic};
use crate::control::Part;
use crate::error::Error;
use crate::families::families;
use crate::service::{Over, Reflecting, Sending, Service};
use crate::summary::{ClockSummary, ReflectorSummary, SenderSummary, SessionPage, offsets, series};
use crate::system::Finished;

/// All outlets of one system.
#[derive(Debug)]
pub(crate) struct Outlet {
    started: Timestamp,
    handle: Option<CollectorHandle>,
    /// When to show something again.
    next: MonoTime,
}

impl Outlet {
    /// No outlet but files and documents.
    pub(crate) fn new() -> Self {
        Self { started: Timestamp::now(), handle: None, next: monotonic().after(EACH_NS) }
    }

    /// Metrics of everything.
    pub(crate) fn expose(&mut self, registry: &Registry) -> Result<(), Error> {
        let options = Options {
            beat_limit: Some(BEAT_LIMIT),
            series_limit: MOST_SERIES,
            ..Options::default()
        };
        let handle = registry.collector_with("stamp", CATALOGUE, options)?;
        handle.condition("socket", true, "bound");
        self.handle = Some(handle);
        Ok(())
    }

    /// Shows what is new, once a second at most. Packets that are due wait meanwhile, so it
    /// may take a hundredth of the time and no more: many targets are shown less often.
    pub(crate) fn look(&mut self, service: &Service) {
        let began = monotonic();
        if began < self.next {
            return;
        }
        self.publish(service);
        write(service.senders(), service.reflectors());
        let now = monotonic();
        let pause = now.since(began).saturating_mul(100).clamp(EACH_NS, LONGEST_NS);
        self.next = began.after(pause);
    }

    /// Shows that the service has begun.
    pub(crate) fn begin(&self, service: &Service) {
        self.publish(service);
        self.handle.iter().for_each(CollectorHandle::up);
    }

    /// One document of now.
    pub(crate) fn show(&self, service: &Service, part: Part) -> Value {
        let clock = service.clock();
        let document = match part {
            Part::Summary => serde_json::to_value(self.sender(clock, service.senders(), false)),
            Part::Reflector => {
                let summary = self.reflector(clock, service.reflectors());
                serde_json::to_value(summary.map(ReflectorSummary::without_sessions))
            }
            Part::Series(name, seconds) => {
                serde_json::to_value(series(clock, service.senders(), &name, seconds))
            }
            Part::Sessions(after, limit) => {
                let reflectors = service.reflectors();
                let page = SessionPage::of(clock, reflectors, after.as_ref(), limit);
                serde_json::to_value((!reflectors.is_empty()).then_some(page))
            }
            Part::Offsets => serde_json::to_value(offsets(clock, service.senders())),
            Part::Clock => serde_json::to_value(ClockSummary::of(clock)),
        };
        document.unwrap_or(Value::Null)
    }

    /// The documents of the end.
    pub(crate) fn finish(&self, over: &Over) -> Finished {
        write(&over.senders, &over.reflectors);
        Finished {
            sender: self.sender(&over.clock, &over.senders, !over.stopped),
            reflector: self.reflector(&over.clock, &over.reflectors),
        }
    }

    fn sender(
        &self,
        clock: &HostClock,
        senders: &[Sending],
        complete: bool,
    ) -> Option<SenderSummary> {
        SenderSummary::of(self.started, complete, clock, senders)
    }

    fn reflector(&self, clock: &HostClock, reflectors: &[Reflecting]) -> Option<ReflectorSummary> {
        ReflectorSummary::of(self.started, clock, reflectors)
    }

    fn publish(&self, service: &Service) {
        if let Some(handle) = &self.handle {
            handle.publish(families(service));
            handle.beat();
        }
    }
}

fn write(senders: &[Sending], reflectors: &[Reflecting]) {
    senders.iter().for_each(Sending::write_histograms);
    reflectors.iter().for_each(Reflecting::write_histogram);
}

/// How often files and metrics are brought up to date, and at the least.
const EACH_NS: i64 = 1_000_000_000;
const LONGEST_NS: i64 = 5_000_000_000;

/// A thread that has shown nothing for so long hangs.
const BEAT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// The most of one family: 1024 targets, two directions, seven reasons.
const MOST_SERIES: usize = 1_024 * 2 * 7;
