//! The base packets of a test: requests and replies, open and authenticated.
//!
//! Both modes carry the same fields at different places, so one table of places per
//! mode serves parsing, building and the kernel program's tests. Parsing takes what is
//! there and judges nothing; what a packet *is* ([`Shape`]) is asked separately,
//! because that is the question on which no loop may ever start.

mod layout;

use std::ops::Range;

use crate::estimate::ErrorEstimate;
use crate::timestamp::Timestamp;

/// How the packets of a session are protected. Provisioned on both ends, never said
/// in a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// 44 octets, unprotected. RFC 8762 §4.2.1, §4.3.1.
    Open,
    /// 112 octets with an HMAC at their end. RFC 8762 §4.2.2, §4.3.2.
    Authenticated,
}

impl Mode {
    /// Value of the `mode` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Authenticated => "auth",
        }
    }

    /// Octets of the base packet, in either direction; TLVs follow behind.
    pub const fn base_len(self) -> usize {
        self.layout().len
    }

    /// Octets that a request leaves zero, and in which a reply carries its arrival time.
    pub const fn must_be_zero(self) -> Range<usize> {
        self.layout().must_be_zero()
    }
}

/// What a Session-Sender says in the base packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// Starts at 0, one more for each packet of the session.
    pub sequence: u32,
    /// T1: when the packet left.
    pub timestamp: Timestamp,
    /// Of the clock behind [`Self::timestamp`].
    pub error_estimate: ErrorEstimate,
    /// The session's number; absent in a request that ends before it.
    pub ssid: Option<u16>,
}

impl Request {
    /// Octets without which there is no request: up to the end of the Error Estimate,
    /// which is all that TWAMP-Light senders have. RFC 5357 §4.1.2.
    pub const MIN_LEN: usize = 14;

    /// Reads the base fields of `payload`, which may end behind the Error Estimate in
    /// open mode, and must hold the whole base packet in authenticated mode.
    pub fn parse(mode: Mode, payload: &[u8]) -> Result<Self, Truncated> {
        let need = match mode {
            Mode::Open => Self::MIN_LEN,
            Mode::Authenticated => mode.base_len(),
        };
        let read = Reader::new(payload, need)?;
        let at = mode.layout();
        Ok(Self {
            sequence: read.u32(at.sequence),
            timestamp: Timestamp::from_bits(read.u64(at.timestamp)),
            error_estimate: ErrorEstimate::from_bits(read.u16(at.error_estimate)),
            ssid: (payload.len() >= at.ssid + 2).then(|| read.u16(at.ssid)),
        })
    }

    /// Writes the request as a base packet in front of `payload`, whose other base
    /// octets become zero; the HMAC is left for [`crate::auth`].
    ///
    /// # Panics
    ///
    /// When `payload` is shorter than the base packet.
    pub fn emit(&self, mode: Mode, payload: &mut [u8]) {
        let at = mode.layout();
        let base = &mut payload[..at.len];
        base.fill(0);
        put(base, at.sequence, self.sequence.to_be_bytes());
        put(base, at.timestamp, self.timestamp.bits().to_be_bytes());
        put(base, at.error_estimate, self.error_estimate.bits().to_be_bytes());
        put(base, at.ssid, self.ssid.unwrap_or(0).to_be_bytes());
    }
}

/// What a Session-Reflector says in the base packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// Of the request, or of the reflector's own count when it keeps sessions.
    pub sequence: u32,
    /// T3: when the reply left.
    pub timestamp: Timestamp,
    /// Of the clock behind [`Self::timestamp`] and [`Self::receive_timestamp`].
    pub error_estimate: ErrorEstimate,
    /// As the request had it; absent in a reply of TWAMP-Light length.
    pub ssid: Option<u16>,
    /// T2: when the request arrived.
    pub receive_timestamp: Timestamp,
    /// The request's sequence number.
    pub sender_sequence: u32,
    /// The request's T1.
    pub sender_timestamp: Timestamp,
    /// The request's Error Estimate.
    pub sender_error_estimate: ErrorEstimate,
    /// TTL or hop limit with which the request arrived; absent as [`Self::ssid`] is.
    pub sender_ttl: Option<u8>,
}

impl Reply {
    /// Octets without which there is no open reply: up to the end of the sender's
    /// Error Estimate, where TWAMP-Light reflectors that know no TTL end.
    pub const MIN_OPEN_LEN: usize = 38;

    /// Reads the base fields of `payload`.
    ///
    /// In open mode it may end behind the sender's Error Estimate. A reply that does
    /// not reach the full length comes from an implementation without SSID and with
    /// its TTL elsewhere, so neither is read from it.
    pub fn parse(mode: Mode, payload: &[u8]) -> Result<Self, Truncated> {
        let need = match mode {
            Mode::Open => Self::MIN_OPEN_LEN,
            Mode::Authenticated => mode.base_len(),
        };
        let read = Reader::new(payload, need)?;
        let head = Request::parse(mode, payload)?;
        let at = mode.layout();
        let whole = payload.len() >= at.len;
        Ok(Self {
            sequence: head.sequence,
            timestamp: head.timestamp,
            error_estimate: head.error_estimate,
            ssid: head.ssid.filter(|_| whole),
            receive_timestamp: Timestamp::from_bits(read.u64(at.receive_timestamp)),
            sender_sequence: read.u32(at.sender_sequence),
            sender_timestamp: Timestamp::from_bits(read.u64(at.sender_timestamp)),
            sender_error_estimate: ErrorEstimate::from_bits(read.u16(at.sender_error_estimate)),
            sender_ttl: whole.then(|| read.u8(at.sender_ttl)),
        })
    }

    /// Writes the reply as a base packet in front of `payload`, as [`Request::emit`] does.
    ///
    /// # Panics
    ///
    /// When `payload` is shorter than the base packet.
    pub fn emit(&self, mode: Mode, payload: &mut [u8]) {
        let Self { sequence, timestamp, error_estimate, ssid, .. } = *self;
        Request { sequence, timestamp, error_estimate, ssid }.emit(mode, payload);
        let at = mode.layout();
        put(payload, at.receive_timestamp, self.receive_timestamp.bits().to_be_bytes());
        put(payload, at.sender_sequence, self.sender_sequence.to_be_bytes());
        put(payload, at.sender_timestamp, self.sender_timestamp.bits().to_be_bytes());
        put(payload, at.sender_error_estimate, self.sender_error_estimate.bits().to_be_bytes());
        put(payload, at.sender_ttl, [self.sender_ttl.unwrap_or(0)]);
    }

    /// Writes T3 into a reply that is otherwise complete.
    ///
    /// # Panics
    ///
    /// When `payload` is shorter than the base packet.
    pub fn stamp(mode: Mode, payload: &mut [u8], timestamp: Timestamp) {
        put(payload, mode.layout().timestamp, timestamp.bits().to_be_bytes());
    }
}

/// What a packet is by its structure alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Everything behind the request's fields is zero.
    Request,
    /// It carries an arrival time, as every reply does.
    Reply,
    /// Neither: octets that a sender leaves zero are not, but there is no arrival time.
    Neither,
}

impl Shape {
    /// Tells a request from a reply by the octets that only a reply fills.
    ///
    /// A reply has a time of arrival there that is never zero, and so has whatever
    /// any reflector or echo service makes of it. So a reply is never taken for a
    /// request, and each received packet causes at most one packet. RFC 8762 §4.2.1
    /// tells receivers to ignore these octets; conformant senders zero them, and a
    /// loop between two reflectors is worse than a refused oddity.
    pub fn of(mode: Mode, payload: &[u8]) -> Self {
        let at = mode.layout();
        let within = |range: Range<usize>| {
            payload.get(range.start..range.end.min(payload.len())).unwrap_or(&[])
        };
        let zero = |range| within(range).iter().all(|&octet| octet == 0);
        let arrival = at.receive_timestamp..at.receive_timestamp + 8;
        match (zero(arrival), zero(at.must_be_zero())) {
            (false, _) => Self::Reply,
            (true, false) => Self::Neither,
            (true, true) => Self::Request,
        }
    }
}

/// A packet ends before its fields do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "{have} octets are too few for a test packet, which has at least {need}; was the payload cut off?"
)]
pub struct Truncated {
    /// Octets the packet must have.
    pub need: usize,
    /// Octets it has.
    pub have: usize,
}

/// Reads big-endian fields from a payload whose length was checked once.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn new(payload: &'a [u8], need: usize) -> Result<Self, Truncated> {
        let have = payload.len();
        if have < need { Err(Truncated { need, have }) } else { Ok(Self(payload)) }
    }

    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        self.0[at..at + N].try_into().expect("the range has N octets")
    }

    fn u8(&self, at: usize) -> u8 {
        self.0[at]
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }
}

fn put<const N: usize>(payload: &mut [u8], at: usize, octets: [u8; N]) {
    payload[at..at + N].copy_from_slice(&octets);
}

#[cfg(test)]
mod tests;
