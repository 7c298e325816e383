//! The Session-Sender of one session: requests out, replies in, nothing else.
//!
//! Packets are sent by the caller's timer alone; nothing that arrives ever causes one.
//! A reply counts when it echoes the number and all 64 bits of the T1 of a request that
//! is remembered, and is signed where the session is. What the four times of an answered
//! request say is computed here, and so is how far the one-way part can be trusted.

mod sample;
mod trust;

use crate::auth::Key;
use crate::clock::MonoTime;
use crate::estimate::ErrorEstimate;
use crate::loss::{Ledger, Outcome, Reflector};
use crate::packet::{Mode, Reply, Request, Shape};
use crate::reflector::KeyPair;
use crate::timestamp::{Format, Timestamp};
use crate::tlv::{self, Kind};

pub use sample::{Fault, Moment, Sample, Timescale};
pub use trust::{LocalClock, OneWay, Unusable};

/// What a session is, before its first packet.
#[derive(Debug, Clone)]
pub struct Settings {
    /// With a key, requests are signed and only signed replies count.
    pub keys: Option<KeyPair>,
    /// Number of the session, carried by every packet of it.
    pub ssid: u16,
    /// Format of T1.
    pub format: Format,
    /// How the times of the reflector are to be read.
    pub timescale: Timescale,
    /// How long a reply may take.
    pub timeout_ns: i64,
    /// Smallest TTL or hop limit with which a reply may come.
    pub min_ttl: u8,
    /// Whether a reply without a session number ends the session.
    pub zero_ssid_is_fatal: bool,
    /// How many requests are remembered: a power of two.
    pub window: usize,
    /// What is known of the reflector's numbering.
    pub reflector: Reflector,
    /// Extensions in the order in which they are sent, without a signature.
    pub extensions: Vec<(Kind, Vec<u8>)>,
}

impl Settings {
    /// How the session is protected.
    pub const fn mode(&self) -> Mode {
        if self.keys.is_some() { Mode::Authenticated } else { Mode::Open }
    }

    /// Slots for `per_second` requests that may still be answered: the power of two that
    /// holds those of the timeout and of the time for which late replies are told apart.
    pub fn window_for(per_second: f64, timeout_ns: i64) -> Option<usize> {
        let seconds = timeout_ns as f64 * 1e-9 + LATE_NS as f64 * 1e-9;
        let slots = (per_second * seconds).ceil() as usize + SPARE_SLOTS;
        Some(slots.next_power_of_two()).filter(|&slots| slots <= MOST_SLOTS)
    }
}

/// Why a reply does not count. The set is closed: it is the values of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Discard {
    /// It echoes another T1 than that of its request.
    BadT1,
    /// It is of another session.
    Ssid,
    /// It has no session number, and that is not allowed.
    ZeroSsid,
    /// Its signature is not ours.
    Hmac,
    /// It is too short.
    Short,
    /// It came from farther away than is allowed.
    MinTtl,
    /// Its checksum is wrong.
    Checksum,
    /// It is of another member link.
    MicroSession,
    /// It is no reply in the mode of the session.
    Mode,
    /// No request of ours is remembered for it.
    Unsolicited,
}

impl Discard {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::BadT1,
        Self::Ssid,
        Self::ZeroSsid,
        Self::Hmac,
        Self::Short,
        Self::MinTtl,
        Self::Checksum,
        Self::MicroSession,
        Self::Mode,
        Self::Unsolicited,
    ];

    /// Value of the `reason` label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::BadT1 => "bad_t1",
            Self::Ssid => "ssid",
            Self::ZeroSsid => "zero_ssid",
            Self::Hmac => "hmac",
            Self::Short => "short",
            Self::MinTtl => "min_ttl",
            Self::Checksum => "checksum",
            Self::MicroSession => "micro_session",
            Self::Mode => "mode",
            Self::Unsolicited => "unsolicited",
        }
    }
}

/// How a reply came.
#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// T4.
    pub at: Moment,
    /// TTL or hop limit; absent where the socket does not tell.
    pub ttl: Option<u8>,
    /// DSCP and ECN.
    pub traffic_class: u8,
}

/// A request as it was sent.
#[derive(Debug, Clone, Copy, Default)]
struct Sent {
    timestamp: Timestamp,
    at: Moment,
    /// The time is that of the kernel.
    stamped: bool,
}

/// One session.
#[derive(Debug)]
pub struct Sender {
    settings: Settings,
    ledger: Ledger,
    sent: Box<[Sent]>,
}

impl Sender {
    /// A session that has sent nothing.
    ///
    /// # Panics
    ///
    /// When the window is no power of two.
    pub fn new(settings: Settings) -> Self {
        let ledger = Ledger::new(settings.window, settings.reflector);
        let sent = vec![Sent::default(); settings.window].into_boxed_slice();
        Self { settings, ledger, sent }
    }

    /// Builds the next request into `payload`, to be sent at once, and gives its number.
    ///
    /// `ahead_s` are the seconds by which the clock of `format` is ahead of UTC.
    pub fn request(
        &mut self,
        at: Moment,
        ahead_s: i32,
        error_estimate: ErrorEstimate,
        payload: &mut Vec<u8>,
    ) -> u32 {
        let Settings { format, ssid, keys, .. } = self.settings;
        let mode = self.settings.mode();
        let sequence = self.ledger.send();
        let wall = at.wall.shifted(i64::from(ahead_s) * 1_000_000_000);
        let timestamp = Timestamp::encode(format, wall);
        *self.slot(sequence) = Sent { timestamp, at, stamped: false };
        payload.clear();
        payload.resize(mode.base_len(), 0);
        Request { sequence, timestamp, error_estimate, ssid: Some(ssid) }.emit(mode, payload);
        self.settings
            .extensions
            .iter()
            .for_each(|(kind, value)| tlv::append(payload, *kind, value));
        if let Some(KeyPair { current, .. }) = keys {
            current.sign(payload);
            sign_extensions(&current, mode, payload);
        }
        sequence
    }

    /// Takes a better time of sending for request `sequence`, which the packet itself
    /// does not carry: replies to it still echo what was sent.
    pub fn handle_sent(&mut self, sequence: u32, at: Moment) {
        if self.remembers(sequence) {
            let sent = self.slot(sequence);
            (sent.at, sent.stamped) = (at, true);
        }
    }

    /// Takes the T1 that the kernel put into request `sequence` itself: replies to it
    /// echo that one. Tells how many nanoseconds after the request was built that was;
    /// nothing when it is known already.
    pub fn handle_stamped(
        &mut self,
        sequence: u32,
        timestamp: Timestamp,
        at: Moment,
    ) -> Option<i64> {
        if !self.remembers(sequence) {
            return None;
        }
        let stamped = Sent { timestamp, at, stamped: true };
        let built = std::mem::replace(self.slot(sequence), stamped);
        (!built.stamped).then(|| at.mono.since(built.at.mono))
    }

    /// Decides over a packet that came from the reflector's address and port.
    pub fn handle_reply(&mut self, payload: &[u8], arrival: &Arrival) -> Result<Sample, Discard> {
        let reply = self.check(payload, arrival)?;
        self.handle_checked(&reply, arrival)
    }

    /// Takes a reply of which the kernel has said that it counts: session, T1, signature
    /// and TTL are those of the request it names.
    ///
    /// Whether it came in time is a matter of its own times, not of when it is handed
    /// over: one that took the whole timeout is late, and one that did not is not, unless
    /// its request is counted as lost already.
    pub fn handle_checked(&mut self, reply: &Reply, arrival: &Arrival) -> Result<Sample, Discard> {
        let sent = *self.slot(reply.sender_sequence);
        let in_time = !self.is_over(&sent, arrival.at.mono);
        let outcome = self.ledger.handle_reply(reply.sender_sequence, reply.sequence, in_time);
        let outcome = outcome.ok_or(Discard::Unsolicited)?;
        let sample = Sample::new(reply, sent.at, arrival, outcome, self.settings.timescale);
        Ok(Sample { stamped: sent.stamped, ..sample })
    }

    /// Gives up requests whose time is over, and calls losses unknown that nothing will
    /// explain any more.
    pub fn handle_timeout(&mut self, now: MonoTime) {
        while self.oldest_open().is_some_and(|sent| self.is_over(&sent, now)) {
            self.ledger.handle_timeout(self.ledger.open().start);
        }
        self.flush_before(now);
    }

    /// When [`Self::handle_timeout`] has something to do, if nothing arrives before.
    pub fn poll_timeout(&self) -> Option<MonoTime> {
        self.oldest_open().map(|sent| sent.at.mono.after(self.settings.timeout_ns))
    }

    /// Requests that [`Self::handle_timeout`] would give up at `now`, the oldest first:
    /// whatever else may know of their replies has to be asked before.
    pub fn overdue(&self, now: MonoTime) -> impl Iterator<Item = u32> {
        let open = self.ledger.open();
        (0..open.end.wrapping_sub(open.start))
            .map(move |n| open.start.wrapping_add(n))
            .filter(|&sequence| self.ledger.is_open(sequence))
            .take_while(move |&sequence| self.is_over(&self.sent[self.index(sequence)], now))
    }

    /// True when a reply to request `sequence` has been taken, in time or late.
    pub fn is_answered(&self, sequence: u32) -> bool {
        self.ledger.is_answered(sequence)
    }

    /// Calls everything decided or unknown: no more replies are waited for.
    pub fn finish(&mut self) {
        let last = self.ledger.open().end.wrapping_sub(1);
        self.ledger.handle_timeout(last);
        self.ledger.flush(last);
    }

    /// Begins another session, from request 0 on: what was under way is decided or
    /// unknown. Counts go on.
    pub fn begin_again(&mut self, ssid: u16) {
        self.finish();
        self.settings.ssid = ssid;
        self.ledger.begin_again(self.settings.window, self.settings.reflector);
        self.sent.fill(Sent::default());
    }

    /// What became of the requests until now.
    pub const fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// What the session is.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Changes the keys of a running session.
    pub fn set_keys(&mut self, keys: KeyPair) {
        self.settings.keys = Some(keys);
    }

    fn check(&self, payload: &[u8], arrival: &Arrival) -> Result<Reply, Discard> {
        let mode = self.settings.mode();
        let reply = Reply::parse(mode, payload).map_err(|_| Discard::Short)?;
        if Shape::of(mode, payload) != Shape::Reply {
            return Err(Discard::Mode);
        }
        if !self.remembers(reply.sender_sequence) {
            return Err(Discard::Unsolicited);
        }
        if self.sent[self.index(reply.sender_sequence)].timestamp != reply.sender_timestamp {
            return Err(Discard::BadT1);
        }
        self.check_ssid(reply.ssid)?;
        if let Some(KeyPair { current, previous }) = self.settings.keys {
            let signed =
                current.verifies(payload) || previous.is_some_and(|key| key.verifies(payload));
            signed.then_some(()).ok_or(Discard::Hmac)?;
        }
        if arrival.ttl.is_some_and(|ttl| ttl < self.settings.min_ttl) {
            return Err(Discard::MinTtl);
        }
        Ok(reply)
    }

    /// Reflectors of before RFC 8972 have zeros in the place of the session's number.
    fn check_ssid(&self, told: Option<u16>) -> Result<(), Discard> {
        match told {
            None => Ok(()),
            Some(ssid) if ssid == self.settings.ssid => Ok(()),
            Some(0) if self.settings.zero_ssid_is_fatal => Err(Discard::ZeroSsid),
            Some(0) => Ok(()),
            Some(_) => Err(Discard::Ssid),
        }
    }

    /// The oldest losses first: each request is looked at once.
    fn flush_before(&mut self, now: MonoTime) {
        let longest = self.settings.timeout_ns.saturating_add(LATE_NS);
        let undecided = self.ledger.undecided();
        let waiting = undecided.end.wrapping_sub(undecided.start);
        let over = |n: &u32| {
            let sent = self.sent[self.index(undecided.start.wrapping_add(*n))];
            now.since(sent.at.mono) > longest
        };
        let given_up = (0..waiting).take_while(over).count() as u32;
        if given_up > 0 {
            self.ledger.flush(undecided.start.wrapping_add(given_up - 1));
        }
    }

    const fn is_over(&self, sent: &Sent, now: MonoTime) -> bool {
        now.since(sent.at.mono) >= self.settings.timeout_ns
    }

    fn oldest_open(&self) -> Option<Sent> {
        let open = self.ledger.open();
        (open.start != open.end).then(|| self.sent[self.index(open.start)])
    }

    fn remembers(&self, sequence: u32) -> bool {
        self.ledger.remembers(sequence)
    }

    const fn index(&self, sequence: u32) -> usize {
        sequence as usize & (self.sent.len() - 1)
    }

    fn slot(&mut self, sequence: u32) -> &mut Sent {
        let index = self.index(sequence);
        &mut self.sent[index]
    }
}

/// Padding alone needs no signature. RFC 8972 §4.8.
fn sign_extensions(key: &Key, mode: Mode, payload: &mut Vec<u8>) {
    let area = &payload[mode.base_len()..];
    let needed = tlv::walk(area).any(|tlv| tlv.is_ok_and(|tlv| tlv.kind != Kind::ExtraPadding));
    if let (true, Some(sequence)) = (needed, payload.first_chunk::<4>()) {
        let hmac = key.tlv_hmac(*sequence, area);
        tlv::append(payload, Kind::Hmac, &hmac);
    }
}

/// For how long behind its timeout a late reply is known as one.
const LATE_NS: i64 = 10_000_000_000;

/// Slots beyond what the rate needs, for bursts.
const SPARE_SLOTS: usize = 64;

/// More would take more memory than a session is worth.
const MOST_SLOTS: usize = 131_072;

#[cfg(test)]
mod tests;
