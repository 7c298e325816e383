//! Health, ports and who may listen.

use fathom_tests::daemon::{Pins, Setup};
use fathom_tests::measure::Edge;
use fathom_tests::site::Wire;

use super::SOON;

fn edge(wire: &Wire) -> [Edge; 1] {
    [Edge::host("x", &wire.outside)]
}

#[test]
#[ignore = "root: needs network namespaces"]
fn health_is_answered_under_all_its_names() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let daemon = Setup::new(&wire.node, &edge(&wire), &pins).start();
    let ready = |path: &str| daemon.get(path).status == 200;
    testkit::proc::wait_until("readiness", SOON, || ready("/health/ready")).unwrap();
    for path in ["/health/live", "/healthz", "/health/ready", "/readyz", "/health"] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
    let conditions = daemon.get("/health/ready").body;
    for condition in ["lock", "recovery", "discovery", "commit"] {
        assert!(conditions.contains(condition), "{condition}: {conditions}");
    }
    assert_eq!(daemon.get("/no/such/page").status, 404);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_ready_file_names_the_listener() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let mut daemon = Setup::new(&wire.node, &edge(&wire), &pins).start();
    let ready = daemon.ready();
    assert_eq!(ready["listen"], "0.0.0.0:9090");
    assert_eq!(ready["edges"], 1);
    assert_eq!(ready["pid"], daemon.process().id());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_daemon_may_have_no_listener() {
    let (wire, pins) = (Wire::build(), Pins::new());
    let daemon = Setup::new(&wire.node, &edge(&wire), &pins).flags(["--listen", "off"]).start();
    assert_eq!(daemon.ready().get("listen"), None, "{}", daemon.ready());
    assert!(daemon.ask("/metrics").is_err(), "nobody listens on the usual port");
    assert_eq!(daemon.stop().status.code(), Some(0));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_taken_port_is_unavailable() {
    let (wire, first, second) = (Wire::build(), Pins::new(), Pins::new());
    let daemon = Setup::new(&wire.node, &edge(&wire), &first).start();
    let refused = Setup::new(&wire.node, &edge(&wire), &second).run();
    assert_eq!(refused.status.code(), Some(69), "{}", refused.stderr);
    assert!(refused.stderr.contains("9090"), "{}", refused.stderr);
    assert_eq!(daemon.get("/health/live").status, 200);
}
