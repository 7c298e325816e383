//! The maps: made, pinned, reopened and measured.

mod create;
mod pins;

use std::{
    mem::offset_of,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use flow_model::{
    flow::Protocol,
    page::{Geometry, Pages, Region},
};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::{
    clock::{Clock, ClockPair},
    error::{Error, Step},
    layout::{ClockRecord, Config, EventsCell},
    mapped::Mapped,
    notice::Notices,
    service_ports, skb,
    slots::{CELLS, SlotCell},
    testrun,
};

/// How large the maps are and where they call for help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sizes {
    /// What the ledger agrees on with the pins.
    pub geometry: Geometry,
    /// Share of the table that one edge may fill, in percent.
    pub edge_quota_percent: u32,
    /// Fill of a shard that sends a notice, in percent.
    pub early_drain_percent: u32,
}

/// Things that happened to packets besides being counted in full detail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Event {
    /// A header is cut off.
    Short,
    /// A header contradicts itself.
    BadHeader,
    /// More IPv6 extension headers than are followed.
    ExtensionChain,
    /// The kernel would not hand out the octets.
    NonLinear,
    /// A link type without a parser.
    LinkType,
    /// Segmented behind headers that are not known: bytes under-count.
    GsoHeaders,
    /// A hook without a slot: a bug.
    Unslotted,
    /// A new flow found no room.
    Overflow,
    /// The event ring was full.
    LostNotice,
}

impl Event {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Short,
        Self::BadHeader,
        Self::ExtensionChain,
        Self::NonLinear,
        Self::LinkType,
        Self::GsoHeaders,
        Self::Unslotted,
        Self::Overflow,
        Self::LostNotice,
    ];

    /// Value of the `reason` label where the event is a parser's surrender.
    pub const fn parse_reason(self) -> Option<&'static str> {
        match self {
            Self::Short => Some("short"),
            Self::BadHeader => Some("bad_header"),
            Self::ExtensionChain => Some("ext_chain"),
            Self::NonLinear => Some("non_linear"),
            Self::LinkType => Some("link_type"),
            Self::GsoHeaders => Some("gso_headers"),
            Self::Unslotted | Self::Overflow | Self::LostNotice => None,
        }
    }

    /// Where its number stands in the record.
    const fn offset(self) -> usize {
        match self {
            Self::Short => offset_of!(EventsCell, too_short),
            Self::BadHeader => offset_of!(EventsCell, bad_header),
            Self::ExtensionChain => offset_of!(EventsCell, ext_chain),
            Self::NonLinear => offset_of!(EventsCell, non_linear),
            Self::LinkType => offset_of!(EventsCell, link_type),
            Self::GsoHeaders => offset_of!(EventsCell, gso_headers),
            Self::Unslotted => offset_of!(EventsCell, unslotted),
            Self::Overflow => offset_of!(EventsCell, overflow),
            Self::LostNotice => offset_of!(EventsCell, lost_notice),
        }
    }
}

/// Insertions of one parity, the fullest shard first.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct MapFill {
    /// Fullest IPv4 shard, 0 to 1.
    pub v4: f64,
    /// Fullest IPv6 shard, 0 to 1.
    pub v6: f64,
}

/// All maps of one counting instance.
#[derive(Debug)]
pub struct Tables {
    pub(crate) sizes: Sizes,
    pub(crate) maps: Maps,
    /// Flow tables by parity and shard.
    pub(crate) flows4: Vec<MapHandle>,
    pub(crate) flows6: Vec<MapHandle>,
    pub(crate) folded: Mapped,
    pub(crate) fill: Mapped,
    pub(crate) edge_fill: Mapped,
    grace_inner: MapHandle,
    clock_program: OwnedFd,
}

/// The maps that have pins, by the names of their pins.
#[derive(Debug)]
pub(crate) struct Maps {
    pub(crate) control: MapHandle,
    pub(crate) connection_flows: MapHandle,
    pub(crate) connection_flows6: MapHandle,
    pub(crate) grace: MapHandle,
    pub(crate) slots: MapHandle,
    pub(crate) totals: MapHandle,
    pub(crate) folded: MapHandle,
    pub(crate) fill: MapHandle,
    pub(crate) edge_fill: MapHandle,
    pub(crate) fragments: MapHandle,
    pub(crate) events: MapHandle,
    pub(crate) events_seen: MapHandle,
    pub(crate) service_ports: MapHandle,
    pub(crate) clock: MapHandle,
    pub(crate) edge_book: MapHandle,
    pub(crate) pairs: MapHandle,
    pub(crate) redo: MapHandle,
}

impl Maps {
    pub(crate) fn named(&self) -> [(&'static str, &MapHandle); 17] {
        [
            ("control", &self.control),
            ("connection_flows", &self.connection_flows),
            ("connection_flows6", &self.connection_flows6),
            ("grace", &self.grace),
            ("slots", &self.slots),
            ("totals", &self.totals),
            ("folded", &self.folded),
            ("fill", &self.fill),
            ("edge_fill", &self.edge_fill),
            ("fragments", &self.fragments),
            ("events", &self.events),
            ("events_seen", &self.events_seen),
            ("service_ports", &self.service_ports),
            ("clock", &self.clock),
            ("edge_book", &self.edge_book),
            ("pairs", &self.pairs),
            ("redo", &self.redo),
        ]
    }
}

impl Tables {
    /// The sizes they were made with.
    pub const fn sizes(&self) -> &Sizes {
        &self.sizes
    }

    /// The surviving memory, for the ledger.
    ///
    /// # Errors
    ///
    /// When the kernel refuses a mapping.
    pub fn pages(&self) -> Result<SharedPages, Error> {
        SharedPages::new(&self.maps)
    }

    /// The reader of notices.
    ///
    /// # Errors
    ///
    /// When the ring can't be mapped.
    pub fn notices(&self) -> Result<Notices, Error> {
        Notices::new(&self.maps.events, &self.maps.service_ports)
    }

    /// Returns once no program run that began before the call is still alive: updating a
    /// map of maps waits for a grace period (kernel 4.20).
    ///
    /// # Errors
    ///
    /// When the kernel refuses the update.
    pub fn grace(&self) -> Result<(), Error> {
        let inner = raw_fd(self.grace_inner.as_fd());
        self.maps
            .grace
            .update(&0_u32.to_ne_bytes(), &inner, MapFlags::ANY)
            .map_err(Error::libbpf(Step::Grace, "grace"))
    }

    /// Relates flow ticks to CLOCK_MONOTONIC.
    ///
    /// # Errors
    ///
    /// When the kernel refuses the run.
    pub fn clock(&self) -> Result<Clock, Error> {
        testrun::run(self.clock_program.as_fd(), &testrun::Frame::new(&[0; 14]), 1)?;
        let octets = lookup(&self.maps.clock, "clock", &0_u32.to_ne_bytes())?;
        let word = |at: usize| octets.get(at..at + 8).and_then(|w| w.try_into().ok());
        let [Some(jiffies), Some(monotonic)] =
            [word(0), word(size_of::<ClockRecord>() - 8)].map(|w| w.map(u64::from_ne_bytes))
        else {
            return Err(Error::new(Step::Read, "clock", std::io::ErrorKind::InvalidData.into()));
        };
        let monotonic = std::time::Duration::from_nanos(monotonic);
        Ok(Clock::new(ClockPair { jiffies, monotonic }))
    }

    /// How often something happened, since the maps were made.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn events(&self, event: Event) -> Result<u64, Error> {
        let per_cpu = self
            .maps
            .events_seen
            .lookup_percpu(&0_u32.to_ne_bytes(), MapFlags::ANY)
            .map_err(Error::libbpf(Step::Read, "events_seen"))?;
        let at = event.offset();
        let number = |cell: &Vec<u8>| cell.get(at..)?.first_chunk().copied();
        let cells = per_cpu.unwrap_or_default();
        Ok(cells.iter().filter_map(number).map(u64::from_ne_bytes).sum())
    }

    /// Who has the cell that `ifindex` falls into, if anybody.
    ///
    /// # Errors
    ///
    /// When the map can't be read.
    pub fn slot_holder(&self, ifindex: u32) -> Result<Option<u32>, Error> {
        let key = SlotCell::index(ifindex).to_ne_bytes();
        let octets = lookup(&self.maps.slots, "slots", &key)?;
        let holder = octets.first_chunk().copied().map_or(0, u32::from_ne_bytes);
        Ok((holder != 0).then_some(holder))
    }

    /// Gives a device its slot. Must happen before its hook is attached.
    ///
    /// # Errors
    ///
    /// When the map can't be written.
    pub fn assign_slot(&self, cell: SlotCell) -> Result<(), Error> {
        let raw = cell.raw();
        let mut octets = [0; 8];
        octets[..4].copy_from_slice(&raw.ifindex.to_ne_bytes());
        octets[4..6].copy_from_slice(&raw.slot.to_ne_bytes());
        octets[6..].copy_from_slice(&raw.flags.to_ne_bytes());
        self.write_slot(cell.ifindex, &octets)
    }

    /// Takes a device's slot away. Must happen a grace period after its hook is gone.
    ///
    /// # Errors
    ///
    /// When the map can't be written.
    pub fn release_slot(&self, ifindex: u32) -> Result<(), Error> {
        if self.slot_holder(ifindex)? == Some(ifindex) {
            self.write_slot(ifindex, &[0; 8])?;
        }
        Ok(())
    }

    fn write_slot(&self, ifindex: u32, octets: &[u8; 8]) -> Result<(), Error> {
        self.maps
            .slots
            .update(&SlotCell::index(ifindex).to_ne_bytes(), octets, MapFlags::ANY)
            .map_err(Error::libbpf(Step::Write, "slots"))
    }

    /// Notes that TCP or UDP servers listen at a port; other protocols have no such set.
    /// Only looked at where the key keeps the service port.
    ///
    /// # Errors
    ///
    /// When the map can't be read or written.
    pub fn add_service_port(&self, protocol: Protocol, port: u16) -> Result<(), Error> {
        service_ports::add(&self.maps.service_ports, protocol, port)
    }

    /// Kernel descriptors of every map with its name, flow tables under the name of the
    /// map that holds them.
    pub fn descriptors(&self) -> impl Iterator<Item = (&'static str, BorrowedFd<'_>)> {
        let named = self.maps.named().into_iter().map(|(name, map)| (name, map.as_fd()));
        let four = self.flows4.iter().map(|map| ("connection_flows", map.as_fd()));
        let six = self.flows6.iter().map(|map| ("connection_flows6", map.as_fd()));
        named.chain(four).chain(six)
    }

    /// What the program is loaded with, but for its scope.
    pub(crate) fn config(&self) -> Config {
        let Sizes { geometry, edge_quota_percent, early_drain_percent } = self.sizes;
        let percent = |of: u32, percent: u32| (u64::from(of) * u64::from(percent) / 100).max(1);
        let saturate = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        // An edge that may have it all overflows the table, not a quota.
        let quota = |capacity| match edge_quota_percent {
            100.. => u32::MAX,
            share => saturate(percent(capacity, share)),
        };
        let shard4 = per_shard(geometry.flow_capacity4, geometry.shards);
        let shard6 = per_shard(geometry.flow_capacity6, geometry.shards);
        Config {
            shard_mask: geometry.shards - 1,
            slot_count: saturate(geometry.slots() as u64),
            early4: saturate(percent(shard4, early_drain_percent)),
            early6: saturate(percent(shard6, early_drain_percent)),
            quota4: quota(shard4),
            quota6: quota(shard6),
            key_mode: geometry.flow_key as u32,
            skb: skb::layout().unwrap_or_default(),
            atomic_totals: u8::from(is_preempt_rt()),
            own_shard: u8::from(!is_preempt_rt() && each_cpu_has_a_shard(geometry.shards)),
            ..Config::default()
        }
    }
}

const FLOWS4: &str = "connection_flows";
const FLOWS6: &str = "connection_flows6";

/// Entries of one shard's table.
pub(crate) const fn per_shard(capacity: u32, shards: u32) -> u32 {
    capacity.div_ceil(shards)
}

/// A program run can be preempted by another one only on PREEMPT_RT.
fn is_preempt_rt() -> bool {
    std::fs::read_to_string("/sys/kernel/realtime").is_ok_and(|text| text.trim() == "1")
}

/// Whether no two CPUs that may ever run count into one shard: the shard is the low bits
/// of a CPU's number.
fn each_cpu_has_a_shard(shards: u32) -> bool {
    std::fs::read_to_string("/sys/devices/system/cpu/possible")
        .is_ok_and(|list| highest_cpu(&list).is_some_and(|highest| highest < shards))
}

/// The last number of a list such as `0-3`.
fn highest_cpu(list: &str) -> Option<u32> {
    list.trim().rsplit([',', '-']).next()?.parse().ok()
}

pub(crate) fn lookup(map: &MapHandle, what: &'static str, key: &[u8]) -> Result<Vec<u8>, Error> {
    let found = map.lookup(key, MapFlags::ANY).map_err(Error::libbpf(Step::Read, what))?;
    Ok(found.unwrap_or_default())
}

fn raw_fd(fd: BorrowedFd<'_>) -> [u8; 4] {
    use std::os::fd::AsRawFd;
    fd.as_raw_fd().to_ne_bytes()
}

/// The four regions of the ledger in kernel memory.
#[derive(Debug)]
pub struct SharedPages {
    regions: [Mapped; 4],
}

impl SharedPages {
    fn new(maps: &Maps) -> Result<Self, Error> {
        let map = |region: Region, what, map: &MapHandle| {
            let records = map.max_entries() as usize;
            Mapped::new(map.as_fd(), what, records, region.record_bytes())
        };
        Ok(Self {
            regions: [
                map(Region::Control, "control", &maps.control)?,
                map(Region::EdgeBook, "edge_book", &maps.edge_book)?,
                map(Region::Pairs, "pairs", &maps.pairs)?,
                map(Region::Redo, "redo", &maps.redo)?,
            ],
        })
    }
}

impl Pages for SharedPages {
    fn load(&self, region: Region, word: usize) -> u64 {
        self.regions[region as usize].load(word)
    }

    fn store(&mut self, region: Region, word: usize, value: u64) {
        self.regions[region as usize].store(word, value);
    }

    fn words(&self, region: Region) -> usize {
        self.regions[region as usize].words().len()
    }
}

const _: () = assert!(CELLS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::highest_cpu;

    #[test]
    fn the_highest_cpu_is_the_last_of_a_list() {
        assert_eq!(highest_cpu("0\n"), Some(0));
        assert_eq!(highest_cpu("0-3\n"), Some(3));
        assert_eq!(highest_cpu("0-1,8-11\n"), Some(11));
        assert_eq!(highest_cpu("0-1,8\n"), Some(8));
        assert_eq!(highest_cpu("\n"), None, "a kernel without such a list");
    }
}
