//! Rows by hand, and documents held against the published schema.

mod schema;

use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::testing::{counts, ip, key};

fn row() -> Row {
    Row {
        counts: counts(3, 1000),
        first: Duration::from_secs(95),
        last: Duration::from_secs(99),
        syn: 0,
        fin: 0,
        rst: 0,
    }
}

fn shown(key: FlowKey, mode: FlowKeyMode) -> Value {
    let row = FlowRow::new("pod-a", &key, &row(), mode, &WallClock::read());
    serde_json::to_value(row).unwrap()
}

/// All of them: one that is missing here is not looked for in the schema.
const NOTES: [Note; 10] = [
    Note::NoEdges,
    Note::EdgesRefused,
    Note::HostEgress,
    Note::BehindForeignFilter,
    Note::Bypassed,
    Note::GsoHeaders,
    Note::InterfaceDrift,
    Note::XdpProgram,
    Note::GroLinkHeader,
    Note::CountersUnavailable,
];

/// A document with one of everything.
fn document() -> Document {
    let flow = |key| {
        let row = Row { syn: 1, ..row() };
        FlowRow::new("pod-a", &key, &row, FlowKeyMode::FiveTuple, &WallClock::read())
    };
    let hook = |direction| HookRow {
        edge: "pod-a".into(),
        direction,
        interface: "veth-a".into(),
        ifindex: 11,
        netns_inode: 4_026_531_840,
        hook: "ingress",
        place: "host",
        packets: 4,
        bytes: 1042,
        skbs: 4,
        skb_bytes: 1042,
        unparsed: 0,
        counter: Some(CounterRow {
            name: "rx",
            packets_min: 4,
            packets_max: 4,
            bytes_min: 1042,
            bytes_max: 1042,
        }),
        drift_packets: Some(0),
        drift_bytes: None,
    };
    let at = || "2026-01-02T03:04:05.000000006Z".to_owned();
    Document {
        schema: SCHEMA,
        host: Host { node: "worker-1".into(), kernel: "6.18.0".into(), attach: "tcx", cpus: 2 },
        window: Window { ready_at: at(), stopped_at: at(), duration_ns: 1, epochs: 1, tick_ns: 4 },
        hooks: vec![hook("tx")],
        flows: vec![flow(key()), flow(FlowKey { protocol: 47, ..key() })],
        folded: vec![FoldedRow {
            edge: "pod-a".into(),
            direction: "tx",
            class: "non_ip",
            packets: 1,
            bytes: 42,
        }],
        totals: TotalsRow::default(),
        audit: Audit {
            flow_law_packets: 0,
            flow_law_bytes: 0,
            interface_law: InterfaceLaw::Ok,
            early_drains: 0,
            lost_events: 0,
            notes: NOTES.map(Note::as_str).into(),
        },
    }
}

#[test]
fn what_is_not_known_of_a_flow_is_absent() {
    let row = shown(key(), FlowKeyMode::FiveTuple);
    assert_eq!((&row["src_port"], &row["dst_port"]), (&json!(40_000), &json!(80)));
    for absent in ["tcp", "fragment", "peer"] {
        assert!(row.get(absent).is_none(), "{absent} in {row}");
    }
}

#[test]
fn ports_are_shown_as_the_key_mode_keeps_them() {
    use FlowKeyMode::{FiveTuple, Pair, PairServicePort};
    let ports = |protocol, src_port, dst_port, mode| {
        let row = shown(FlowKey { protocol, src_port, dst_port, ..key() }, mode);
        [row.get("src_port").and_then(Value::as_u64), row.get("dst_port").and_then(Value::as_u64)]
    };
    for (protocol, mode, given, expected) in [
        (6, FiveTuple, (40_000, 80), [Some(40_000), Some(80)]),
        (6, FiveTuple, (0, 80), [Some(0), Some(80)]),
        (6, PairServicePort, (0, 80), [None, Some(80)]),
        (6, Pair, (0, 0), [None, None]),
        (1, FiveTuple, (0, 0), [Some(0), Some(0)]),
        (58, PairServicePort, (128, 0), [Some(128), Some(0)]),
        (47, FiveTuple, (0, 0), [None, None]),
    ] {
        assert_eq!(ports(protocol, given.0, given.1, mode), expected, "{protocol} {mode:?}");
    }
}

#[test]
fn a_later_fragment_says_so_and_has_no_ports() {
    let row = shown(FlowKey { fragment: true, ..key() }, FlowKeyMode::FiveTuple);
    assert_eq!(row["fragment"], true);
    assert!(row.get("src_port").is_none() && row.get("dst_port").is_none(), "{row}");
}

#[test]
fn a_protocol_without_a_name_is_its_number() {
    for (number, shown) in [
        (1, json!("icmp")),
        (6, json!("tcp")),
        (132, json!("sctp")),
        (47, json!(47)),
        (0, json!(0)),
    ] {
        assert_eq!(serde_json::to_value(Protocol(number)).unwrap(), shown);
    }
}

#[test]
fn the_family_is_that_of_the_addresses() {
    let six = FlowKey { src: ip("fd00::1"), dst: ip("fd00::2"), ..key() };
    assert_eq!(shown(six, FlowKeyMode::FiveTuple)["family"], 6);
    assert_eq!(shown(key(), FlowKeyMode::FiveTuple)["family"], 4);
}

#[test]
fn amounts_beyond_what_a_float_can_hold_keep_every_digit() {
    let huge = Row { counts: counts(u64::MAX, (1 << 53) + 1), ..row() };
    let row = FlowRow::new("a", &key(), &huge, FlowKeyMode::FiveTuple, &WallClock::read());
    let text = serde_json::to_string(&row).unwrap();
    assert!(text.contains("18446744073709551615") && text.contains("9007199254740993"), "{text}");
}

#[test]
fn flows_and_folded_rows_of_an_edge_and_direction_are_added() {
    assert_eq!(document().accounted(), BTreeMap::from([(("pod-a", "tx"), (7, 2042))]));
}

#[test]
fn documents_follow_the_published_schema() {
    let document = serde_json::to_value(document()).unwrap();
    assert_eq!(schema::faults(&document), Vec::<String>::new());
}

#[test]
fn the_schema_refuses_what_it_does_not_describe() {
    let good = serde_json::to_value(document()).unwrap();
    for (path, value) in [
        ("/schema", json!("fathom.flows/2")),
        ("/hooks/0/packets", json!(-1)),
        ("/hooks/0/packets", json!("4")),
        ("/hooks/0/drift_packets", Value::Null),
        ("/flows/0/direction", json!("up")),
        ("/flows/0/src_port", json!(65_536)),
        ("/flows/0/protocol", json!(256)),
        ("/flows/0/first_seen", json!("yesterday")),
        ("/flows/0/last_seen", json!("2026-01-02T03:04:05Z")),
        ("/folded/0/class", json!("lost")),
        ("/totals/tx", json!({})),
        ("/audit", json!([])),
        ("/audit/notes/0", json!("all_is_well")),
        ("/audit/interface_law", json!("unknown")),
    ] {
        let mut bad = good.clone();
        *bad.pointer_mut(path).unwrap() = value;
        assert!(!schema::faults(&bad).is_empty(), "{path}");
    }
}

#[test]
fn the_schema_describes_every_property() {
    let good = serde_json::to_value(document()).unwrap();
    assert_eq!(schema::unknown(&good), Vec::<String>::new());
    let mut more = good;
    more["hooks"][0]["colour"] = json!("red");
    assert_eq!(schema::unknown(&more), ["/hooks/0/colour"]);
}
