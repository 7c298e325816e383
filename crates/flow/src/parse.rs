//! Small languages of the settings: durations, sizes, edges, globs.

mod edge;

use std::{fmt, net::SocketAddr, str::FromStr, sync::Arc, time::Duration};

use edge::check_name;
pub use edge::{NetnsEdge, PodEdge};

use flow_model::prefix::Prefix;
use telemetry::{
    duration::GoDuration,
    otlp::{is_endpoint, is_header},
};

/// Why a value was refused. The flag or key is named by whoever asked.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Refused {
    /// Not a duration.
    #[error(transparent)]
    Duration(#[from] telemetry::duration::DurationError),
    /// A duration out of range.
    #[error("must lie between {min} and {max}")]
    OutOfRange {
        /// Smallest.
        min: &'static str,
        /// Largest.
        max: &'static str,
    },
    /// Not a boolean.
    #[error("must be true, false, 1 or 0")]
    Boolean,
    /// Not a size.
    #[error("must be a number of bytes, with KiB, MiB or GiB if you like")]
    Bytes,
    /// Not a listener.
    #[error("must be ADDRESS:PORT such as 0.0.0.0:9090, or off")]
    Listen,
    /// Not a number of shards.
    #[error("must be auto, 1, 2, 4 or 8")]
    Shards,
    /// Not a signal.
    #[error("must be some of rtt, retransmits, resets, connections, drops, dns, or none")]
    Signal,
    /// No name in front of the equals sign, or none behind it.
    #[error("must be {0}, with nothing left empty")]
    Form(&'static str),
    /// A name longer than the edge book keeps.
    #[error("the name has {0} octets, at most 63 are possible")]
    LongName(usize),
    /// Not an interface name as the kernel has them.
    #[error("an interface name has 1 to 15 octets, without '/' or white space")]
    Interface,
    /// Not an endpoint.
    #[error("is no OTLP endpoint; write for example http://collector:4318/v1/metrics")]
    Endpoint,
    /// A header that HTTP does not allow.
    #[error(
        "is no header that HTTP allows; use a name and value of printable ASCII, with a comma as %2C"
    )]
    Header,
    /// Octets that are no text.
    #[error("is not UTF-8 once its percent signs are decoded; correct them")]
    Encoding,
    /// Not an address range.
    #[error("{0}")]
    Prefix(flow_model::prefix::PrefixError),
}

/// A parser of durations between two bounds.
pub fn duration(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&str) -> Result<Duration, Refused> + Clone + Send + Sync + 'static {
    move |text| {
        let value = GoDuration::from_str(text)?.get();
        let bound = |text: &str| GoDuration::from_str(text).map(GoDuration::get);
        if (bound(min)?..=bound(max)?).contains(&value) {
            return Ok(value);
        }
        Err(Refused::OutOfRange { min, max })
    }
}

/// `true`, `false`, `1` or `0`.
pub fn boolean(text: &str) -> Result<bool, Refused> {
    match text {
        "true" | "1" => Ok(true),
        "false" | "0" => Ok(false),
        _ => Err(Refused::Boolean),
    }
}

/// A number of bytes.
pub fn bytes(text: &str) -> Result<u64, Refused> {
    let units = [("KiB", 10), ("MiB", 20), ("GiB", 30)];
    let (digits, shift) = units
        .iter()
        .find_map(|(unit, shift)| Some((text.strip_suffix(unit)?.trim_end(), *shift)))
        .unwrap_or((text, 0));
    let count: u64 = digits.parse().map_err(|_| Refused::Bytes)?;
    count.checked_mul(1 << shift).ok_or(Refused::Bytes)
}

/// Where to listen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// Nowhere.
    Off,
    /// There.
    At(SocketAddr),
}

/// An address with a port, or `off`.
pub fn listen(text: &str) -> Result<Listen, Refused> {
    match text {
        "off" => Ok(Listen::Off),
        _ => text.parse().map(Listen::At).map_err(|_| Refused::Listen),
    }
}

/// How many tables an epoch has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    /// As many as fit the CPUs.
    Auto,
    /// This many.
    Fixed(u32),
}

impl Shards {
    /// The number for a host: the largest power of two up to its CPUs and up to 8.
    pub fn resolve(self, cpus: usize) -> u32 {
        match self {
            Self::Fixed(shards) => shards,
            Self::Auto => 1 << cpus.clamp(1, 8).ilog2(),
        }
    }
}

/// `auto` or a small power of two.
pub fn shards(text: &str) -> Result<Shards, Refused> {
    match text {
        "auto" => Ok(Shards::Auto),
        "1" => Ok(Shards::Fixed(1)),
        "2" => Ok(Shards::Fixed(2)),
        "4" => Ok(Shards::Fixed(4)),
        "8" => Ok(Shards::Fixed(8)),
        _ => Err(Refused::Shards),
    }
}

/// An optional signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// Round-trip times of TCP.
    Rtt,
    /// Retransmitted segments.
    Retransmits,
    /// Resets sent and received.
    Resets,
    /// Connections opened and closed.
    Connections,
    /// Packets the kernel dropped.
    Drops,
    /// Latency of name resolution.
    Dns,
    /// None of them.
    None,
}

/// A signal by its name.
pub fn signal(text: &str) -> Result<Signal, Refused> {
    Ok(match text {
        "rtt" => Signal::Rtt,
        "retransmits" => Signal::Retransmits,
        "resets" => Signal::Resets,
        "connections" => Signal::Connections,
        "drops" => Signal::Drops,
        "dns" => Signal::Dns,
        "none" => Signal::None,
        _ => return Err(Refused::Signal),
    })
}

/// Where metrics are pushed; nothing stands for nowhere.
pub fn endpoint(text: &str) -> Result<String, Refused> {
    if text.is_empty() || is_endpoint(text) { Ok(text.to_owned()) } else { Err(Refused::Endpoint) }
}

/// A key and its value.
pub type Pair = (String, String);

/// A header of a push: a [`pair`] that HTTP allows.
pub fn header(text: &str) -> Result<Pair, Refused> {
    let (name, value) = pair(text)?;
    if is_header(&name, &value) { Ok((name, value)) } else { Err(Refused::Header) }
}

/// `KEY=VALUE`, where values may hold any octet as `%XX` (W3C Baggage, as OpenTelemetry
/// specifies these settings).
pub fn pair(text: &str) -> Result<Pair, Refused> {
    match text.split_once('=') {
        Some((key, value)) if !key.trim().is_empty() => {
            let value = percent_decoded(value.trim()).ok_or(Refused::Encoding)?;
            Ok((key.trim().to_owned(), value))
        }
        _ => Err(Refused::Form("KEY=VALUE")),
    }
}

/// What is no octet in hexadecimal digits stands for itself. None if it is no text then.
fn percent_decoded(text: &str) -> Option<String> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let escaped = behind.split_at_checked(2).filter(|_| *first == b'%');
        let decoded = escaped.and_then(|(digits, behind)| Some((octet(digits)?, behind)));
        let (octet, behind) = decoded.unwrap_or((*first, behind));
        octets.push(octet);
        rest = behind;
    }
    String::from_utf8(octets).ok()
}

fn octet(digits: &[u8]) -> Option<u8> {
    let digit = |sign: u8| char::from(sign).to_digit(16);
    let [high, low] = digits else { return None };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

/// A name and the address range it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedPrefix {
    /// The name.
    pub name: Arc<str>,
    /// The range.
    pub prefix: Prefix,
}

impl FromStr for NamedPrefix {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        const FORM: &str = "NAME=CIDR";
        let (name, range) = text.split_once('=').ok_or(Refused::Form(FORM))?;
        let prefix = range.parse().map_err(Refused::Prefix)?;
        Ok(Self { name: check_name(name, FORM)?.into(), prefix })
    }
}

/// A pattern of interface names with `*` and `?`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(String);

impl Glob {
    /// Whether a name fits the whole pattern.
    pub fn matches(&self, name: &str) -> bool {
        fits(self.0.as_bytes(), name.as_bytes())
    }
}

impl FromStr for Glob {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        if text.is_empty() { Err(Refused::Form("a pattern")) } else { Ok(Self(text.to_owned())) }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Linear but for backtracking to the last star, which interface names keep short.
fn fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&sign) if sign == b'?' || sign == name[n] => {
                p += 1;
                n += 1;
            }
            _ => {
                let Some((at, from)) = star else { return false };
                star = Some((at, from + 1));
                p = at + 1;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|sign| *sign == b'*')
}

#[cfg(test)]
mod tests;
