//! The targets of the Session-Sender.

use stamp_proto::clock::MonoTime;
use stamp_proto::loss::{Directed, Direction, Reflector};
use stamp_proto::sender::{Discard, Fault, Unusable};
use telemetry::metric::{Family, LabelValue, Metric, Value};

use super::seconds;
use crate::catalogue as metric;
use crate::clock::monotonic;
use crate::marks::{FLAGS, Marks};
use crate::tally::{Way, Windowed};
use crate::target::{SEND_ERRORS, Target};

/// One number of a target, where it is known.
type OfTarget = fn(&Target, MonoTime) -> Option<Value>;

/// One number of a direction, where it is known.
type OfWay = fn(&Way) -> Option<Value>;

/// All families with a target as their label.
pub(super) fn families(targets: &[&Target], families: &mut Vec<Family>) {
    let now = monotonic();
    let by_target: [(&'static Metric, OfTarget); 15] = [
        (&metric::PACKETS_SENT, |target, _| Some(target.sender.ledger().counts().sent.into())),
        (&metric::PACKETS_RECEIVED, |target, _| {
            Some(target.sender.ledger().counts().received.into())
        }),
        (&metric::PACKETS_LATE, |target, _| Some(target.sender.ledger().counts().late.into())),
        (&metric::SEND_OVERRUNS, |target, _| Some(target.overruns.into())),
        (&metric::UNSTAMPED, |target, _| Some(target.unstamped.into())),
        (&metric::TARGET_UP, |target, _| target.up.map(Value::from)),
        (&metric::ROUNDTRIP, |target, _| Some(target.tally.roundtrip.buckets.clone().into())),
        (&metric::ROUNDTRIP_GROSS, |target, _| {
            Some(target.tally.roundtrip_gross.buckets.clone().into())
        }),
        (&metric::RESIDENCE, |target, _| Some(target.tally.residence.buckets.clone().into())),
        (&metric::OFFSET, |target, now| {
            Some(seconds(target.tally.offset(now)?.offset_ns as f64).into())
        }),
        (&metric::OFFSET_BOUND, |target, now| {
            Some(seconds(target.tally.offset(now)?.bound_ns as f64).into())
        }),
        (&metric::SKEW, |target, now| {
            Some(seconds(target.tally.offset(now)?.skew_ppb? as f64).into())
        }),
        (&metric::PEER_SYNCHRONIZED, |target, _| {
            Some(target.tally.last?.error_estimate.synchronized().into())
        }),
        (&metric::PEER_ERROR, |target, _| {
            Some(seconds(target.tally.last?.error_estimate.error_ns()?).into())
        }),
        (&metric::SUSPECT, |target, _| target.tally.last.map(|_| target.tally.is_suspect().into())),
    ];
    for (metric, value) in by_target {
        let mut family = Family::with_capacity(metric, targets.len());
        for target in targets {
            value(target, now).into_iter().for_each(|value| family.push([name(target)], value));
        }
        families.push(family);
    }
    families.extend([
        losses(targets),
        duplicates(targets),
        reordered(targets),
        discarded(targets),
        send_errors(targets),
    ]);
    families.extend([info(targets), ttl(targets), unusable(targets)]);
    families.extend([
        marked(&metric::DSCP_CHANGED, targets, |marks| marks.dscp_changed),
        marked(&metric::ECN_CE, targets, |marks| marks.ecn_ce),
        flags(targets),
    ]);
    by_way(targets, families);
}

fn name(target: &Target) -> LabelValue {
    target.name.clone().into()
}

fn each<'a>(
    metric: &'static Metric,
    targets: &[&'a Target],
    fill: impl Fn(&'a Target, &mut dyn FnMut(&'static str, Value)),
) -> Family {
    let mut family = Family::new(metric);
    for target in targets {
        fill(target, &mut |label, value| family.push([name(target), label.into()], value));
    }
    family
}

fn directed(amount: &Directed, add: &mut dyn FnMut(&'static str, Value)) {
    add("forward", amount.forward.into());
    add("reverse", amount.reverse.into());
    add("unknown", amount.unknown.into());
}

fn losses(targets: &[&Target]) -> Family {
    each(&metric::PACKETS_LOST, targets, |target, add| {
        directed(&target.sender.ledger().counts().lost, add)
    })
}

fn duplicates(targets: &[&Target]) -> Family {
    each(&metric::PACKETS_DUPLICATE, targets, |target, add| {
        directed(&target.sender.ledger().counts().duplicate, add)
    })
}

fn reordered(targets: &[&Target]) -> Family {
    each(&metric::PACKETS_REORDERED, targets, |target, add| {
        directed(&target.sender.ledger().counts().reordered, add)
    })
}

fn discarded(targets: &[&Target]) -> Family {
    let discards = Discard::ALL.map(Discard::reason);
    let faults = [Fault::Timestamp, Fault::Residence].map(Fault::reason);
    each(&metric::REPLIES_DISCARDED, targets, |target, add| {
        let discarded = target.discarded();
        for reason in discards.into_iter().filter(|&reason| reason != Discard::Unsolicited.reason())
        {
            add(reason, discarded.get(reason).copied().unwrap_or(0).into());
        }
        for reason in faults {
            add(reason, target.tally.faults.get(reason).copied().unwrap_or(0).into());
        }
    })
}

fn send_errors(targets: &[&Target]) -> Family {
    each(&metric::SEND_ERRORS, targets, |target, add| {
        for reason in SEND_ERRORS {
            add(reason, target.send_errors.get(reason).copied().unwrap_or(0).into());
        }
    })
}

fn info(targets: &[&Target]) -> Family {
    let mut family = Family::new(&metric::TARGET_INFO);
    for target in targets {
        let reflector = match target.sender.ledger().reflector() {
            Reflector::Unknown => "unknown",
            Reflector::Stateful => "stateful",
            Reflector::Stateless => "stateless",
        };
        let mode = target.sender.settings().mode().as_str();
        let address = target.address.ip().to_string();
        let node = target.node.clone().unwrap_or_default();
        let labels = [name(target), address.into(), node.into(), mode.into(), reflector.into()];
        family.push(labels, 1_u64);
    }
    family
}

fn ttl(targets: &[&Target]) -> Family {
    each(&metric::RECEIVED_TTL, targets, |target, add| {
        let Some(sample) = &target.tally.last else { return };
        let both =
            [(Direction::Forward, sample.ttl_forward), (Direction::Reverse, sample.ttl_reverse)];
        for (direction, ttl) in both {
            ttl.into_iter().for_each(|ttl| add(direction.as_str(), u64::from(ttl).into()));
        }
    })
}

fn marked(metric: &'static Metric, targets: &[&Target], amount: fn(&Marks) -> [u64; 2]) -> Family {
    each(metric, targets, |target, add| {
        for (direction, amount) in Direction::ALL.into_iter().zip(amount(&target.marks)) {
            add(direction.as_str(), amount.into());
        }
    })
}

fn flags(targets: &[&Target]) -> Family {
    each(&metric::TLV_FLAGS, targets, |target, add| {
        for ((_, flag), amount) in FLAGS.into_iter().zip(target.marks.flags) {
            add(flag, amount.into());
        }
    })
}

fn unusable(targets: &[&Target]) -> Family {
    let mut family = Family::new(&metric::ONE_WAY_UNUSABLE);
    for target in targets {
        for (direction, way) in Direction::ALL.into_iter().zip(&target.tally.ways) {
            for reason in Unusable::ALL.map(Unusable::reason) {
                let amount = way.unusable.get(reason).copied().unwrap_or(0);
                family.push([name(target), direction.as_str().into(), reason.into()], amount);
            }
        }
    }
    family
}

/// Of the last minute.
fn median(values: &Windowed) -> Option<Value> {
    let window = values.recent.window(monotonic());
    window.quantile(0.5).map(|ns| seconds(ns as f64).into())
}

fn by_way(targets: &[&Target], families: &mut Vec<Family>) {
    let metrics: [(&'static Metric, OfWay); 6] = [
        (&metric::ONE_WAY, |way| Some(way.trusted.buckets.clone().into())),
        (&metric::VARIATION, |way| Some(way.pdv.buckets.clone().into())),
        (&metric::IPDV, |way| Some(way.ipdv_abs.buckets.clone().into())),
        (&metric::JITTER, |way| way.jitter_ns().map(|ns| seconds(ns).into())),
        (&metric::ONE_WAY_LOWER, |way| median(&way.lower)),
        (&metric::ONE_WAY_UPPER, |way| median(&way.upper)),
    ];
    for (metric, value) in metrics {
        families.push(each(metric, targets, |target, add| {
            for (direction, way) in Direction::ALL.into_iter().zip(&target.tally.ways) {
                value(way).into_iter().for_each(|value| add(direction.as_str(), value));
            }
        }));
    }
}
