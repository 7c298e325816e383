//! The Session-Reflector.

use std::collections::BTreeMap;

use telemetry::metric::Family;

use crate::catalogue as metric;
use crate::service::{Path, Reflecting};

/// All families of the reflectors, which are told as one.
pub(super) fn families(reflectors: &[Reflecting], families: &mut Vec<Family>) {
    let mut by_path: BTreeMap<(&'static str, &'static str), Path> = BTreeMap::new();
    let mut by_reason: BTreeMap<&'static str, u64> = BTreeMap::new();
    for reflecting in reflectors {
        let mode = reflecting.reflector.policy().mode().as_str();
        for (path, did) in reflecting.paths() {
            let sum = by_path.entry((mode, path)).or_default();
            sum.requests += did.requests;
            sum.replies += did.replies;
        }
        for (reason, amount) in reflecting.dropped() {
            *by_reason.entry(reason).or_default() += amount;
        }
    }
    let (mut requests, mut replies) =
        (Family::new(&metric::REQUESTS), Family::new(&metric::REPLIES));
    for ((mode, path), did) in by_path {
        requests.push([mode.into(), path.into()], did.requests);
        replies.push([mode.into(), path.into()], did.replies);
    }
    let mut dropped = Family::new(&metric::DROPPED);
    by_reason.into_iter().for_each(|(reason, amount)| dropped.push([reason.into()], amount));
    families.extend([requests, replies, dropped]);
    let of_sessions = [&metric::SESSIONS, &metric::SESSIONS_REFUSED, &metric::SESSIONS_EXPIRED];
    for (n, metric) in of_sessions.into_iter().enumerate() {
        let total: u64 = reflectors.iter().map(|reflecting| reflecting.session_counts()[n]).sum();
        families.push(Family::single(metric, total));
    }
    let old_keys: u64 = reflectors.iter().map(Reflecting::old_keys).sum();
    families.push(Family::single(&metric::OLD_KEY, old_keys));
}
