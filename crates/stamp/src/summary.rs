//! The documents that the commands print at their end.

mod reflector;
mod series;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use stamp_proto::loss::{Counts, Directed, Reflector};
use stamp_proto::packet::Mode;
use stamp_proto::statistics::{Bins, Distribution, Scale, Summary};

use crate::clock::{HostClock, monotonic};
use crate::kernel::Lane;
use crate::service::Sending;
use crate::tally::{Tally, Way};
use crate::target::Target;

pub use reflector::ReflectorSummary;
pub(crate) use reflector::SessionPage;
pub(crate) use series::series;

/// What a sender measured.
#[derive(Debug, Serialize)]
pub struct SenderSummary {
    schema: &'static str,
    started: String,
    ended: String,
    complete: bool,
    pub(crate) local: Local,
    pub(crate) targets: Vec<TargetSummary>,
}

/// The host that measured.
#[derive(Debug, Serialize)]
pub(crate) struct Local {
    device: String,
    backend: &'static str,
    timestamps: &'static str,
    kernel_hook: Option<&'static str>,
    pub(crate) clock: ClockSummary,
}

/// Its clock.
#[derive(Debug, Serialize)]
pub(crate) struct ClockSummary {
    pub(crate) synchronized: bool,
    source: &'static str,
    pub(crate) error_ns: Option<u64>,
    tai_utc_s: Option<i32>,
    steps: u64,
}

/// One target.
#[derive(Debug, Serialize)]
pub(crate) struct TargetSummary {
    pub(crate) name: String,
    pub(crate) address: String,
    port: u16,
    source_port: u16,
    ssid: u16,
    mode: &'static str,
    reflector: &'static str,
    up: Option<bool>,
    pub(crate) cause: Option<&'static str>,
    peer: Option<Peer>,
    pub(crate) packets: Packets,
    pub(crate) roundtrip: Option<Stat>,
    roundtrip_gross: Option<Stat>,
    residence: Option<Stat>,
    pub(crate) near_end: WaySummary,
    pub(crate) far_end: WaySummary,
    pub(crate) offset: Option<OffsetSummary>,
    histogram: Option<Histogram>,
}

#[derive(Debug, Serialize)]
struct Peer {
    format: &'static str,
    timescale: &'static str,
    synchronized: bool,
    error_ns: Option<u64>,
    error_valid: bool,
    ttl_forward: Option<u8>,
    ttl_reverse: Option<u8>,
}

/// What became of the packets.
#[derive(Debug, Serialize)]
pub(crate) struct Packets {
    pub(crate) sent: u64,
    pub(crate) received: u64,
    pub(crate) lost: u64,
    pub(crate) lost_forward: Option<u64>,
    pub(crate) lost_reverse: Option<u64>,
    pub(crate) lost_unknown: u64,
    late: u64,
    duplicate_forward: Option<u64>,
    duplicate_reverse: Option<u64>,
    duplicate_unknown: u64,
    reordered_forward: Option<u64>,
    reordered_reverse: Option<u64>,
    reordered_unknown: u64,
    pending: u64,
    unstamped: u64,
    recovered: u64,
    send_errors: BTreeMap<&'static str, u64>,
    discarded: BTreeMap<&'static str, u64>,
}

/// A distribution, in nanoseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Stat {
    count: u64,
    pub(crate) min: i64,
    pub(crate) mean: i64,
    stddev: u64,
    p50: i64,
    p90: i64,
    p95: i64,
    p99: i64,
    p999: i64,
    pub(crate) max: i64,
    pub(crate) last: i64,
}

/// One direction.
#[derive(Debug, Serialize)]
pub(crate) struct WaySummary {
    pub(crate) raw: Option<Stat>,
    pub(crate) lower: Option<Stat>,
    pub(crate) upper: Option<Stat>,
    pub(crate) usable: u64,
    pub(crate) unusable: BTreeMap<&'static str, u64>,
    pdv: Option<Stat>,
    ipdv_abs: Option<Stat>,
    pub(crate) jitter_ns: Option<f64>,
}

/// Where the other clock stands.
#[derive(Debug, Serialize)]
pub(crate) struct OffsetSummary {
    pub(crate) offset_ns: i64,
    pub(crate) bound_ns: u64,
    skew_ppb: Option<i64>,
    age_ns: i64,
    samples: u64,
    /// When it is told no more, if no sample comes.
    expires: String,
}

#[derive(Debug, Serialize)]
struct Histogram {
    scale: &'static str,
    unit: &'static str,
    edges: Vec<f64>,
    bins: Vec<u64>,
}

impl SenderSummary {
    /// What all senders of a system measured; absent when there is none.
    pub(crate) fn of(
        started: Timestamp,
        complete: bool,
        clock: &HostClock,
        senders: &[Sending],
    ) -> Option<Self> {
        let device = senders.first()?.plan.device.clone();
        let lane = senders.iter().find_map(|sending| sending.lane);
        let each = |sending: &Sending| {
            let port = sending.plan.source_port;
            sending
                .targets
                .iter()
                .map(move |target| TargetSummary::of(target, port))
                .collect::<Vec<_>>()
        };
        Some(Self {
            schema: "fathom.stamp.summary/1",
            started: started.to_string(),
            ended: Timestamp::now().to_string(),
            complete,
            local: Local {
                device,
                backend: if lane.is_some() { "bpf" } else { "socket" },
                timestamps: "kernel",
                kernel_hook: lane.map(Lane::as_str),
                clock: ClockSummary::of(clock),
            },
            targets: senders.iter().flat_map(each).collect(),
        })
    }

    /// Names of the targets that never answered.
    pub fn silent(&self) -> Vec<String> {
        let silent = self.targets.iter().filter(|target| target.packets.received == 0);
        silent.map(|target| target.name.clone()).collect()
    }
}

impl ClockSummary {
    pub(crate) fn of(clock: &HostClock) -> Self {
        let local = clock.local();
        Self {
            synchronized: local.synchronized,
            source: clock.discipline().map_or("unknown", |told| told.source.name()),
            error_ns: local.error_ns,
            tai_utc_s: clock.tai_offset_s(),
            steps: clock.steps(),
        }
    }
}

impl TargetSummary {
    fn of(target: &Target, source_port: u16) -> Self {
        let ledger = target.sender.ledger();
        let settings = target.sender.settings();
        let Tally { roundtrip, roundtrip_gross, residence, ways: [near, far], .. } = &target.tally;
        Self {
            name: target.name.clone(),
            address: target.address.ip().to_string(),
            port: target.address.port(),
            source_port,
            ssid: settings.ssid,
            mode: settings.mode().as_str(),
            reflector: match ledger.reflector() {
                Reflector::Unknown => "unknown",
                Reflector::Stateful => "stateful",
                Reflector::Stateless => "stateless",
            },
            up: target.up,
            cause: target.cause.map(|cause| cause.as_str()),
            peer: Peer::of(&target.tally, settings.timescale.ptp_ahead_s != 0),
            packets: Packets::of(target, settings.mode()),
            roundtrip: Stat::of(&roundtrip.exact),
            roundtrip_gross: Stat::of(&roundtrip_gross.exact),
            residence: Stat::of(&residence.exact),
            near_end: WaySummary::of(near),
            far_end: WaySummary::of(far),
            offset: OffsetSummary::of(&target.tally),
            histogram: target.tally.bins.as_ref().map(Histogram::of),
        }
    }
}

impl Peer {
    fn of(tally: &Tally, knows_tai: bool) -> Option<Self> {
        let sample = tally.last?;
        let format = sample.error_estimate.format();
        let is_tai = knows_tai && format == stamp_proto::timestamp::Format::Ptp;
        Some(Self {
            format: format.as_str(),
            timescale: match (tally.is_suspect(), is_tai) {
                (true, _) => "suspect",
                (_, true) => "tai",
                _ => "utc",
            },
            synchronized: sample.error_estimate.synchronized(),
            error_ns: sample.error_estimate.error_ns_ceil(),
            error_valid: sample.error_estimate.is_valid(),
            ttl_forward: sample.ttl_forward,
            ttl_reverse: sample.ttl_reverse,
        })
    }
}

impl Packets {
    fn of(target: &Target, mode: Mode) -> Self {
        let Counts { sent, received, lost, late, duplicate, reordered, .. } =
            *target.sender.ledger().counts();
        let told = target.sender.ledger().reflector() == Reflector::Stateful;
        let known = |amount: u64| told.then_some(amount);
        let Directed { forward, reverse, unknown } = duplicate;
        Self {
            sent,
            received,
            lost: lost.total(),
            lost_forward: known(lost.forward),
            lost_reverse: known(lost.reverse),
            lost_unknown: lost.unknown,
            late,
            // The reflector answers a signed request once, so its copies do not show.
            duplicate_forward: known(forward).filter(|_| mode == Mode::Open),
            duplicate_reverse: known(reverse),
            duplicate_unknown: unknown,
            reordered_forward: known(reordered.forward),
            reordered_reverse: known(reordered.reverse),
            reordered_unknown: reordered.unknown,
            pending: target.sender.ledger().counts().pending(),
            unstamped: target.unstamped,
            recovered: target.recovered,
            send_errors: target.send_errors.clone(),
            discarded: target.discarded().into_iter().chain(target.tally.faults.clone()).collect(),
        }
    }
}

impl Stat {
    pub(crate) fn of(distribution: &Distribution) -> Option<Self> {
        let Summary { count, min, mean, stddev, p50, p90, p95, p99, p999, max, last } =
            distribution.summary()?;
        Some(Self { count, min, mean, stddev, p50, p90, p95, p99, p999, max, last })
    }
}

impl WaySummary {
    fn of(way: &Way) -> Self {
        Self {
            raw: Stat::of(&way.raw),
            lower: Stat::of(&way.lower.all),
            upper: Stat::of(&way.upper.all),
            usable: way.trusted.exact.count(),
            unusable: way.unusable.clone(),
            pdv: Stat::of(&way.pdv.exact),
            ipdv_abs: Stat::of(&way.ipdv_abs.exact),
            jitter_ns: way.jitter_ns(),
        }
    }
}

impl OffsetSummary {
    fn of(tally: &Tally) -> Option<Self> {
        let now = monotonic();
        let offset = tally.offset(now)?;
        let age_ns = now.since(offset.measured_at);
        let left_ns = i128::from(tally.expire_ns().saturating_sub(age_ns));
        let expires = Timestamp::from_nanosecond(Timestamp::now().as_nanosecond() + left_ns);
        Some(Self {
            offset_ns: offset.offset_ns,
            bound_ns: offset.bound_ns,
            skew_ppb: offset.skew_ppb,
            age_ns,
            samples: offset.samples,
            expires: expires.unwrap_or(Timestamp::MAX).to_string(),
        })
    }
}

impl Histogram {
    fn of(bins: &Bins) -> Self {
        let scale = match bins.scale() {
            Scale::Linear => "linear",
            Scale::Log10 => "log10",
        };
        let edges = bins.edges_ns().into_iter().map(|ns| ns / 1e6).collect();
        Self { scale, unit: "ms", edges, bins: bins.counts().to_vec() }
    }
}

/// The clock of a target against that of this node.
#[derive(Debug, Serialize)]
pub(crate) struct OffsetEntry {
    from: &'static str,
    to: String,
    offset_ns: i64,
    bound_ns: u64,
    skew_ppb: Option<i64>,
    measured_at: String,
    expires: String,
    samples: u64,
    epoch: u32,
}

/// Where all other clocks stand, as far as that is known.
pub(crate) fn offsets(clock: &HostClock, senders: &[Sending]) -> Vec<OffsetEntry> {
    let now = clock.now();
    let date = |ns: i64| Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default().to_string();
    let entry = |target: &Target| {
        let offset = target.tally.offset(now.mono)?;
        let measured = now.wall.as_ns() - now.mono.since(offset.measured_at);
        Some(OffsetEntry {
            from: "local",
            to: target.node.clone().unwrap_or_else(|| target.name.clone()),
            offset_ns: offset.offset_ns,
            bound_ns: offset.bound_ns,
            skew_ppb: offset.skew_ppb,
            measured_at: date(measured),
            expires: date(measured.saturating_add(target.tally.expire_ns())),
            samples: offset.samples,
            epoch: now.epoch,
        })
    };
    let known = senders.iter().flat_map(|sending| &sending.targets).filter_map(entry);
    known.filter(|entry| entry.samples > 0).collect()
}
