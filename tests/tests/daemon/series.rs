//! Bounded series: what has none of its own is in `other`, `ignored` or retired, and all adds up.

use fathom_tests::crafted::send;
use fathom_tests::daemon::{Pins, Setup};
use fathom_tests::exposition::Exposition;
use fathom_tests::measure::Edge;
use fathom_tests::site::Wire;

use super::{Account, assert_audited};

const BYTES: &str = "kubeadapt_connection_traffic_bytes_total";
const PACKETS: &str = "kubeadapt_connection_traffic_packets_total";

fn edge(wire: &Wire) -> [Edge; 1] {
    [Edge::host("x", &wire.outside)]
}

/// Exposed, `other`, `ignored` and retired pairs together are what pods sent.
fn assert_law(scrape: &Exposition) {
    for (pairs, unit) in [(BYTES, "bytes"), (PACKETS, "packets")] {
        let retired = format!("fathom_flows_retired_{unit}_total");
        let retired = scrape.sum(&retired, &[("family", "pair"), ("direction", "tx")]);
        let sent = scrape.value(&format!("fathom_flows_tx_{unit}_total"));
        let exposed = scrape.sum(pairs, &[]).unwrap_or(0);
        assert_eq!(exposed + retired.unwrap_or(0), sent, "{unit}");
    }
    assert_audited(scrape);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn more_pairs_than_series_go_to_other() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let edges = edge(&wire);
    let account = Account::open(&edges);
    let setup = Setup::new(&wire.node, &edges, &pins).flags(["--pair-series-max", "16"]);
    let daemon = setup.start();
    send(&wire.inside, ["[E/V4(h)/UDP(sport=1, dport=2) for h in range(1, 251)] * 4"]);
    let (scrape, [sent, _]) = account.meet(&daemon);
    assert_eq!(sent.packets, 1000);
    assert_law(&scrape);
    let series = scrape.matching(PACKETS, &[]).count();
    assert!(series <= 16 + 2, "{series} series");
    let other = scrape.sum(PACKETS, &[("src_ip", "other"), ("dst_ip", "other")]);
    assert!(other >= Some(1000 - 16 * 4), "{other:?}");
    assert!(scrape.sum("fathom_flows_series", &[("family", "pair")]) <= Some(16));
    assert!(scrape.sum("fathom_flows_series_refused_total", &[("family", "pair")]) > Some(0));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn ignored_peers_never_leave_the_totals() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let edges = edge(&wire);
    let account = Account::open(&edges);
    let setup = Setup::new(&wire.node, &edges, &pins);
    let daemon = setup.flags(["--ignore-peer", "198.51.100.0/25"]).start();
    send(&wire.inside, ["[E/V4(h)/UDP(sport=1, dport=2) for h in (1, 2, 3, 200)] * 10"]);
    let (scrape, [sent, _]) = account.meet(&daemon);
    assert_eq!(sent.packets, 40);
    assert_law(&scrape);
    let named = |address: &str| scrape.sum(PACKETS, &[("dst_ip", address)]);
    assert_eq!(named("198.51.100.200"), Some(10));
    assert_eq!(named("ignored"), Some(30));
    assert_eq!(named("198.51.100.1"), None);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn protocols_of_a_pair_are_a_closed_set() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let edges = edge(&wire);
    let account = Account::open(&edges);
    let daemon = Setup::new(&wire.node, &edges, &pins).start();
    let frames = [
        "E/V4(1)/UDP(sport=1, dport=2)",
        "E/V4(1)/TCP(sport=1, dport=2)",
        "E/V4(1)/ICMP()",
        "E/V4(1)/SCTP(sport=1, dport=2)",
        "E/V4(1, proto=47)/Raw(bytes(40))",
        "E/V4(1, proto=50)/Raw(bytes(40))",
        "E/V6(1)/ICMPv6EchoRequest()",
        "E/ARP()",
        "E/V4(1, ihl=4)/UDP()",
    ];
    send(&wire.inside, frames);
    let (scrape, _) = account.meet(&daemon);
    assert_law(&scrape);
    for protocol in ["udp", "tcp", "icmp", "sctp", "icmpv6"] {
        assert_eq!(scrape.sum(PACKETS, &[("protocol", protocol)]), Some(1), "{protocol}");
    }
    let rest = scrape.sum(PACKETS, &[("protocol", "other")]);
    assert_eq!(rest, Some(4), "GRE, ESP, ARP and what is malformed");
    let folded = |class| {
        let labels = [("class", class), ("direction", "tx")];
        scrape.sum("fathom_flows_folded_packets_total", &labels)
    };
    assert_eq!((folded("non_ip"), folded("unparsed")), (Some(1), Some(1)));
    let reasons = scrape.sum("fathom_flows_unparsed_packets_total", &[("reason", "bad_header")]);
    assert_eq!(reasons, Some(1));
}
