//! Where everything that is known goes: files, metrics, documents.

use jiff::Timestamp;
use serde_json::Value;
use stamp_proto::clock::MonoTime;
use stamp_proto::statistics::Bins;
use telemetry::registry::{CollectorHandle, Options, Registry};

use crate::catalogue::CATALOGUE;
use crate::clock::{HostClock, monotonic};
use crate::control::Part;
use crate::error::Error;
use crate::families::families;
use crate::histogram::HistogramFile;
use crate::service::{Over, Reflecting, Sending, Service};
use crate::summary::{ClockSummary, Frame, ReflectorSummary, SenderSummary, offsets};
use crate::system::Finished;

/// All outlets of one system.
#[derive(Debug)]
pub(crate) struct Outlet {
    started: Timestamp,
    device: String,
    source_port: u16,
    target_files: Vec<HistogramFile>,
    reflector_file: Option<HistogramFile>,
    handle: Option<CollectorHandle>,
    last: MonoTime,
}

impl Outlet {
    /// No outlet but the documents.
    pub(crate) fn new(device: String, source_port: u16) -> Self {
        Self {
            started: Timestamp::now(),
            device,
            source_port,
            target_files: Vec::new(),
            reflector_file: None,
            handle: None,
            last: monotonic(),
        }
    }

    /// Histograms of the targets, in their order.
    pub(crate) fn with_target_files(self, target_files: Vec<HistogramFile>) -> Self {
        Self { target_files, ..self }
    }

    /// The histogram of the reflector.
    pub(crate) fn with_reflector_file(self, reflector_file: Option<HistogramFile>) -> Self {
        Self { reflector_file, ..self }
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

    /// Shows what is new, once a second at most.
    pub(crate) fn look(&mut self, service: &Service) {
        let now = monotonic();
        if now.since(self.last) < EACH_NS {
            return;
        }
        self.last = now;
        self.publish(service);
        self.write(service.sending(), service.reflecting());
    }

    /// Shows that the service has begun.
    pub(crate) fn begin(&self, service: &Service) {
        self.publish(service);
        self.handle.iter().for_each(CollectorHandle::up);
    }

    /// One document of now.
    pub(crate) fn show(&self, service: &Service, part: Part) -> Value {
        let document = match part {
            Part::Summary => {
                serde_json::to_value(self.sender(service.clock(), service.sending(), false))
            }
            Part::Reflector => {
                serde_json::to_value(self.reflector(service.clock(), service.reflecting()))
            }
            Part::Offsets => serde_json::to_value(offsets(service.clock(), service.sending())),
            Part::Clock => serde_json::to_value(ClockSummary::of(service.clock())),
        };
        document.unwrap_or(Value::Null)
    }

    /// The documents of the end.
    pub(crate) fn finish(&self, over: &Over) -> Finished {
        self.write(over.sending.as_ref(), over.reflecting.as_ref());
        Finished {
            sender: self.sender(&over.clock, over.sending.as_ref(), !over.stopped),
            reflector: self.reflector(&over.clock, over.reflecting.as_ref()),
        }
    }

    fn sender(
        &self,
        clock: &HostClock,
        sending: Option<&Sending>,
        complete: bool,
    ) -> Option<SenderSummary> {
        let frame = Frame {
            started: self.started,
            complete,
            device: &self.device,
            source_port: self.source_port,
        };
        sending.map(|sending| SenderSummary::of(&frame, clock, &sending.targets))
    }

    fn reflector(
        &self,
        clock: &HostClock,
        reflecting: Option<&Reflecting>,
    ) -> Option<ReflectorSummary> {
        reflecting.map(|reflecting| ReflectorSummary::of(self.started, clock, reflecting))
    }

    fn publish(&self, service: &Service) {
        if let Some(handle) = &self.handle {
            handle.publish(families(service));
            handle.beat();
        }
    }

    fn write(&self, sending: Option<&Sending>, reflecting: Option<&Reflecting>) {
        let targets = sending.iter().flat_map(|sending| &sending.targets);
        for (file, target) in self.target_files.iter().zip(targets) {
            write(file, target.tally.bins.as_ref());
        }
        if let Some(file) = &self.reflector_file {
            write(file, reflecting.and_then(|reflecting| reflecting.bins.as_ref()));
        }
    }
}

fn write(file: &HistogramFile, bins: Option<&Bins>) {
    if let Some(Err(error)) = bins.map(|bins| file.write(bins)) {
        tracing::warn!(event = "histogram.lost", %error, "A histogram can't be written");
    }
}

/// How often files and metrics are brought up to date.
const EACH_NS: i64 = 1_000_000_000;

/// A thread that has shown nothing for so long hangs.
const BEAT_LIMIT: std::time::Duration = std::time::Duration::from_secs(10);

/// The most of one family: 1024 targets, two directions, seven reasons.
const MOST_SERIES: usize = 1_024 * 2 * 7;
