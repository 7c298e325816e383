//! Sessions of ours with reflectors: who they are, and what came back.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::packet::Mode;
use stamp_proto::reflector::KeyPair;
use stamp_proto::sender::{Discard, Moment};
use stamp_proto::timestamp::{Format, Timestamp};

use super::{Tables, create, key_slot, remove, write};
use crate::error::{Error, Step};
use crate::layout::{
    self, DiscardsRecord, KEY_SLOTS, KeySlot, PEERS, PeerKey, PeerRecord, Record, SLOT_ANSWERED,
    SLOT_SENT, SlotRecord,
};

/// A session of ours with a reflector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Where its requests come from.
    pub local: SocketAddr,
    /// Where they go.
    pub remote: SocketAddr,
    /// Its number, carried by every packet.
    pub ssid: u16,
    /// How its packets are protected; in authenticated mode by the key of this number,
    /// see [`Tables::set_peer_key`].
    pub mode: Mode,
    /// Number of its key.
    pub key: u32,
    /// Format of T1.
    pub format: Format,
    /// Smallest TTL or hop limit with which a reply may come.
    pub min_ttl: u8,
    /// Whether replies without a session number do not count.
    pub zero_ssid_is_fatal: bool,
    /// Requests that are remembered: a power of two.
    pub window: u32,
}

/// The slots of a session.
#[derive(Debug)]
pub struct Window {
    slots: MapHandle,
}

/// A request as it left, and its first reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// The request's number.
    pub sequence: u32,
    /// T1 as it stands in the packet.
    pub timestamp: Timestamp,
    /// T1.
    pub sent: Moment,
    /// What came back, if anything.
    pub answer: Option<SlotAnswer>,
}

/// A reply as it came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotAnswer {
    /// Its own number.
    pub sequence: u32,
    /// T2.
    pub receive_timestamp: Timestamp,
    /// T3.
    pub timestamp: Timestamp,
    /// T4.
    pub received: Moment,
    /// What the reflector says of its clock.
    pub error_estimate: ErrorEstimate,
    /// Its session number; absent in a reply below full length.
    pub ssid: Option<u16>,
    /// TTL or hop limit with which the request arrived; likewise.
    pub ttl_forward: Option<u8>,
    /// TTL or hop limit of the reply.
    pub ttl_reverse: u8,
    /// DSCP and ECN of the reply.
    pub traffic_class: u8,
    /// Octets of its payload.
    pub len: u32,
}

impl Tables {
    /// Begins session `index` and gives its slots; one that was there is replaced.
    ///
    /// # Errors
    ///
    /// When there is no such index, or the maps can't be made or written.
    pub fn begin_peer(&self, index: u32, peer: &Peer) -> Result<Window, Error> {
        within("sessions", index, PEERS)?;
        let slots = create::slot_table(peer.window)?;
        let fd = slots.as_fd().as_raw_fd().to_ne_bytes();
        write(&self.maps.slots, "slots", &index.to_ne_bytes(), &fd)?;
        let none = DiscardsRecord::default();
        write(&self.maps.discards, "discards", &index.to_ne_bytes(), none.octets())?;
        let sealed = u8::from(peer.mode == Mode::Authenticated);
        let ptp = u8::from(peer.format == Format::Ptp);
        let record = PeerRecord {
            index,
            mask: peer.window.wrapping_sub(1),
            key_slot: REFLECTOR_KEYS as u32 + peer.key,
            ssid: peer.ssid.to_be(),
            flags: sealed | ptp << 1 | u8::from(peer.zero_ssid_is_fatal) << 2,
            min_ttl: peer.min_ttl,
        };
        let key = peer_key(peer.local, peer.remote);
        write(&self.maps.peers, "peers", key.octets(), record.octets())?;
        Ok(Window { slots })
    }

    /// Ends the session between these two: its packets are nobody's business from now on.
    ///
    /// # Errors
    ///
    /// When the map can't be written.
    pub fn end_peer(&self, local: SocketAddr, remote: SocketAddr) -> Result<(), Error> {
        remove(&self.maps.peers, "peers", peer_key(local, remote).octets())
    }

    /// Ends all sessions of ours: those of an earlier process have nobody who reads their
    /// slots.
    ///
    /// # Errors
    ///
    /// When the map can't be written.
    pub fn end_all_peers(&self) -> Result<(), Error> {
        let keys: Vec<_> = self.maps.peers.keys().collect();
        keys.iter().try_for_each(|key| remove(&self.maps.peers, "peers", key))
    }

    /// Hands over the key of this number, or takes it away.
    ///
    /// # Errors
    ///
    /// When there is no such number, or the map can't be written.
    pub fn set_peer_key(&self, number: u32, pair: Option<&KeyPair>) -> Result<(), Error> {
        within("keys", number, KEY_SLOTS - REFLECTOR_KEYS)?;
        let slot = REFLECTOR_KEYS as u32 + number;
        let record = pair.map_or_else(KeySlot::default, key_slot);
        write(&self.maps.keys, "keys", &slot.to_ne_bytes(), record.octets())
    }

    /// How often a reply to session `index` did not count for this reason.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn discarded(&self, index: u32, why: Discard) -> Result<u64, Error> {
        let found = self.maps.discards.lookup(&index.to_ne_bytes(), MapFlags::ANY);
        let found = found.map_err(Error::libbpf(Step::Read, "discards"))?;
        let record = found.and_then(|octets| DiscardsRecord::from_octets(&octets));
        Ok(record.map_or(0, |record| record.counts[reason(why)]))
    }
}

impl Window {
    /// Request `sequence` and what became of it; none when it never left through the
    /// program, or its slot is another's by now.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn slot(&self, sequence: u32) -> Result<Option<Slot>, Error> {
        match self.rung_slot(sequence)? {
            // The program may have been at it; by the second reading it is done.
            Some(slot) if slot.answer.is_some() => self.rung_slot(sequence),
            other => Ok(other),
        }
    }

    /// The same of a request for whose reply a bell has rung: the program is done with it.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn rung_slot(&self, sequence: u32) -> Result<Option<Slot>, Error> {
        let index = sequence % self.slots.max_entries();
        let found = self.slots.lookup(&index.to_ne_bytes(), MapFlags::ANY);
        let found = found.map_err(Error::libbpf(Step::Read, "slots"))?;
        let record = found.and_then(|octets| SlotRecord::from_octets(&octets));
        Ok(record
            .filter(|record| record.sequence == sequence && record.state >= SLOT_SENT)
            .map(|record| slot(&record)))
    }
}

fn within(what: &'static str, index: u32, most: usize) -> Result<(), Error> {
    let have = index as usize + 1;
    if have > most { Err(Error::TooMany { what, have, most }) } else { Ok(()) }
}

fn peer_key(local: SocketAddr, remote: SocketAddr) -> PeerKey {
    PeerKey {
        local: layout::address(local.ip()),
        remote: layout::address(remote.ip()),
        local_port: local.port().to_be(),
        remote_port: remote.port().to_be(),
    }
}

const fn moment(wall_ns: i64, mono_ns: u64, epoch: u32) -> Moment {
    let mono = MonoTime::from_ns(mono_ns.cast_signed());
    Moment { wall: WallTime::from_ns(wall_ns), mono, epoch }
}

fn slot(record: &SlotRecord) -> Slot {
    Slot {
        sequence: record.sequence,
        timestamp: Timestamp::from_bits(record.t1),
        sent: moment(record.t1_wall_ns, record.t1_mono_ns, record.t1_epoch),
        answer: (record.state == SLOT_ANSWERED).then(|| answer(record)),
    }
}

fn answer(record: &SlotRecord) -> SlotAnswer {
    let whole = record.len as usize >= Mode::Open.base_len();
    SlotAnswer {
        sequence: record.reflector_sequence,
        receive_timestamp: Timestamp::from_bits(record.t2),
        timestamp: Timestamp::from_bits(record.t3),
        received: moment(record.t4_wall_ns, record.t4_mono_ns, record.t4_epoch),
        error_estimate: ErrorEstimate::from_bits(record.error_estimate),
        ssid: whole.then_some(record.ssid),
        ttl_forward: whole.then_some(record.ttl_forward),
        ttl_reverse: record.ttl_reverse,
        traffic_class: record.tos,
        len: record.len,
    }
}

/// Where the programs count a reason.
const fn reason(why: Discard) -> usize {
    match why {
        Discard::BadT1 => 0,
        Discard::Ssid => 1,
        Discard::ZeroSsid => 2,
        Discard::Hmac => 3,
        Discard::Short => 4,
        Discard::MinTtl => 5,
        Discard::Checksum => 6,
        Discard::MicroSession => 7,
        Discard::Mode => 8,
        Discard::Unsolicited => 9,
    }
}

/// Key slots of the reflector; those behind are for sessions of ours.
pub(super) const REFLECTOR_KEYS: usize = KEY_SLOTS / 2;
