//! Drains once a second under as many packets as this machine can make.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use fathom_tests::daemon::{Pins, Setup};
use fathom_tests::measure::Edge;
use fathom_tests::site::Wire;
use testkit::proc::wait_until;
use testkit::topology::Cidr;
use testkit::traffic::Flood;

use super::{Account, length};

/// A neighbour that is not there: frames to it cross the link, and the far side lets them go.
fn furnish(wire: &Wire) -> SocketAddrV4 {
    let (own, other) = (Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
    wire.inside.address(Cidr::new(own, 24).unwrap()).unwrap();
    wire.inside.neighbour(other.into(), "02:00:00:00:00:99").unwrap();
    SocketAddrV4::new(other, 10_000)
}

/// `FATHOM_TESTS_DRAIN_PACKETS` makes it longer.
#[test]
#[ignore = "root: needs network namespaces"]
fn a_drain_each_second_under_all_that_two_cpus_can_send_loses_nothing() {
    let packets = length("FATHOM_TESTS_DRAIN_PACKETS", 2_000_000);
    let (wire, pins) = (Wire::build(), Pins::new());
    let target = furnish(&wire);
    let edges = [Edge::host("x", &wire.outside)];
    let account = Account::open(&edges);
    let setup = Setup::new(&wire.node, &edges, &pins);
    let daemon = setup.flags(["--collection-interval", "1s"]).start();
    let drains = || daemon.scrape().value("fathom_flows_epochs_total");

    let (before, began) = (drains(), Instant::now());
    let flood = Flood::start(wire.pod.place(), target, FLOWS, SENDERS, LONGEST).unwrap();
    wait_until("packets", LONGEST, || flood.sent() >= packets).unwrap();
    wait_until("drains", LONGEST, || drains() >= before + LEAST_DRAINS).unwrap();
    let (taken, drained) = (began.elapsed(), drains() - before);
    let offered = flood.stop().unwrap();

    let (scrape, [sent, received]) = account.meet(&daemon);
    assert_eq!(received.packets, 0, "nobody answers");
    assert!(sent.packets > packets / 2, "{sent:?} of {offered} crossed the link");
    assert_eq!(scrape.sum("fathom_flows_folded_packets_total", &[]), Some(0), "all have a flow");
    let late = scrape.value("fathom_flows_drain_overruns_total");
    println!("{sent:?} in {taken:?}, {drained} drains, {late} of them late, lost 0");
}

const SENDERS: usize = 2;
/// Hot ones: all of them are hit by all senders in every epoch.
const FLOWS: u16 = 64;
const LEAST_DRAINS: u64 = 3;
const LONGEST: Duration = Duration::from_secs(30 * 60);
