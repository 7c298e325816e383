use std::fs;

use flow_model::page::{Pages as _, Region, control};

use super::*;
use crate::{
    engine::tests::Node,
    host,
    settings::{Attach, EdgeHooks},
    testing::{Bpffs, config},
};

fn begin(pins: &PinDir, settings: Settings) -> Started {
    let lane = host::lane(Attach::Auto).unwrap();
    start(config(&[]).sizes(1), settings, Some(pins), lane, &mut ()).unwrap()
}

/// A node whose pod received datagrams, and the pins of a process that counted them.
fn counted(bpffs: &Bpffs) -> (Node, PinDir, [Totals; 2]) {
    let node = Node::build();
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    let before = node.inside(|| {
        let mut engine = begin(&pins, Settings::default()).engine;
        engine.attach(node.plan(EdgeHooks::Host)).unwrap();
        node.send(100);
        engine.drain(&mut ()).unwrap().snapshot.node
    });
    (node, pins, before)
}

#[test]
#[ignore = "root: loads programs"]
fn a_start_on_what_it_left_itself_recovers_and_moves_nothing() {
    let bpffs = Bpffs::mount();
    let (node, pins, before) = counted(&bpffs);
    node.inside(|| {
        let started = begin(&pins, Settings::default());
        assert_eq!(started.recovery.unwrap().how, None, "nothing was left unfinished");
        assert!(!started.moved);
        let found = started.engine.ledger().snapshot().node;
        assert!(found[1].wire.packets >= before[1].wire.packets);
    });
}

/// What cannot be read is never guessed: the totals go on, all else is retired.
#[test]
#[ignore = "root: loads programs"]
fn maps_of_an_unknown_layout_keep_their_totals_alone() {
    let bpffs = Bpffs::mount();
    let (node, pins, before) = counted(&bpffs);
    node.inside(|| {
        let sized = |geometry| Sizes { geometry, ..config(&[]).sizes(1) };
        let tables = Tables::open(pins.path(), sized).unwrap();
        tables.pages().unwrap().store(Region::Control, control::ABI, 99);
        drop(tables);
        let mut engine = begin(&pins, Settings::default()).engine;
        let snapshot = engine.drain(&mut ()).unwrap().snapshot;
        assert!(snapshot.laws.hold(), "{:?}", snapshot.laws);
        let counts = |totals: Totals| totals.wire.packets;
        assert!(counts(snapshot.node[1]) >= counts(before[1]), "{:?}", snapshot.node);
        let retired = snapshot.pods.retired.map(|counts| counts.packets);
        assert_eq!(retired, snapshot.node.map(counts), "no pod is known any more");
        assert_eq!(snapshot.edges, []);
        assert_eq!(fs::read_dir(pins.links()).unwrap().count(), 0, "hooks on the old maps went");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_limit_that_all_pods_keep_moves_nothing() {
    let bpffs = Bpffs::mount();
    let (node, pins, _) = counted(&bpffs);
    node.inside(|| {
        let limited = |pod_series| Settings { pod_series, ..Settings::default() };
        assert!(!begin(&pins, limited(1)).moved, "there is one pod");
        let started = begin(&pins, limited(0));
        assert!(started.moved);
        assert_eq!(started.engine.ledger().snapshot().pods.rows, []);
        drop(started);
        assert!(!begin(&pins, limited(0)).moved, "once is enough");
    });
}
