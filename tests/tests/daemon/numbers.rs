//! Served counters equal the kernel's interface counters.

use fathom_tests::daemon::{Pins, Setup};
use fathom_tests::exposition::Exposition;
use fathom_tests::laws;
use fathom_tests::measure::Plan;
use fathom_tests::site::{exchange, pod, v4, v6};
use serde_json::Value;
use testkit::lab::Lab;
use testkit::traffic::Load;
use testkit::truth::Amount;

use super::{Account, edges, exact_lab};

fn traffic(lab: &Lab) {
    let (a1, a2) = (pod(lab, "a1"), pod(lab, "a2"));
    let requests = Load::Requests { question: 500, answer: 20_000, rate: None, limit: Some(60) };
    let datagrams = Load::Datagrams { sizes: vec![100, 1000], rate: Some(4000), limit: Some(400) };
    for target in [v4(a2.addresses), v6(a2.addresses)] {
        exchange(a1, a2, target, &requests);
        exchange(a1, a2, target, &datagrams);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn totals_pods_and_pairs_add_up_to_the_interfaces() {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let account = Account::open(&edges);
    let daemon = Setup::new(lab.node_a().namespace.place(), &edges, &pins).start();
    traffic(&lab);
    let (scrape, [sent, received]) = account.meet(&daemon);
    let sum = |name: &str, labels: &[(&str, &str)]| scrape.sum(name, labels).unwrap_or(0);
    for (direction, total) in [("tx", sent), ("rx", received)] {
        let pods = |unit: &str| sum(&format!("fathom_flows_pod_{direction}_{unit}_total"), &[]);
        assert_eq!(Amount::new(pods("packets"), pods("bytes")), total, "{direction}");
    }
    let pairs = |unit: &str| sum(&format!("kubeadapt_connection_traffic_{unit}_total"), &[]);
    assert_eq!(Amount::new(pairs("packets"), pairs("bytes")), sent, "pairs are what pods sent");
    let of = |pod: &str| {
        let labels = [("pod", pod), ("namespace", "")];
        sum("fathom_flows_pod_tx_bytes_total", &labels)
    };
    assert!(of("a1") > 1_000_000 / 8 && of("a2") > 1_000_000, "{} {}", of("a1"), of("a2"));
    assert_eq!(of("a1") + of("a2"), sent.bytes);
    assert_eq!(scrape.sum("fathom_flows_edges", &[("state", "attached")]), Some(2));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_pair_series_has_the_addresses_of_the_wire() {
    /// All of them may wait for the neighbour, whose queue holds 208 KiB of buffers.
    const SENT: u64 = 50;
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let daemon = Setup::new(lab.node_a().namespace.place(), &edges, &pins).start();
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let datagrams = Load::Datagrams { sizes: vec![958], rate: None, limit: Some(SENT) };
    for (target, header) in [(v4(a2.addresses), 42), (v6(a2.addresses), 62)] {
        exchange(a1, a2, target, &datagrams);
        let source = if target.is_ipv4() { v4(a1.addresses) } else { v6(a1.addresses) };
        let (source, target) = (source.to_string(), target.to_string());
        let labels = [("src_ip", &*source), ("dst_ip", &*target), ("protocol", "udp")];
        let value = |scrape: &Exposition, unit: &str| {
            scrape.sum(&format!("kubeadapt_connection_traffic_{unit}_total"), &labels)
        };
        let scrape = daemon.scrape_until(|scrape| value(scrape, "packets") == Some(SENT));
        assert_eq!(value(&scrape, "packets"), Some(SENT), "{labels:?}");
        assert_eq!(value(&scrape, "bytes"), Some(SENT * (958 + header)), "{labels:?}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_one_shot_run_and_the_daemon_do_not_disturb_each_other() {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let node = lab.node_a().namespace.place();
    let account = Account::open(&edges);
    let daemon = Setup::new(node, &edges, &pins).start();
    let running = Plan::new(node, edges.clone()).start();
    traffic(&lab);
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    let total = outcome.document.totals;
    let (_, [sent, received]) = account.meet(&daemon);
    let seen = [total.tx, total.rx].map(|sum| Amount::new(sum.packets, sum.bytes));
    for (seen, now) in seen.into_iter().zip([sent, received]) {
        // A probe of neighbours may have passed since the document was made.
        let later = now.since(seen).unwrap();
        assert!(later.packets <= 8, "{seen:?} of {now:?}");
    }
    traffic(&lab);
    account.meet(&daemon);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_interface_of_programs_tells_the_same() {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let account = Account::open(&edges);
    let daemon = Setup::new(lab.node_a().namespace.place(), &edges, &pins).start();
    traffic(&lab);
    let (_, [sent, _]) = account.meet(&daemon);
    let json = |path: &str| -> Value {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 200, "{path}: {}", answer.body);
        serde_json::from_str(&answer.body).unwrap()
    };
    let of_hooks: u64 = json("/api/v1/flows/edges")
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|edge| edge["hooks"].as_array().unwrap().clone())
        .filter(|hook| hook["direction"] == "tx")
        .map(|hook| hook["bytes"].as_u64().unwrap())
        .sum();
    assert_eq!(of_hooks, sent.bytes);
    let audit = json("/api/v1/flows/audit");
    let laws = audit["laws"].as_array().unwrap();
    assert!(!laws.is_empty());
    for law in laws {
        assert_eq!(law["holds"], true, "{law:#}");
        assert_eq!(law["left"], law["right"], "{law:#}");
    }
    let limited = json("/api/v1/flows?limit=1&sort=bytes&fresh=1");
    assert!(limited["flows"].as_array().unwrap().len() <= 1);
    let refused = daemon.get("/api/v1/flows?limit=10001");
    assert!((400..500).contains(&refused.status), "{refused:?}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn active_connections_are_those_that_are_open() {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let node = lab.node_a().namespace.place();
    let daemon = Setup::new(node, &edges[..1], &pins).start();
    let (a1, a2) = (pod(&lab, "a1"), pod(&lab, "a2"));
    let listener = a2.namespace.run(|| std::net::TcpListener::bind((v4(a2.addresses), 0)));
    let listener = listener.unwrap().unwrap();
    let target = listener.local_addr().unwrap();
    let open = |count| {
        let connect = || std::net::TcpStream::connect(target).unwrap();
        (0..count).map(|_| a1.namespace.run(connect).unwrap()).collect::<Vec<_>>()
    };
    let active =
        |scrape: &Exposition| scrape.sum("kubeadapt_active_connections", &[("protocol", "tcp")]);
    let streams = open(7);
    let scrape = daemon.scrape_until(|scrape| active(scrape) == Some(7));
    assert_eq!(active(&scrape), Some(7));
    let accepted: Vec<_> = (0..7).map(|_| listener.accept().unwrap()).collect();
    drop((streams, accepted));
    let scrape = daemon.scrape_until(|scrape| active(scrape) == Some(0));
    assert_eq!(active(&scrape), Some(0), "all were closed from both sides");
}
