//! The maps: made, filled by user space, and read.

mod create;
mod peers;
mod pins;
mod ports;
mod state;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags, MapHandle};
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::reflector::{KeyPair, Keys, Prefix, Provisioned, Refusal};
use stamp_proto::tlv::SyncSource;

use crate::doorbell::Doorbell;
use crate::error::{Error, Step};
use crate::layout::{
    self, ClockPage, ClockSlot, KeySlot, KeyStates, Local, LocalKey, ProvisionedKey, Record,
};
use crate::prefixes;
use peers::REFLECTOR_KEYS;

pub(crate) use create::Maps;
pub use create::Sizes;
pub use peers::{Peer, Slot, SlotAnswer, Window};
pub use ports::PortUse;
pub use state::{Event, SessionState, SlowKey, SlowRequest};

/// What user space says of the clock, and for how long the programs may work on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publication {
    /// CLOCK_REALTIME − CLOCK_MONOTONIC.
    pub offset_ns: i64,
    /// CLOCK_MONOTONIC, now.
    pub published_ns: u64,
    /// CLOCK_MONOTONIC from which on the programs are inert; `u64::MAX` is never.
    pub lease_until_ns: u64,
    /// Seconds by which TAI is ahead of UTC, 0 where the kernel does not know.
    pub tai_offset_s: i32,
    /// Changes with each step of the wall clock.
    pub epoch: u32,
    /// Of the wall clock; its format is the programs'.
    pub error_estimate: ErrorEstimate,
    /// What sets the clock.
    pub source: SyncSource,
}

/// An address by which a device is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalAddress {
    /// The device.
    pub ifindex: u32,
    /// The address.
    pub address: IpAddr,
    /// Number of the member link that the device is.
    pub member: Option<u16>,
    /// Whether the device is the loopback device.
    pub loopback: bool,
    /// Hardware address of the device; on one without, the program in front of tc
    /// answers nothing.
    pub mac: Option<[u8; 6]>,
}

/// All maps of the programs.
#[derive(Debug)]
pub struct Tables {
    pub(crate) maps: Maps,
}

impl Tables {
    /// Tells the programs what time it is. They are inert until the first time.
    ///
    /// # Errors
    ///
    /// When the map can't be read or written.
    pub fn publish(&self, now: &Publication) -> Result<(), Error> {
        let zero = 0_u32.to_ne_bytes();
        let mut page = clock_page(&self.maps.clock)?;
        let next = page.turn.wrapping_add(1);
        page.slots[usize::from(next & 1 == 1)] = slot(now);
        write(&self.maps.clock, "clock", &zero, page.octets())?;
        page.turn = next;
        write(&self.maps.clock, "clock", &zero, page.octets())
    }

    /// Says by which addresses we are called; by no others.
    ///
    /// # Errors
    ///
    /// When there are too many, or the map can't be written.
    pub fn set_addresses(&self, addresses: &[LocalAddress]) -> Result<(), Error> {
        let rows = addresses.iter().map(|local| {
            let key = LocalKey { address: layout::address(local.address), ifindex: local.ifindex };
            let value = Local {
                member: local.member.unwrap_or(0),
                flags: u16::from(local.loopback) | u16::from(local.mac.is_some()) << 1,
                mac: local.mac.unwrap_or_default(),
                ..Local::default()
            };
            (key.octets().to_vec(), value.octets().to_vec())
        });
        replace(&self.maps.addresses, "addresses", rows.collect())
    }

    /// Says who is answered: all at once, so that no packet meets half of it.
    ///
    /// # Errors
    ///
    /// When there are too many, or the maps can't be made or written.
    pub fn set_prefixes(
        &self,
        allow: &[Prefix],
        deny: &[Prefix],
        light: &[Prefix],
    ) -> Result<(), Error> {
        let rows = prefixes::table(allow, deny, light);
        let fresh = create::prefix_table()?;
        let rows: Vec<_> =
            rows.iter().map(|(key, bits)| (key.to_vec(), bits.to_ne_bytes().to_vec())).collect();
        fill(&fresh, "prefixes", &rows)?;
        let fd = fresh.as_fd().as_raw_fd().to_ne_bytes();
        write(&self.maps.prefixes, "prefixes", &0_u32.to_ne_bytes(), &fd)
    }

    /// Says which sessions are answered, where not all are.
    ///
    /// # Errors
    ///
    /// When there are too many, or the map can't be written.
    pub fn set_provisioned(&self, sessions: &[Provisioned]) -> Result<(), Error> {
        let rows = sessions.iter().map(|session| {
            let key = ProvisionedKey {
                source: layout::address(session.source),
                destination: layout::address(session.destination),
                ssid: session.ssid.to_be(),
                micro: session.micro.unwrap_or(0).to_be(),
                any_micro: u8::from(session.micro.is_none()),
                ..ProvisionedKey::default()
            };
            (key.octets().to_vec(), 1_u32.to_ne_bytes().to_vec())
        });
        replace(&self.maps.provisioned, "provisioned sessions", rows.collect())
    }

    /// Hands the keys over: the default first, then one slot for each session that has
    /// keys of its own.
    ///
    /// # Errors
    ///
    /// When there are too many, or the maps can't be written.
    pub fn set_keys(&self, keys: &Keys) -> Result<(), Error> {
        let (have, most) = (keys.by_ssid.len() + 1, REFLECTOR_KEYS);
        if have > most {
            return Err(Error::TooMany { what: "keys", have, most });
        }
        let of_sessions = keys.by_ssid.values().map(Some);
        let slots = std::iter::once(keys.default.as_ref()).chain(of_sessions);
        let empty = std::iter::repeat(None);
        for (index, pair) in (0_u32..).zip(slots.chain(empty).take(REFLECTOR_KEYS)) {
            let record = pair.map_or_else(KeySlot::default, key_slot);
            write(&self.maps.keys, "keys", &index.to_ne_bytes(), record.octets())?;
        }
        let rows = (1_u32..).zip(keys.by_ssid.keys());
        let rows =
            rows.map(|(index, ssid)| (ssid.to_be_bytes().to_vec(), index.to_ne_bytes().to_vec()));
        replace(&self.maps.key_slots, "keys", rows.collect())
    }

    /// The reader of what rings when replies come. One at a time.
    ///
    /// # Errors
    ///
    /// When the ring can't be mapped.
    pub fn doorbell(&self) -> Result<Doorbell, Error> {
        Doorbell::new(&self.maps.doorbell)
    }

    /// How often a packet was not answered for this reason, since the maps were made.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn refused(&self, why: Refusal) -> Result<u64, Error> {
        let index = Refusal::ALL.iter().position(|&reason| reason == why);
        let index = index.and_then(|index| u32::try_from(index).ok()).unwrap_or(u32::MAX);
        sum_of_cpus(&self.maps.refusals, "refusals", index)
    }

    /// How often something else happened, since the maps were made.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn happened(&self, what: Event) -> Result<u64, Error> {
        sum_of_cpus(&self.maps.events, "events", what as u32)
    }
}

fn clock_page(map: &MapHandle) -> Result<ClockPage, Error> {
    let found = map.lookup(&0_u32.to_ne_bytes(), MapFlags::ANY);
    let found = found.map_err(Error::libbpf(Step::Read, "clock"))?;
    Ok(found.and_then(|octets| ClockPage::from_octets(&octets)).unwrap_or_default())
}

fn slot(now: &Publication) -> ClockSlot {
    ClockSlot {
        offset_ns: now.offset_ns,
        published_ns: now.published_ns,
        lease_until_ns: now.lease_until_ns,
        tai_offset_s: now.tai_offset_s,
        epoch: now.epoch,
        error_estimate: now.error_estimate.bits(),
        source: now.source as u8,
        ..ClockSlot::default()
    }
}

fn key_slot(pair: &KeyPair) -> KeySlot {
    let states =
        |key: &stamp_proto::auth::Key| KeyStates { inner: *key.inner(), outer: *key.outer() };
    KeySlot {
        held: 1 | u32::from(pair.previous.is_some()) << 1,
        current: states(&pair.current),
        previous: pair.previous.as_ref().map_or_else(KeyStates::default, states),
    }
}

type Row = (Vec<u8>, Vec<u8>);

pub(super) fn write(
    map: &MapHandle,
    what: &'static str,
    key: &[u8],
    value: &[u8],
) -> Result<(), Error> {
    map.update(key, value, MapFlags::ANY).map_err(Error::libbpf(Step::Write, what))
}

/// Writes what is new before it removes what is old: what stays is never absent.
fn replace(map: &MapHandle, what: &'static str, rows: Vec<Row>) -> Result<(), Error> {
    let rows: BTreeMap<_, _> = rows.into_iter().collect();
    let most = map.max_entries() as usize;
    if rows.len() > most {
        return Err(Error::TooMany { what, have: rows.len(), most });
    }
    let stale: Vec<_> = map.keys().filter(|key| !rows.contains_key(key)).collect();
    for key in stale.iter().take((rows.len() + stale.len()).saturating_sub(most)) {
        remove(map, what, key)?;
    }
    fill(map, what, &rows.into_iter().collect::<Vec<_>>())?;
    stale.iter().try_for_each(|key| remove(map, what, key))
}

fn fill(map: &MapHandle, what: &'static str, rows: &[Row]) -> Result<(), Error> {
    let most = map.max_entries() as usize;
    if rows.len() > most {
        return Err(Error::TooMany { what, have: rows.len(), most });
    }
    rows.iter().try_for_each(|(key, value)| write(map, what, key, value))
}

/// Removes a key that may be gone already.
pub(super) fn remove(map: &MapHandle, what: &'static str, key: &[u8]) -> Result<(), Error> {
    match map.delete(key) {
        Err(error) if error.kind() != libbpf_rs::ErrorKind::NotFound => {
            Err(Error::libbpf(Step::Write, what)(error))
        }
        _ => Ok(()),
    }
}

fn sum_of_cpus(map: &MapHandle, what: &'static str, index: u32) -> Result<u64, Error> {
    let cells = map
        .lookup_percpu(&index.to_ne_bytes(), MapFlags::ANY)
        .map_err(Error::libbpf(Step::Read, what))?;
    let number = |cell: &Vec<u8>| cell.first_chunk().copied().map(u64::from_ne_bytes);
    Ok(cells.iter().flatten().filter_map(number).sum())
}
