//! Where edges are hooked, and how a degraded one becomes whole.

use std::os::fd::AsFd;

use flow_model::flow::{Counts, Direction};
use net_sys::{Route, tcx};

use super::*;
use crate::{degradation::Degradation, hook::PREFERENCE, site::Reading, testing::Bpffs};

/// The pod's own counters, looked at from inside.
fn pod_counters(node: &Node) -> [Reading; 2] {
    let read = || {
        let link = Route::open().unwrap().link("eth0", None).unwrap();
        let counters = link.counters.unwrap();
        [
            Reading { packets: counters.tx_packets, bytes: counters.tx_bytes },
            Reading { packets: counters.rx_packets, bytes: counters.rx_bytes },
        ]
    };
    node.pod.place().run(read).unwrap()
}

/// All that passed the pod's device is counted or said to be missed, and nothing twice.
#[test]
#[ignore = "root: loads programs"]
fn a_namespace_file_that_comes_late_moves_the_receive_hook_inside_under_traffic() {
    for lane in ["tcx", "clsact"] {
        let (node, mut files) = (Node::build(), Files::new());
        node.inside(|| {
            let mut agent = Agent::start(&["--attach", lane, "--netns-dir", files.path()]);
            agent.until("an edge without a way in", |agent| {
                agent.edges("degraded", "host_egress") == 1
            });
            assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_HERE));
            let missed = |agent: &Agent| agent.service.tally.missed[Direction::Rx as usize];
            let before = pod_counters(&node)[1];
            let (counted_before, missed_before) = (agent.drained().node[1].skb, missed(&agent));
            let traffic = node.start_traffic(20_000);
            files.add(node.pod.place());
            agent.until("a whole edge", |agent| agent.edges("attached", "none") == 1);
            assert!(!traffic.is_finished(), "packets came all the while");
            // Whether its receiver kept up is not the matter: the device tells what came.
            traffic.finish(PATIENCE).unwrap();
            assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_INSIDE));
            let counted = agent.drained().node[1].skb.saturating_sub(counted_before);
            let missed = missed(&agent).saturating_sub(missed_before);
            let passed = pod_counters(&node)[1].packets - before.packets;
            let told = format!("{lane}: {passed} passed, {counted:?}, {missed:?} missed");
            // What the node says by itself between the readings.
            let own_words = 8;
            assert!(counted.packets <= passed + own_words, "nothing counts twice: {told}");
            assert!(counted.packets + missed.packets <= passed + own_words, "{told}");
            let unseen = passed.saturating_sub(counted.packets);
            assert!(unseen < passed / 2, "the gap is short: {told}");
            // Told is what is sure to have passed in the gap.
            assert!(unseen < 200 || missed.packets > 0, "the gap is told: {told}");
            agent.service.resync();
            assert_eq!(agent.service.interface_drift, Counts::ZERO, "{lane}");
            agent.end();
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_that_got_its_namespace_late_is_hooked_and_named_as_if_it_had_been_there() {
    for (hooks, expected) in
        [("auto", both(SENT_HERE, RECEIVED_INSIDE)), ("pod", both(SENT_INSIDE, RECEIVED_INSIDE))]
    {
        let (node, mut files) = (Node::build(), Files::new());
        node.inside(|| {
            let mut agent = Agent::start(&["--edge-hooks", hooks, "--netns-dir", files.path()]);
            agent.until("an edge", |agent| agent.edges("degraded", "host_egress") == 1);
            speak(node.pod.place(), 10);
            let before = agent.drained().pods.rows[0];
            assert_eq!(before.name.as_str(), "host0");
            files.add(node.pod.place());
            agent.until("a whole edge", |agent| agent.edges("attached", "none") == 1);
            let after = agent.drained().pods.rows[0];
            assert_eq!(agent.hooks(), expected, "{hooks}");
            assert_eq!(after.name.as_str(), node.pod.place().name());
            assert!(after.counts[0].bytes >= before.counts[0].bytes, "it keeps what it counted");
            agent.end();
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn what_a_filter_before_ours_would_hide_is_counted_inside() {
    let (node, mut files) = (Node::build(), Files::new());
    forbid_everything(&node);
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--attach", "clsact", "--netns-dir", files.path()]);
        assert_eq!(agent.hooks(), both(SENT_INSIDE, RECEIVED_INSIDE));
        assert_eq!(agent.edges("attached", "none"), 1, "that is where it belongs");
        let before = agent.drained().node[0].skb.packets;
        speak(node.pod.place(), 100);
        assert!(agent.drained().node[0].skb.packets >= before + 100, "the pod did send them");
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_behind_a_filter_moves_inside_as_soon_as_there_is_a_way_in() {
    let (node, mut files) = (Node::build(), Files::new());
    forbid_everything(&node);
    node.inside(|| {
        let mut agent = Agent::start(&["--attach", "clsact", "--netns-dir", files.path()]);
        agent.until("an edge", |agent| agent.edges("degraded", "host_egress") == 1);
        let before = agent.drained().node[0].skb.packets;
        speak(node.pod.place(), 100);
        assert!(agent.drained().node[0].skb.packets < before + 100, "the filter hides them");
        files.add(node.pod.place());
        agent.until("a whole edge", |agent| agent.edges("attached", "none") == 1);
        assert_eq!(agent.hooks(), both(SENT_INSIDE, RECEIVED_INSIDE));
        let before = agent.drained().node[0].skb.packets;
        speak(node.pod.place(), 100);
        assert!(agent.drained().node[0].skb.packets >= before + 100);
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_kept_on_the_host_side_takes_the_first_place_once_it_is_free() {
    let (node, mut files) = (Node::build(), Files::new());
    forbid_everything(&node);
    files.add(node.pod.place());
    node.inside(|| {
        let flags = ["--attach", "clsact", "--edge-hooks", "host", "--netns-dir", files.path()];
        let mut agent = Agent::start(&flags);
        assert_eq!(agent.edges("degraded", "behind_foreign_filter"), 1);
        let preference = |agent: &Agent| {
            let record = agent.service.engine.ledger().edge(agent.only_edge()).unwrap();
            record.hooks[Direction::Tx as usize].preference
        };
        agent.service.resync();
        assert_eq!(preference(&agent), PREFERENCE + 1, "the place is taken");
        tc(node.node.place(), "filter del dev host0 ingress pref 1");
        agent.service.resync();
        assert_eq!(preference(&agent), PREFERENCE);
        let before = agent.drained().node[0].skb.packets;
        assert_eq!(agent.edges("degraded", "behind_foreign_filter"), 0);
        speak(node.pod.place(), 100);
        assert!(agent.drained().node[0].skb.packets >= before + 100);
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_qdisc_that_leaves_no_room_inside_keeps_the_edge_on_the_host_side() {
    let (node, mut files) = (Node::build(), Files::new());
    tc(node.pod.place(), "qdisc add dev eth0 ingress");
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--attach", "clsact", "--netns-dir", files.path()]);
        assert_eq!(agent.edges("degraded", "host_egress"), 1);
        agent.service.resync();
        agent.drained();
        assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_HERE), "a resync changes nothing");
        tc(node.pod.place(), "qdisc del dev eth0 ingress");
        agent.service.resync();
        agent.drained();
        assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_INSIDE));
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn what_was_tampered_with_inside_does_not_go_back_there() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--attach", "clsact", "--netns-dir", files.path()]);
        assert_eq!(agent.edges("attached", "none"), 1);
        tc(node.pod.place(), "filter del dev eth0 ingress");
        for _ in 0..2 {
            agent.service.resync();
            agent.drained();
            assert_eq!(agent.edges("degraded", "tampered"), 1);
            assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_HERE));
        }
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_hook_put_back_on_the_host_side_leaves_the_other_where_it_is() {
    let (node, mut files) = (Node::build(), Files::new());
    files.add(node.pod.place());
    node.inside(|| {
        let mut agent = Agent::start(&["--attach", "clsact", "--netns-dir", files.path()]);
        tc(node.node.place(), "filter del dev host0 ingress");
        agent.service.resync();
        agent.drained();
        assert_eq!(agent.hooks(), both(SENT_HERE, RECEIVED_INSIDE));
        let edge = &agent.service.engine.edges()[&agent.only_edge()];
        assert_eq!(edge.degradation(), Some(Degradation::Tampered));
        for direction in Direction::ALL {
            let hook = edge.hooks[direction as usize].site();
            assert_eq!(edge.plan.site(direction), hook, "{direction:?} is checked at its hook");
        }
        agent.end();
    });
}

/// Up to the resync that puts it back, a hook that was taken away sees nothing.
#[test]
#[ignore = "root: loads programs"]
fn what_passes_while_a_hook_is_taken_away_is_said_to_be_missed() {
    for lane in ["tcx", "clsact"] {
        what_passes_meanwhile_is_missed(lane);
    }
}

fn what_passes_meanwhile_is_missed(lane: &str) {
    let (node, bpffs, mut files) = (Node::build(), Bpffs::mount(), Files::new());
    let pins = bpffs.path().join("flows").display().to_string();
    files.add(node.pod.place());
    node.inside(|| {
        let flags = ["--attach", lane, "--netns-dir", files.path(), "--bpf-pin-dir", &pins];
        let mut agent = Agent::try_start(&flags).unwrap();
        agent.service.resync();
        take_hook_away(&node, lane, Path::new(&pins));
        let attached = || {
            let links = crate::status(Path::new(&pins)).unwrap().links;
            links.iter().filter(|link| link.attached).count()
        };
        assert_eq!(attached(), 1, "{lane}");
        let before = agent.drained().node[0].skb;
        speak(node.pod.place(), 100);
        agent.service.resync();
        assert_eq!(attached(), 2, "{lane}");
        agent.drained();
        assert_eq!(agent.edges("degraded", "tampered"), 1, "{lane}");
        let missed = agent.service.tally.missed[Direction::Tx as usize];
        assert!((100..110).contains(&missed.packets) && missed.bytes >= 10_000, "{missed:?}");
        assert_eq!(agent.service.tally.missed[Direction::Rx as usize], Counts::ZERO);
        let counted = agent.drained().node[0].skb.saturating_sub(before);
        assert!(counted.packets < 10, "the others were not counted: {counted:?}");
        agent.service.resync();
        assert_eq!(agent.service.tally.missed[Direction::Tx as usize], missed, "told once");
        agent.end();
    });
}

/// Somebody takes away what counts the packets that the pod sends.
fn take_hook_away(node: &Node, lane: &str, pins: &Path) {
    if lane == "tcx" {
        let pin = PinDir::make(pins).unwrap().link(EdgeId(1), Direction::Tx);
        tcx::TcxLink::open_pinned(pin).unwrap().detach().unwrap();
    } else {
        tc(node.node.place(), "filter del dev host0 ingress");
    }
}

/// A program of somebody else that lets everything pass, at either kind of hook.
fn foreign_file(folder: &Path) -> PathBuf {
    let (source, object) = (folder.join("next.c"), folder.join("next.o"));
    let text = "__attribute__((section(\"xdp\"), used)) int pass(void *ctx) { return 2; }\n\
                __attribute__((section(\"tcx/ingress\"), used)) int theirs(void *skb) { return -1; }\n\
                __attribute__((section(\"license\"), used)) char terms[] = \"GPL\";\n";
    fs::write(&source, text).unwrap();
    let clang = Tool::new("clang").args(["-O2", "-g", "-target", "bpf", "-c", "-o"]);
    clang.arg(&object).arg(&source).succeed(PATIENCE).unwrap();
    object
}

#[test]
#[ignore = "root: loads programs"]
fn an_xdp_program_on_a_hooked_device_is_seen() {
    let (node, folder) = (Node::build(), tempfile::tempdir().unwrap());
    let file = foreign_file(folder.path()).display().to_string();
    node.inside(|| {
        let agent = Agent::start(&["--discover", "off", "--pod-edge", "host0=a"]);
        assert!(!agent.service.engine.has_xdp());
        let attach = format!("link set dev host0 xdpgeneric obj {file} sec xdp");
        node.node.place().ip(attach.split(' ')).unwrap();
        assert!(agent.service.engine.has_xdp());
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_is_degraded_while_somebody_elses_program_runs_before_its_hook() {
    let (node, folder) = (Node::build(), tempfile::tempdir().unwrap());
    node.inside(|| {
        let file = foreign_file(folder.path());
        let object = libbpf_rs::ObjectBuilder::default().open_file(file).unwrap().load().unwrap();
        let foreign = object.progs().find(|program| program.name() == "theirs").unwrap();
        let flags = ["--attach", "tcx", "--discover", "off", "--pod-edge", "host0=a"];
        let mut agent = Agent::start(&flags);
        let degraded = |agent: &mut Agent| {
            agent.service.resync();
            agent.drained();
            agent.edges("degraded", "behind_foreign_filter")
        };
        let ifindex = Route::open().unwrap().link("host0", None).unwrap().ifindex;
        let attach =
            |hook, order| tcx::TcxLink::attach(foreign.as_fd(), ifindex, hook, order).unwrap();
        assert_eq!(degraded(&mut agent), 0);
        let behind = attach(tcx::Hook::Ingress, tcx::Order::Last);
        assert_eq!(degraded(&mut agent), 0, "what runs later keeps nothing from ours");
        drop(behind);
        let first = attach(tcx::Hook::Ingress, tcx::Order::First);
        assert_eq!(degraded(&mut agent), 1);
        drop(first);
        assert_eq!(degraded(&mut agent), 0, "it is the first again");
        let leaving = attach(tcx::Hook::Egress, tcx::Order::First);
        assert_eq!(degraded(&mut agent), 0, "what leaves is counted behind all others");
        drop(leaving);
        let other = Agent::start(&flags);
        assert_eq!(degraded(&mut agent), 0, "another fathom is in nobody's way");
        other.end();
        agent.end();
    });
}

/// Hooks of every kind of place are taken up by the next process, which goes on counting
/// in the same edge, and removed by `detach`.
#[test]
#[ignore = "root: loads programs"]
fn a_restart_takes_up_hooks_wherever_they_had_to_go() {
    for (lane, forbidden, late) in [
        ("tcx", false, true),
        ("clsact", false, true),
        ("clsact", true, true),
        ("clsact", true, false),
    ] {
        let (node, bpffs, mut files) = (Node::build(), Bpffs::mount(), Files::new());
        let pins = bpffs.path().join("flows").display().to_string();
        if forbidden {
            forbid_everything(&node);
        }
        if !late {
            files.add(node.pod.place());
        }
        node.inside(|| {
            let directory = files.path().to_owned();
            let flags = ["--attach", lane, "--netns-dir", &directory, "--bpf-pin-dir", &pins];
            let mut first = Agent::try_start(&flags).unwrap();
            if late {
                first.until("an edge", |agent| agent.edges("degraded", "host_egress") == 1);
                files.add(node.pod.place());
            }
            first.until("a whole edge", |agent| agent.edges("attached", "none") == 1);
            let (id, hooks) = (first.only_edge(), first.hooks());
            let before = first.drained().node[0].skb.packets;
            drop(first);

            speak(node.pod.place(), 50);
            let mut second = Agent::try_start(&flags).unwrap();
            assert_eq!((second.only_edge(), second.hooks()), (id, hooks), "{lane} {forbidden}");
            speak(node.pod.place(), 50);
            let counted = second.drained().node[0].skb.packets - before;
            assert!((100..110).contains(&counted), "{lane} {forbidden} {late}: {counted}");
            second.end();
            nothing_is_left(&node, &pins, lane);
        });
    }
}

/// `detach` knows the edge book alone, and looks for namespaces in the usual places.
fn nothing_is_left(node: &Node, pins: &str, lane: &str) {
    let detached = crate::detach(Path::new(pins), false).unwrap();
    assert_eq!((detached.links, detached.ledger_removed), (2, true), "{lane}");
    let attached = |place: &Where, device: &str| {
        let look = || {
            let ifindex = Route::open().unwrap().link(device, None).unwrap().ifindex;
            let sides = [tcx::Hook::Ingress, tcx::Hook::Egress];
            let links = sides.map(|side| tcx::query(ifindex, side).unwrap().len());
            let mut clsact = net_sys::clsact::Clsact::open().unwrap();
            let filters = sides.map(|side| {
                let filters = clsact.filters(ifindex, side).unwrap();
                filters.iter().filter(|filter| filter.handle == crate::hook::HANDLE).count()
            });
            links.iter().chain(&filters).sum::<usize>()
        };
        place.run(look).unwrap()
    };
    assert_eq!(attached(node.node.place(), "host0"), 0, "{lane}");
    assert_eq!(attached(node.pod.place(), "eth0"), 0, "{lane}");
}
