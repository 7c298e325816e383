//! The system: prepared from settings, which is when everything is looked at that can be
//! refused, and then run to its end.

mod backend;
mod reflect;
mod send;

use std::path::PathBuf;
use std::time::Duration;

use axum::Router;
use stamp_proto::statistics::{Bins, Scale};
use stamp_proto::timestamp::Format as Times;
use telemetry::registry::Registry;

use crate::api;
use crate::clock::HostClock;
use crate::control::Controls;
use crate::error::{ClockRefused, Error, Problem};
use crate::outlet::Outlet;
use crate::ports::Ports;
use crate::resolver::Resolver;
use crate::service::{KeyFiles, Parts, Sending, Service};
use crate::settings::{Common, HistScale, Host, Reflect, Send, TimestampFormat, Timestamps};
use crate::sync;
use backend::Roles;

use crate::summary::{ReflectorSummary, SenderSummary};

/// A system that has everything it needs.
#[derive(Debug)]
pub struct System {
    service: Service,
    outlet: Outlet,
}

/// What the roles of a system measured; absent for a role that it did not have.
#[derive(Debug)]
pub struct Finished {
    /// What the Session-Sender measured.
    pub sender: Option<SenderSummary>,
    /// What the Session-Reflector did.
    pub reflector: Option<ReflectorSummary>,
}

impl System {
    /// A system with these roles, on one socket for each port.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other or something needed is not there.
    pub fn new(senders: &[Send], reflectors: &[Reflect], host: &Host) -> Result<Self, Error> {
        let mut clock = HostClock::read(host.offset.window_ns)?;
        let commons = senders.iter().map(|send| &send.common);
        let mut commons = commons.chain(reflectors.iter().map(|reflect| &reflect.common));
        if commons.any(|common| common.enforce_ptp || common.enforce_sync) {
            clock.set_discipline(sync::look(&host.time).map_err(Error::thread)?);
        }
        let watch = sync::Watch::start(host.time.clone()).map_err(Error::thread)?;
        let mut ports = Ports::default();
        // Who answers comes first: whoever sends may send to itself.
        let reflectors: Result<Vec<_>, Error> = reflectors
            .iter()
            .map(|settings| Ok((settings, reflect::prepare(settings, &clock, &mut ports)?)))
            .collect();
        let reflectors = reflectors?;
        let senders: Result<Vec<_>, Error> = senders
            .iter()
            .map(|settings| Ok((settings, send::prepare(settings, host, &clock, &mut ports)?)))
            .collect();
        let mut roles = Roles { senders: senders?, reflectors };
        send::tell_apart(&roles.senders)?;
        roles.name(&host.named);
        let kernels = roles.bring_up(&ports, &clock, host)?;
        let names = roles.names();
        let senders: Vec<Sending> = roles.senders.into_iter().map(|(_, sending)| sending).collect();
        let reflectors = roles.reflectors.into_iter().map(|(_, reflecting)| reflecting).collect();
        ports.ask_for_times(&senders)?;
        let service = Service::new(Parts {
            clock,
            watch,
            resolver: Resolver::start(names)?,
            sockets: ports.sockets,
            senders,
            reflectors,
            kernels,
        })?;
        Ok(Self { service, outlet: Outlet::new() })
    }

    /// Shows what it knows in this registry while it runs.
    ///
    /// # Errors
    ///
    /// When the registry refuses its metrics.
    pub fn exposed_in(mut self, registry: &Registry) -> Result<Self, Error> {
        self.outlet.expose(registry)?;
        Ok(self)
    }

    /// The API of the system.
    pub fn routes(&self) -> Router {
        api::routes(self.service.controls())
    }

    /// The UDP ports in use.
    pub fn ports(&self) -> Vec<u16> {
        self.service.ports()
    }

    /// Controls that work from any thread.
    pub fn controls(&self) -> Controls {
        self.service.controls()
    }

    /// Runs until all packets are sent and answered or given up, or until told to stop.
    ///
    /// # Errors
    ///
    /// When the sockets or the clocks fail.
    pub fn run(self) -> Result<Finished, Error> {
        let Self { service, mut outlet } = self;
        let over = service.run(&mut outlet)?;
        Ok(outlet.finish(&over))
    }
}

/// Refuses more of something than is taken.
fn at_most(most: usize, what: &'static str, have: usize) -> Result<(), Problem> {
    if have > most { Err(Problem::TooMany { what, have, most }) } else { Ok(()) }
}

fn key_files(common: &Common) -> KeyFiles {
    KeyFiles { current: common.key_file.clone(), previous: common.prev_key_file.clone() }
}

/// No card's times are believed before a packet has shown that they come, and that the
/// card's clock is the system's: no such card could be tried yet.
fn refuse_hardware(common: &Common, device: &str) -> Result<(), Error> {
    match common.timestamps {
        Timestamps::Hardware => Err(Error::NoHardware { device: device.to_owned() }),
        Timestamps::Auto | Timestamps::Kernel => Ok(()),
    }
}

fn enforce(common: &Common, clock: &HostClock) -> Result<(), ClockRefused> {
    let local = clock.local();
    if (common.enforce_sync || common.enforce_ptp) && !local.synchronized {
        return Err(ClockRefused::Unsynchronised);
    }
    if common.enforce_ptp && !clock.discipline().is_some_and(|told| told.ptp) {
        return Err(ClockRefused::NoPtp);
    }
    let allowed = common
        .max_error
        .filter(|_| common.enforce_sync || common.enforce_ptp)
        .map(|most| nanoseconds(most).unsigned_abs());
    match (local.error_ns, allowed) {
        (Some(error_ns), Some(allowed_ns)) if error_ns > allowed_ns => {
            Err(ClockRefused::ErrorTooLarge { error_ns, allowed_ns })
        }
        _ => Ok(()),
    }
}

fn bins(common: &Common) -> Result<Option<Bins>, Error> {
    let Some((bins, floor, ceiling)) = common.histogram() else { return Ok(None) };
    let scale = match common.hist_scale {
        HistScale::Linear => Scale::Linear,
        HistScale::Log10 => Scale::Log10,
    };
    let bins = Bins::new(bins, floor, ceiling, scale);
    bins.map(Some).map_err(|error| Error::Settings(vec![error.into()]))
}

/// Where the histogram goes: bare `--hist` is how the replaced chart asked for it.
fn histogram_path(common: &Common, bare: &str) -> PathBuf {
    let is_bare = common.hist.is_some_and(|hist| hist.is_bare());
    let default = if is_bare { bare } else { "./hist" };
    common.histpath.clone().unwrap_or_else(|| default.into())
}

fn device(name: &str) -> Option<&str> {
    Some(name).filter(|&name| name != "auto")
}

const fn times(format: TimestampFormat) -> Times {
    match format {
        TimestampFormat::Ntp => Times::Ntp,
        TimestampFormat::Ptp => Times::Ptp,
    }
}

fn nanoseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Keys of one role.
const MOST_KEYS: usize = 64;
