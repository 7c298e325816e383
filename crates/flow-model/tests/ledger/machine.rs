//! What survives a crash of the agent: pages, kernel maps, and packets on their way.
//!
//! Between any two stores and kernel calls packets arrive. A packet reads the epoch
//! when its program run begins and may land much later, but never after a grace period
//! that began in between.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;

use flow_model::flow::{
    Class, Counts, Direction, FlowEntry, FlowKey, Folded, Parity, Slot, Totals,
};
use flow_model::kernel::Kernel;
use flow_model::ledger::Now;
use flow_model::page::{Geometry, Memory, Pages, Region, control};

/// One frame at a hook. Without a key it is not IP.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Packet {
    pub(crate) slot: Slot,
    pub(crate) direction: Direction,
    pub(crate) key: Option<FlowKey>,
    pub(crate) bytes: u64,
}

/// What goes wrong at the fuse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The process dies.
    Crash,
    /// The kernel side refuses the next call.
    Refusal,
}

/// Unwinds with this when the process dies.
pub(crate) struct Died;

/// A kernel side that does its work wrongly, so that the tests can be seen to notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flaw {
    None,
    /// Reading removes.
    ReadRemoves,
    /// The grace period waits for nobody.
    NoGrace,
    /// `journal` reaches the page before the log does.
    EarlyJournal,
    /// The log is applied before `journal` says that it may be.
    LateJournal,
    /// The maps are emptied when the journal is written, before the commit.
    ClearBeforeCommit,
    /// The maps are never emptied.
    NeverClears,
}

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    pub(crate) flaw: Flaw,
    pub(crate) capacity: usize,
    maps: [BTreeMap<FlowKey, FlowEntry>; 2],
    totals: [Vec<[Totals; 2]>; 2],
    folded: [Vec<Folded>; 2],
    pub(crate) arriving: VecDeque<Packet>,
    running: VecDeque<(u64, Packet)>,
    held_back: Vec<(usize, u64)>,
    pub(crate) ticks: u64,
    pub(crate) fuses: VecDeque<u64>,
    pub(crate) fault: Fault,
    refuse: bool,
    pub(crate) now_ns: u64,
}

impl Machine {
    pub(crate) fn new(geometry: &Geometry, flaw: Flaw, capacity: usize) -> Self {
        let slots = geometry.slots();
        Self {
            memory: Memory::new(geometry),
            flaw,
            capacity,
            maps: [BTreeMap::new(), BTreeMap::new()],
            totals: [vec![[Totals::default(); 2]; slots], vec![[Totals::default(); 2]; slots]],
            folded: [vec![Folded::default(); slots], vec![Folded::default(); slots]],
            arriving: VecDeque::new(),
            running: VecDeque::new(),
            held_back: Vec::new(),
            ticks: 0,
            fuses: VecDeque::new(),
            fault: Fault::Crash,
            refuse: false,
            now_ns: 1_000_000_000,
        }
    }

    /// A moment between two steps of the agent.
    fn tick(&mut self) {
        self.ticks += 1;
        self.begin_one();
        if self.ticks.is_multiple_of(3) {
            self.land_one();
        }
        let Some(left) = self.fuses.front_mut() else {
            return;
        };
        *left = left.saturating_sub(1);
        if *left == 0 {
            self.fuses.pop_front();
            match self.fault {
                Fault::Crash => std::panic::resume_unwind(Box::new(Died)),
                Fault::Refusal => self.refuse = true,
            }
        }
    }

    fn begin_one(&mut self) {
        if let Some(packet) = self.arriving.pop_front() {
            let epoch = self.memory.load(Region::Control, control::EPOCH);
            self.running.push_back((epoch, packet));
        }
    }

    /// Half of what was offered is on its way when the next step begins.
    pub(crate) fn set_out(&mut self) {
        for _ in 0..self.arriving.len().div_ceil(2) {
            self.begin_one();
        }
    }

    fn land_one(&mut self) {
        if let Some((epoch, packet)) = self.running.pop_front() {
            self.count(epoch, packet);
        }
    }

    fn land_all(&mut self) {
        while !self.running.is_empty() {
            self.land_one();
        }
    }

    /// Everything offered so far has arrived.
    pub(crate) fn settle(&mut self) {
        while !self.arriving.is_empty() {
            self.begin_one();
        }
        self.land_all();
    }

    fn count(&mut self, epoch: u64, packet: Packet) {
        let parity = Parity::of(epoch) as usize;
        let (slot, direction) = (usize::from(packet.slot.0), packet.direction as usize);
        let one = Counts { packets: 1, bytes: packet.bytes };
        let totals = &mut self.totals[parity][slot][direction];
        totals.wire += one;
        totals.skb += one;
        let map = &mut self.maps[parity];
        let class = match packet.key {
            None => Class::NonIp,
            Some(key) if map.len() < self.capacity || map.contains_key(&key) => {
                map.entry(key).or_insert_with(|| empty(key)).counts += one;
                return;
            }
            Some(_) => Class::OverflowTcp,
        };
        self.folded[parity][slot][direction][class as usize] += one;
    }

    pub(crate) fn now(&self) -> Now {
        Now { wall_ns: self.now_ns, monotonic_ns: self.now_ns }
    }
}

fn empty(key: FlowKey) -> FlowEntry {
    FlowEntry { key, counts: Counts::ZERO, first: 0, last: 0, syn: 0, fin: 0, rst: 0 }
}

pub(crate) type Shared = Rc<RefCell<Machine>>;

/// The surviving pages; each store is a moment of its own.
#[derive(Debug, Clone)]
pub(crate) struct SharedPages(pub(crate) Shared);

impl Pages for SharedPages {
    fn load(&self, region: Region, word: usize) -> u64 {
        self.0.borrow().memory.load(region, word)
    }

    fn store(&mut self, region: Region, word: usize, value: u64) {
        let mut machine = self.0.borrow_mut();
        match machine.flaw {
            Flaw::EarlyJournal => return store_journal_first(&mut machine, region, word, value),
            Flaw::LateJournal => return store_journal_last(&mut machine, region, word, value),
            _ => {}
        }
        machine.memory.store(region, word, value);
        if machine.flaw == Flaw::ClearBeforeCommit
            && (region, word) == (Region::Control, control::JOURNAL)
        {
            machine.maps[Parity::of(value) as usize].clear();
        }
        machine.tick();
    }

    fn words(&self, region: Region) -> usize {
        self.0.borrow().memory.words(region)
    }
}

/// Keeps the log back until `journal` is stored.
fn store_journal_first(machine: &mut Machine, region: Region, word: usize, value: u64) {
    if region == Region::Redo {
        machine.held_back.push((word, value));
    } else {
        machine.memory.store(region, word, value);
        machine.tick();
    }
    if (region, word) == (Region::Control, control::JOURNAL) {
        for (word, value) in std::mem::take(&mut machine.held_back) {
            machine.memory.store(Region::Redo, word, value);
            machine.tick();
        }
    }
}

/// Keeps `journal` back until `commit` is stored.
fn store_journal_last(machine: &mut Machine, region: Region, word: usize, value: u64) {
    match (region, word) {
        (Region::Control, control::JOURNAL) => return,
        (Region::Control, control::COMMIT) => {
            machine.memory.store(Region::Control, control::JOURNAL, value);
            machine.tick();
        }
        _ => {}
    }
    machine.memory.store(region, word, value);
    machine.tick();
}

/// The kernel maps; every part of a call is a moment of its own.
#[derive(Debug, Clone)]
pub(crate) struct SharedKernel(pub(crate) Shared);

#[derive(Debug, thiserror::Error)]
#[error("the kernel refused a call because the test says so")]
pub(crate) struct Refused;

impl SharedKernel {
    fn tick(&self) -> Result<(), Refused> {
        let mut machine = self.0.borrow_mut();
        machine.tick();
        if std::mem::take(&mut machine.refuse) { Err(Refused) } else { Ok(()) }
    }
}

impl Kernel for SharedKernel {
    type Error = Refused;

    fn grace(&mut self) -> Result<(), Refused> {
        self.tick()?;
        let flaw = self.0.borrow().flaw;
        if flaw != Flaw::NoGrace {
            self.0.borrow_mut().land_all();
        }
        self.tick()
    }

    fn read(&mut self, parity: Parity, sink: &mut dyn FnMut(&FlowEntry)) -> Result<(), Refused> {
        let flows: Vec<_> = self.0.borrow().maps[parity as usize].values().copied().collect();
        for flow in flows {
            sink(&flow);
            if self.0.borrow().flaw == Flaw::ReadRemoves {
                self.0.borrow_mut().maps[parity as usize].remove(&flow.key);
            }
            self.tick()?;
        }
        Ok(())
    }

    fn clear(&mut self, parity: Parity) -> Result<(), Refused> {
        if self.0.borrow().flaw == Flaw::NeverClears {
            return self.tick();
        }
        loop {
            let first = self.0.borrow_mut().maps[parity as usize].pop_first();
            self.tick()?;
            if first.is_none() {
                return Ok(());
            }
        }
    }

    fn totals(&mut self, parity: Parity, out: &mut [[Totals; 2]]) -> Result<(), Refused> {
        for (i, out) in out.iter_mut().enumerate() {
            *out = self.0.borrow().totals[parity as usize][i];
            self.tick()?;
        }
        Ok(())
    }

    fn folded(&mut self, parity: Parity, out: &mut [Folded]) -> Result<(), Refused> {
        for (i, out) in out.iter_mut().enumerate() {
            *out = self.0.borrow().folded[parity as usize][i];
            self.tick()?;
        }
        Ok(())
    }

    fn zero_slot(&mut self, slot: Slot) -> Result<(), Refused> {
        for parity in Parity::ALL {
            self.0.borrow_mut().totals[parity as usize][usize::from(slot.0)] = Default::default();
            self.tick()?;
            self.0.borrow_mut().folded[parity as usize][usize::from(slot.0)] = Default::default();
            self.tick()?;
        }
        Ok(())
    }
}
