//! The Session-Reflector: what to answer to a packet, and whether to.
//!
//! One pass in a fixed order: prefixes, length, shape, rates, HMAC, session, extensions.
//! What costs more comes behind what keeps strangers out. Each packet causes at most
//! one answer, and no reply causes one: see [`Shape`]. The answer is complete but for
//! T3, which [`Reflector::stamp`] writes as the last thing before it leaves.

mod control;
mod extensions;
mod policy;
mod prefixes;
mod rate;
mod refusal;
mod session;

use std::net::{IpAddr, SocketAddr};

use crate::auth::Key;
use crate::clock::{MonoTime, WallTime};
use crate::estimate::ErrorEstimate;
use crate::packet::{Mode, Reply, Request, Shape};
use crate::timestamp::{Format, Timestamp};
use crate::tlv::SyncSource;

use control::Asked;
use extensions::{Context, Draft};
use rate::{Limiter, Volume};

pub use control::{Control, Copies};
pub use extensions::Wanted;
pub use policy::{Disclose, KeyPair, Keys, Numbering, Policy, Provisioned};
pub use prefixes::{Prefix, PrefixError, Prefixes};
pub use rate::{Limit, Limits};
pub use refusal::Refusal;
pub use session::{Entered, Place, Session, SessionKey, Sessions};

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
    /// How often it is to be sent, each time with a number and T3 of its own.
    pub copies: Copies,
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

    /// Makes it one more copy, with this number; it has to be stamped again.
    pub fn renumber(&mut self, sequence: u32) {
        self.sequence = sequence;
        self.payload[..4].copy_from_slice(&sequence.to_be_bytes());
        // Extensions that were not signed are granted one answer, and stay as they came.
        if let Some(key) = self.key.as_ref().filter(|_| self.copies != Copies::ONE) {
            extensions::sign(&mut self.payload[self.mode.base_len()..], key, sequence);
        }
    }
}

/// Answers packets by a policy, and remembers the sessions they belong to.
#[derive(Debug)]
pub struct Reflector {
    policy: Policy,
    sessions: Sessions,
    limiter: Limiter,
    volume: Volume,
    old_keys: u64,
}

impl Reflector {
    /// A reflector without any session.
    pub fn new(policy: Policy) -> Self {
        let sessions = Sessions::new(&policy);
        let limiter = Limiter::new(policy.limits());
        Self { policy, sessions, limiter, volume: Volume::default(), old_keys: 0 }
    }

    /// Decides over one packet. `clock` is what stands in the answer beside T2.
    pub fn handle(&mut self, arrival: &Arrival<'_>, clock: &Clock) -> Result<Answer, Refusal> {
        let accepted = self.accept(arrival)?;
        let entered = accepted.enter(&mut |id, request, numbered| {
            self.sessions.enter(id, request, numbered, arrival.now)
        })?;
        let answer = self.answer(&accepted, clock, entered)?;
        if let Some(session) = answer.session.as_ref().and_then(|id| self.sessions.find(id)) {
            session.transmitted += 1;
        }
        Ok(answer)
    }

    /// The same with sessions that somebody else keeps. `book` is asked to count a request
    /// that is to be answered, and told whether its reply is to be numbered by the session;
    /// it is not asked where there is neither a number nor a replay to look for.
    pub fn handle_with(
        &mut self,
        arrival: &Arrival<'_>,
        clock: &Clock,
        book: &mut dyn FnMut(SessionKey, &Request, bool) -> Entered,
    ) -> Result<Answer, Refusal> {
        let accepted = self.accept(arrival)?;
        let entered = accepted.enter(book)?;
        self.answer(&accepted, clock, entered)
    }

    /// Writes T3 into `answer`, signs it, and remembers when its session was last
    /// answered. Nothing may change the payload afterwards.
    pub fn stamp(&mut self, answer: &mut Answer, sent: Timestamp) {
        Reply::stamp(answer.mode, &mut answer.payload, sent);
        if let Some(key) = &answer.key {
            key.sign(&mut answer.payload);
        }
        if let Some(session) = answer.session.as_ref().and_then(|key| self.sessions.find(key)) {
            session.last_reply = Some((answer.sequence, sent));
        }
    }

    /// Makes `answer` the next copy of itself, where more than one is to be sent; it has to
    /// be stamped again. Its extensions stay what they were in the first.
    pub fn repeat(&mut self, answer: &mut Answer) {
        if let Some(session) = answer.session.as_ref().and_then(|id| self.sessions.find(id)) {
            answer.renumber(session.transmitted as u32);
            session.transmitted += 1;
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

    /// Changes the keys of a running reflector, but not how packets are protected.
    pub fn set_keys(&mut self, keys: Keys) {
        debug_assert_eq!(keys.is_empty(), self.policy.keys.is_empty());
        self.policy.keys = keys;
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
        let ssid = if light { 0 } else { request.ssid.unwrap_or(0) };
        // What a light peer pads with says nothing.
        let area = arrival.payload.get(mode.base_len()..).filter(|_| !light).unwrap_or(&[]);
        let id = SessionKey::new(arrival, ssid, area);
        if !self.policy.provisioned(&id) {
            return Err(Refusal::NotProvisioned);
        }
        let numbered = self.policy.counts(ssid);
        Ok(Accepted { arrival, request, mode, key, light, id, numbered })
    }

    /// True when the source is one of the TWAMP-Light peers.
    fn admit_source(&self, arrival: &Arrival<'_>) -> Result<bool, Refusal> {
        let source = arrival.source.ip();
        let loopback = source.is_loopback() && !arrival.destination.ip().is_loopback();
        if !is_host(source) || loopback || arrival.source.port() == 0 {
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

    fn answer(
        &mut self,
        accepted: &Accepted<'_>,
        clock: &Clock,
        place: Option<Place>,
    ) -> Result<Answer, Refusal> {
        let Accepted { arrival, request, mode, key, light, id, .. } = *accepted;
        let receive_timestamp = clock.encode(arrival.received);
        if receive_timestamp.is_zero() {
            return Err(Refusal::ClockUnset);
        }
        let mut payload = arrival.payload.to_vec();
        payload.resize(payload.len().max(mode.base_len()), 0);
        let sequence = place.map_or(request.sequence, |place| place.number);
        let mut draft = Draft::back_to(arrival, &mut self.volume);
        if !light {
            let context = Context {
                policy: &self.policy,
                arrival,
                clock,
                place,
                sequence,
                key: key.as_ref(),
                asked: Asked::of(arrival.payload, mode.base_len(), &self.policy),
            };
            extensions::reflect(&mut payload, mode.base_len(), &context, &mut draft)?;
        }
        let Draft { wanted, copies, .. } = draft;
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
        Ok(Answer { payload, wanted, copies, mode, key, session: place.map(|_| id), sequence })
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
    id: SessionKey,
    /// Its reply is to be numbered by its session.
    numbered: bool,
}

impl Accepted<'_> {
    /// Has the request counted where there is anything to count, and gives the place of
    /// its reply where that is numbered by its session.
    fn enter(
        &self,
        book: &mut dyn FnMut(SessionKey, &Request, bool) -> Entered,
    ) -> Result<Option<Place>, Refusal> {
        if !self.numbered && self.mode == Mode::Open {
            return Ok(None);
        }
        match book(self.id, &self.request, self.numbered) {
            Entered::Replay => Err(Refusal::Replay),
            Entered::Unnumbered => Ok(None),
            Entered::Numbered(place) => Ok(Some(place)),
        }
    }
}

/// False for what no single host is called by: groups, nobody, and what IPv4 has kept back
/// with the broadcast address at its end. RFC 1112 §4.
fn is_host(address: IpAddr) -> bool {
    let address = address.to_canonical();
    let kept_back = matches!(address, IpAddr::V4(v4) if v4.octets()[0] >= 240);
    !(address.is_multicast() || address.is_unspecified() || kept_back)
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
