//! The sessions of a reflector: who is being answered, and how far that has got.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::{Arrival, Policy};
use crate::clock::MonoTime;
use crate::packet::{Mode, Request};
use crate::timestamp::Timestamp;
use crate::tlv::{self, MicroSession};

/// What makes packets one session. RFC 8972 §3, RFC 9534 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Who sends.
    pub source: SocketAddr,
    /// Where it is sent to.
    pub destination: SocketAddr,
    /// The session's number, 0 when it has none.
    pub ssid: u16,
    /// The sender's member link, 0 when it has none.
    pub micro: u16,
}

impl SessionKey {
    pub(super) fn new(arrival: &Arrival<'_>, ssid: u16, area: &[u8]) -> Self {
        let member = |tlv: tlv::Tlv<'_>| {
            (tlv.kind == tlv::Kind::MicroSessionId).then(|| MicroSession::parse(tlv.value))
        };
        let micro = tlv::walk(area).map_while(Result::ok).find_map(member).flatten();
        Self {
            source: arrival.source,
            destination: arrival.destination,
            ssid,
            micro: micro.map_or(0, |micro| micro.sender),
        }
    }
}

/// What a book of sessions says of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entered {
    /// It has been here before, and is not answered again.
    Replay,
    /// It is counted, but its reply has no number of its own: nobody wants one, or there
    /// is no room for one more session.
    Unnumbered,
    /// Its reply has a place in its session.
    Numbered(Place),
}

/// The place of a reply in its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its number: as many replies were numbered before.
    pub number: u32,
    /// Requests that arrived, this one included.
    pub received: u64,
    /// Number and time of the reply before it.
    pub last_reply: Option<(u32, Timestamp)>,
    /// The request's number is above those of all requests before it.
    pub ahead: bool,
}

/// One session.
#[derive(Debug, Clone)]
pub struct Session {
    /// Requests that arrived.
    pub received: u64,
    /// Replies that were sent.
    pub transmitted: u64,
    /// When the first request came.
    pub first_seen: MonoTime,
    /// When the last one came.
    pub last_seen: MonoTime,
    /// Number and time of the last reply.
    pub last_reply: Option<(u32, Timestamp)>,
    replay: Replay,
    /// Lowest and highest request number, for what was lost between them.
    span: Option<(u32, u32)>,
}

impl Session {
    /// Requests that did not arrive between the first and the last that did. A request
    /// that came twice hides one that was lost.
    pub fn lost_forward(&self) -> u64 {
        let expected = self.span.map_or(0, |(first, last)| u64::from(last.wrapping_sub(first)) + 1);
        expected.saturating_sub(self.received)
    }

    /// Counts a request, and says whether it is ahead of all before it.
    fn count(&mut self, sequence: u32) -> bool {
        self.received += 1;
        let ahead = self.span.is_none_or(|(_, last)| sequence.wrapping_sub(last) as i32 > 0);
        let (first, last) = self.span.unwrap_or((sequence, sequence));
        self.span = Some((first, if ahead { sequence } else { last }));
        ahead
    }
}

/// Tells a packet that was recorded and sent again from a new one.
///
/// Numbers count from the newest time on: a sender that starts over has a newer T1, a
/// recorded packet has not.
#[derive(Debug, Clone, Copy, Default)]
struct Replay {
    newest: u64,
    top: u32,
    seen: u64,
}

impl Replay {
    /// False for what is older than two seconds, behind the window, or has been here.
    fn admits(&mut self, sequence: u32, sent: Timestamp) -> bool {
        let newer = sent.bits().wrapping_sub(self.newest) as i64;
        if newer > 0 || self.seen == 0 {
            self.newest = sent.bits();
            self.move_to(sequence);
            return true;
        }
        let behind = self.top.wrapping_sub(sequence);
        let bit = 1_u64.checked_shl(behind).unwrap_or(0);
        let fresh = newer >= -TWO_SECONDS && bit != 0 && self.seen & bit == 0;
        if fresh {
            self.seen |= bit;
        }
        fresh
    }

    fn move_to(&mut self, sequence: u32) {
        let ahead = sequence.wrapping_sub(self.top);
        let forward = (ahead as i32) > 0;
        self.seen = if forward { self.seen.checked_shl(ahead).unwrap_or(0) | 1 } else { 1 };
        self.top = sequence;
    }
}

/// In either format the upper half counts seconds.
const TWO_SECONDS: i64 = 2 << 32;

/// All sessions, at most so many, and none that has been silent for too long.
#[derive(Debug)]
pub struct Sessions {
    most: usize,
    timeout_ns: i64,
    /// Whoever can record a packet could send it again: signatures alone prove nothing.
    no_replays: bool,
    by_key: HashMap<SessionKey, Session>,
    refused: u64,
    expired: u64,
}

impl Sessions {
    pub(super) fn new(policy: &Policy) -> Self {
        Self {
            most: policy.max_sessions,
            timeout_ns: policy.session_timeout_ns,
            no_replays: policy.mode() == Mode::Authenticated,
            by_key: HashMap::new(),
            refused: 0,
            expired: 0,
        }
    }

    /// Counts a request, and gives its reply a place where it is to be `numbered`. The
    /// place is taken only when the reply is counted as well.
    pub(super) fn enter(
        &mut self,
        key: SessionKey,
        request: &Request,
        numbered: bool,
        now: MonoTime,
    ) -> Entered {
        let no_replays = self.no_replays;
        let Some(session) = self.find_or_begin(key, now) else { return Entered::Unnumbered };
        if no_replays && !session.replay.admits(request.sequence, request.timestamp) {
            return Entered::Replay;
        }
        let ahead = session.count(request.sequence);
        let place = Place {
            number: session.transmitted as u32,
            received: session.received,
            last_reply: session.last_reply,
            ahead,
        };
        if numbered { Entered::Numbered(place) } else { Entered::Unnumbered }
    }

    /// The session of `key`, which begins now if there is room for it.
    fn find_or_begin(&mut self, key: SessionKey, now: MonoTime) -> Option<&mut Session> {
        if self.by_key.len() >= self.most && !self.by_key.contains_key(&key) {
            self.refused += 1;
            return None;
        }
        let session = self.by_key.entry(key).or_insert_with(|| Session {
            received: 0,
            transmitted: 0,
            first_seen: now,
            last_seen: now,
            last_reply: None,
            replay: Replay::default(),
            span: None,
        });
        session.last_seen = now;
        Some(session)
    }

    pub(super) fn find(&mut self, key: &SessionKey) -> Option<&mut Session> {
        self.by_key.get_mut(key)
    }

    pub(super) fn expire(&mut self, now: MonoTime) {
        let before = self.by_key.len();
        self.by_key.retain(|_, session| now.since(session.last_seen) <= self.timeout_ns);
        self.expired += (before - self.by_key.len()) as u64;
    }

    /// Each session, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&SessionKey, &Session)> {
        self.by_key.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_key.len()
    }

    /// True when there is none.
    pub fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    /// Requests answered without a session because there was no room for one.
    pub const fn refused(&self) -> u64 {
        self.refused
    }

    /// Sessions that ended by silence.
    pub const fn expired(&self) -> u64 {
        self.expired
    }
}
