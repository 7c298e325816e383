//! Proof that the C records and what Rust makes of them have one shape, and the way
//! from one to the octets of the other.

use std::mem::size_of;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use stamp_proto::reflector::SessionKey;
use stamp_proto::timestamp::Timestamp;

pub(crate) use crate::skel::types::{
    stamp_address as Address, stamp_answered_notice as AnsweredRecord, stamp_clock as ClockPage,
    stamp_clock_slot as ClockSlot, stamp_config as Config, stamp_discards as DiscardsRecord,
    stamp_entry as EntryRecord, stamp_key as KeyStates, stamp_keys as KeySlot,
    stamp_limit as Limit, stamp_local as Local, stamp_local_key as LocalKey,
    stamp_peer as PeerRecord, stamp_peer_key as PeerKey, stamp_provisioned as ProvisionedKey,
    stamp_reply_notice as ReplyRecord, stamp_session as SessionRecord,
    stamp_session_key as SessionRecordKey, stamp_slot as SlotRecord, stamp_slow as SlowRecord,
    stamp_slow_key as SlowRecordKey,
};

/// Compiled a second time, and the same.
pub(crate) use crate::xdp_skel::types::stamp_config as XdpConfig;

/// Octets of a prefix as a key: its length, then the address.
pub(crate) const PREFIX_LEN: usize = 20;
pub(crate) const PORT_BITS: usize = 4;
pub(crate) const KEY_SLOTS: usize = 128;
/// Changes with the layout or the meaning of any record; stands in the clock's page.
pub(crate) const ABI: u64 = 2;
pub(crate) const PEERS: usize = 1024;
pub(crate) const SLOT_SENT: u32 = 1;
pub(crate) const SLOT_ANSWERED: u32 = 2;
pub(crate) const REFUSALS: usize = 22;
pub(crate) const NOTICE_REPLY: u8 = 0;
pub(crate) const NOTICE_ANSWERED: u8 = 1;
pub(crate) const COUNT_ONLY: u32 = 0;
pub(crate) const COUNT_AND_NUMBER: u32 = 1;
pub(crate) const NUMBER_ONLY: u32 = 2;
pub(crate) const ENTERED_REPLAY: u32 = 0;
pub(crate) const ENTERED_NUMBERED: u32 = 2;

/// A record that the kernel and we hand to each other as its octets.
///
/// # Safety
///
/// The type is made of numbers alone, and has no padding between or behind them.
pub(crate) unsafe trait Record: Copy {
    /// The octets as they lie in a map.
    fn octets(&self) -> &[u8] {
        // SAFETY: `self` is live for as long as the slice, and all its octets are
        // initialised since there is no padding.
        unsafe { std::slice::from_raw_parts(std::ptr::from_ref(self).cast(), size_of::<Self>()) }
    }

    /// The record with these octets; none when they are not as many.
    fn from_octets(octets: &[u8]) -> Option<Self> {
        (octets.len() == size_of::<Self>()).then(|| {
            // SAFETY: there are enough octets, any of them make numbers, and nothing
            // is assumed of their alignment.
            unsafe { octets.as_ptr().cast::<Self>().read_unaligned() }
        })
    }
}

macro_rules! records {
    ($($name:ident = $octets:literal),* $(,)?) => {$(
        const _: () = assert!(size_of::<$name>() == $octets);
        // SAFETY: the C record is made of numbers, and its fields add up to its size,
        // which the assertion holds.
        unsafe impl Record for $name {}
    )*};
}

records!(
    LocalKey = 20,
    Local = 12,
    ClockSlot = 40,
    ClockPage = 96,
    SessionRecordKey = 40,
    SessionRecord = 80,
    ProvisionedKey = 40,
    SlowRecordKey = 40,
    SlowRecord = 24,
    EntryRecord = 112,
    KeySlot = 132,
    PeerKey = 36,
    PeerRecord = 16,
    SlotRecord = 88,
    DiscardsRecord = 128,
    ReplyRecord = 16,
    AnsweredRecord = 56,
    Config = 72,
    XdpConfig = 72,
);

const _: () = assert!(REFUSALS == stamp_proto::reflector::Refusal::ALL.len());

/// An address as the programs know it: IPv4 is mapped into IPv6.
pub(crate) fn address(of: IpAddr) -> Address {
    let octets = mapped(of).octets();
    let word = |at: usize| {
        u32::from_ne_bytes([octets[at], octets[at + 1], octets[at + 2], octets[at + 3]])
    };
    Address { words: [word(0), word(4), word(8), word(12)] }
}

pub(crate) const fn mapped(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

fn socket_address(address: &Address, port: u16) -> SocketAddr {
    let mut octets = [0; 16];
    for (to, word) in octets.as_chunks_mut::<4>().0.iter_mut().zip(address.words) {
        *to = word.to_ne_bytes();
    }
    SocketAddr::new(IpAddr::V6(octets.into()).to_canonical(), u16::from_be(port))
}

pub(crate) fn session_key(record: &SessionRecordKey) -> SessionKey {
    SessionKey {
        source: socket_address(&record.source, record.source_port),
        destination: socket_address(&record.destination, record.destination_port),
        ssid: u16::from_be(record.ssid),
        micro: u16::from_be(record.micro),
    }
}

pub(crate) fn session_record_key(key: &SessionKey) -> SessionRecordKey {
    SessionRecordKey {
        source: address(key.source.ip()),
        destination: address(key.destination.ip()),
        source_port: key.source.port().to_be(),
        destination_port: key.destination.port().to_be(),
        ssid: key.ssid.to_be(),
        micro: key.micro.to_be(),
    }
}

/// Number and T3 of a session's last reply, where there was one.
pub(crate) fn last_reply(sequence: u32, t3: u64) -> Option<(u32, Timestamp)> {
    (t3 != 0).then_some((sequence, Timestamp::from_bits(t3)))
}
