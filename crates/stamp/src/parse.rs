//! Small languages of the settings.

use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use stamp_proto::reflector::{Disclose, Provisioned};
use stamp_proto::sender::Settings as Session;
use stamp_proto::tlv::{AccessReport, Kind, MicroSession};
use telemetry::duration::GoDuration;

/// Why a value was refused. The flag is named by whoever asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// Not a length of time.
    #[error("is no time; write seconds such as 0.5, or a unit as in 250us, 5ms, 2s")]
    Time,
    /// Not an unsigned number of milliseconds.
    #[error("is no number of milliseconds; write 25 or 0.5")]
    Milliseconds,
    /// Not an address or a name.
    #[error("is no target; write an address, [an IPv6 address], fe80::1%DEVICE or a name")]
    Target,
    /// Not a session number.
    #[error("must be auto or a number from 1 to 65535; 0 means no session")]
    Ssid,
    /// Not an extension.
    #[error(
        "is no extension; some of timestamp-info, location, direct-measurement, follow-up, access-report=ID:CODE, dest-node=ADDRESS, return-path=none|same-link|ADDRESS, micro-session=ID[:PEER], padding=N[:zero]"
    )]
    Extension,
    /// Not a DSCP with an ECN.
    #[error("must be DSCP, or DSCP,ECN, with a DSCP up to 63 and an ECN up to 3")]
    ClassOfService,
    /// Not a session of the reflector.
    #[error("must be SSID,SRC,DST or SSID,SRC,DST,MICRO with two addresses")]
    Session,
    /// Not a member link.
    #[error("must be IFACE=ID with a number from 1 to 65535")]
    Member,
    /// Not a list of DSCP values.
    #[error("must be all, none, or values from 0 to 63 with commas between")]
    Dscp,
    /// Not a list of what may be told.
    #[error("must be none, or some of ports, ips and mac with commas between")]
    Disclose,
}

/// Seconds as a decimal number, or any length of time with a unit.
pub fn time(text: &str) -> Result<Duration, Refused> {
    let seconds = text.parse().ok().map(Duration::try_from_secs_f64);
    let time = match seconds {
        Some(seconds) => seconds.map_err(|_| Refused::Time)?,
        None => GoDuration::from_str(text).map_err(|_| Refused::Time)?.get(),
    };
    Ok(time)
}

/// Milliseconds as a decimal number, in nanoseconds.
pub fn milliseconds(text: &str) -> Result<f64, Refused> {
    let ms: f64 = text.parse().map_err(|_| Refused::Milliseconds)?;
    Some(ms * 1e6).filter(|ns| ns.is_finite() && *ns >= 0.0).ok_or(Refused::Milliseconds)
}

/// What packets are sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// An address, with the device that a link-local one needs.
    Address {
        /// The address.
        address: IpAddr,
        /// The device behind the percent sign.
        device: Option<String>,
    },
    /// A name that is looked up.
    Name(String),
}

impl FromStr for Target {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let (address, device) = match bare.split_once('%') {
            Some((address, device)) => (address, Some(device.to_owned())),
            None => (bare, None),
        };
        if let Ok(address) = address.parse::<IpAddr>() {
            let scoped = device.is_none() || matches!(address, IpAddr::V6(v6) if is_link_local(v6));
            return scoped.then_some(Self::Address { address, device }).ok_or(Refused::Target);
        }
        let good = |label: &str| {
            (1..64).contains(&label.len())
                && label
                    .bytes()
                    .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
        };
        let name = text.strip_suffix('.').unwrap_or(text);
        let numeric = name
            .rsplit('.')
            .next()
            .is_some_and(|label| label.bytes().all(|octet| octet.is_ascii_digit()));
        let fits = name.len() < 254 && name.split('.').all(good) && !numeric;
        fits.then(|| Self::Name(text.to_owned())).ok_or(Refused::Target)
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

/// A session number; none stands for one that is chosen.
pub fn ssid(text: &str) -> Result<Option<u16>, Refused> {
    match text {
        "auto" => Ok(None),
        _ => text.parse().ok().filter(|&ssid| ssid != 0).map(Some).ok_or(Refused::Ssid),
    }
}

/// A session that may be answered where not all may.
pub fn session(text: &str) -> Result<Provisioned, Refused> {
    let mut parts = text.split(',').map(str::trim);
    let mut next = || parts.next().ok_or(Refused::Session);
    let (ssid, source, destination) = (next()?, next()?, next()?);
    let micro = parts.next().map(|micro| micro.parse().map_err(|_| Refused::Session));
    if parts.next().is_some() {
        return Err(Refused::Session);
    }
    let address = |text: &str| text.parse().map_err(|_| Refused::Session);
    Ok(Provisioned {
        ssid: ssid.parse().map_err(|_| Refused::Session)?,
        source: address(source)?,
        destination: address(destination)?,
        micro: micro.transpose()?,
    })
}

/// A device that is a member link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub device: String,
    /// Its number, which is not 0.
    pub id: u16,
}

impl FromStr for Member {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let (device, id) = text.split_once('=').ok_or(Refused::Member)?;
        let id = id.parse().ok().filter(|&id| id != 0).ok_or(Refused::Member)?;
        (!device.is_empty()).then(|| Self { device: device.to_owned(), id }).ok_or(Refused::Member)
    }
}

/// DSCP values as one bit each.
pub fn allowed_dscp(text: &str) -> Result<u64, Refused> {
    let bit = |value: &str| {
        let dscp = value.trim().parse().ok().filter(|&dscp: &u32| dscp < 64);
        dscp.map(|dscp| 1_u64 << dscp).ok_or(Refused::Dscp)
    };
    match text {
        "all" => Ok(u64::MAX),
        "none" => Ok(0),
        list => list.split(',').try_fold(0, |bits, value| Ok(bits | bit(value)?)),
    }
}

/// What a Location extension may tell.
pub fn disclose(text: &str) -> Result<Disclose, Refused> {
    let mut told = Disclose { ports: false, addresses: false, mac: false };
    for word in text.split(',').map(str::trim).filter(|_| text != "none") {
        match word {
            "ports" => told.ports = true,
            "ips" => told.addresses = true,
            "mac" => told.mac = true,
            _ => return Err(Refused::Disclose),
        }
    }
    Ok(told)
}

/// An extension as a sender sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// What it is.
    pub kind: Kind,
    /// What it says.
    pub value: Vec<u8>,
}

impl FromStr for Extension {
    type Err = Refused;

    fn from_str(text: &str) -> Result<Self, Refused> {
        let (name, argument) =
            text.split_once('=').map_or((text, None), |(name, argument)| (name, Some(argument)));
        let (kind, value) = match (name, argument) {
            ("timestamp-info", None) => (Kind::TimestampInformation, vec![0; 4]),
            ("location", None) => (Kind::Location, location()),
            ("direct-measurement", None) => (Kind::DirectMeasurement, vec![0; 12]),
            ("follow-up", None) => (Kind::FollowUpTelemetry, vec![0; 16]),
            ("access-report", Some(argument)) => (Kind::AccessReport, access_report(argument)?),
            ("dest-node", Some(argument)) => (Kind::DestinationNodeAddress, octets(argument)?),
            ("return-path", Some(argument)) => (Kind::ReturnPath, return_path(argument)?),
            ("micro-session", Some(argument)) => (Kind::MicroSessionId, micro_session(argument)?),
            ("padding", Some(argument)) => (Kind::ExtraPadding, padding(argument)?),
            _ => return Err(Refused::Extension),
        };
        Ok(Self { kind, value })
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, Refused> {
    text.parse().map_err(|_| Refused::Extension)
}

fn octets(text: &str) -> Result<Vec<u8>, Refused> {
    Ok(match number(text)? {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    })
}

/// Asks for the hardware address of the last hop and both addresses. RFC 8972 §4.2.1.
fn location() -> Vec<u8> {
    let mut value = vec![0; 4];
    for (code, len) in [(1, 8), (4, 16), (7, 16)] {
        stamp_proto::tlv::append(&mut value, Kind::from_code(code), &vec![0; len]);
    }
    value
}

fn access_report(text: &str) -> Result<Vec<u8>, Refused> {
    let (access_id, return_code) = text.split_once(':').ok_or(Refused::Extension)?;
    let report = AccessReport { access_id: number(access_id)?, return_code: number(return_code)? };
    if report.access_id > 15 { Err(Refused::Extension) } else { Ok(report.emit().to_vec()) }
}

fn micro_session(text: &str) -> Result<Vec<u8>, Refused> {
    let (own, peer) = text.split_once(':').unwrap_or((text, "0"));
    let micro = MicroSession { sender: number(own)?, reflector: number(peer)? };
    if micro.sender == 0 { Err(Refused::Extension) } else { Ok(micro.emit().to_vec()) }
}

fn return_path(text: &str) -> Result<Vec<u8>, Refused> {
    let (code, octets) = match text {
        "none" => (1, vec![0, 0, 0, 0]),
        "same-link" => (1, vec![0, 0, 0, 1]),
        address => (2, octets(address)?),
    };
    let mut value = Vec::new();
    stamp_proto::tlv::append(&mut value, Kind::from_code(code), &octets);
    Ok(value)
}

/// Padding that no compression on the way makes shorter, unless zeros are asked for.
fn padding(text: &str) -> Result<Vec<u8>, Refused> {
    let (len, zero) = text.strip_suffix(":zero").map_or((text, false), |len| (len, true));
    let len: u16 = number(len)?;
    Ok(if zero { vec![0; usize::from(len)] } else { noise(usize::from(len)) })
}

/// Octets without a pattern, the same in every packet.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 11) as u8
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// A mark that the reply is to carry.
pub fn class_of_service(text: &str) -> Result<Extension, Refused> {
    let (dscp, ecn) = text.split_once(',').unwrap_or((text, "0"));
    let parse = |text: &str, most: u8| text.parse().ok().filter(|&value: &u8| value <= most);
    let (Some(dscp1), Some(ec1)) = (parse(dscp, 63), parse(ecn, 3)) else {
        return Err(Refused::ClassOfService);
    };
    let asked = stamp_proto::tlv::ClassOfService { dscp1, ec1, ..Default::default() };
    Ok(Extension { kind: Kind::ClassOfService, value: asked.emit().to_vec() })
}

/// Whether a rate leaves room for all replies that may still come.
pub(crate) fn window(interval: Duration, timeout: Duration) -> Option<usize> {
    let timeout_ns = i64::try_from(timeout.as_nanos()).ok()?;
    Session::window_for(1.0 / interval.as_secs_f64(), timeout_ns)
}

#[cfg(test)]
mod tests {
    use super::{
        Extension, Member, Refused, Target, allowed_dscp, class_of_service, disclose, milliseconds,
        session, ssid, time,
    };
    use stamp_proto::tlv::Kind;
    use std::time::Duration;

    #[test]
    fn times_are_seconds_or_have_a_unit() {
        assert_eq!(time("0.500000"), Ok(Duration::from_millis(500)));
        assert_eq!(time("2"), Ok(Duration::from_secs(2)));
        assert_eq!(time("0.0005"), Ok(Duration::from_micros(500)));
        assert_eq!(time("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(time("5ms"), Ok(Duration::from_millis(5)));
        for wrong in ["", "-1", "nan", "inf", "1e30", "5 ms", "x", "1,5"] {
            assert_eq!(time(wrong), Err(Refused::Time), "{wrong}");
        }
    }

    #[test]
    fn what_a_reflector_allows_is_a_list() {
        let found = session("7,10.0.0.1,fd00::1,9").unwrap();
        assert_eq!((found.ssid, found.micro), (7, Some(9)));
        assert_eq!(session("7,10.0.0.1,10.0.0.2").unwrap().micro, None);
        for wrong in
            ["", "7", "7,10.0.0.1", "7,10.0.0.1,x", "7,10.0.0.1,10.0.0.2,9,9", "70000,::1,::1"]
        {
            assert_eq!(session(wrong), Err(Refused::Session), "{wrong}");
        }
        assert_eq!(allowed_dscp("0,46"), Ok(1 | 1 << 46));
        assert_eq!((allowed_dscp("all"), allowed_dscp("none")), (Ok(u64::MAX), Ok(0)));
        assert_eq!(
            (allowed_dscp("64"), allowed_dscp("")),
            (Err(Refused::Dscp), Err(Refused::Dscp))
        );
        let told = disclose("mac, ips").unwrap();
        assert!(told.mac && told.addresses && !told.ports);
        assert_eq!(disclose("ip"), Err(Refused::Disclose));
        assert_eq!("eth0=7".parse(), Ok(Member { device: "eth0".to_owned(), id: 7 }));
        for wrong in ["eth0", "eth0=0", "=7", "eth0=x"] {
            assert_eq!(wrong.parse::<Member>(), Err(Refused::Member), "{wrong}");
        }
    }

    #[test]
    fn milliseconds_may_have_a_fraction() {
        assert_eq!(milliseconds("25"), Ok(25e6));
        assert_eq!(milliseconds("0.5"), Ok(0.5e6));
        for wrong in ["-1", "nan", "inf", "25ms"] {
            assert_eq!(milliseconds(wrong), Err(Refused::Milliseconds), "{wrong}");
        }
    }

    #[test]
    fn targets_are_addresses_or_names() {
        let address = |text: &str, device: Option<&str>| Target::Address {
            address: text.parse().unwrap(),
            device: device.map(str::to_owned),
        };
        assert_eq!("10.0.0.2".parse(), Ok(address("10.0.0.2", None)));
        assert_eq!("[fd00::1]".parse(), Ok(address("fd00::1", None)));
        assert_eq!("fe80::1%eth0".parse(), Ok(address("fe80::1", Some("eth0"))));
        assert_eq!("node-7.example.".parse(), Ok(Target::Name("node-7.example.".to_owned())));
        for wrong in
            ["", "10.0.0.256", "10.0.0", "fd00::1%eth0", "a b", "-i", "%!d(float64=30)", "a..b"]
        {
            assert!(wrong.parse::<Target>().is_err() || wrong == "-i", "{wrong}");
        }
    }

    #[test]
    fn a_session_number_is_never_zero() {
        assert_eq!(ssid("auto"), Ok(None));
        assert_eq!(ssid("65535"), Ok(Some(65_535)));
        for wrong in ["0", "65536", "-1", "x"] {
            assert_eq!(ssid(wrong), Err(Refused::Ssid));
        }
    }

    #[test]
    fn extensions_are_built_as_they_are_sent() {
        let extension = |text: &str| {
            text.parse::<Extension>().map(|extension| (extension.kind, extension.value))
        };
        assert_eq!(extension("timestamp-info"), Ok((Kind::TimestampInformation, vec![0; 4])));
        assert_eq!(extension("access-report=1:2"), Ok((Kind::AccessReport, vec![0x10, 2, 0, 0])));
        assert_eq!(
            extension("dest-node=10.0.0.9"),
            Ok((Kind::DestinationNodeAddress, vec![10, 0, 0, 9]))
        );
        assert_eq!(
            extension("return-path=none"),
            Ok((Kind::ReturnPath, vec![0x80, 1, 0, 4, 0, 0, 0, 0]))
        );
        assert_eq!(extension("micro-session=3:4"), Ok((Kind::MicroSessionId, vec![0, 3, 0, 4])));
        assert_eq!(extension("padding=5:zero"), Ok((Kind::ExtraPadding, vec![0; 5])));
        assert_eq!(extension("location").unwrap().1.len(), 4 + 12 + 20 + 20);
        assert_ne!(extension("padding=8").unwrap().1, vec![0; 8]);
        for wrong in [
            "",
            "padding",
            "padding=x",
            "access-report=16:1",
            "micro-session=0",
            "follow-up=1",
            "hmac",
        ] {
            assert_eq!(extension(wrong), Err(Refused::Extension), "{wrong}");
        }
    }

    #[test]
    fn a_class_is_a_dscp_and_perhaps_an_ecn() {
        assert_eq!(class_of_service("46").unwrap().value, [46 << 2, 0, 0, 0]);
        assert_eq!(class_of_service("46,2").unwrap().value, [46 << 2, 0, 2 << 6, 0]);
        for wrong in ["64", "1,4", "", "x"] {
            assert_eq!(class_of_service(wrong), Err(Refused::ClassOfService));
        }
    }
}
