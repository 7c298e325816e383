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
            assert!(ledger.fill_percent > 0.0 && ledger.fill_percent < 5.0, "{ledger:?}");
            assert!(seen.to_string().contains("the kernel counts by itself"), "{seen}");
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

/// Filters are of the namespace that the agent ran in, wherever `detach` is run.
#[test]
#[ignore = "root: loads programs"]
fn hooks_are_removed_from_any_namespace_or_their_pins_stay() {
    let (node, bpffs) = (Node::build(), Bpffs::mount());
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    leave_counting(&node, &pins, Attach::Clsact);
    let elsewhere = testkit::Namespace::create("fe").unwrap();
    elsewhere
        .place()
        .run(|| {
            let settle = |inode| {
                let tables = Tables::open(pins.path(), any_sizes).unwrap();
                tables.pages().unwrap().store(Region::Control, control::HOME, inode);
            };
            settle(1);
            let refused = detach(pins.path(), false).unwrap_err();
            assert_eq!(refused.exit(), Exit::Unavailable);
            assert!(refused.to_string().contains("nsenter"), "{refused}");
            assert_eq!(pins.pinned_links().len(), 2, "they are known again by these");

            settle(node.node.place().inode().unwrap());
            let seen = status(pins.path()).unwrap();
            assert!(seen.links.iter().all(|link| link.attached), "{:?}", seen.links);
            assert_eq!(detach(pins.path(), false).unwrap().links, 2);
        })
        .unwrap();
    node.inside(|| {
        let ifindex = node.plan(EdgeHooks::Host).site(Direction::Tx).ifindex;
        let mut clsact = net_sys::clsact::Clsact::open().unwrap();
        assert_eq!(clsact.qdisc(ifindex).unwrap(), None, "nothing is left");
    });
}

/// What was not there is not said to be removed.
#[test]
#[ignore = "root: loads programs"]
fn hooks_that_went_with_their_device_are_not_counted() {
    for attach in [Attach::Tcx, Attach::Clsact] {
        let (node, bpffs) = (Node::build(), Bpffs::mount());
        let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
        leave_counting(&node, &pins, attach);
        node.inside(|| {
            testkit::Device::named(node.node.place(), "host0").remove().unwrap();
            let detached = detach(pins.path(), false).unwrap();
            assert_eq!((detached.links, detached.ledger_removed), (0, true), "{attach:?}");
        });
    }
}

/// The ledger can't be read, and hooks are known all the same.
#[test]
#[ignore = "root: loads programs"]
fn hooks_on_damaged_maps_are_removed_as_far_as_they_are_known() {
    for attach in [Attach::Tcx, Attach::Clsact] {
        let (node, bpffs) = (Node::build(), Bpffs::mount());
        let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
        leave_counting(&node, &pins, attach);
        fs::remove_file(pins.path().join("maps/control")).unwrap();
        node.inside(|| {
            let error = detach(pins.path(), false).unwrap_err();
            assert_eq!(error.exit(), Exit::Unavailable);
            assert!(error.to_string().contains("2 hooks are removed"), "{attach:?}: {error}");
            assert!(error.to_string().contains("rm -r"), "{error}");
            assert_eq!(pins.pinned_links(), []);
            for direction in Direction::ALL {
                let plan = node.plan(EdgeHooks::Host);
                let site = plan.site(direction);
                assert_eq!(net_sys::tcx::query(site.ifindex, site.hook).unwrap(), []);
                let mut clsact = net_sys::clsact::Clsact::open().unwrap();
                assert!(clsact.filters(site.ifindex, site.hook).unwrap().is_empty());
            }
        });
    }
}

/// Maps of which a part is gone are none that anybody could go on with.
#[test]
#[ignore = "root: loads programs"]
fn an_end_that_is_cut_short_leaves_all_maps_or_none() {
    let (node, bpffs) = (Node::build(), Bpffs::mount());
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    leave_counting(&node, &pins, Attach::Auto);
    // What can't be removed cuts it short.
    let busy = pins.path().join("maps/busy");
    fs::create_dir(&busy).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &busy, "tmpfs", flags, None).unwrap();
    node.inside(|| {
        detach(pins.path(), false).unwrap_err();
        assert!(!Tables::is_pinned(pins.path()));
        let busy = pins.path().join("maps_unfinished/busy");
        rustix::mount::unmount(&busy, rustix::mount::UnmountFlags::DETACH).unwrap();
        let (sizes, lane) = (config(&[]).sizes(1), host::lane(Attach::Auto).unwrap());
        start(sizes, Settings::default(), Some(&pins), lane, &mut ()).unwrap();
        assert!(Tables::is_pinned(pins.path()), "the next start begins anew");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn what_somebody_else_has_beside_our_pins_stays_and_is_told() {
    let (node, bpffs) = (Node::build(), Bpffs::mount());
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    leave_counting(&node, &pins, Attach::Auto);
    fs::create_dir(pins.path().join("theirs")).unwrap();
    node.inside(|| {
        let detached = detach(pins.path(), false).unwrap();
        assert_eq!((detached.links, detached.left.as_deref()), (2, Some(pins.path())));
        assert!(detached.to_string().contains("not ours"), "{detached}");
        assert!(pins.path().join("theirs").exists());
    });
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
        let kept = status(pins.path()).unwrap().to_string();
        assert!(kept.contains("nothing is counted"), "{kept}");
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
