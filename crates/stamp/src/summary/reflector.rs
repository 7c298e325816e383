//! What the reflectors of a system did.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;
use stamp_proto::reflector::{Session, SessionKey};
use stamp_proto::sender::Moment;

use super::{Histogram, Stat};
use crate::clock::HostClock;
use crate::service::Reflecting;

/// What a reflector did.
#[derive(Debug, Serialize)]
pub struct ReflectorSummary {
    schema: &'static str,
    started: String,
    ended: String,
    pub(crate) requests: u64,
    pub(crate) replies: u64,
    pub(crate) dropped: BTreeMap<&'static str, u64>,
    old_key: u64,
    sessions_refused: u64,
    sessions_expired: u64,
    pub(crate) sessions: Vec<SessionSummary>,
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
        let total = |amount: fn(&Reflecting) -> u64| reflectors.iter().map(amount).sum();
        let mut dropped = BTreeMap::new();
        for (&reason, amount) in reflectors.iter().flat_map(|reflecting| &reflecting.dropped) {
            *dropped.entry(reason).or_default() += amount;
        }
        Some(Self {
            schema: "fathom.stamp.reflector/1",
            started: started.to_string(),
            ended: Timestamp::now().to_string(),
            requests: total(|reflecting| reflecting.requests),
            replies: total(|reflecting| reflecting.replies),
            dropped,
            old_key: total(|reflecting| reflecting.reflector.old_keys()),
            sessions_refused: total(|reflecting| reflecting.reflector.sessions().refused()),
            sessions_expired: total(|reflecting| reflecting.reflector.sessions().expired()),
            sessions: reflectors
                .iter()
                .flat_map(|reflecting| SessionSummary::all(clock.now(), reflecting))
                .collect(),
            histogram,
        })
    }
}

impl SessionSummary {
    fn all(now: Moment, reflecting: &Reflecting) -> Vec<Self> {
        let date = |mono| {
            let ns = now.wall.as_ns() - now.mono.since(mono);
            Timestamp::from_nanosecond(i128::from(ns)).unwrap_or_default().to_string()
        };
        let of = |(key, session): (&SessionKey, &Session)| Self {
            src: key.source.ip().to_string(),
            dst: key.destination.ip().to_string(),
            sport: key.source.port(),
            dport: key.destination.port(),
            ssid: key.ssid,
            micro: Some(key.micro).filter(|&micro| micro != 0),
            received: session.received,
            transmitted: session.transmitted,
            lost_forward: session.lost_forward(),
            first_seen: date(session.first_seen),
            last_seen: date(session.last_seen),
            near_end: reflecting.near_end.get(key).and_then(Stat::of),
        };
        reflecting.reflector.sessions().iter().map(of).collect()
    }
}
