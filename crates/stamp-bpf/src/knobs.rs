//! What is fixed when the programs are loaded.

use stamp_proto::packet::Mode;
use stamp_proto::reflector::{Numbering, Policy};
use stamp_proto::timestamp::Format;

use crate::layout::{Config, Limit};

/// A wrong wall clock, on purpose, so that tests know by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skew {
    /// Nanoseconds by which it is ahead.
    pub ahead_ns: i64,
    /// How much faster it goes, in parts per 2³⁰.
    pub rate: i64,
    /// The clock of a kernel without the TAI helper.
    pub no_tai: bool,
}

/// What is fixed when the programs are loaded; other knobs are other programs.
#[derive(Debug, Clone)]
pub struct Knobs {
    config: Config,
    xdp: bool,
}

impl Knobs {
    /// The knobs for a policy. Its prefixes, keys and addresses are in the tables.
    pub fn new(policy: &Policy, format: Format) -> Self {
        let disclose = u8::from(policy.disclose.ports)
            | u8::from(policy.disclose.addresses) << 1
            | u8::from(policy.disclose.mac) << 2;
        let config = Config {
            source: limit(policy.rate, policy.burst),
            global: limit(policy.global_rate, policy.global_rate.div_ceil(10)),
            allowed_dscp: policy.allowed_dscp,
            authenticated: u8::from(policy.mode() == Mode::Authenticated),
            numbering: match policy.numbering {
                Numbering::Auto => 0,
                Numbering::Stateful => 1,
                Numbering::Stateless => 2,
            },
            ptp: u8::from(format == Format::Ptp),
            min_ttl: policy.min_ttl,
            disclose,
            provisioned: u8::from(policy.provisioned.is_some()),
            keys_by_ssid: u8::from(!policy.keys.by_ssid.is_empty()),
            ..Config::default()
        };
        Self { config, xdp: false }
    }

    /// The same, ringing for each request that is answered, or not.
    #[must_use]
    pub const fn watched(mut self, on: bool) -> Self {
        self.config.watched = on as u8;
        self
    }

    /// The same, with the program in front of tc loaded as well, or not.
    #[must_use]
    pub const fn xdp(mut self, on: bool) -> Self {
        self.xdp = on;
        self
    }

    /// The same with a wrong clock.
    #[must_use]
    pub const fn skewed(mut self, skew: Skew) -> Self {
        self.config.skew_ns = skew.ahead_ns;
        self.config.skew_rate = skew.rate;
        self.config.no_tai = skew.no_tai as u8;
        self
    }

    pub(crate) const fn config(&self) -> Config {
        self.config
    }

    pub(crate) const fn wants_xdp(&self) -> bool {
        self.xdp
    }
}

/// One packet in an interval, a burst of them ahead; a rate of 0 is no limit.
fn limit(rate: u32, burst: u32) -> Limit {
    let interval_ns = 1_000_000_000_u64.checked_div(u64::from(rate)).unwrap_or(0);
    Limit { interval_ns, ahead_ns: interval_ns * u64::from(burst) }
}
