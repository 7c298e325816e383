//! What the programs know: counters by subject, sessions, and requests left to us.

use std::net::SocketAddr;

use libbpf_rs::{MapCore, MapFlags};
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::reflector::SessionKey;
use stamp_proto::timestamp::Timestamp;

use super::{Tables, remove};
use crate::error::{Error, Step};
use crate::layout::{
    self, Record, SessionRecord, SessionRecordKey, SlowRecord, SlowRecordKey, last_reply,
    session_key, session_record_key,
};

/// What happens to packets besides their being refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Event {
    /// A request reached an address and port of ours.
    Request = 0,
    /// A reply was handed to a device.
    Replied = 1,
    /// A request was left to user space.
    Slow = 2,
    /// A reply of user space got its T3.
    Restamped = 3,
    /// A request was answered without a session: the table is full.
    SessionRefused = 4,
    /// A packet was accepted with the previous key.
    OldKey = 5,
    /// A packet was passed on because the lease is over.
    Inert = 6,
    /// A request of ours got its T1.
    Sent = 7,
    /// A reply was written to its slot.
    Received = 8,
    /// A reply belongs to no session of ours.
    Unsolicited = 9,
    /// The ring had no room for what is nowhere else: a duplicate, or an answered request.
    LostEvent = 10,
    /// A packet of user space kept its time: no key, no slot, or no clock.
    Unstamped = 11,
    /// A request was answered or dropped in front of tc, where it is not a
    /// [`Self::Request`].
    XdpRequest = 12,
    /// A reply was handed back in front of tc, where it is not [`Self::Replied`].
    XdpReplied = 13,
}

/// A session of the reflector, as the programs know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionState {
    /// Requests that arrived.
    pub received: u64,
    /// Replies that were numbered by it.
    pub transmitted: u64,
    /// When the first request came.
    pub first_seen: MonoTime,
    /// When the last one came.
    pub last_seen: MonoTime,
    /// Number and T3 of the last reply.
    pub last_reply: Option<(u32, Timestamp)>,
    /// Requests missing between the first and the furthest that arrived.
    pub lost_forward: u64,
}

/// Which request was left to user space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SlowKey {
    /// Who sent it.
    pub source: SocketAddr,
    /// Where it was sent to.
    pub destination: SocketAddr,
    /// Its sequence number.
    pub sequence: u32,
}

/// When it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlowRequest {
    /// T2.
    pub received: WallTime,
    /// The same moment by the other clock.
    pub now: MonoTime,
}

impl Tables {
    /// The sessions of the reflector, in no order.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn sessions(&self) -> Result<Vec<(SessionKey, SessionState)>, Error> {
        let mut found = Vec::new();
        for octets in self.maps.sessions.keys() {
            let value = self.maps.sessions.lookup(&octets, MapFlags::ANY);
            let value = value.map_err(Error::libbpf(Step::Read, "sessions"))?;
            let record = value.and_then(|value| SessionRecord::from_octets(&value));
            let key = SessionRecordKey::from_octets(&octets);
            found.extend(key.as_ref().map(session_key).zip(record.map(state)));
        }
        Ok(found)
    }

    /// Forgets sessions that have been silent since before `then`, and tells how many.
    ///
    /// # Errors
    ///
    /// When the map can't be read or written.
    pub fn expire_sessions(&self, then: MonoTime) -> Result<usize, Error> {
        let mut silent = self.sessions()?;
        silent.retain(|(_, state)| state.last_seen < then);
        for (key, _) in &silent {
            remove(&self.maps.sessions, "sessions", session_record_key(key).octets())?;
        }
        Ok(silent.len())
    }

    /// When a request that was left to us arrived; none when it never was.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn slow_request(&self, key: &SlowKey) -> Result<Option<SlowRequest>, Error> {
        let found = self.maps.slow.lookup(slow_record_key(key).octets(), MapFlags::ANY);
        let found = found.map_err(Error::libbpf(Step::Read, "slow"))?;
        Ok(found.and_then(|octets| SlowRecord::from_octets(&octets)).map(|record| SlowRequest {
            received: WallTime::from_ns(record.wall_ns),
            now: MonoTime::from_ns(record.mono_ns.cast_signed()),
        }))
    }

    /// Forgets a request that will not be answered. One that is, is forgotten when the
    /// reply leaves.
    ///
    /// # Errors
    ///
    /// When the map can't be written.
    pub fn forget_slow_request(&self, key: &SlowKey) -> Result<(), Error> {
        remove(&self.maps.slow, "slow", slow_record_key(key).octets())
    }
}

fn slow_record_key(key: &SlowKey) -> SlowRecordKey {
    SlowRecordKey {
        source: layout::address(key.source.ip()),
        destination: layout::address(key.destination.ip()),
        source_port: key.source.port().to_be(),
        destination_port: key.destination.port().to_be(),
        sequence: key.sequence.to_be(),
    }
}

fn state(record: SessionRecord) -> SessionState {
    let spanned = u64::from(record.highest.wrapping_sub(record.lowest)) + 1;
    SessionState {
        received: record.received,
        transmitted: record.transmitted,
        first_seen: MonoTime::from_ns(record.first_ns.cast_signed()),
        last_seen: MonoTime::from_ns(record.last_ns.cast_signed()),
        last_reply: last_reply(record.answered_sequence, record.answered),
        lost_forward: spanned.saturating_sub(record.received),
    }
}
