//! What the kernel's part of a reflector did and knows.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::kernel::Lane;
use serde::Serialize;
use stamp_bpf::{Event, Program, SessionState, SlowKey, SlowRequest, Tables};
use stamp_proto::clock::MonoTime;
use stamp_proto::packet::Request;
use stamp_proto::reflector::{Entered, Refusal, SessionKey};

/// The programs that answer for a reflector.
#[derive(Debug)]
pub(crate) struct Answering {
    /// Which of the service's programs they are.
    pub(super) kernel: usize,
    tables: Arc<Tables>,
    program: Arc<Program>,
    lane: Lane,
    timeout_ns: i64,
    /// Sessions at the last look.
    sessions: usize,
    expired: u64,
    looked: Option<MonoTime>,
}

/// Requests and replies of one path.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Path {
    pub(crate) requests: u64,
    pub(crate) replies: u64,
}

impl Answering {
    pub(crate) fn new(
        kernel: usize,
        (tables, program): (Arc<Tables>, Arc<Program>),
        (lane, timeout_ns): (Lane, i64),
    ) -> Self {
        Self { kernel, tables, program, lane, timeout_ns, sessions: 0, expired: 0, looked: None }
    }

    /// When a request arrived that the programs left to us; none when they never saw it.
    pub(super) fn left(&self, key: &SlowKey) -> Option<SlowRequest> {
        self.tables.slow_request(key).ok().flatten()
    }

    /// Forgets a request that is not answered.
    pub(super) fn forget(&self, key: &SlowKey) {
        if let Err(error) = self.tables.forget_slow_request(key) {
            tracing::debug!(event = "stamp.slow", %error, "A request without an answer takes room");
        }
    }

    /// The place of a request in its session, which is the programs'.
    pub(super) fn enter(
        &self,
        session: &SessionKey,
        request: &Request,
        is_numbered: bool,
        now: MonoTime,
    ) -> Entered {
        let entered =
            self.program.enter(session, request.sequence, request.timestamp, now, is_numbered);
        entered.unwrap_or_else(|error| {
            tracing::debug!(event = "stamp.session", %error, "A session can't be had");
            Entered::Unnumbered
        })
    }

    /// The number of one more reply of a session.
    pub(super) fn number(&self, session: &SessionKey, now: MonoTime) -> Option<u32> {
        match self.program.enter_reply(session, now) {
            Ok(Entered::Numbered(place)) => Some(place.number),
            _ => None,
        }
    }

    /// Sessions of now.
    pub(crate) fn sessions(&self) -> Vec<(SessionKey, SessionState)> {
        self.tables.sessions().unwrap_or_default()
    }

    /// Forgets silent sessions; tells those there are, each time that it looked.
    pub(super) fn expire(&mut self, now: MonoTime) -> Option<Vec<SessionKey>> {
        if self.looked.is_some_and(|looked| now.since(looked) < LOOK_NS) {
            return None;
        }
        self.looked = Some(now);
        self.expired +=
            self.tables.expire_sessions(now.after(-self.timeout_ns)).unwrap_or(0) as u64;
        let sessions = self.sessions();
        self.sessions = sessions.len();
        Some(sessions.into_iter().map(|(key, _)| key).collect())
    }

    /// Sessions at the last look.
    pub(crate) const fn session_count(&self) -> usize {
        self.sessions
    }

    /// Sessions that were silent for too long.
    pub(crate) const fn expired(&self) -> u64 {
        self.expired
    }

    /// What each way of answering did, without what was left to us.
    pub(crate) fn paths(&self) -> [(&'static str, Path); 2] {
        let requests = self.happened(Event::Request).saturating_sub(self.happened(Event::Slow));
        let tc = Path { requests, replies: self.happened(Event::Replied) };
        let (requests, replies) = (Event::XdpRequest, Event::XdpReplied);
        let xdp = Path { requests: self.happened(requests), replies: self.happened(replies) };
        [(self.lane.as_str(), tc), ("xdp", xdp)]
    }

    /// How often something happened.
    pub(crate) fn happened(&self, what: Event) -> u64 {
        self.tables.happened(what).unwrap_or(0)
    }

    /// Requests that were not answered, by reason.
    pub(crate) fn dropped(&self) -> BTreeMap<&'static str, u64> {
        let amount = |why| self.tables.refused(why).unwrap_or(0);
        Refusal::ALL.into_iter().map(|why| (why.reason(), amount(why))).collect()
    }
}

/// Reading all sessions takes longer than reading one packet.
const LOOK_NS: i64 = 5_000_000_000;
