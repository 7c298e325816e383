//! The Session-Reflector.

use std::collections::BTreeMap;

use telemetry::metric::Family;

use crate::catalogue as metric;
use crate::service::Reflecting;

/// All families of the reflectors, which are told as one.
pub(super) fn families(reflectors: &[Reflecting], families: &mut Vec<Family>) {
    let mut by_mode: BTreeMap<&'static str, (u64, u64)> = BTreeMap::new();
    let mut by_reason: BTreeMap<&'static str, u64> = BTreeMap::new();
    for reflecting in reflectors {
        let (requests, replies) =
            by_mode.entry(reflecting.reflector.policy().mode().as_str()).or_default();
        *requests += reflecting.requests;
        *replies += reflecting.replies;
        for (reason, amount) in &reflecting.dropped {
            *by_reason.entry(reason).or_default() += amount;
        }
    }
    let (mut requests, mut replies) =
        (Family::new(&metric::REQUESTS), Family::new(&metric::REPLIES));
    for (mode, (asked, answered)) in by_mode {
        requests.push([mode.into(), PATH.into()], asked);
        replies.push([mode.into(), PATH.into()], answered);
    }
    let mut dropped = Family::new(&metric::DROPPED);
    by_reason.into_iter().for_each(|(reason, amount)| dropped.push([reason.into()], amount));
    families.extend([requests, replies, dropped]);
    let total = |amount: fn(&Reflecting) -> u64| reflectors.iter().map(amount).sum::<u64>();
    let sessions = total(|reflecting| reflecting.reflector.sessions().len() as u64);
    families.push(Family::single(&metric::SESSIONS, sessions));
    let refused = total(|reflecting| reflecting.reflector.sessions().refused());
    families.push(Family::single(&metric::SESSIONS_REFUSED, refused));
    let expired = total(|reflecting| reflecting.reflector.sessions().expired());
    families.push(Family::single(&metric::SESSIONS_EXPIRED, expired));
    families.push(Family::single(
        &metric::OLD_KEY,
        total(|reflecting| reflecting.reflector.old_keys()),
    ));
}

/// What answered.
const PATH: &str = "socket";
