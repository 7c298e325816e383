//! How much each sender, and all together, may ask.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use super::{Control, Refusal};
use crate::clock::MonoTime;

/// A bucket per source and one for all.
///
/// Sources are kept in two generations: when the younger is full, the elder is dropped
/// and takes its place. A bucket that is dropped begins full again, so many sources
/// gain at most a burst each, and the bucket for all bounds what that amounts to.
#[derive(Debug)]
pub(super) struct Limiter {
    limits: Limits,
    together: Bucket,
    young: HashMap<IpAddr, Bucket>,
    old: HashMap<IpAddr, Bucket>,
}

impl Limiter {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, together: Bucket::default(), young: HashMap::new(), old: HashMap::new() }
    }

    /// Takes one packet from the source's bucket, and then from the one for all.
    pub(super) fn admit(
        &mut self,
        source: IpAddr,
        now: MonoTime,
        light: bool,
    ) -> Result<(), Refusal> {
        let limit = if light { self.limits.light } else { self.limits.source };
        if !self.bucket(group(source)).take(limit, now) {
            return Err(Refusal::RateSource);
        }
        if self.together.take(self.limits.global, now) { Ok(()) } else { Err(Refusal::RateGlobal) }
    }

    fn bucket(&mut self, source: IpAddr) -> &mut Bucket {
        if !self.young.contains_key(&source) {
            let known = self.old.remove(&source).unwrap_or_default();
            if self.young.len() >= GENERATION {
                self.old = std::mem::take(&mut self.young);
            }
            self.young.insert(source, known);
        }
        self.young.entry(source).or_default()
    }
}

/// What all requests for more than one reply have been granted together.
#[derive(Debug, Default)]
pub(super) struct Volume {
    bucket: Bucket,
}

impl Volume {
    /// Takes so many octets, unless that were more than may be sent by now.
    pub(super) fn take(&mut self, control: &Control, bytes: u64, now: MonoTime) -> bool {
        let time = |bytes: u64| {
            let ns = u128::from(bytes) * 1_000_000_000 / u128::from(control.max_rate.max(1));
            i64::try_from(ns).unwrap_or(i64::MAX)
        };
        let limit = Limit { interval_ns: time(bytes), ahead_ns: time(control.max_bytes) };
        self.bucket.take(limit, now)
    }
}

/// What a source is counted by: its address, or the /64 in which it can have any.
fn group(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// One packet in an interval, and a burst of them ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    /// Nanoseconds between two packets; 0 is no limit.
    pub interval_ns: i64,
    /// Nanoseconds by which packets may come before their time.
    pub ahead_ns: i64,
}

impl Limit {
    /// `rate` packets a second, `burst` of them at once; a rate of 0 is no limit.
    pub const fn new(rate: u32, burst: u32) -> Self {
        let interval_ns = if rate == 0 { 0 } else { 1_000_000_000 / rate as i64 };
        Self { interval_ns, ahead_ns: interval_ns * burst as i64 }
    }
}

/// What is admitted of whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one source.
    pub source: Limit,
    /// Of one TWAMP-Light peer: the shape of its packets proves nothing.
    pub light: Limit,
    /// Of all together.
    pub global: Limit,
}

impl Limits {
    /// Limits for so many packets a second from one source, with a burst, and from all.
    pub const fn new(rate: u32, burst: u32, global: u32) -> Self {
        Self {
            source: Limit::new(rate, burst),
            light: Limit::new(LIGHT_RATE, LIGHT_RATE),
            global: Limit::new(global, global.div_ceil(10)),
        }
    }
}

/// When the next packet would come if all had kept the interval.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    due: MonoTime,
}

impl Bucket {
    fn take(&mut self, limit: Limit, now: MonoTime) -> bool {
        let due = self.due.max(now).after(limit.interval_ns);
        let within = due.since(now) <= limit.ahead_ns.max(limit.interval_ns);
        if within {
            self.due = due;
        }
        within
    }
}

/// Half of the sources that are remembered.
const GENERATION: usize = 32_768;

/// Packets a second from a TWAMP-Light peer.
const LIGHT_RATE: u32 = 100;

#[cfg(test)]
mod tests {
    use super::{GENERATION, Limit, Limiter, Limits, Refusal};
    use crate::clock::MonoTime;
    use std::net::{IpAddr, Ipv4Addr};

    fn limiter(rate: u32, burst: u32, global: u32) -> Limiter {
        Limiter::new(Limits::new(rate, burst, global))
    }

    fn at(ms: i64) -> MonoTime {
        MonoTime::from_ns(ms * 1_000_000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admitted(limiter: &mut Limiter, source: &str, ms: i64, tries: usize) -> usize {
        (0..tries).filter(|_| limiter.admit(address(source), at(ms), false).is_ok()).count()
    }

    #[test]
    fn a_source_has_its_burst_and_then_its_rate() {
        let mut limiter = limiter(100, 20, 0);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", 0, 50), 20);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", 100, 50), 10);
        assert_eq!(admitted(&mut limiter, "10.0.0.2", 100, 50), 20);
        assert_eq!(limiter.admit(address("10.0.0.1"), at(100), false), Err(Refusal::RateSource));
    }

    #[test]
    fn addresses_of_one_network_are_one_source() {
        let mut limiter = limiter(100, 20, 0);
        assert_eq!(admitted(&mut limiter, "fd00::1", 0, 15), 15);
        assert_eq!(admitted(&mut limiter, "fd00::2", 0, 15), 5);
        assert_eq!(admitted(&mut limiter, "fd00:0:0:1::2", 0, 15), 15);
    }

    #[test]
    fn all_sources_together_have_a_limit() {
        let mut limiter = limiter(0, 0, 1_000);
        let admitted = (0..500)
            .filter(|&n| limiter.admit(Ipv4Addr::from_bits(n).into(), at(0), false).is_ok())
            .count();
        assert_eq!(admitted, 100);
        assert_eq!(limiter.admit(address("10.0.0.1"), at(0), false), Err(Refusal::RateGlobal));
    }

    #[test]
    fn limits_are_an_interval_and_what_may_come_before_it() {
        let limits = Limits::new(1_000, 2_000, 50_001);
        assert_eq!(limits.source, Limit { interval_ns: 1_000_000, ahead_ns: 2_000_000_000 });
        assert_eq!(limits.light, Limit { interval_ns: 10_000_000, ahead_ns: 1_000_000_000 });
        assert_eq!(limits.global, Limit { interval_ns: 19_999, ahead_ns: 19_999 * 5_001 });
        assert_eq!(Limit::new(0, 7), Limit { interval_ns: 0, ahead_ns: 0 });
    }

    #[test]
    fn no_limit_is_none() {
        let mut limiter = limiter(0, 0, 0);
        assert_eq!(admitted(&mut limiter, "10.0.0.1", 0, 10_000), 10_000);
    }

    #[test]
    fn a_peer_without_shape_is_held_to_a_hundred_a_second() {
        let mut limiter = limiter(0, 0, 0);
        let admitted =
            (0..500).filter(|_| limiter.admit(address("10.0.0.1"), at(0), true).is_ok()).count();
        assert_eq!(admitted, 100);
    }

    #[test]
    fn sources_are_remembered_within_a_bound_and_the_busy_ones_longest() {
        let mut limiter = limiter(1, 1, 0);
        let busy = address("192.168.0.1");
        assert!(limiter.admit(busy, at(0), false).is_ok());
        for n in 0..3 * GENERATION as u32 {
            assert!(limiter.admit(Ipv4Addr::from_bits(n).into(), at(0), false).is_ok());
            assert!(limiter.young.len() + limiter.old.len() <= 2 * GENERATION);
            if n % 1_000 == 0 {
                assert_eq!(limiter.admit(busy, at(0), false), Err(Refusal::RateSource));
            }
        }
    }
}
