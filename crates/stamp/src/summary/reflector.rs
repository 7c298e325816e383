//! What the reflectors of a system did.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use jiff::Timestamp;
use serde::Serialize;
use stamp_proto::clock::MonoTime;
use stamp_proto::reflector::SessionKey;
use stamp_proto::sender::Moment;

use super::{Histogram, Stat};
use crate::api::cursor;
use crate::clock::HostClock;
use crate::service::{Answering, Path, Reflecting};

/// What a reflector did.
#[derive(Debug, Serialize)]
pub struct ReflectorSummary {
    schema: &'static str,
    started: String,
    ended: String,
    pub(crate) requests: u64,
    pub(crate) replies: u64,
    paths: BTreeMap<&'static str, Path>,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    old_key: u64,
    sessions_refused: u64,
    sessions_expired: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) sessions: Option<Vec<SessionSummary>>,
    histogram: Option<Histogram>,
}

/// One session of a reflector.
#[derive(Debug, Serialize)]
pub(crate) struct SessionSummary {
    pub(crate) src: String,
    pub(crate) dst: String,
    pub(crate) sport: u16,
    dport: u16,
    pub(crate) ssid: u16,
    micro: Option<u16>,
    pub(crate) received: u64,
    transmitted: u64,
    pub(crate) lost_forward: u64,
    first_seen: String,
    last_seen: String,
    pub(crate) near_end: Option<Stat>,
}

impl ReflectorSummary {
    /// What all reflectors of a system did; absent when there is none.
    pub(crate) fn of(
        started: Timestamp,
        clock: &HostClock,
        reflectors: &[Reflecting],
    ) -> Option<Self> {
        let histogram = reflectors.first()?.bins.as_ref().map(Histogram::of);
        let mut paths: BTreeMap<_, Path> = BTreeMap::new();
        for (path, did) in reflectors.iter().flat_map(Reflecting::paths) {
            let sum = paths.entry(path).or_default();
            sum.requests += did.requests;
            sum.replies += did.replies;
        }
        let sessions = |n: usize| reflectors.iter().map(|it| it.session_counts()[n]).sum();
        let mut dropped = BTreeMap::new();
        for (reason, amount) in reflectors.iter().flat_map(Reflecting::dropped) {
            *dropped.entry(reason).or_default() += amount;
        }
        Some(Self {
            schema: "fathom.stamp.reflector/1",
            started: started.to_string(),
            ended: Timestamp::now().to_string(),
            requests: paths.values().map(|did| did.requests).sum(),
            replies: paths.values().map(|did| did.replies).sum(),
            paths,
            dropped,
            old_key: reflectors.iter().map(Reflecting::old_keys).sum(),
            sessions_refused: sessions(1),
            sessions_expired: sessions(2),
            sessions: Some(
                reflectors
                    .iter()
                    .flat_map(|reflecting| SessionSummary::all(clock.now(), reflecting))
                    .map(|(_, session)| session)
                    .collect(),
            ),
            histogram,
        })
    }

    /// The same for whoever asks for sessions by pages.
    pub(crate) fn without_sessions(self) -> Self {
        Self { sessions: None, ..self }
    }
}

impl SessionSummary {
    /// Sessions of all that answers, in the order of their keys.
    fn all(now: Moment, reflecting: &Reflecting) -> Vec<(SessionKey, Self)> {
        let own = reflecting.reflector.sessions().iter().map(|(key, session)| {
            let counts = [session.received, session.transmitted, session.lost_forward()];
            (*key, Seen { counts, first: session.first_seen, last: session.last_seen })
        });
        let by_kernel = reflecting.kernel.iter().flat_map(Answering::sessions);
        let by_kernel = by_kernel.map(|(key, session)| {
            let counts = [session.received, session.transmitted, session.lost_forward];
            (key, Seen { counts, first: session.first_seen, last: session.last_seen })
        });
        let near_end = |key: &SessionKey| reflecting.near_end.get(key).and_then(Stat::of);
        let mut all: Vec<_> = own
            .chain(by_kernel)
            .map(|(key, seen)| (key, Self::of(now, &key, &seen, near_end(&key))))
            .collect();
        all.sort_unstable_by_key(|(key, _)| order(key));
        all
    }

    fn of(now: Moment, key: &SessionKey, seen: &Seen, near_end: Option<Stat>) -> Self {
        let date = |mono| {
            let ns = now.wall.as_ns() - now.mono.since(mono);
            Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default().to_string()
        };
        let [received, transmitted, lost_forward] = seen.counts;
        Self {
            src: key.source.ip().to_string(),
            dst: key.destination.ip().to_string(),
            sport: key.source.port(),
            dport: key.destination.port(),
            ssid: key.ssid,
            micro: Some(key.micro).filter(|&micro| micro != 0),
            received,
            transmitted,
            lost_forward,
            first_seen: date(seen.first),
            last_seen: date(seen.last),
            near_end,
        }
    }
}

/// What is counted of a session: received, transmitted, lost on the way here.
struct Seen {
    counts: [u64; 3],
    first: MonoTime,
    last: MonoTime,
}

/// Some of the sessions.
#[derive(Debug, Serialize)]
pub(crate) struct SessionPage {
    sessions: Vec<SessionSummary>,
    /// What to ask for the sessions behind these; absent when there are none.
    next: Option<String>,
}

impl SessionPage {
    /// At most `limit` sessions behind `after`.
    pub(crate) fn of(
        clock: &HostClock,
        reflectors: &[Reflecting],
        after: Option<&SessionKey>,
        limit: usize,
    ) -> Self {
        let now = clock.now();
        let mut all: Vec<_> =
            reflectors.iter().flat_map(|reflecting| SessionSummary::all(now, reflecting)).collect();
        all.sort_unstable_by_key(|(key, _)| order(key));
        all.retain(|(key, _)| after.is_none_or(|after| order(key) > order(after)));
        let is_last = all.len() <= limit;
        all.truncate(limit);
        let next = all.last().filter(|_| !is_last).map(|(key, _)| cursor(key));
        Self { sessions: all.into_iter().map(|(_, session)| session).collect(), next }
    }
}

const fn order(key: &SessionKey) -> (SocketAddr, SocketAddr, u16, u16) {
    (key.source, key.destination, key.ssid, key.micro)
}
