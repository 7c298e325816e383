//! A node and a pod of their own, real traffic, and the kernel's own counters.

use std::{
    net::SocketAddr,
    sync::{Mutex, TryLockError},
    thread,
    time::Duration,
};

use flow_model::{edge::EdgeState, flow::Counts, ledger::Settings};
use net_sys::{Route, clsact::Clsact, tcx};
use testkit::{
    Namespace as Netns, Veth,
    proc::Command,
    traffic::{Generator, Load, Path},
};

use flow_model::{edge::Place, flow::Direction};

use super::*;
use crate::{
    discover::{Rule, Verdict, crossing_of},
    host,
    settings::{Attach, EdgeHooks},
    site::Namespace,
    testing::{Bpffs, PATIENCE, config},
};

/// A node with one pod: `host0` here, `eth0` there.
pub(crate) struct Node {
    pub(crate) node: Netns,
    pub(crate) pod: Netns,
}

impl Node {
    pub(crate) fn build() -> Self {
        let (node, pod) = (Netns::create("fn").unwrap(), Netns::create("fp").unwrap());
        let veth = Veth::join((node.place(), "host0"), (pod.place(), "eth0")).unwrap();
        veth.near.address("192.0.2.1/24".parse().unwrap()).unwrap();
        veth.far.address("192.0.2.2/24".parse().unwrap()).unwrap();
        veth.far.ready(PATIENCE).unwrap();
        Self { node, pod }
    }

    /// Runs `work` where the agent would run.
    pub(crate) fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.node.place().run(work).unwrap()
    }

    /// The node sends datagrams, and the pod receives them all.
    pub(crate) fn send(&self, datagrams: u64) {
        let report = self.start_traffic(datagrams).finish(PATIENCE).unwrap();
        assert!(report.is_lossless(), "{report:?}");
    }

    /// The same for datagrams that go on coming for a while, 20 000 a second.
    pub(crate) fn start_traffic(&self, datagrams: u64) -> Generator {
        let path = Path {
            client: self.node.place().clone(),
            server: self.pod.place().clone(),
            target: SocketAddr::from(([192, 0, 2, 2], 0)),
            lifetime: PATIENCE,
        };
        let load = Load::Datagrams { sizes: vec![100], rate: Some(20_000), limit: Some(datagrams) };
        Generator::start(&load, &path).unwrap()
    }

    /// The plan that discovery makes.
    pub(crate) fn plan(&self, hooks: EdgeHooks) -> EdgePlan {
        let crossing = crossing_of(&self.pod);
        let rule = Rule { exclude: Vec::new(), hooks, own: Namespace::own().unwrap() };
        let later = crossing.noticed + Duration::from_secs(1);
        match rule.judge(&crossing, later) {
            Verdict::Edge(plan) => *plan,
            other => panic!("{other:?}"),
        }
    }
}

fn engine(attach: Attach) -> Engine {
    let sizes = config(&[]).sizes(1);
    Engine::private(sizes, Settings::default(), host::lane(attach).unwrap()).unwrap()
}

/// UDP packets that the edges have received, by the ledger.
fn received(engine: &mut Engine) -> u64 {
    let snapshot = engine.drain(&mut ()).unwrap().snapshot;
    assert!(snapshot.laws.hold(), "{:?}", snapshot.laws);
    snapshot.node[1].skb.packets
}

fn no_filter(node: &Node, place: &testkit::Place, device: &str, side: &str) {
    let words = ["filter", "del", "dev", device, side];
    Command::inside(place, "tc").args(words).succeed(PATIENCE).unwrap();
    let _ = node;
}

#[test]
#[ignore = "root: loads programs"]
fn a_hook_moves_inside_and_what_is_sent_before_and_after_counts_once() {
    let node = Node::build();
    for attach in [Attach::Tcx, Attach::Clsact] {
        node.inside(|| {
            let mut engine = engine(attach);
            let id = engine.attach(node.plan(EdgeHooks::Host)).unwrap();
            node.send(500);
            let before = received(&mut engine);
            assert!(before >= 500, "{before}");
            let moved = engine.move_hook(id, Direction::Rx, node.plan(EdgeHooks::Auto)).unwrap();
            assert!(moved.refused.is_none() && moved.missed.packets <= 2, "{moved:?}");
            node.send(500);
            let after = received(&mut engine);
            assert!((1000..1020).contains(&after), "{attach:?}: {after}");
            assert_eq!(engine.check_interfaces().unwrap(), Counts::ZERO);
            let place = engine.ledger().edge(id).unwrap().hooks[1].place;
            assert_eq!(place, Place::Pod, "the edge book knows the new place");
            engine.detach_all().unwrap();
        });
    }
}

#[test]
#[ignore = "root: loads programs"]
fn a_place_that_can_not_be_had_leaves_the_edge_as_it_was() {
    let node = Node::build();
    node.inside(|| {
        let mut engine = engine(Attach::Auto);
        let id = engine.attach(node.plan(EdgeHooks::Host)).unwrap();
        let mut plan = node.plan(EdgeHooks::Auto);
        plan.sites[1].ifindex = 999;
        let error = engine.move_hook(id, Direction::Rx, plan).unwrap_err();
        assert_eq!(error.attach_reason(), "device_gone", "{error}");
        node.send(100);
        assert!(received(&mut engine) >= 100, "the old hook counts on");
        engine.detach_all().unwrap();
    });
}

/// The way there is open, and only the attach finds that it can't be had.
#[test]
#[ignore = "root: loads programs"]
fn a_hook_that_finds_no_room_goes_back_and_counts_on() {
    let node = Node::build();
    let qdisc = Command::inside(node.pod.place(), "tc");
    qdisc.args(["qdisc", "add", "dev", "eth0", "ingress"]).succeed(PATIENCE).unwrap();
    node.inside(|| {
        let mut engine = engine(Attach::Clsact);
        let id = engine.attach(node.plan(EdgeHooks::Host)).unwrap();
        let before = engine.edges()[&id].plan.clone();
        let moved = engine.move_hook(id, Direction::Rx, node.plan(EdgeHooks::Auto)).unwrap();
        let refused = moved.refused.expect("an ingress qdisc leaves no room");
        assert_eq!(refused.attach_reason(), "foreign_filter", "{refused}");
        assert_eq!(engine.edges()[&id].plan, before);
        assert_eq!(engine.ledger().edge(id).unwrap().hooks[1].place, Place::Host);
        let before = received(&mut engine);
        node.send(300);
        let counted = received(&mut engine) - before;
        assert!((300..310).contains(&counted), "once: {counted}");
        assert_eq!(engine.check_interfaces().unwrap(), Counts::ZERO);
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_qdisc_of_ours_goes_with_the_last_filter_whichever_was_the_first() {
    let node = Node::build();
    node.inside(|| {
        let mut engine = engine(Attach::Clsact);
        let id = engine.attach(node.plan(EdgeHooks::Host)).unwrap();
        assert!(engine.edges()[&id].hooks[0].has_own_qdisc(), "the first made it");
        engine.move_hook(id, Direction::Tx, node.plan(EdgeHooks::Pod)).unwrap();
        assert!(engine.edges()[&id].hooks[1].has_own_qdisc(), "the one that is left has it");
        engine.move_hook(id, Direction::Tx, node.plan(EdgeHooks::Host)).unwrap();
        let ifindex = engine.edges()[&id].plan.host_ifindex;
        engine.detach_all().unwrap();
        assert_eq!(Clsact::open().unwrap().qdisc(ifindex).unwrap(), None);
    });
}

/// A device that was hooked by the shared programs leaves no cell for its number behind.
#[test]
#[ignore = "root: loads programs"]
fn a_device_without_a_hook_has_no_slot() {
    let node = Node::build();
    node.inside(|| {
        let mut engine = engine(Attach::Auto);
        let id = engine.attach(node.plan(EdgeHooks::Host)).unwrap();
        let ifindex = engine.edges()[&id].plan.host_ifindex;
        let holder = |engine: &Engine| engine.tables().slot_holder(ifindex).unwrap();
        assert_eq!(holder(&engine), Some(ifindex));
        for direction in Direction::ALL {
            engine.move_hook(id, direction, node.plan(EdgeHooks::Pod)).unwrap();
        }
        assert_eq!(holder(&engine), None, "both are inside");

        let mut plan = node.plan(EdgeHooks::Auto);
        plan.sites[1].ifindex = 999;
        engine.detach_all().unwrap();
        engine.attach(plan).unwrap_err();
        assert_eq!(holder(&engine), None, "what failed left nothing");
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_filter_that_the_pod_removed_is_found_and_replaced_on_the_host_side() {
    let node = Node::build();
    node.inside(|| {
        let mut engine = engine(Attach::Clsact);
        let id = engine.attach(node.plan(EdgeHooks::Auto)).unwrap();
        assert!(engine.removed_hooks().is_empty());
        no_filter(&node, node.pod.place(), "eth0", "ingress");
        assert_eq!(engine.removed_hooks(), [(id, Direction::Rx)]);

        let plan = engine.edges()[&id].plan.on_host_side(Degradation::Tampered).unwrap();
        engine.move_hook(id, Direction::Rx, plan).unwrap();
        assert!(engine.removed_hooks().is_empty());
        assert_eq!(engine.edges()[&id].degradation(), Some(Degradation::Tampered));
        let before = received(&mut engine);
        node.send(200);
        assert!(received(&mut engine) >= before + 200);
        engine.detach_all().unwrap();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn an_edge_whose_filter_is_gone_can_still_be_let_go() {
    let node = Node::build();
    node.inside(|| {
        let mut engine = engine(Attach::Clsact);
        let id = engine.attach(node.plan(EdgeHooks::Auto)).unwrap();
        no_filter(&node, node.node.place(), "host0", "ingress");
        let [(detached, Ok(_))] = &engine.detach(&[id])[..] else {
            panic!("what is gone already is no obstacle");
        };
        assert_eq!(*detached, id);
        assert_eq!(engine.ledger().edge(id).unwrap().state, EdgeState::Draining);
        assert!(engine.removed_hooks().is_empty());
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_filter_of_somebody_else_degrades_the_edge_and_stays() {
    let node = Node::build();
    for words in [
        "qdisc add dev host0 clsact",
        // Classic code that returns 0: a filter that matches nothing.
        "filter add dev host0 ingress pref 1 bpf bytecode 1,6_0_0_0 flowid 1:1",
    ] {
        let words = words.split(' ').map(|word| word.replace('_', " "));
        Command::inside(node.node.place(), "tc").args(words).succeed(PATIENCE).unwrap();
    }
    node.inside(|| {
        let mut engine = engine(Attach::Clsact);
        let id = engine.attach(node.plan(EdgeHooks::Auto)).unwrap();
        let why = engine.edges()[&id].degradation();
        assert_eq!(why, Some(Degradation::BehindForeignFilter));
        engine.detach_all().unwrap();
    });
    let listed = Command::inside(node.node.place(), "tc")
        .args(["filter", "show", "dev", "host0", "ingress"])
        .succeed(PATIENCE)
        .unwrap();
    assert!(listed.text().contains("bytecode"), "{}", listed.text());
    assert!(!listed.text().contains("tc_pod_tx"), "{}", listed.text());
}

#[test]
#[ignore = "root: loads programs"]
fn ordinary_traffic_goes_around_no_hook() {
    let node = Node::build();
    node.inside(|| {
        let mut engine = engine(Attach::Auto);
        engine.attach(node.plan(EdgeHooks::Host)).unwrap();
        assert_eq!(engine.check_bypass(), []);
        node.send(1000);
        assert_eq!(engine.check_bypass(), []);
        engine.detach_all().unwrap();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_moved_hook_is_pinned_where_the_next_process_looks_for_it() {
    let (node, bpffs) = (Node::build(), Bpffs::mount());
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    node.inside(|| {
        let mut first = engine(Attach::Auto).pinned_in(&pins);
        let id = first.attach(node.plan(EdgeHooks::Host)).unwrap();
        let plan = node.plan(EdgeHooks::Auto);
        first.move_hook(id, Direction::Rx, plan.clone()).unwrap();
        let record = first.ledger().edge(id).unwrap();
        let ifindex = plan.site(Direction::Rx).ifindex;
        let site = plan.site(Direction::Rx).namespace.clone();
        let attached =
            || site.within(|| Ok(tcx::query(ifindex, tcx::Hook::Ingress)?)).unwrap().len();
        assert_eq!(attached(), 1);
        crate::hook::remove_recorded(&record, &pins, 0).unwrap();
        drop(first);
        assert_eq!(attached(), 0, "the pin was the last reference");
        assert!(Route::open().unwrap().link("host0", None).is_ok());
    });
}

/// A hook takes a while to begin, and packets come all the while: those that it did not count are
/// said to be missed, but for the few between two looks.
#[test]
#[ignore = "root: loads programs"]
fn what_comes_while_a_hook_is_put_up_is_counted_or_missed() {
    let (node, others) = (Node::build(), Netns::create("fx").unwrap());
    // Of the packets that no hook counted: those that came after the first look at the device,
    // and those in no number.
    let unseen = || {
        let mut engine = engine(Attach::Auto);
        let plan = node.plan(EdgeHooks::Auto);
        let passed = || plan.site(Direction::Rx).reading().unwrap().packets;
        let before = passed();
        let traffic = node.start_traffic(8000);
        testkit::proc::wait_until("packets", PATIENCE, || passed() > before + 100).unwrap();
        let id = engine.attach(plan.clone()).unwrap();
        traffic.finish(PATIENCE).unwrap();
        let edge = &engine.edges()[&id];
        let (slot, first) = (edge.slot, edge.opened[1].unwrap().before.packets);
        let missed = edge.start[1].unwrap().packets;
        let counted = engine.hook_totals(slot, Direction::Rx).unwrap().skb.packets;
        let uncounted = passed() - counted;
        engine.detach_all().unwrap();
        assert!(missed <= uncounted, "{missed} of {uncounted}");
        [uncounted - first, uncounted - missed]
    };
    let waited = |gap: &[u64; 2]| gap[0] >= 20;
    let tries = || (0..20).map(|_| unseen()).filter(waited).take(3).collect();
    let long: Vec<_> = while_devices_come_and_go(others.place(), || node.inside(tries));
    let [came, untold] = [0, 1].map(|at| long.iter().map(|gap| gap[at]).sum::<u64>());
    assert!(came > 0 && untold <= came / 2, "{long:?}");
}

/// Whoever makes devices holds the lock that an attach has to wait for.
fn while_devices_come_and_go<T>(place: &testkit::Place, work: impl FnOnce() -> T) -> T {
    let working = Mutex::new(());
    let churn = |name: &str| {
        let add = format!("link add {name} type veth peer name {name}p");
        for words in [add, format!("link del {name}")].iter().cycle() {
            if !matches!(working.try_lock(), Err(TryLockError::WouldBlock)) {
                break;
            }
            place.ip(words.split(' ')).unwrap();
        }
    };
    thread::scope(|scope| {
        // Let go by a panic as well, so that nobody waits for ever.
        let held = working.lock().unwrap();
        for name in ["x0", "x1", "x2"] {
            scope.spawn(move || churn(name));
        }
        let result = work();
        drop(held);
        result
    })
}

/// A filter stays when its process dies: it has to be known again even if the process
/// died between putting it up and the next step.
#[test]
#[ignore = "root: loads programs"]
fn a_filter_is_known_again_from_the_moment_it_is_there() {
    let (node, bpffs) = (Node::build(), Bpffs::mount());
    let pins = PinDir::make(&bpffs.path().join("flows")).unwrap();
    node.inside(|| {
        let mut first = engine(Attach::Clsact).pinned_in(&pins);
        let id = first.attach(node.plan(EdgeHooks::Host)).unwrap();
        let record = first.ledger().edge(id).unwrap();
        drop(first);
        let ifindex = record.host_ifindex;
        let filters = |hook| Clsact::open().unwrap().filters(ifindex, hook).unwrap().len();
        assert_eq!([tcx::Hook::Ingress, tcx::Hook::Egress].map(filters), [1, 1]);
        crate::hook::remove_recorded(&record, &pins, 0).unwrap();
        assert_eq!([tcx::Hook::Ingress, tcx::Hook::Egress].map(filters), [0, 0]);
        assert_eq!(Clsact::open().unwrap().qdisc(ifindex).unwrap(), None, "it was ours");
    });
}

/// Hands everything that arrives at `up0` straight to the pod, the way a forwarder of a
/// container network does: nothing of it leaves through `host0`.
fn forward_around_host0(node: &Node, folder: &std::path::Path) {
    let place = node.node.place();
    let ifindex = testkit::Device::named(place, "host0").index().unwrap();
    let (source, object) = (folder.join("peer.c"), folder.join("peer.o"));
    let text = format!(
        "static long (*redirect_peer)(unsigned, unsigned long long) = (void *)155;\n\
         __attribute__((section(\"tc\"), used)) int go(void *skb) {{\n\
         return redirect_peer({ifindex}, 0); }}\n\
         __attribute__((section(\"license\"), used)) char terms[] = \"GPL\";\n"
    );
    std::fs::write(&source, text).unwrap();
    let clang = Command::new("clang").args(["-O2", "-g", "-target", "bpf", "-c", "-o"]);
    clang.arg(&object).arg(&source).succeed(PATIENCE).unwrap();
    let tc = |words: &str| Command::inside(place, "tc").args(words.split(' '));
    tc("qdisc add dev up0 clsact").succeed(PATIENCE).unwrap();
    let filter = tc("filter add dev up0 ingress bpf direct-action object-file").arg(&object);
    filter.args(["section", "tc"]).succeed(PATIENCE).unwrap();
}

#[test]
#[ignore = "root: loads programs"]
fn what_reaches_a_pod_around_its_hook_on_the_host_side_is_counted_until_the_hook_moves() {
    let (node, client) = (Node::build(), Netns::create("fc").unwrap());
    let veth = Veth::join((client.place(), "c0"), (node.node.place(), "up0")).unwrap();
    veth.near.address("198.51.100.1/24".parse().unwrap()).unwrap();
    client.place().ip("neigh add 198.51.100.2 lladdr 02:00:00:00:00:01 dev c0".split(' ')).unwrap();
    let folder = tempfile::tempdir().unwrap();
    forward_around_host0(&node, folder.path());
    let send = || {
        let work = || {
            let socket = std::net::UdpSocket::bind("198.51.100.1:0").unwrap();
            for _ in 0..50 {
                socket.send_to(&[0; 58], "198.51.100.2:9").unwrap();
            }
        };
        client.place().run(work).unwrap();
    };
    node.inside(|| {
        let mut engine = engine(Attach::Auto);
        let id = engine.attach(node.plan(EdgeHooks::Host)).unwrap();
        assert_eq!(engine.check_bypass(), []);
        let before = received(&mut engine);
        send();
        let around = testkit::proc::wait_for("packets around the hook", PATIENCE, || {
            engine.check_bypass().pop()
        })
        .unwrap();
        assert_eq!(around.0, id);
        assert!(around.1.packets >= 50 && around.1.bytes >= 5000, "{around:?}");
        assert!(received(&mut engine) < before + 50, "the hook saw none of it");

        engine.move_hook(id, Direction::Rx, node.plan(EdgeHooks::Auto)).unwrap();
        let before = received(&mut engine);
        send();
        assert!(received(&mut engine) >= before + 50, "inside nothing goes around");
        assert_eq!(engine.check_bypass(), []);
        engine.detach_all().unwrap();
    });
}
