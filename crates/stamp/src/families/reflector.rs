//! The Session-Reflector.

use telemetry::metric::Family;

use crate::catalogue as metric;
use crate::service::Reflecting;

/// All families of the reflector.
pub(super) fn families(reflecting: &Reflecting, families: &mut Vec<Family>) {
    let mode = reflecting.reflector.policy().mode().as_str();
    let mut requests = Family::new(&metric::REQUESTS);
    let mut replies = Family::new(&metric::REPLIES);
    requests.push([mode.into(), "socket".into()], reflecting.requests);
    replies.push([mode.into(), "socket".into()], reflecting.replies);
    let mut dropped = Family::new(&metric::DROPPED);
    for (&reason, &amount) in &reflecting.dropped {
        dropped.push([reason.into()], amount);
    }
    let sessions = reflecting.reflector.sessions();
    families.extend([requests, replies, dropped]);
    families.push(Family::single(&metric::SESSIONS, sessions.len() as u64));
    families.push(Family::single(&metric::SESSIONS_REFUSED, sessions.refused()));
    families.push(Family::single(&metric::SESSIONS_EXPIRED, sessions.expired()));
    families.push(Family::single(&metric::OLD_KEY, reflecting.reflector.old_keys()));
}
