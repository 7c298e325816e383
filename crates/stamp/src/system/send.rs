//! A Session-Sender from its settings.

use std::net::{IpAddr, SocketAddr, SocketAddrV6, ToSocketAddrs};
use std::time::Duration;

use stamp_proto::loss::Reflector;
use stamp_proto::packet::Mode;
use stamp_proto::reflector::{KeyPair, Keys};
use stamp_proto::sender::{Sender, Settings, Timescale};
use stamp_proto::tlv::{HEADER_LEN, Kind};
use telemetry::metric::Histogram;

use super::{
    MOST_KEYS, at_most, bins, device, enforce, histogram_path, key_files, nanoseconds,
    refuse_hardware, times,
};
use crate::clock::{HostClock, monotonic};
use crate::error::{Error, Problem};
use crate::histogram::HistogramFile;
use crate::keys;
use crate::parse::{Target as Named, noise, window};
use crate::ports::Ports;
use crate::samples::Samples;
use crate::service::{Sending, SendingPlan};
use crate::settings::{Host, OnZeroSsid, PeerTimescale, ReflectorMode, Send};
use crate::tally::Tally;
use crate::target::Target;
use crate::target::chosen_ssid;
use crate::timetable::{Timetable, seed};

/// Looks at everything that can be wrong, and binds the port.
pub(super) fn prepare(
    settings: &Send,
    host: &Host,
    clock: &HostClock,
    ports: &mut Ports,
) -> Result<Sending, Error> {
    let slots = check(settings)?;
    refuse_hardware(&settings.common, &settings.device)?;
    enforce(&settings.common, clock)?;
    let keys = keys::read(&settings.common.key_file, &settings.common.prev_key_file)?;
    let sockets = ports.bind(settings.src, device(&settings.device), settings.ttl)?;
    let targets = targets(settings, host, &keys, timescale(settings.peer_timescale, clock), slots)?;
    let interval_ns = nanoseconds(settings.interval);
    let timetable =
        Timetable::new(targets.len(), settings.schedule, interval_ns, monotonic(), seed());
    let plan = SendingPlan {
        device: settings.device.clone(),
        source_port: ports.port(&sockets),
        files: histogram_files(settings, &targets)?,
        samples: settings.samples.as_deref().map(Samples::create).transpose()?,
        count: settings.count,
        end: settings.duration.map(|duration| monotonic().after(nanoseconds(duration))),
        interval_ns,
        traffic_class: traffic_class(settings),
        format: times(settings.common.timestamp_format),
        patience_ns: interval_ns.saturating_mul(3).max(nanoseconds(settings.timeout)),
    };
    let mut sending = Sending::new(targets, timetable, plan, &sockets);
    sending.key_files = key_files(&settings.common);
    Ok(sending)
}

/// Refuses two senders that ask one address from one port.
pub(super) fn tell_apart(senders: &[(&Send, Sending)]) -> Result<(), Error> {
    for (n, (_, sending)) in senders.iter().enumerate() {
        if let Some(name) = senders[..n].iter().find_map(|(_, first)| sending.shared_with(first)) {
            let (first, second) = (name.to_owned(), name.to_owned());
            return Err(Error::Settings(vec![Problem::OneAddress { first, second }]));
        }
    }
    Ok(())
}

fn targets(
    settings: &Send,
    host: &Host,
    keys: &Keys,
    timescale: Timescale,
    slots: usize,
) -> Result<Vec<Target>, Error> {
    let buckets = Histogram::new(host.buckets.clone());
    let buckets = buckets.map_err(|_| Error::Settings(vec![Problem::Buckets]))?;
    let target = |named: &Named| {
        let session = session(settings, keys, timescale, slots)?;
        let address = resolve(named, settings.dest)?;
        let bins = bins(&settings.common)?;
        let (sender, class) = (Sender::new(session), traffic_class(settings));
        let tally = Tally::new(bins, &buckets, host.offset);
        let mut target = Target::new(named.name(), address, sender, tally, class);
        target.has_chosen_ssid = settings.ssid.is_none();
        Ok(target)
    };
    let targets: Vec<Target> = settings.targets.iter().map(target).collect::<Result<_, Error>>()?;
    for (n, target) in targets.iter().enumerate() {
        if let Some(first) = targets[..n].iter().find(|first| first.address == target.address) {
            let (first, second) = (first.name.clone(), target.name.clone());
            return Err(Error::Settings(vec![Problem::OneAddress { first, second }]));
        }
    }
    Ok(targets)
}

/// Everything that is wrong with the settings, or how many requests are remembered.
fn check(settings: &Send) -> Result<usize, Error> {
    let mut problems = Vec::new();
    if settings.interval < SHORTEST {
        problems.push(Problem::Interval);
    }
    if settings.timeout.is_zero() {
        problems.push(Problem::Timeout);
    }
    let rate = settings.targets.len() as f64 / settings.interval.as_secs_f64().max(1e-9);
    if rate > f64::from(settings.max_rate) {
        problems.push(Problem::Rate { asked: rate, allowed: settings.max_rate });
    }
    for (n, target) in settings.targets.iter().enumerate() {
        if settings.targets[..n].contains(target) {
            problems.push(Problem::Twice(target.name()));
        }
    }
    if let Err(Error::Settings(found)) = bins(&settings.common) {
        problems.extend(found);
    }
    problems.extend(padding(settings).err());
    problems.extend(at_most(MOST_TARGETS, "targets", settings.targets.len()).err());
    problems.extend(at_most(MOST_KEYS, "keys", settings.common.key_file.len()).err());
    let slots = window(settings.interval, settings.timeout);
    match slots {
        Some(slots) if problems.is_empty() => Ok(slots),
        Some(_) => Err(Error::Settings(problems)),
        None => {
            problems.push(Problem::Window);
            Err(Error::Settings(problems))
        }
    }
}

fn session(
    settings: &Send,
    keys: &Keys,
    timescale: Timescale,
    window: usize,
) -> Result<Settings, Error> {
    let ssid = settings.ssid.unwrap_or_else(chosen_ssid);
    let keys: Option<KeyPair> = match keys.is_empty() {
        true => None,
        false => Some(keys.of(ssid).ok_or_else(|| Error::Settings(vec![Problem::NoKey(ssid)]))?),
    };
    let padding = padding(settings).map_err(|problem| Error::Settings(vec![problem]))?;
    let asked = settings
        .tlv
        .iter()
        .chain(&settings.cos)
        .map(|extension| (extension.kind, extension.value.clone()));
    Ok(Settings {
        keys,
        ssid,
        format: times(settings.common.timestamp_format),
        timescale,
        timeout_ns: nanoseconds(settings.timeout),
        min_ttl: settings.common.min_ttl,
        zero_ssid_is_fatal: settings.on_zero_ssid == OnZeroSsid::Stop,
        window,
        reflector: match settings.reflector_mode {
            ReflectorMode::Auto => Reflector::Unknown,
            ReflectorMode::Stateful => Reflector::Stateful,
            ReflectorMode::Stateless => Reflector::Stateless,
        },
        extensions: asked.chain(padding).collect(),
    })
}

/// The extension that brings a request to the size that was asked for, if it needs one.
fn padding(settings: &Send) -> Result<Option<(Kind, Vec<u8>)>, Problem> {
    let Some(size) = settings.size.map(usize::from) else { return Ok(None) };
    let is_signed = !settings.common.key_file.is_empty();
    let base = if is_signed { Mode::Authenticated } else { Mode::Open }.base_len();
    let values: Vec<usize> =
        settings.tlv.iter().chain(&settings.cos).map(|extension| extension.value.len()).collect();
    let signature =
        if is_signed && !values.is_empty() { HEADER_LEN + stamp_proto::auth::HMAC_LEN } else { 0 };
    let least = base + signature + values.iter().map(|len| HEADER_LEN + len).sum::<usize>();
    if size == least {
        return Ok(None);
    }
    match size.checked_sub(least + HEADER_LEN) {
        Some(len) if size <= MOST_PAYLOAD => Ok(Some((Kind::ExtraPadding, noise(len)))),
        _ => Err(Problem::Size { least: least + HEADER_LEN, most: MOST_PAYLOAD }),
    }
}

/// One file for each target, named after it where there are several.
fn histogram_files(settings: &Send, targets: &[Target]) -> Result<Vec<HistogramFile>, Error> {
    let path = histogram_path(&settings.common, "/tmp/sender-hist");
    let several = targets.len() > 1;
    let file = |target: &Target| {
        let bins = target.tally.bins.as_ref()?;
        let mut path = path.clone().into_os_string();
        if several {
            path.push(format!(".{}", target.name));
        }
        Some(HistogramFile::create(path.into(), bins))
    };
    targets.iter().filter_map(file).collect()
}

/// The first address that the name has.
fn resolve(target: &Named, port: u16) -> Result<SocketAddr, Error> {
    match target {
        Named::Address { address: IpAddr::V6(address), device: Some(device) } => {
            Ok(SocketAddrV6::new(*address, port, 0, index(device)?).into())
        }
        Named::Address { address, .. } => Ok(SocketAddr::new(*address, port)),
        Named::Name(name) => {
            let failed = |source| Error::Name { name: name.clone(), source };
            let mut found = (name.as_str(), port).to_socket_addrs().map_err(failed)?;
            found.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
        }
    }
}

const fn traffic_class(settings: &Send) -> u8 {
    settings.dscp << 2 | settings.ecn
}

fn index(device: &str) -> Result<u32, Error> {
    let index = nix::net::if_::if_nametoindex(device);
    index.map_err(|_| Error::NoDevice { device: device.to_owned() })
}

/// PTP times are TAI where the kernel knows by how much that is ahead.
fn timescale(told: PeerTimescale, clock: &HostClock) -> Timescale {
    let known = clock.tai_offset_s();
    match told {
        PeerTimescale::Auto => Timescale { ptp_ahead_s: known.unwrap_or(0), ntp_ahead_s: 0 },
        PeerTimescale::Utc => Timescale::UTC,
        PeerTimescale::Tai => {
            if known.is_none() {
                tracing::warn!(
                    event = "timescale.assumed",
                    seconds = TAI_SINCE_2017,
                    "The kernel does not know TAI; the offset since 2017 is taken"
                );
            }
            let ahead = known.unwrap_or(TAI_SINCE_2017);
            Timescale { ptp_ahead_s: ahead, ntp_ahead_s: ahead }
        }
    }
}

/// What the kernel's programs have room for.
const MOST_TARGETS: usize = 1_024;

/// The shortest interval to one target.
const SHORTEST: Duration = Duration::from_micros(100);

/// What fits into a packet of IPv4 that is 65,535 octets long.
const MOST_PAYLOAD: usize = 65_507;

/// What TAI is ahead of UTC since the last leap second.
const TAI_SINCE_2017: i32 = 37;
