//! `fathom stamp reflect`.

use jiff::Timestamp;
use stamp_proto::reflector::{Numbering, Policy, Prefixes, Reflector};

use super::{EACH_NS, bins, device, enforce, histogram_path, nanoseconds, times, write_histogram};
use crate::clock::{HostClock, monotonic};
use crate::error::Error;
use crate::histogram::HistogramFile;
use crate::service::{Reflecting, Service};
use crate::settings::{Mode, Reflect};
use crate::stop::Stop;
use crate::summary::ReflectorSummary;
use crate::{keys, port};

/// A reflector that has everything it needs.
#[derive(Debug)]
pub struct Reflection {
    service: Service,
    file: Option<HistogramFile>,
}

impl Reflection {
    /// Looks at everything that can be wrong, and binds the ports.
    ///
    /// # Errors
    ///
    /// When the settings contradict each other or something needed is not there.
    pub fn prepare(settings: &Reflect, stop: Stop) -> Result<Self, Error> {
        let bins = bins(&settings.common)?;
        let policy = policy(settings)?;
        let clock = HostClock::read()?;
        enforce(&settings.common, &clock)?;
        let path = histogram_path(&settings.common, "/tmp/reflector-hist");
        let file = bins.as_ref().map(|bins| HistogramFile::create(path, bins)).transpose()?;
        let mut sockets = Vec::new();
        for &port in &settings.port {
            sockets.extend(port::bind(port, device(&settings.device), TTL)?);
        }
        let format = times(settings.common.timestamp_format);
        let reflecting = Reflecting::new(Reflector::new(policy), format, bins);
        Ok(Self { service: Service::new(clock, sockets, None, Some(reflecting), stop), file })
    }

    /// Answers until told to stop.
    ///
    /// # Errors
    ///
    /// When the sockets or the clocks fail.
    pub fn run(self) -> Result<ReflectorSummary, Error> {
        let Self { service, file } = self;
        let started = Timestamp::now();
        let mut written = monotonic();
        let over = service.run(|service| {
            if monotonic().since(written) >= EACH_NS {
                written = monotonic();
                write(file.as_ref(), service.reflecting());
            }
        })?;
        write(file.as_ref(), over.reflecting.as_ref());
        let reflecting = over.reflecting.expect("the service has this role");
        Ok(ReflectorSummary::of(started, &over.clock, &reflecting))
    }
}

fn write(file: Option<&HistogramFile>, reflecting: Option<&Reflecting>) {
    write_histogram(file, reflecting.and_then(|reflecting| reflecting.bins.as_ref()));
}

fn policy(settings: &Reflect) -> Result<Policy, Error> {
    let private = if settings.open { Prefixes::all() } else { Prefixes::private() };
    let allow = if settings.open {
        private
    } else {
        Prefixes::private().with(settings.allow.iter().copied())
    };
    Ok(Policy {
        keys: keys::read(&settings.common.key_file, &settings.common.prev_key_file)?,
        allow,
        deny: settings.deny.iter().copied().collect(),
        twamp_light: settings.twamp_light.iter().copied().collect(),
        reflector_ports: settings.reflector_ports.clone(),
        rate: settings.rate,
        burst: settings.burst,
        global_rate: settings.global_rate,
        max_sessions: settings.max_sessions,
        session_timeout_ns: nanoseconds(settings.session_timeout),
        numbering: match settings.mode {
            Mode::Auto => Numbering::Auto,
            Mode::Stateful => Numbering::Stateful,
            Mode::Stateless => Numbering::Stateless,
        },
        min_ttl: settings.common.min_ttl,
        ..Policy::default()
    })
}

/// Replies leave with a full TTL, so that the sender sees how far they came.
const TTL: u8 = 255;
