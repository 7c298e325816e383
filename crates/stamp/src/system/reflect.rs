//! A Session-Reflector from its settings.

use stamp_proto::reflector::{Numbering, Policy, Prefixes, Reflector};

use super::{System, bins, device, enforce, histogram_path, nanoseconds, times};
use crate::clock::HostClock;
use crate::error::Error;
use crate::histogram::HistogramFile;
use crate::outlet::Outlet;
use crate::service::{Reflecting, Service};
use crate::settings::{Mode, Reflect};
use crate::{keys, port};

/// Looks at everything that can be wrong, and binds the ports.
pub(super) fn prepare(settings: &Reflect) -> Result<System, Error> {
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
    let service = Service::new(clock, sockets, None, Some(reflecting))?;
    let outlet = Outlet::new(settings.device.clone(), 0).with_reflector_file(file);
    Ok(System { service, outlet })
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
