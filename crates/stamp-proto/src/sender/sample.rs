//! What the four times of an answered request say.

use super::{Arrival, Outcome};
use crate::clock::{MonoTime, WallTime};
use crate::estimate::ErrorEstimate;
use crate::packet::Reply;
use crate::timestamp::{Format, Timestamp};

/// One moment by both clocks of this host, and by which setting of the wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Moment {
    /// What other hosts compare with.
    pub wall: WallTime,
    /// What durations are measured by.
    pub mono: MonoTime,
    /// Changes whenever the wall clock is stepped.
    pub epoch: u32,
}

impl Moment {
    /// True when the wall clock went on evenly from `earlier` to this moment: what two
    /// readings one behind the other differ by is far below what a step does.
    pub const fn follows_evenly(&self, earlier: &Self) -> bool {
        let moved = self.wall.since(earlier.wall) - self.mono.since(earlier.mono);
        self.epoch == earlier.epoch && moved.unsigned_abs() <= READING_NS
    }
}

/// How the times of a reflector are to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timescale {
    /// Seconds by which its PTP times are ahead of UTC.
    pub ptp_ahead_s: i32,
    /// Seconds by which its NTP times are ahead of UTC; 0 unless it is known to be wrong.
    pub ntp_ahead_s: i32,
}

impl Timescale {
    /// All times are UTC.
    pub const UTC: Self = Self { ptp_ahead_s: 0, ntp_ahead_s: 0 };

    const fn ahead_ns(self, format: Format) -> i64 {
        let seconds = match format {
            Format::Ntp => self.ntp_ahead_s,
            Format::Ptp => self.ptp_ahead_s,
        };
        seconds as i64 * 1_000_000_000
    }
}

/// What keeps a part of a reply from being used. The set is closed: it is the values of
/// a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// T2 or T3 is no time.
    Timestamp,
    /// T3 is before T2, or further behind it than the reply was under way.
    Residence,
}

impl Fault {
    /// Value of the `reason` label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Timestamp => "timestamp",
            Self::Residence => "residence",
        }
    }
}

/// An answered request. Durations are in nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// The request's number.
    pub sequence: u32,
    /// The reply's own number.
    pub reflector_sequence: u32,
    /// Whether it is the first reply, and in time.
    pub outcome: Outcome,
    /// T1: when the request left, by our clock.
    pub t1: Moment,
    /// T1 is what the kernel said afterwards, not what we wrote before.
    pub stamped: bool,
    /// T2: when it arrived, by the reflector's clock; absent when it is no time.
    pub t2: Option<WallTime>,
    /// T3: when the reply left, by the reflector's clock.
    pub t3: Option<WallTime>,
    /// T4: when it arrived, by our clock.
    pub t4: Moment,
    /// T4 − T1, by the clock that is never set.
    pub roundtrip_gross_ns: i64,
    /// T3 − T2; absent when it cannot be.
    pub residence_ns: Option<i64>,
    /// What the network took: gross without residence.
    pub roundtrip_ns: Option<i64>,
    /// Why a part is absent.
    pub fault: Option<Fault>,
    /// What the reflector says of its clock.
    pub error_estimate: ErrorEstimate,
    /// TTL or hop limit with which the request arrived.
    pub ttl_forward: Option<u8>,
    /// The same of the reply.
    pub ttl_reverse: Option<u8>,
    /// DSCP and ECN of the reply.
    pub traffic_class: u8,
}

impl Sample {
    pub(super) fn new(
        reply: &Reply,
        t1: Moment,
        arrival: &Arrival,
        outcome: Outcome,
        timescale: Timescale,
    ) -> Self {
        let t4 = arrival.at;
        let format = reply.error_estimate.format();
        let time = |timestamp: Timestamp| {
            let near = t4.wall.shifted(timescale.ahead_ns(format));
            let told = timestamp.decode(format, near).filter(|_| !timestamp.is_zero())?;
            Some(told.shifted(-timescale.ahead_ns(format)))
        };
        let (t2, t3) = (time(reply.receive_timestamp), time(reply.timestamp));
        let gross = t4.mono.since(t1.mono);
        let residence = t3.zip(t2).map(|(t3, t2)| t3.since(t2));
        let residence_ns = residence.filter(|ns| (0..=gross).contains(ns));
        let fault = match (residence, residence_ns) {
            (None, _) => Some(Fault::Timestamp),
            (Some(_), None) => Some(Fault::Residence),
            _ => None,
        };
        Self {
            sequence: reply.sender_sequence,
            reflector_sequence: reply.sequence,
            outcome,
            t1,
            stamped: false,
            t2,
            t3,
            t4,
            roundtrip_gross_ns: gross,
            residence_ns,
            roundtrip_ns: residence_ns.map(|residence| gross - residence),
            fault,
            error_estimate: reply.error_estimate,
            ttl_forward: reply.sender_ttl,
            ttl_reverse: arrival.ttl,
            traffic_class: arrival.traffic_class,
        }
    }

    /// True when our clock was not stepped while the packet was under way.
    pub const fn is_even(&self) -> bool {
        self.t4.follows_evenly(&self.t1)
    }

    /// T2 − T1: the delay on the way there plus the offset of the reflector's clock.
    pub fn near_raw_ns(&self) -> Option<i64> {
        Some(self.t2?.since(self.t1.wall)).filter(|_| self.is_even())
    }

    /// T4 − T3: the delay on the way back minus the offset of the reflector's clock.
    pub fn far_raw_ns(&self) -> Option<i64> {
        Some(self.t4.wall.since(self.t3?)).filter(|_| self.is_even())
    }
}

/// An interrupt between two readings of clocks alone adds microseconds.
const READING_NS: u64 = 50_000;
