//! Reading and clearing one parity: the ledger's view of the maps.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    os::fd::{AsFd, AsRawFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use flow_model::{
    flow::{Counts, Direction, FlowEntry, FlowKey, Folded, Parity, Slot, Totals},
    kernel::Kernel,
};
use libbpf_rs::{MapCore, MapFlags, MapHandle};

use crate::{
    batch::{self, Slab},
    error::{Error, Step},
    layout::{Flow4Key, Flow6Key, FlowValue, FoldedCell, KEY_FRAGMENT, KEY_RX, TotalsCell},
    tables::{MapFill, Tables, per_shard},
};

/// The one reader of the tables, with the buffers it reads into.
#[derive(Debug)]
pub struct Drain {
    tables: Arc<Tables>,
    slab4: Slab<Flow4Key, FlowValue>,
    slab6: Slab<Flow6Key, FlowValue>,
    totals: Vec<TotalsCell>,
    cpus: usize,
}

impl Drain {
    /// A reader of `tables`.
    ///
    /// # Errors
    ///
    /// When the number of possible CPUs can't be read.
    pub fn new(tables: Arc<Tables>) -> Result<Self, Error> {
        let cpus = libbpf_rs::num_possible_cpus().map_err(Error::libbpf(Step::Read, "totals"))?;
        Ok(Self { tables, slab4: Slab::new(), slab6: Slab::new(), totals: Vec::new(), cpus })
    }

    /// How full the fullest tables of one parity are.
    pub fn fill(&self, parity: Parity) -> MapFill {
        let geometry = self.tables.sizes.geometry;
        let shards = geometry.shards as usize;
        let (mut v4, mut v6) = (0, 0);
        for shard in 0..shards {
            let row = parity as usize * shards + shard;
            let [low, high] = halves(self.tables.fill.load(row * FILL_WORDS));
            v4 = v4.max(low);
            v6 = v6.max(high);
        }
        MapFill {
            v4: f64::from(v4) / f64::from(per_shard(geometry.flow_capacity4, geometry.shards)),
            v6: f64::from(v6) / f64::from(per_shard(geometry.flow_capacity6, geometry.shards)),
        }
    }

    fn shards(&self) -> usize {
        self.tables.sizes.geometry.shards as usize
    }

    fn slots(&self) -> usize {
        self.tables.sizes.geometry.slots()
    }

    fn rows(&self, parity: Parity) -> std::ops::Range<usize> {
        let shards = self.shards();
        parity as usize * shards..(parity as usize + 1) * shards
    }

    /// Words of one slot's folded cells, both directions.
    fn folded_at(&self, row: usize, slot: usize) -> usize {
        (row * self.slots() + slot) * 2 * FOLDED_WORDS
    }
}

const FILL_WORDS: usize = 2;
const FOLDED_WORDS: usize = size_of::<FoldedCell>() / size_of::<u64>();

impl Kernel for Drain {
    type Error = Error;

    fn grace(&mut self) -> Result<(), Error> {
        self.tables.grace()
    }

    fn read(&mut self, parity: Parity, sink: &mut dyn FnMut(&FlowEntry)) -> Result<(), Error> {
        for row in self.rows(parity) {
            let map = self.tables.flows4[row].as_fd();
            self.slab4.read(map, "connection_flows", &mut |key, value| {
                sink(&entry(key4(key), value));
            })?;
            let map = self.tables.flows6[row].as_fd();
            self.slab6.read(map, "connection_flows6", &mut |key, value| {
                sink(&entry(key6(key), value));
            })?;
        }
        Ok(())
    }

    fn clear(&mut self, parity: Parity) -> Result<(), Error> {
        for row in self.rows(parity) {
            self.slab4.clear(self.tables.flows4[row].as_fd(), "connection_flows")?;
            self.slab6.clear(self.tables.flows6[row].as_fd(), "connection_flows6")?;
        }
        let rows = self.rows(parity);
        self.tables.fill.zero(rows.start * FILL_WORDS, rows.len() * FILL_WORDS);
        let slots = self.slots() * FILL_WORDS;
        self.tables.edge_fill.zero(rows.start * slots, rows.len() * slots);
        Ok(())
    }

    fn totals(&mut self, parity: Parity, out: &mut [[Totals; 2]]) -> Result<(), Error> {
        let first = parity as usize * self.slots() * 2;
        let cells = out.len() * 2;
        self.totals.resize(cells * self.cpus, TotalsCell::default());
        read_range(&self.tables.maps.totals, first, cells, &mut self.totals, self.cpus)?;
        let mut sums = self.totals.chunks_exact(self.cpus).map(sum);
        for slot in out {
            *slot = std::array::from_fn(|_| sums.next().unwrap_or_default());
        }
        Ok(())
    }

    fn folded(&mut self, parity: Parity, out: &mut [Folded]) -> Result<(), Error> {
        for (slot, out) in out.iter_mut().enumerate() {
            *out = Folded::default();
            for row in self.rows(parity) {
                let at = self.folded_at(row, slot);
                let words = &self.tables.folded.words()[at..at + 2 * FOLDED_WORDS];
                for direction in Direction::ALL {
                    let half = &words[direction as usize * FOLDED_WORDS..][..FOLDED_WORDS];
                    add_folded(half, &mut out[direction as usize]);
                }
            }
        }
        Ok(())
    }

    fn zero_slot(&mut self, slot: Slot) -> Result<(), Error> {
        let slots = self.slots();
        let zeroes = vec![0; size_of::<TotalsCell>() * self.cpus];
        for cell in Parity::ALL.iter().flat_map(|parity| {
            let first = (*parity as usize * slots + usize::from(slot.0)) * 2;
            first..first + 2
        }) {
            let key = u32::try_from(cell).unwrap_or(u32::MAX).to_ne_bytes();
            write_percpu(&self.tables.maps.totals, &key, &zeroes)?;
        }
        for row in 0..2 * self.shards() {
            let at = self.folded_at(row, usize::from(slot.0));
            self.tables.folded.zero(at, 2 * FOLDED_WORDS);
        }
        Ok(())
    }
}

fn halves(word: u64) -> [u32; 2] {
    let octets = word.to_ne_bytes();
    let half = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| octets[at + i]));
    [half(0), half(4)]
}

fn add_folded(words: &[AtomicU64], out: &mut [Counts]) {
    for (pair, out) in words.chunks_exact(2).zip(out) {
        *out += Counts {
            packets: pair[0].load(Ordering::Acquire),
            bytes: pair[1].load(Ordering::Acquire),
        };
    }
}

fn sum(cells: &[TotalsCell]) -> Totals {
    let mut totals = Totals::default();
    for cell in cells {
        totals.wire += Counts { packets: cell.packets, bytes: cell.bytes };
        totals.skb += Counts { packets: cell.skbs, bytes: cell.skb_bytes };
    }
    totals
}

fn key4(key: &Flow4Key) -> FlowKey {
    FlowKey {
        slot: Slot(key.slot),
        direction: direction(key.dirflags),
        src: IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(key.src))),
        dst: IpAddr::V4(Ipv4Addr::from_bits(u32::from_be(key.dst))),
        src_port: u16::from_be(key.src_port),
        dst_port: u16::from_be(key.dst_port),
        protocol: key.protocol,
        fragment: key.dirflags & KEY_FRAGMENT != 0,
    }
}

fn key6(key: &Flow6Key) -> FlowKey {
    FlowKey {
        slot: Slot(key.slot),
        direction: direction(key.dirflags),
        src: IpAddr::V6(Ipv6Addr::from(key.src)),
        dst: IpAddr::V6(Ipv6Addr::from(key.dst)),
        src_port: u16::from_be(key.src_port),
        dst_port: u16::from_be(key.dst_port),
        protocol: key.protocol,
        fragment: key.dirflags & KEY_FRAGMENT != 0,
    }
}

const fn direction(dirflags: u8) -> Direction {
    if dirflags & KEY_RX == 0 { Direction::Tx } else { Direction::Rx }
}

const fn entry(key: FlowKey, value: &FlowValue) -> FlowEntry {
    FlowEntry {
        key,
        counts: Counts { packets: value.packets, bytes: value.bytes },
        first: value.first,
        last: value.last,
        syn: value.syn,
        fin: value.fin,
        rst: value.rst,
    }
}

/// Reads cells `first..first + count` of a per-CPU array, all CPUs of a cell together.
fn read_range(
    map: &MapHandle,
    first: usize,
    count: usize,
    out: &mut [TotalsCell],
    cpus: usize,
) -> Result<(), Error> {
    let index = |cell: usize| u32::try_from(cell).unwrap_or(u32::MAX);
    if count == 0 {
        return Ok(());
    }
    // Batches of per-CPU arrays came with 5.13.
    if batch::read_array(map.as_fd(), index(first), index(count), out).is_ok() {
        return Ok(());
    }
    for (cell, values) in (first..).zip(out.chunks_exact_mut(cpus)) {
        let key = index(cell);
        // SAFETY: the key is four octets and the value one 32-octet cell, a multiple of
        // eight, per possible CPU: what the kernel copies for this map.
        let result = unsafe {
            libbpf_sys::bpf_map_lookup_elem(
                map.as_fd().as_raw_fd(),
                (&raw const key).cast(),
                values.as_mut_ptr().cast(),
            )
        };
        if result != 0 {
            return Err(Error::last(Step::Read, "totals"));
        }
    }
    Ok(())
}

fn write_percpu(map: &MapHandle, key: &[u8; 4], octets: &[u8]) -> Result<(), Error> {
    let cells: Vec<Vec<u8>> =
        octets.chunks_exact(size_of::<TotalsCell>()).map(<[u8]>::to_vec).collect();
    map.update_percpu(key, &cells, MapFlags::ANY).map_err(Error::libbpf(Step::Write, "totals"))
}
