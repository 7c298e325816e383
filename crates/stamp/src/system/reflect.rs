//! A Session-Reflector from its settings.

use stamp_proto::reflector::{Numbering, Policy, Prefixes, Reflector};

use super::{bins, device, enforce, histogram_path, nanoseconds, times};
use crate::clock::HostClock;
use crate::error::Error;
use crate::histogram::HistogramFile;
use crate::keys;
use crate::ports::Ports;
use crate::service::Reflecting;
use crate::settings::{Admission, Mode, Reflect};

/// Looks at everything that can be wrong, and binds the ports.
pub(super) fn prepare(
    settings: &Reflect,
    clock: &HostClock,
    ports: &mut Ports,
) -> Result<Reflecting, Error> {
    let bins = bins(&settings.common)?;
    let policy = policy(settings)?;
    enforce(&settings.common, clock)?;
    let path = histogram_path(&settings.common, "/tmp/reflector-hist");
    let histogram =
        bins.map(|bins| HistogramFile::create(path, &bins).map(|file| (bins, file))).transpose()?;
    let mut sockets = Vec::new();
    for &port in &settings.port {
        sockets.extend(ports.bind(port, device(&settings.device), TTL)?);
    }
    let format = times(settings.common.timestamp_format);
    Ok(Reflecting::new(Reflector::new(policy), format, histogram, &sockets))
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
        provisioned: match settings.admission {
            Admission::Any => None,
            Admission::Provisioned => Some(settings.session.clone()),
        },
        allowed_dscp: settings.allowed_dscp,
        disclose: settings.location_disclose,
        min_ttl: settings.common.min_ttl,
        ..Policy::default()
    })
}

/// Replies leave with a full TTL, so that the sender sees how far they came.
const TTL: u8 = 255;
