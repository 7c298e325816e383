//! Tables and a program on them, and what a test wants to know of both.

use std::sync::Arc;

use flow_bpf::{
    Drain, Event, LinkLayer, Program, Scope, SharedPages, Sizes, Tables,
    testrun::{self, Frame},
};
use flow_model::{
    flow::{Class, Counts, Direction, FlowEntry, Folded, Parity, Slot, Totals},
    kernel::Kernel as _,
    page::{FlowKeyMode, Geometry, Pages as _, Region, control},
};

pub(crate) const SLOT: Slot = Slot(3);

/// Small tables with room for a few thousand flows. One shard, so that a flow is one
/// element on whichever CPU a test runs; what shards do is tested with more of them.
pub(crate) fn sizes() -> Sizes {
    let geometry = Geometry {
        flow_capacity4: 4096,
        flow_capacity6: 4096,
        shards: 1,
        max_edges: 16,
        pair_series: 64,
        flow_key: FlowKeyMode::FiveTuple,
    };
    Sizes { geometry, edge_quota_percent: 100, early_drain_percent: 75 }
}

pub(crate) fn single(slot: Slot) -> Scope {
    Scope::Single { slot, link_layer: LinkLayer::Ethernet }
}

pub(crate) struct Lab {
    pub(crate) tables: Arc<Tables>,
    pub(crate) drain: Drain,
    pub(crate) pages: SharedPages,
    pub(crate) program: Program,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(sizes(), single(SLOT))
    }

    pub(crate) fn with(sizes: Sizes, scope: Scope) -> Self {
        Self::on(Arc::new(Tables::create(sizes).unwrap()), scope)
    }

    pub(crate) fn on(tables: Arc<Tables>, scope: Scope) -> Self {
        let program = Program::load(&tables, scope, &Direction::ALL).unwrap();
        let drain = Drain::new(Arc::clone(&tables)).unwrap();
        let pages = tables.pages().unwrap();
        Self { tables, drain, pages, program }
    }

    /// Lets the kernel see one packet of the pod.
    pub(crate) fn send(&self, octets: &[u8]) {
        self.show(Direction::Tx, &Frame::new(octets), 1);
    }

    pub(crate) fn show(&self, direction: Direction, frame: &Frame<'_>, repeat: u32) {
        let program = self.program.fd(direction).unwrap();
        let outcome = testrun::run(program, frame, repeat).unwrap();
        assert_eq!(outcome.verdict, -1, "a packet's fate is none of our business");
    }

    /// Opens the next epoch and answers the parity of the one before.
    pub(crate) fn flip(&mut self) -> Parity {
        let epoch = self.pages.load(Region::Control, control::EPOCH);
        self.pages.store(Region::Control, control::EPOCH, epoch + 1);
        self.drain.grace().unwrap();
        Parity::of(epoch)
    }

    pub(crate) fn flows(&mut self, parity: Parity) -> Vec<FlowEntry> {
        let mut flows = Vec::new();
        self.drain.read(parity, &mut |flow| flows.push(*flow)).unwrap();
        flows
    }

    pub(crate) fn folded(&mut self, parity: Parity, slot: Slot) -> Folded {
        let mut folded = vec![Folded::default(); self.tables.sizes().geometry.slots()];
        self.drain.folded(parity, &mut folded).unwrap();
        folded[usize::from(slot.0)]
    }

    pub(crate) fn totals(&mut self, parity: Parity, slot: Slot) -> [Totals; 2] {
        let mut totals = vec![[Totals::default(); 2]; self.tables.sizes().geometry.slots()];
        self.drain.totals(parity, &mut totals).unwrap();
        totals[usize::from(slot.0)]
    }

    pub(crate) fn class(&mut self, direction: Direction, class: Class) -> Counts {
        self.folded(Parity::Even, SLOT)[direction as usize][class as usize]
    }

    pub(crate) fn event(&self, event: Event) -> u64 {
        self.tables.events(event).unwrap()
    }

    /// The flow law: what packets did to a slot is in its flows or in its folded cells.
    pub(crate) fn assert_law(&mut self, parity: Parity, slot: Slot) {
        let flows = self.flows(parity);
        let folded = self.folded(parity, slot);
        let totals = self.totals(parity, slot);
        for direction in Direction::ALL {
            let of_flows: Counts = flows
                .iter()
                .filter(|flow| flow.key.slot == slot && flow.key.direction == direction)
                .map(|flow| flow.counts)
                .sum();
            let of_folded: Counts = folded[direction as usize].iter().copied().sum();
            let wire = totals[direction as usize].wire;
            assert_eq!(of_flows + of_folded, wire, "{direction:?}: flows + folded = totals");
        }
    }
}

/// Keeps the calling thread on one CPU, and so in one shard.
pub(crate) fn pin_to_cpu(cpu: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(cpu);
    rustix::thread::sched_setaffinity(None, &set).unwrap();
}
