//! Runs a script the way an agent would, dying and starting again where the fuses say.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use flow_model::edge::{EdgeId, EdgeSpec, EdgeState, Identity, Text};
use flow_model::flow::{Counts, Slot};
use flow_model::ledger::{
    AddEdgeError, Found, Ledger, Legacy, Now, Observer, OpenError, Progress, Settings, inspect,
};
use flow_model::page::{Geometry, Pages, Region, control};
use flow_model::snapshot::Snapshot;

use crate::machine::{Died, Fault, Flaw, Machine, Shared, SharedKernel, SharedPages};
use crate::script::{IDLE_NS, Op, Traffic};

/// How to run a script.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) geometry: Geometry,
    pub(crate) flaw: Flaw,
    pub(crate) fault: Fault,
    pub(crate) capacity: usize,
    pub(crate) pod_series: usize,
    /// Steps until the first fault, then from each to the next.
    pub(crate) fuses: Vec<u64>,
}

impl Plan {
    pub(crate) fn new(geometry: Geometry) -> Self {
        Self {
            geometry,
            flaw: Flaw::None,
            fault: Fault::Crash,
            capacity: 1000,
            pod_series: 2,
            fuses: Vec::new(),
        }
    }

    pub(crate) fn with_fuses(&self, fuses: &[u64]) -> Self {
        Self { fuses: fuses.to_vec(), ..self.clone() }
    }
}

/// What a run left.
#[derive(Debug)]
pub(crate) struct Run {
    /// The ledger at its end.
    pub(crate) last: Snapshot,
    /// Every commit that was seen, in order.
    pub(crate) commits: Vec<Arc<Snapshot>>,
    /// What the packets offered to hooks add up to, by direction.
    pub(crate) offered: [Counts; 2],
    pub(crate) ticks: u64,
}

/// Keeps every snapshot; survives the process, as Prometheus does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scrapes(Rc<RefCell<Vec<Arc<Snapshot>>>>);

impl Observer for Scrapes {
    fn committed(&mut self, snapshot: &Arc<Snapshot>) {
        self.0.borrow_mut().push(Arc::clone(snapshot));
    }
}

type Book = Ledger<SharedPages>;

pub(crate) struct Driver {
    plan: Plan,
    machine: Shared,
    scrapes: Scrapes,
    ledger: Option<Book>,
    hooked: BTreeMap<u8, Slot>,
    offered: [Counts; 2],
}

pub(crate) fn run(plan: &Plan, ops: &[Op]) -> Run {
    let mut driver = Driver::new(plan);
    for op in ops {
        driver.perform(op);
    }
    driver.finish()
}

impl Driver {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut machine = Machine::new(&plan.geometry, plan.flaw, plan.capacity);
        machine.fuses = plan.fuses.iter().copied().collect();
        machine.fault = plan.fault;
        Self {
            plan: plan.clone(),
            machine: Rc::new(RefCell::new(machine)),
            scrapes: Scrapes::default(),
            ledger: None,
            hooked: BTreeMap::new(),
            offered: [Counts::ZERO; 2],
        }
    }

    pub(crate) fn machine(&self) -> &Shared {
        &self.machine
    }

    pub(crate) fn ledger(&mut self) -> &mut Book {
        self.alive()
    }

    /// The process dies here and now.
    pub(crate) fn kill(&mut self) {
        self.ledger = None;
    }

    pub(crate) fn finish(mut self) -> Run {
        let last = self.alive().snapshot();
        let ticks = self.machine.borrow().ticks;
        let commits = self.scrapes.0.borrow().clone();
        Run { last, commits, offered: self.offered, ticks }
    }

    pub(crate) fn perform(&mut self, op: &Op) {
        match op {
            Op::Wait { ns } => self.machine.borrow_mut().now_ns += ns,
            Op::Burst(traffic) => {
                self.offer(*traffic);
                self.machine.borrow_mut().settle();
            }
            Op::Trickle(traffic) => {
                self.offer(*traffic);
                self.machine.borrow_mut().set_out();
            }
            Op::Add { edge, named } => self.add(*edge, *named),
            Op::Name { edge, pod } => self.name(*edge, *pod),
            Op::Drop { edge } => self.drop_edge(*edge),
            Op::Drain => self.drain(),
        }
    }

    fn offer(&mut self, traffic: Traffic) {
        let Some(slot) = self.hooked.get(&traffic.edge) else {
            return;
        };
        for packet in traffic.packets(*slot) {
            self.offered[packet.direction as usize] += Counts { packets: 1, bytes: packet.bytes };
            self.machine.borrow_mut().arriving.push_back(packet);
        }
    }

    fn add(&mut self, edge: u8, named: bool) {
        if self.hooked.contains_key(&edge) {
            return;
        }
        let spec = EdgeSpec { identity: identity(edge), named, ..EdgeSpec::default() };
        let added = self.persist(|driver| {
            if let Some(slot) = driver.find_live(edge) {
                return Some(Some(slot));
            }
            let (mut kernel, now) = driver.surroundings();
            match driver.alive().add_edge(&mut kernel, &spec, now) {
                Ok((_, slot)) => Some(Some(slot)),
                Err(AddEdgeError::Refused(_)) => Some(None),
                Err(_) => None,
            }
        });
        if let Some(slot) = added {
            self.hooked.insert(edge, slot);
        }
    }

    fn name(&mut self, edge: u8, pod: u8) {
        let Some(slot) = self.hooked.get(&edge).copied() else {
            return;
        };
        self.persist(|driver| {
            let (_, now) = driver.surroundings();
            let id = driver.alive().edge_in(slot).unwrap();
            let uid = Text::new(&format!("uid-{edge}")).unwrap();
            let identity = Identity { uid, ..identity(pod) };
            // Refused while the pod has other edges; the name is then kept.
            Some(driver.alive().name_edge(id, &identity, now).is_ok())
        });
    }

    fn drop_edge(&mut self, edge: u8) {
        let Some(slot) = self.hooked.remove(&edge) else {
            return;
        };
        self.machine.borrow_mut().settle();
        let id = self.persist(|driver| driver.alive().edge_in(slot));
        self.persist(|driver| driver.alive().drop_edge(id).ok());
    }

    /// One epoch, however often the process dies in it.
    fn drain(&mut self) {
        let open = self.epoch();
        self.persist(|driver| {
            driver.alive();
            if driver.epoch() > open && driver.alive().progress() == Progress::AtRest {
                return Some(());
            }
            let (mut kernel, now) = driver.surroundings();
            let mut scrapes = driver.scrapes.clone();
            driver.alive().drain(&mut kernel, now, &mut scrapes).ok().map(drop)
        });
    }

    /// One attempt at a drain; whether the process died in it. It stays dead.
    pub(crate) fn drain_until_death(&mut self) -> bool {
        let (mut kernel, now) = self.surroundings();
        let ledger = self.alive();
        let attempt = catch_unwind(AssertUnwindSafe(|| ledger.drain(&mut kernel, now, &mut ())));
        let died = attempt.is_err_and(|reason| reason.is::<Died>());
        if died {
            self.kill();
        }
        died
    }

    /// What the pages alone say.
    pub(crate) fn progress_of_pages(&self) -> Progress {
        Progress::read(&self.machine.borrow().memory)
    }

    pub(crate) fn epoch(&mut self) -> u64 {
        self.persist(|driver| Some(driver.alive().pages().load(Region::Control, control::EPOCH)))
    }

    fn find_live(&mut self, edge: u8) -> Option<Slot> {
        let wanted = identity(edge).name;
        let hooked: Vec<_> = self.hooked.values().copied().collect();
        let mut edges = self.alive().edges();
        let found = edges.find(|record| {
            record.identity.name == wanted
                && record.state == EdgeState::Live
                && !hooked.contains(&record.slot)
        });
        found.map(|record| record.slot)
    }

    fn surroundings(&self) -> (SharedKernel, Now) {
        (SharedKernel(Rc::clone(&self.machine)), self.machine.borrow().now())
    }

    /// Does something until it is done: `None` and death both mean again.
    fn persist<T>(&mut self, mut attempt: impl FnMut(&mut Self) -> Option<T>) -> T {
        for _ in 0..100 {
            match catch_unwind(AssertUnwindSafe(|| attempt(self))) {
                Ok(Some(done)) => return done,
                Ok(None) => {}
                Err(reason) if reason.is::<Died>() => self.ledger = None,
                Err(bug) => std::panic::resume_unwind(bug),
            }
        }
        panic!("a step was not done after a hundred attempts");
    }

    /// The ledger; started from what survives if the process is dead.
    fn alive(&mut self) -> &mut Book {
        if self.ledger.is_none() {
            self.ledger = Some(self.start());
        }
        self.ledger.as_mut().unwrap()
    }

    fn start(&self) -> Book {
        let settings = Settings {
            series_idle_ns: IDLE_NS,
            pod_series: self.plan.pod_series,
            ..Settings::default()
        };
        for _ in 0..10 {
            let pages = SharedPages(Rc::clone(&self.machine));
            let (mut kernel, now) = self.surroundings();
            let (geometry, settings) = (self.plan.geometry, settings.clone());
            if inspect(&pages, &geometry) == Found::Fresh {
                return Ledger::create(pages, geometry, settings, now, Legacy::None).unwrap();
            }
            let mut scrapes = self.scrapes.clone();
            match Ledger::open(pages, geometry, settings, &mut kernel, now, &mut scrapes) {
                Ok((ledger, _)) => return ledger,
                Err(OpenError::Drain(_)) => {}
                Err(error) => panic!("the ledger is not ours any more: {error:?}"),
            }
        }
        panic!("the ledger could not be opened in ten attempts");
    }
}

fn identity(edge: u8) -> Identity {
    Identity { name: Text::new(&format!("pod-{edge}")).unwrap(), ..Identity::default() }
}

/// The id of the edge in a slot, for tests that look at one.
pub(crate) fn id_in(driver: &mut Driver, slot: u16) -> EdgeId {
    driver.ledger().edge_in(Slot(slot)).unwrap()
}
