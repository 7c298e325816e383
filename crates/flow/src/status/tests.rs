use std::fs;

use super::*;
use crate::{
    engine::tests::Node,
    host,
    settings::{Attach, EdgeHooks},
    testing::{Bpffs, config},
};

/// A process that hooked one edge, and is gone.
fn leave_counting(node: &Node, pins: &PinDir, attach: Attach) {
    node.inside(|| {
        let lane = host::lane(attach).unwrap();
        let sizes = config(&[]).sizes(1);
        let mut engine =
            start(sizes, Settings::default(), Some(pins), lane, &mut ()).unwrap().engine;
        engine.attach(node.plan(EdgeHooks::Host)).unwrap();
    });
}

#[test]
fn where_nothing_was_pinned_there_is_nothing_to_see_or_remove() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flows");
    let status = status(&path).unwrap();
    assert!(!status.pinned && status.ledger.is_none());
    assert!(status.to_string().contains("nothing is pinned"), "{status}");
    let detached = detach(&path, false).unwrap();
    assert_eq!((detached.links, detached.ledger_removed), (0, false));
    assert_eq!(detached.to_string(), "nothing was pinned\n");
}

#[test]
#[ignore = "root: loads programs"]
fn pins_are_shown_and_removed_with_everything_counted_until_then() {
    for attach in [Attach::Tcx, Attach::Clsact] {
        let (node, bpffs) = (Node::build(), Bpffs::mount());
        let path = bpffs.path().join("fathom/flows");
        let pins = PinDir::make(&path).unwrap();
        leave_counting(&node, &pins, attach);
        node.send(100);
        node.inside(|| {
            let seen = status(&path).unwrap();
            let ledger = seen.ledger.as_ref().unwrap();
            assert_eq!((ledger.abi, ledger.flow_capacity), (ABI, 1024));
            assert_eq!(ledger.cleared, ledger.epoch - 1, "nothing is unfinished");
            assert_eq!((seen.edges.len(), seen.links.len()), (1, 2), "{attach:?}");
            assert!(seen.links.iter().all(|link| link.attached), "{attach:?}: {:?}", seen.links);
            assert_eq!(seen.writer_pid, None);
            assert!(seen.maps.iter().all(|map| map.bytes.is_some_and(|bytes| bytes > 0)));

            let detached = detach(&path, false).unwrap();
            assert_eq!((detached.links, detached.ledger_removed), (2, true), "{attach:?}");
            let [_, received] = detached.packets.unwrap();
            assert!(received >= 100, "{attach:?}: {received}");
            assert!(!bpffs.path().join("fathom").exists());
            let plan = node.plan(EdgeHooks::Host);
            for direction in Direction::ALL {
                let site = plan.site(direction);
                let links = net_sys::tcx::query(site.ifindex, site.hook).unwrap();
                assert!(links.is_empty(), "{attach:?}: {links:?}");
                let qdisc = net_sys::clsact::Clsact::open().unwrap().qdisc(site.ifindex).unwrap();
                assert_eq!(qdisc, None, "{attach:?}: our own qdisc is gone");
            }
            assert_eq!(detach(&path, false).unwrap().links, 0, "twice is no error");
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_ledger_that_is_kept_goes_on_with_its_counts() {
    let (node, bpffs) = (Node::build(), Bpffs::mount());
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    leave_counting(&node, &pins, Attach::Auto);
    node.send(100);
    node.inside(|| {
        let [_, received] = detach(pins.path(), true).unwrap().packets.unwrap();
        assert_eq!(fs::read_dir(pins.links()).unwrap().count(), 0);
        let sizes = config(&[]).sizes(1);
        let lane = host::lane(Attach::Auto).unwrap();
        let engine = start(sizes, Settings::default(), Some(&pins), lane, &mut ()).unwrap().engine;
        assert_eq!(engine.ledger().snapshot().node[1].wire.packets, received);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn maps_of_somebody_else_are_left_alone() {
    let bpffs = Bpffs::mount();
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    let sizes = config(&[]).sizes(1);
    let tables = Tables::create(sizes).unwrap();
    {
        use flow_model::page::Pages as _;
        tables.pages().unwrap().store(Region::Control, control::MAGIC, 0x1234);
    }
    tables.pin(pins.path()).unwrap();
    let refused = start(sizes, Settings::default(), Some(&pins), Lane::Tcx, &mut ());
    assert!(matches!(refused, Err(Error::ForeignPins { .. })), "{refused:?}");
    assert!(Tables::is_pinned(pins.path()), "they are still there");
}
