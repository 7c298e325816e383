//! The commands: from settings to a document.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;

use jiff::Timestamp;
use stamp_proto::loss::Reflector as Kind;
use stamp_proto::packet::Mode as Protection;
use stamp_proto::reflector::{KeyPair, Numbering, Policy, Prefixes, Reflector};
use stamp_proto::sender::{Sender, Settings, Timescale};
use stamp_proto::statistics::{Bins, Scale};
use stamp_proto::timestamp::Format as Times;
use stamp_proto::tlv::{HEADER_LEN, Kind as Extension};

use crate::clock::{HostClock, monotonic};
use crate::error::{ClockRefused, Error, Problem};
use crate::histogram::HistogramFile;
use crate::parse::{Target as Named, noise, window};
use crate::samples::Samples;
use crate::service::{Reflecting, Sending, SendingPlan, Service};
use crate::settings::{
    Common, HistScale, Mode, OnZeroSsid, PeerTimescale, Reflect, ReflectorMode, Send,
    TimestampFormat,
};
use crate::stop::Stop;
use crate::summary::{Frame, ReflectorSummary, SenderSummary};
use crate::tally::Tally;
use crate::target::Target;
use crate::timetable::Timetable;
use crate::{keys, port};

/// Measures the targets until all packets are sent and answered or given up.
///
/// # Errors
///
/// When the settings contradict each other or something needed is not there.
pub fn send(settings: &Send, stop: Stop) -> Result<SenderSummary, Error> {
    let slots = check(settings)?;
    let clock = HostClock::read()?;
    enforce(&settings.common, &clock)?;
    let keys = keys::read(&settings.common.key_file, &settings.common.prev_key_file)?;
    let sockets = port::bind(settings.src, device(&settings.device), settings.ttl)?;
    let source_port = sockets.first().map_or(settings.src, crate::socket::Socket::port);
    let timescale = timescale(settings.peer_timescale, &clock);
    let mut targets = Vec::new();
    for named in &settings.targets {
        let session = session(settings, &keys, timescale, slots)?;
        let address = resolve(named, settings.dest)?;
        let bins = bins(&settings.common)?;
        targets.push(Target::new(named.name(), address, Sender::new(session), Tally::new(bins)));
    }
    let files = histogram_files(settings, &targets)?;
    let samples = settings.samples.as_deref().map(Samples::create).transpose()?;
    let interval_ns = nanoseconds(settings.interval);
    let timetable =
        Timetable::new(targets.len(), settings.schedule, interval_ns, monotonic(), seed());
    let common = SendingPlan {
        count: settings.count,
        end: settings.duration.map(|duration| monotonic().after(nanoseconds(duration))),
        traffic_class: settings.dscp << 2 | settings.ecn,
        format: times(settings.common.timestamp_format),
        patience_ns: (3 * interval_ns).max(nanoseconds(settings.timeout)),
    };
    let sending = Sending::new(targets, timetable, common, sockets.len(), samples);
    let started = Timestamp::now();
    let mut written = monotonic();
    let service = Service::new(clock, sockets, Some(sending), None, stop.clone());
    let over = service.run(|service| {
        if !files.is_empty() && monotonic().since(written) >= EACH_NS {
            written = monotonic();
            write_histograms(&files, service.sending());
        }
        Ok(())
    })?;
    write_histograms(&files, over.sending.as_ref());
    let frame =
        Frame { started, complete: !stop.is_set(), device: settings.device.clone(), source_port };
    let targets = over.sending.map(|sending| sending.targets).unwrap_or_default();
    Ok(SenderSummary::of(&frame, &over.clock, &targets))
}

/// Answers requests until told to stop.
///
/// # Errors
///
/// When the settings contradict each other or something needed is not there.
pub fn reflect(settings: &Reflect, stop: Stop) -> Result<ReflectorSummary, Error> {
    let clock = HostClock::read()?;
    let bins = bins(&settings.common)?;
    enforce(&settings.common, &clock)?;
    let file = match &bins {
        Some(bins) => Some(HistogramFile::create(
            histogram_path(&settings.common, "/tmp/reflector-hist"),
            bins,
        )?),
        None => None,
    };
    let policy = policy(settings)?;
    let mut sockets = Vec::new();
    for &port in &settings.port {
        sockets.extend(port::bind(port, device(&settings.device), TTL)?);
    }
    let format = times(settings.common.timestamp_format);
    let reflecting = Reflecting::new(Reflector::new(policy), format, bins);
    let started = Timestamp::now();
    let mut written = monotonic();
    let over = Service::new(clock, sockets, None, Some(reflecting), stop).run(|service| {
        if monotonic().since(written) >= EACH_NS {
            written = monotonic();
            write_histogram(
                file.as_ref(),
                service.reflecting().and_then(|reflecting| reflecting.bins.as_ref()),
            );
        }
        Ok(())
    })?;
    let Some(reflecting) = over.reflecting else { unreachable!("the role was given above") };
    write_histogram(file.as_ref(), reflecting.bins.as_ref());
    Ok(ReflectorSummary::of(started, &over.clock, &reflecting))
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
    keys: &stamp_proto::reflector::Keys,
    timescale: Timescale,
    window: usize,
) -> Result<Settings, Error> {
    let ssid = settings.ssid.unwrap_or_else(|| (seed() % 65_535) as u16 + 1);
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
            ReflectorMode::Auto => Kind::Unknown,
            ReflectorMode::Stateful => Kind::Stateful,
            ReflectorMode::Stateless => Kind::Stateless,
        },
        extensions: asked.chain(padding).collect(),
    })
}

/// The extension that brings a request to the size that was asked for, if it needs one.
fn padding(settings: &Send) -> Result<Option<(Extension, Vec<u8>)>, Problem> {
    let Some(size) = settings.size.map(usize::from) else { return Ok(None) };
    let is_signed = !settings.common.key_file.is_empty();
    let base = if is_signed { Protection::Authenticated } else { Protection::Open }.base_len();
    let values: Vec<usize> =
        settings.tlv.iter().chain(&settings.cos).map(|extension| extension.value.len()).collect();
    let signature =
        if is_signed && !values.is_empty() { HEADER_LEN + stamp_proto::auth::HMAC_LEN } else { 0 };
    let least = base + signature + values.iter().map(|len| HEADER_LEN + len).sum::<usize>();
    if size == least {
        return Ok(None);
    }
    match size.checked_sub(least + HEADER_LEN) {
        Some(len) if size <= MOST_PAYLOAD => Ok(Some((Extension::ExtraPadding, noise(len)))),
        _ => Err(Problem::Size { least: least + HEADER_LEN, most: MOST_PAYLOAD }),
    }
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

fn enforce(common: &Common, clock: &HostClock) -> Result<(), ClockRefused> {
    let local = clock.local();
    if (common.enforce_sync || common.enforce_ptp) && !local.synchronized {
        return Err(ClockRefused::Unsynchronised);
    }
    if common.enforce_ptp {
        return Err(ClockRefused::NoPtp);
    }
    let allowed = common
        .max_error
        .filter(|_| common.enforce_sync)
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

/// Where the histogram goes: bare `--hist` is how the replaced chart asked for it.
fn histogram_path(common: &Common, bare: &str) -> PathBuf {
    let is_bare = common.hist.is_some_and(|hist| hist.is_bare());
    let default = if is_bare { bare } else { "./hist" };
    common.histpath.clone().unwrap_or_else(|| default.into())
}

fn write_histograms(files: &[HistogramFile], sending: Option<&Sending>) {
    let targets = sending.iter().flat_map(|sending| &sending.targets);
    for (file, target) in files.iter().zip(targets) {
        write_histogram(Some(file), target.tally.bins.as_ref());
    }
}

fn write_histogram(file: Option<&HistogramFile>, bins: Option<&Bins>) {
    let (Some(file), Some(bins)) = (file, bins) else { return };
    if let Err(error) = file.write(bins) {
        tracing::warn!(event = "histogram.lost", %error, "A histogram can't be written");
    }
}

/// The first address that the name has.
fn resolve(target: &Named, port: u16) -> Result<SocketAddr, Error> {
    match target {
        Named::Address { address: IpAddr::V6(address), device: Some(device) } => {
            let scope = nix::net::if_::if_nametoindex(device.as_str());
            let scope = scope.map_err(|_| Error::NoDevice { device: device.clone() })?;
            Ok(std::net::SocketAddrV6::new(*address, port, 0, scope).into())
        }
        Named::Address { address, .. } => Ok(SocketAddr::new(*address, port)),
        Named::Name(name) => {
            let failed = |source| Error::Name { name: name.clone(), source };
            let mut found = (name.as_str(), port).to_socket_addrs().map_err(failed)?;
            found.next().ok_or_else(|| failed(std::io::ErrorKind::NotFound.into()))
        }
    }
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

fn device(name: &str) -> Option<&str> {
    Some(name).filter(|&name| name != "auto")
}

const fn times(format: TimestampFormat) -> Times {
    match format {
        TimestampFormat::Ntp => Times::Ntp,
        TimestampFormat::Ptp => Times::Ptp,
    }
}

fn nanoseconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// A number that is another one at each call.
fn seed() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

/// Replies leave with a full TTL, so that the sender sees how far they came.
const TTL: u8 = 255;

/// The shortest interval to one target.
const SHORTEST: std::time::Duration = std::time::Duration::from_micros(100);

/// What fits into a packet of IPv4 that is 65,535 octets long.
const MOST_PAYLOAD: usize = 65_507;

/// How often files are brought up to date.
const EACH_NS: i64 = 1_000_000_000;

/// What TAI is ahead of UTC since the last leap second.
const TAI_SINCE_2017: i32 = 37;
