//! The Session-Reflector: what to answer to a packet, and whether to.
//!
//! One pass in a fixed order: prefixes, length, shape, rates, HMAC, session, extensions.
//! What costs more comes behind what keeps strangers out. Each packet causes at most
//! one answer, and no reply causes one: see [`Shape`]. The answer is complete but for
//! T3, which [`Reflector::stamp`] writes as the last thing before it leaves.

mod extensions;
mod policy;
mod prefixes;
mod rate;
mod refusal;
mod session;

use std::net::SocketAddr;

use crate::auth::Key;
use crate::clock::{MonoTime, WallTime};
use crate::estimate::ErrorEstimate;
use crate::packet::{Mode, Reply, Request, Shape};
use crate::timestamp::{Format, Timestamp};
use crate::tlv::SyncSource;

use extensions::Context;
use rate::Limiter;

pub use extensions::Wanted;
pub use policy::{Disclose, KeyPair, Keys, Numbering, Policy, Provisioned};
pub use prefixes::{Prefix, PrefixError, Prefixes};
pub use refusal::Refusal;
pub use session::{Session, SessionKey, Sessions};

/// A packet to the reflector's port, and what is known of how it came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival<'a> {
    /// Its UDP payload.
    pub payload: &'a [u8],
    /// Who sent it.
    pub source: SocketAddr,
    /// Where it was sent to: an address and port of ours.
    pub destination: SocketAddr,
    /// When it came, for everything that needs a duration.
    pub now: MonoTime,
    /// T2.
    pub received: WallTime,
    /// TTL or hop limit it came with; absent where the socket does not tell.
    pub ttl: Option<u8>,
    /// DSCP and ECN it came with.
    pub traffic_class: u8,
    /// Number of the member link it came on, where that has one.
    pub member: Option<u16>,
    /// Hardware addresses of its sender, where the device has such.
    pub source_mac: Option<[u8; 6]>,
}

/// What the reflector says of its clock.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Format of T2 and T3.
    pub format: Format,
    /// Seconds by which PTP times are ahead of UTC; 0 when the kernel does not know TAI.
    pub tai_offset_s: i32,
    /// Error Estimate of both.
    pub error_estimate: ErrorEstimate,
    /// What sets the clock.
    pub source: SyncSource,
    /// Code of the method that takes T2, and of the one that takes T3.
    pub methods: [u8; 2],
}

impl Clock {
    /// `time` as it stands in a packet.
    pub const fn encode(&self, time: WallTime) -> Timestamp {
        let ahead = match self.format {
            Format::Ntp => 0,
            Format::Ptp => self.tai_offset_s as i64 * 1_000_000_000,
        };
        Timestamp::encode(self.format, time.shifted(ahead))
    }
}

/// A reply that is complete but for T3.
#[derive(Debug)]
pub struct Answer {
    /// The UDP payload.
    pub payload: Vec<u8>,
    /// What the packet that carries it is to look like.
    pub wanted: Wanted,
    mode: Mode,
    key: Option<Key>,
    session: Option<SessionKey>,
    sequence: u32,
}

impl Answer {
    /// How the answer is protected.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The session by which the answer is numbered; none when it has its request's number.
    pub const fn session(&self) -> Option<&SessionKey> {
        self.session.as_ref()
    }

    /// The answer's number.
    pub const fn sequence(&self) -> u32 {
        self.sequence
    }
}

/// Answers packets by a policy, and remembers the sessions they belong to.
#[derive(Debug)]
pub struct Reflector {
    policy: Policy,
    sessions: Sessions,
    limiter: Limiter,
    old_keys: u64,
}

impl Reflector {
    /// A reflector without any session.
    pub fn new(policy: Policy) -> Self {
        let sessions = Sessions::new(policy.max_sessions, policy.session_timeout_ns);
        let limiter = Limiter::new(policy.rate, policy.burst, policy.global_rate);
        Self { policy, sessions, limiter, old_keys: 0 }
    }

    /// Decides over one packet. `clock` is what stands in the answer beside T2.
    pub fn handle(&mut self, arrival: &Arrival<'_>, clock: &Clock) -> Result<Answer, Refusal> {
        let accepted = self.accept(arrival)?;
        let (id, numbered) = self.enter(&accepted)?;
        let answer = self.answer(&accepted, clock, id, numbered)?;
        if let Some(session) = answer.session.as_ref().and_then(|id| self.sessions.find(id)) {
            session.transmitted += 1;
        }
        Ok(answer)
    }

    /// Writes T3 into `answer`, signs it, and remembers when its session was last
    /// answered. Nothing may change the payload afterwards.
    pub fn stamp(&mut self, answer: &mut Answer, sent: Timestamp) {
        Reply::stamp(answer.mode, &mut answer.payload, sent);
        if let Some(key) = &answer.key {
            key.sign(&mut answer.payload);
        }
        if let Some(session) = answer.session.as_ref().and_then(|key| self.sessions.find(key)) {
            session.answered_at(sent);
        }
    }

    /// Takes a better time for reply `sequence` of a session, which its next reply tells
    /// in a Follow-Up.
    pub fn handle_sent(&mut self, session: &SessionKey, sequence: u32, sent: Timestamp) {
        let reply = self.sessions.find(session).and_then(|session| session.last_reply.as_mut());
        if let Some((last, time)) = reply
            && *last == sequence
        {
            *time = sent;
        }
    }

    /// Forgets sessions that have been silent for too long.
    pub fn expire(&mut self, now: MonoTime) {
        self.sessions.expire(now);
    }

    /// What is decided before the first packet.
    pub const fn policy(&self) -> &Policy {
        &self.policy
    }

    /// The sessions that are remembered.
    pub const fn sessions(&self) -> &Sessions {
        &self.sessions
    }

    /// Packets accepted with the previous key.
    pub const fn old_keys(&self) -> u64 {
        self.old_keys
    }

    /// Everything that can be decided without the session.
    fn accept<'a>(&mut self, arrival: &'a Arrival<'a>) -> Result<Accepted<'a>, Refusal> {
        let light = self.admit_source(arrival)?;
        let mode = self.policy.mode();
        let request = Request::parse(mode, arrival.payload).map_err(|_| Refusal::Short)?;
        if !light && arrival.payload.len() < mode.base_len() {
            return Err(Refusal::Short);
        }
        if arrival.ttl.is_some_and(|ttl| ttl < self.policy.min_ttl) {
            return Err(Refusal::MinTtl);
        }
        self.guard(mode, arrival, light)?;
        self.limiter.admit(arrival.source.ip(), arrival.now, light)?;
        let key = self.verify(mode, &request, arrival.payload)?;
        Ok(Accepted { arrival, request, mode, key, light })
    }

    /// True when the source is one of the TWAMP-Light peers.
    fn admit_source(&self, arrival: &Arrival<'_>) -> Result<bool, Refusal> {
        let source = arrival.source.ip();
        let loopback = source.is_loopback() && !arrival.destination.ip().is_loopback();
        if source.is_multicast()
            || source.is_unspecified()
            || loopback
            || arrival.source.port() == 0
        {
            return Err(Refusal::SourceInvalid);
        }
        if !self.policy.allows(source) {
            return Err(Refusal::Denied);
        }
        Ok(self.policy.twamp_light.contains(source) && self.policy.mode() == Mode::Open)
    }

    /// Keeps replies from being answered. TWAMP-Light peers may pad with anything, so
    /// for them it is enough that nothing there is a time of today, and that the packet
    /// does not come from a reflector's port.
    fn guard(&self, mode: Mode, arrival: &Arrival<'_>, light: bool) -> Result<(), Refusal> {
        if Shape::of(mode, arrival.payload) == Shape::Request {
            return Ok(());
        }
        let port = arrival.source.port();
        let known =
            self.policy.reflector_ports.contains(&port) || port == arrival.destination.port();
        if light && !known && !holds_a_time(arrival) { Ok(()) } else { Err(Refusal::LoopGuard) }
    }

    fn verify(
        &mut self,
        mode: Mode,
        request: &Request,
        payload: &[u8],
    ) -> Result<Option<Key>, Refusal> {
        if mode == Mode::Open {
            return Ok(None);
        }
        let keys = self.policy.keys.of(request.ssid.unwrap_or(0)).ok_or(Refusal::NoKey)?;
        if keys.current.verifies(payload) {
            return Ok(Some(keys.current));
        }
        let previous = keys.previous.filter(|key| key.verifies(payload)).ok_or(Refusal::Hmac)?;
        self.old_keys += 1;
        Ok(Some(previous))
    }

    /// Counts the request in its session, and gives back the session where replies are
    /// numbered by it.
    fn enter(&mut self, accepted: &Accepted<'_>) -> Result<(SessionKey, Option<Session>), Refusal> {
        let Accepted { arrival, request, mode, light, .. } = *accepted;
        let ssid = if light { 0 } else { request.ssid.unwrap_or(0) };
        // What a light peer pads with says nothing.
        let area = arrival.payload.get(mode.base_len()..).filter(|_| !light).unwrap_or(&[]);
        let id = SessionKey::new(arrival, ssid, area);
        if !self.policy.provisioned(&id) {
            return Err(Refusal::NotProvisioned);
        }
        let numbered = self.policy.counts(ssid);
        if !numbered && mode == Mode::Open {
            return Ok((id, None));
        }
        let Some(session) = self.sessions.enter(id, arrival.now) else { return Ok((id, None)) };
        if mode == Mode::Authenticated
            && !session.replay.admits(request.sequence, request.timestamp)
        {
            return Err(Refusal::Replay);
        }
        session.count(request.sequence);
        Ok((id, numbered.then(|| session.clone())))
    }

    fn answer(
        &self,
        accepted: &Accepted<'_>,
        clock: &Clock,
        id: SessionKey,
        session: Option<Session>,
    ) -> Result<Answer, Refusal> {
        let Accepted { arrival, request, mode, key, light } = *accepted;
        let receive_timestamp = clock.encode(arrival.received);
        if receive_timestamp.is_zero() {
            return Err(Refusal::ClockUnset);
        }
        let mut payload = arrival.payload.to_vec();
        payload.resize(payload.len().max(mode.base_len()), 0);
        let sequence =
            session.as_ref().map_or(request.sequence, |session| session.transmitted as u32);
        let numbered = session.is_some().then_some(id);
        let mut wanted = Wanted::back_to(arrival);
        if !light {
            let context = Context {
                policy: &self.policy,
                arrival,
                clock,
                session,
                sequence,
                key: key.as_ref(),
            };
            wanted = extensions::reflect(&mut payload[mode.base_len()..], &context)?;
        }
        let reply = Reply {
            sequence,
            timestamp: Timestamp::ZERO,
            error_estimate: clock.error_estimate,
            ssid: request.ssid,
            receive_timestamp,
            sender_sequence: request.sequence,
            sender_timestamp: request.timestamp,
            sender_error_estimate: request.error_estimate,
            sender_ttl: arrival.ttl,
        };
        reply.emit(mode, &mut payload);
        Ok(Answer { payload, wanted, mode, key, session: numbered, sequence })
    }
}

/// A request that is to be answered unless its session or its extensions forbid it.
#[derive(Debug, Clone, Copy)]
struct Accepted<'a> {
    arrival: &'a Arrival<'a>,
    request: Request,
    mode: Mode,
    key: Option<Key>,
    light: bool,
}

/// True when the octets in which a reply has its time of arrival are within an hour of
/// now, in either format.
fn holds_a_time(arrival: &Arrival<'_>) -> bool {
    let Some(octets) = arrival.payload.get(16..24).and_then(|octets| octets.first_chunk()) else {
        return false;
    };
    let bits = Timestamp::from_bits(u64::from_be_bytes(*octets));
    let near = |format| {
        let time = bits.decode(format, arrival.received);
        time.is_some_and(|time| time.since(arrival.received).unsigned_abs() <= HOUR_NS)
    };
    near(Format::Ntp) || near(Format::Ptp)
}

const HOUR_NS: u64 = 3_600_000_000_000;

#[cfg(test)]
mod tests;
