//! What tells one flow from another is chosen by flag.

use std::net::SocketAddr;

use fathom_tests::binary::SOON;
use fathom_tests::document::{Direction, Flow};
use fathom_tests::laws;
use fathom_tests::measure::{Edge, Outcome, Plan};
use fathom_tests::site::{lab, pod, v4, v6};
use testkit::Segmentation;
use testkit::lab::{Fabric, Lab};
use testkit::traffic::{Generator, Load, Path};

const CONNECTIONS: u64 = 60;
const SERVICE: u16 = 8080;

/// Connections of a1 to two services of a2 in each family.
fn connect(lab: &Lab) {
    let (a1, a2) = (pod(lab, "a1"), pod(lab, "a2"));
    let load = Load::Requests { question: 50, answer: 500, rate: None, limit: Some(CONNECTIONS) };
    for address in [v4(a2.addresses), v6(a2.addresses)] {
        for port in [SERVICE, SERVICE + 1] {
            let path = Path {
                client: a1.namespace.place().clone(),
                server: a2.namespace.place().clone(),
                target: SocketAddr::new(address, port),
                lifetime: SOON,
            };
            Generator::start(&load, &path).unwrap().finish(SOON).unwrap();
        }
    }
}

fn measured(flags: &[&str]) -> Outcome {
    let lab = lab(Fabric::Bridge, Segmentation::Off);
    let edge = Edge::host("a1", &pod(&lab, "a1").host_device);
    let plan = Plan::new(lab.node_a().namespace.place(), [edge]);
    let running = plan.flags(flags.iter().copied()).start();
    connect(&lab);
    let outcome = running.stop();
    laws::hold(&outcome);
    laws::counters_are_met(&outcome);
    laws::buffers_are_frames(&outcome.document);
    outcome
}

fn tcp(outcome: &Outcome, direction: Direction) -> Vec<&Flow> {
    let rows = outcome.document.rows("a1", direction);
    rows.filter(|row| row.protocol.number() == 6).collect()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn by_default_each_connection_is_a_flow() {
    let outcome = measured(&[]);
    for direction in [Direction::Tx, Direction::Rx] {
        let rows = tcp(&outcome, direction);
        assert_eq!(rows.len() as u64, 4 * CONNECTIONS);
        assert!(rows.iter().all(|row| row.src_port.is_some() && row.dst_port.is_some()));
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_pair_has_no_ports() {
    for flags in [["--flow-key", "pair"], ["--connection-tracking", "false"]] {
        let outcome = measured(&flags);
        for direction in [Direction::Tx, Direction::Rx] {
            let rows = tcp(&outcome, direction);
            assert_eq!(rows.len(), 2, "one for each family: {rows:#?}");
            for row in rows {
                assert_eq!((row.src_port, row.dst_port), (None, None), "{row:?}");
                assert_eq!(row.tcp.syn, 2 * CONNECTIONS, "{row:?}");
            }
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_service_port_stays_and_the_clients_go() {
    let outcome = measured(&["--flow-key", "pair+service-port"]);
    let sent = tcp(&outcome, Direction::Tx);
    let received = tcp(&outcome, Direction::Rx);
    assert_eq!((sent.len(), received.len()), (4, 4), "{sent:#?} {received:#?}");
    for row in sent {
        assert_eq!(row.src_port, None, "{row:?}");
        assert!(matches!(row.dst_port, Some(SERVICE | 8081)), "{row:?}");
        assert_eq!(row.tcp.syn, CONNECTIONS, "{row:?}");
    }
    for row in received {
        assert_eq!(row.dst_port, None, "{row:?}");
        assert!(matches!(row.src_port, Some(SERVICE | 8081)), "{row:?}");
    }
}
