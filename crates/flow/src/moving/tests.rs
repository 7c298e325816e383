//! Moves under packets, and crashes between every two steps of one.

use flow_model::ledger::Observer;

use super::*;
use crate::{
    audit::{Bracket, Passed},
    engine::{Engine, tests::Node},
    host,
    settings::{Attach, EdgeHooks},
    site::Reading,
    start::start,
    testing::{Bpffs, config},
};

/// An edge counted into pinned maps, and its device.
struct Stage {
    node: Node,
    bpffs: Bpffs,
    attach: Attach,
}

impl Stage {
    fn build(attach: Attach) -> Self {
        Self { node: Node::build(), bpffs: Bpffs::mount(), attach }
    }

    fn pins(&self) -> PinDir {
        PinDir::make(&self.bpffs.path().join("flows")).unwrap()
    }

    /// A process that starts with tables of this capacity and takes up what it finds.
    fn start(&self, capacity: u32) -> Engine {
        let pins = self.pins();
        let lane = host::lane(self.attach).unwrap();
        let started =
            start(sizes(capacity), Settings::default(), Some(&pins), lane, &mut ()).unwrap();
        let mut engine = started.engine;
        assert_eq!(engine.tables().sizes().geometry.flow_capacity4, capacity);
        let live: Vec<EdgeRecord> =
            engine.ledger().edges().filter(|edge| edge.state == EdgeState::Live).collect();
        for record in live {
            assert!(engine.adopt(self.node.plan(EdgeHooks::Host), &record), "{record:?}");
        }
        engine
    }

    /// The first process: it hooks the edge between two looks at its device.
    fn begin(&self) -> Bracket {
        let mut engine = self.start(1024);
        let id = engine.attach(self.node.plan(EdgeHooks::Host)).unwrap();
        engine.edges()[&id].opened[1].unwrap()
    }

    fn sent(&self) -> Reading {
        self.node.plan(EdgeHooks::Host).site(Direction::Rx).reading().unwrap()
    }

    /// Every packet that the device sent since then must be in the ledger, once. What the
    /// node says by itself while the device is being looked at widens the comparison.
    fn nothing_is_lost(&self, engine: &mut Engine, opened: Bracket, what: &str) {
        let before = self.sent();
        let snapshot = engine.drain(&mut ()).unwrap().snapshot;
        assert!(snapshot.laws.hold(), "{what}: {:?}", snapshot.laws);
        let passed = Passed::between(opened, Bracket { before, after: self.sent() }).unwrap();
        let counted = snapshot.node[1];
        assert_eq!(passed.drift(&counted), Reading::default(), "{what}: {counted:?} of {passed:?}");
    }
}

fn sizes(capacity: u32) -> Sizes {
    let mut sizes = config(&[]).sizes(1);
    sizes.geometry.flow_capacity4 = capacity;
    sizes
}

/// Where a move to larger tables ends by a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Crash {
    FolderMade,
    MapsPinned,
    EpochNoted,
    OneLinkSwapped,
    LinksSwapped,
    OldDrainedOnce,
    LedgerBorn,
    OldUnpinned,
    PinsMoved,
}

const CRASHES: [Crash; 9] = [
    Crash::FolderMade,
    Crash::MapsPinned,
    Crash::EpochNoted,
    Crash::OneLinkSwapped,
    Crash::LinksSwapped,
    Crash::OldDrainedOnce,
    Crash::LedgerBorn,
    Crash::OldUnpinned,
    Crash::PinsMoved,
];

/// The steps of a move up to the crash, as [`begin`] and [`carry_over`] make them.
fn move_until(crash: Crash, pins: &PinDir, sizes: Sizes, observer: &mut impl Observer) {
    let next = pins.next();
    fs::create_dir_all(&next).unwrap();
    if crash == Crash::FolderMade {
        return;
    }
    let new = Tables::create(sizes).unwrap();
    sizes.geometry.note(&mut new.pages().unwrap());
    new.pin(&next).unwrap();
    if crash == Crash::MapsPinned {
        return;
    }
    let old = Tables::open(pins.path(), |geometry| Sizes { geometry, ..sizes }).unwrap();
    let (geometry, pages) = (old.sizes().geometry, old.pages().unwrap());
    let mut drain = Drain::new(Arc::new(old)).unwrap();
    let (mut ledger, _) =
        Ledger::open(pages, geometry, Settings::default(), &mut drain, now(), observer).unwrap();
    let edges: Vec<EdgeRecord> = ledger.edges().collect();
    let opening = opening_epoch(&ledger, &mut new.pages().unwrap());
    if crash == Crash::EpochNoted {
        return;
    }
    swap(pins, &new, &edges[0], (Slot(1), Direction::Rx), 0).unwrap();
    if crash == Crash::OneLinkSwapped {
        return;
    }
    swap_links(pins, &new, &edges, 0).unwrap();
    if crash == Crash::LinksSwapped {
        return;
    }
    new.grace().unwrap();
    let mut past = ledger.drain(&mut drain, now(), observer).unwrap().snapshot;
    if crash == Crash::OldDrainedOnce {
        return;
    }
    for _ in 0..2 {
        past = ledger.drain(&mut drain, now(), observer).unwrap().snapshot;
        if Parity::of(past.epoch + 1) == Parity::of(opening) {
            break;
        }
    }
    let legacy = Legacy::Ledger(&past);
    let settings = Settings::default();
    Ledger::create(new.pages().unwrap(), sizes.geometry, settings, now(), legacy).unwrap();
    if crash >= Crash::OldUnpinned {
        Tables::unpin(pins.path()).unwrap();
    }
    if crash >= Crash::PinsMoved {
        Tables::move_pins(&pins.next(), pins.path()).unwrap();
    }
}

fn crashes_lose_nothing(attach: Attach) {
    for crash in CRASHES {
        let stage = Stage::build(attach);
        stage.node.inside(|| {
            let since = stage.begin();
            stage.node.send(100);
            move_until(crash, &stage.pins(), sizes(2048), &mut ());
            stage.node.send(100);
            let mut engine = stage.start(2048);
            stage.node.send(100);
            stage.nothing_is_lost(&mut engine, since, &format!("{crash:?}"));
            assert!(!stage.pins().next().exists(), "{crash:?}: the move is complete");
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_crash_between_any_two_steps_of_a_move_loses_nothing_by_links() {
    crashes_lose_nothing(Attach::Tcx);
}

#[test]
#[ignore = "root: loads programs"]
fn a_crash_between_any_two_steps_of_a_move_loses_nothing_by_filters() {
    crashes_lose_nothing(Attach::Clsact);
}

/// A process may be killed when an edge is in the book and its hook not pinned yet.
#[test]
#[ignore = "root: loads programs"]
fn an_edge_without_its_hooks_does_not_hinder_a_move() {
    for attach in [Attach::Tcx, Attach::Clsact] {
        let stage = Stage::build(attach);
        stage.node.inside(|| {
            stage.begin();
            let pins = stage.pins();
            let sent = pins.pinned_links().into_iter().find(|(path, _)| path.ends_with("1_tx"));
            fs::remove_file(sent.unwrap().0).unwrap();
            let lane = host::lane(attach).unwrap();
            let settings = Settings::default();
            let started = start(sizes(2048), settings, Some(&pins), lane, &mut ()).unwrap();
            assert!(started.moved && !pins.next().exists(), "{attach:?}: the move is complete");
            assert_eq!(started.engine.ledger().edges().count(), 1, "the start deals with it");
            drop(started);
            crate::detach(pins.path(), false).unwrap();
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn moves_under_packets_lose_none() {
    let stage = Stage::build(Attach::Auto);
    stage.node.inside(|| {
        let since = stage.begin();
        let traffic = stage.node.start_traffic(20_000);
        for capacity in [2048, 1024, 4096, 1024] {
            drop(stage.start(capacity));
        }
        assert!(!traffic.is_finished(), "packets came all the while");
        let report = traffic.finish(crate::testing::PATIENCE).unwrap();
        assert!(report.is_lossless(), "{report:?}");
        let mut engine = stage.start(1024);
        stage.nothing_is_lost(&mut engine, since, "after four moves");
    });
}
