//! What is told of delay, offset and loss against what was done to the packets.

use fathom_tests::binary::SOON;
use fathom_tests::stamp::{PORT, Reflector, measured};
use serde_json::Value;
use testkit::Place;

use super::{ends, nodes};

/// Lets a rule of the firewall of `place` drop one packet in `every`.
fn drop_one_in(place: &Place, every: u32, hook: &str, port: &str) {
    let rules = format!(
        "table inet stamp_{hook} {{\n chain {hook} {{\n type filter hook {hook} priority 0\n \
         udp {port} {PORT} numgen inc mod {every} 0 drop\n }}\n}}\n"
    );
    let loaded = place.command("nft").args(["-f", "-"]).input(rules).succeed(SOON);
    loaded.unwrap_or_else(|error| panic!("nft: {error}"));
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
#[ignore = "root: needs network namespaces"]
fn losses_are_told_on_the_way_where_they_happened() {
    let lab = nodes();
    let [(here, _), (there, addresses)] = ends(&lab);
    drop_one_in(there, 5, "input", "dport");
    drop_one_in(there, 7, "output", "sport");
    for address in addresses {
        let reflector = Reflector::start(there, &[]);
        let target = measured(
            here,
            address,
            &["-c", "200", "-i", "2ms", "-w", "0.3", "--reflector-mode", "stateful"],
        );
        let told = reflector.summary();
        let packets = &target["packets"];
        let (received, replies) = (number(&packets["received"]), number(&told["replies"]));
        // What the firewall keeps from leaving was not sent, as the reflector is told.
        let reached = number(&told["requests"]);
        assert_eq!(reached, 200 - 40, "{told}");
        let lost = [&packets["lost_forward"], &packets["lost_reverse"], &packets["lost_unknown"]]
            .map(number);
        assert_eq!(lost.iter().sum::<i64>(), 200 - received, "{packets}");
        // Behind the last answer nothing tells, and there are seven of those at most.
        assert!((40 - 7..=40).contains(&lost[0]), "{packets}");
        assert!((160 - received - 7..=160 - received).contains(&lost[1]), "{packets} {replies}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn one_clock_on_both_ends_is_inside_of_its_own_bounds() {
    let lab = nodes();
    let [(here, _), (there, addresses)] = ends(&lab);
    for address in addresses {
        let reflector = Reflector::start(there, &[]);
        let target = measured(here, address, &["-c", "200", "-i", "2ms"]);
        let offset = &target["offset"];
        let (middle, bound) = (number(&offset["offset_ns"]), number(&offset["bound_ns"]));
        assert!(middle.abs() <= bound, "{offset}");
        assert!(bound < 1_000_000, "two namespaces are less than a millisecond apart: {offset}");
        let (near, far) = (&target["near_end"]["raw"], &target["far_end"]["raw"]);
        assert!(
            number(&near["min"]) >= 0 && number(&far["min"]) >= 0,
            "no packet arrives before it left: {target}"
        );
        // T1, T2 and T4 are the kernel's; what is left is the way through two namespaces.
        assert!(number(&target["roundtrip"]["min"]) < 1_000_000, "{target}");
        assert_eq!(target["packets"]["unstamped"], 0, "the kernel stamps all that is sent");
        drop(reflector.summary());
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_port_below_1024_needs_its_right_and_a_taken_one_names_its_holder() {
    let lab = nodes();
    let [(_, _), (there, _)] = ends(&lab);
    let reflector = Reflector::start(there, &[]);
    let port = PORT.to_string();
    let second = fathom_tests::binary::run_in(there, ["stamp", "reflect", "auto", "-p", &port]);
    assert_eq!(second.status.code(), Some(69), "{second:?}");
    assert!(second.stderr.contains("in use by fathom (process "), "{second:?}");
    drop(reflector.summary());
    let program = fathom_tests::binary::path().display().to_string();
    let bare = [
        "--bounding-set=-all",
        "--inh-caps=-all",
        &program,
        "stamp",
        "send",
        "auto",
        "127.0.0.1",
        "-c",
        "1",
    ];
    let refused =
        there.command("setpriv").args(bare).run(SOON).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(refused.status.code(), Some(77), "{refused:?}");
    assert!(
        refused.stderr.contains("CAP_NET_BIND_SERVICE") && refused.stderr.contains("-s 0"),
        "{refused:?}"
    );
}
