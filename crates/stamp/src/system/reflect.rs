//! A Session-Reflector from its settings.

use stamp_proto::reflector::{Control, Numbering, Policy, Prefixes, Reflector};

use super::{
    MOST_KEYS, at_most, bins, device, enforce, histogram_path, key_files, nanoseconds,
    refuse_hardware, times,
};
use crate::clock::HostClock;
use crate::error::Error;
use crate::histogram::HistogramFile;
use crate::kernel::Surroundings;
use crate::keys;
use crate::parse::Member;
use crate::ports::Ports;
use crate::service::Reflecting;
use crate::settings::{Admission, Mode, Reflect};

/// Looks at everything that can be wrong, and binds the ports.
pub(super) fn prepare(
    settings: &Reflect,
    clock: &HostClock,
    ports: &mut Ports,
) -> Result<Reflecting, Error> {
    check(settings)?;
    let bins = bins(&settings.common)?;
    let policy = policy(settings)?;
    refuse_hardware(&settings.common, &settings.device)?;
    enforce(&settings.common, clock)?;
    let path = histogram_path(&settings.common, "/tmp/reflector-hist");
    let histogram =
        bins.map(|bins| HistogramFile::create(path, &bins).map(|file| (bins, file))).transpose()?;
    let mut sockets = Vec::new();
    for &port in &settings.port {
        sockets.extend(ports.bind(port, device(&settings.device), TTL)?);
    }
    let format = times(settings.common.timestamp_format);
    let mut reflecting = Reflecting::new(Reflector::new(policy), format, histogram, &sockets);
    reflecting.key_files = key_files(&settings.common);
    for Member { device, id } in &settings.member {
        let index = nix::net::if_::if_nametoindex(device.as_str());
        let index = index.map_err(|_| Error::NoDevice { device: device.clone() })?;
        reflecting.members.push((index, *id));
    }
    Ok(reflecting)
}

fn check(settings: &Reflect) -> Result<(), Error> {
    let prefixes = settings.allow.len() + settings.deny.len() + settings.twamp_light.len();
    let limits = [
        at_most(MOST_PORTS, "ports", settings.port.len()),
        at_most(MOST_KEYS, "keys", settings.common.key_file.len()),
        at_most(MOST_PREFIXES, "prefixes", prefixes),
    ];
    let problems: Vec<_> = limits.into_iter().filter_map(Result::err).collect();
    if problems.is_empty() { Ok(()) } else { Err(Error::Settings(problems)) }
}

fn policy(settings: &Reflect) -> Result<Policy, Error> {
    let own = Surroundings::of(device(&settings.device))?;
    let allow = match settings.open {
        true => Prefixes::all(),
        false => Prefixes::private().with(settings.allow.iter().copied().chain(own.networks)),
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
        control: Control {
            max_count: settings.control_max_count,
            max_rate: settings.control_max_rate,
            max_bytes: settings.control_max_bytes,
            ..Control::default()
        },
        return_address: settings.return_address,
        own_addresses: own.addresses,
        own_macs: own.macs,
    })
}

const MOST_PORTS: usize = 16;
const MOST_PREFIXES: usize = 4_096;

/// Replies leave with a full TTL, so that the sender sees how far they came.
const TTL: u8 = 255;
