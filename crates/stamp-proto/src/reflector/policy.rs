//! What a reflector allows, and within which limits.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Control, Limits, Prefixes, SessionKey};
use crate::auth::Key;
use crate::packet::Mode;

/// How replies are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Numbering {
    /// By a count of the session's own where it has an SSID, else as the requests are:
    /// senders of before RFC 8972 match replies by that number.
    #[default]
    Auto,
    /// By a count of the session's own.
    Stateful,
    /// As the requests are.
    Stateless,
}

/// The key of a session, and the one before it while senders change over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyPair {
    /// What is tried first.
    pub current: Key,
    /// What is tried then.
    pub previous: Option<Key>,
}

/// Keys by SSID, with one for all sessions that have none of their own.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// For sessions that are not in [`Self::by_ssid`].
    pub default: Option<KeyPair>,
    /// For single sessions.
    pub by_ssid: BTreeMap<u16, KeyPair>,
}

impl Keys {
    /// The keys of the session with this number.
    pub fn of(&self, ssid: u16) -> Option<KeyPair> {
        self.by_ssid.get(&ssid).copied().or(self.default)
    }

    /// True when there is no key at all, and so no protection.
    pub fn is_empty(&self) -> bool {
        self.default.is_none() && self.by_ssid.is_empty()
    }
}

/// Everything that is decided before the first packet.
#[derive(Debug, Clone)]
pub struct Policy {
    /// With any key here, only authenticated packets are answered.
    pub keys: Keys,
    /// Who is answered.
    pub allow: Prefixes,
    /// Who is not, whatever else allows it.
    pub deny: Prefixes,
    /// Peers whose requests may be short and padded with anything.
    pub twamp_light: Prefixes,
    /// Ports from which those peers are not answered, because reflectors are behind them.
    pub reflector_ports: Vec<u16>,
    /// Packets per second from one IPv4 address or IPv6 /64; 0 is no limit.
    pub rate: u32,
    /// Packets that may come at once beyond that.
    pub burst: u32,
    /// Packets per second from all together; 0 is no limit.
    pub global_rate: u32,
    /// Sessions that are remembered.
    pub max_sessions: usize,
    /// How long a silent one is.
    pub session_timeout_ns: i64,
    /// How replies are numbered.
    pub numbering: Numbering,
    /// The only sessions that are answered, where it is not any.
    pub provisioned: Option<Vec<Provisioned>>,
    /// Smallest TTL or hop limit that is answered.
    pub min_ttl: u8,
    /// Bit n stands for DSCP n, which a sender may ask for.
    pub allowed_dscp: u64,
    /// What a Location extension may tell.
    pub disclose: Disclose,
    /// Addresses by which the reflector may be called.
    pub own_addresses: Vec<IpAddr>,
    /// Hardware addresses of the devices that it answers on.
    pub own_macs: Vec<[u8; 6]>,
    /// How many replies, and how long ones, a request may ask for.
    pub control: Control,
    /// Whether replies go to another address when asked to, as far as that one is answered
    /// as well.
    pub return_address: bool,
}

/// A session that is to be answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Provisioned {
    /// Its number.
    pub ssid: u16,
    /// Who sends it.
    pub source: IpAddr,
    /// Which of our addresses it is sent to.
    pub destination: IpAddr,
    /// The sender's member link, where it is bound to one.
    pub micro: Option<u16>,
}

/// What a Location extension may tell of how a packet came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disclose {
    /// Both ports.
    pub ports: bool,
    /// Both addresses.
    pub addresses: bool,
    /// The hardware address of the last hop.
    pub mac: bool,
}

impl Policy {
    /// How packets are protected.
    pub fn mode(&self) -> Mode {
        if self.keys.is_empty() { Mode::Open } else { Mode::Authenticated }
    }

    /// How much is admitted of whom.
    pub const fn limits(&self) -> Limits {
        Limits::new(self.rate, self.burst, self.global_rate)
    }

    pub(super) fn allows(&self, source: IpAddr) -> bool {
        !self.deny.contains(source) && self.allow.contains(source)
    }

    pub(super) fn counts(&self, ssid: u16) -> bool {
        match self.numbering {
            Numbering::Auto => ssid != 0,
            Numbering::Stateful => true,
            Numbering::Stateless => false,
        }
    }

    pub(super) fn provisioned(&self, id: &SessionKey) -> bool {
        self.provisioned
            .as_ref()
            .is_none_or(|sessions| sessions.iter().any(|session| session.is(id)))
    }
}

impl Provisioned {
    fn is(&self, id: &SessionKey) -> bool {
        self.ssid == id.ssid
            && self.source == id.source.ip()
            && self.destination == id.destination.ip()
            && self.micro.is_none_or(|micro| micro == id.micro)
    }
}

impl Default for Policy {
    /// Private, link-local and loopback sources, 1000 packets a second each.
    fn default() -> Self {
        Self {
            keys: Keys::default(),
            allow: Prefixes::private(),
            deny: Prefixes::default(),
            twamp_light: Prefixes::default(),
            reflector_ports: vec![crate::PORT],
            rate: 1_000,
            burst: 2_000,
            global_rate: 50_000,
            max_sessions: 16_384,
            session_timeout_ns: 900_000_000_000,
            numbering: Numbering::Auto,
            provisioned: None,
            min_ttl: 0,
            allowed_dscp: u64::MAX,
            disclose: Disclose { ports: true, addresses: true, mac: false },
            own_addresses: Vec::new(),
            own_macs: Vec::new(),
            control: Control::default(),
            return_address: false,
        }
    }
}
