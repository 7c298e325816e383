use super::*;
use crate::document::{Endpoint, Protocol};

fn hook(edge: &str, direction: &'static str, packets: u64) -> HookRow {
    HookRow {
        edge: edge.into(),
        direction,
        interface: "veth-a".into(),
        ifindex: 1,
        netns_inode: 1,
        hook: "ingress",
        place: "host",
        packets,
        bytes: packets * 100,
        skbs: packets,
        skb_bytes: packets * 100,
        unparsed: 0,
        counter: Some(CounterRow {
            name: "rx",
            packets_min: packets,
            packets_max: packets,
            bytes_min: packets * 100,
            bytes_max: packets * 100,
        }),
        drift_packets: Some(0),
        drift_bytes: Some(0),
    }
}

fn flow(edge: &str, direction: &'static str, packets: u64) -> FlowRow {
    FlowRow {
        edge: edge.into(),
        direction,
        family: 4,
        src: std::net::Ipv4Addr::LOCALHOST.into(),
        dst: std::net::Ipv4Addr::LOCALHOST.into(),
        src_port: None,
        dst_port: None,
        protocol: Protocol(6),
        packets,
        bytes: packets * 100,
        first_seen: String::new(),
        last_seen: String::new(),
        tcp: None,
        fragment: false,
        local: Endpoint { kind: "pod", pod: edge.into() },
    }
}

/// A concluded document of these rows.
fn concluded(hooks: Vec<HookRow>, flows: Vec<FlowRow>) -> Document {
    let mut document = Document {
        schema: SCHEMA,
        host: Host { node: String::new(), kernel: String::new(), attach: "tcx", cpus: 1 },
        window: Window {
            ready_at: String::new(),
            stopped_at: String::new(),
            duration_ns: 0,
            epochs: 1,
            tick_ns: 1,
        },
        hooks,
        flows,
        folded: Vec::new(),
        totals: TotalsRow::default(),
        audit: Audit {
            flow_law_packets: 0,
            flow_law_bytes: 0,
            interface_law: InterfaceLaw::Unknown,
            early_drains: 0,
            lost_events: 0,
            notes: Vec::new(),
        },
    };
    document.conclude(Vec::new(), false);
    document
}

#[test]
fn totals_are_the_sums_of_the_hooks_by_direction() {
    let hooks = vec![hook("a", "tx", 1), hook("b", "tx", 2), hook("a", "rx", 4)];
    let totals = concluded(hooks, Vec::new()).totals;
    assert_eq!((totals.tx.packets, totals.tx.skb_bytes), (3, 300));
    assert_eq!((totals.rx.skbs, totals.rx.bytes), (4, 400));
}

#[test]
fn the_law_holds_where_rows_add_up_to_their_hooks() {
    let hooks = vec![hook("a", "tx", 3), hook("a", "rx", 0)];
    let document = concluded(hooks, vec![flow("a", "tx", 1), flow("a", "tx", 2)]);
    assert!(document.law().is_ok());
    assert_eq!(document.audit.interface_law, InterfaceLaw::Ok);
    assert_eq!(document.audit.notes, Vec::<&str>::new());
}

#[test]
fn a_surplus_at_one_edge_does_not_make_up_for_a_lack_at_another() {
    let hooks = vec![hook("a", "tx", 5), hook("b", "tx", 5)];
    let document = concluded(hooks, vec![flow("a", "tx", 4), flow("b", "tx", 6)]);
    let Err(Error::Law { law: "flow", packets: 2, bytes: 200 }) = document.law() else {
        panic!("{:?}", document.law());
    };
}

#[test]
fn rows_of_an_edge_without_a_hook_violate_the_law() {
    assert!(concluded(Vec::new(), vec![flow("ghost", "rx", 1)]).law().is_err());
}

#[test]
fn a_device_that_disagrees_is_data_and_not_a_failure() {
    let drifting = HookRow { drift_bytes: Some(7), ..hook("a", "tx", 0) };
    let gone =
        HookRow { counter: None, drift_packets: None, drift_bytes: None, ..hook("a", "rx", 0) };
    let document = concluded(vec![drifting, gone], Vec::new());
    assert_eq!(document.audit.interface_law, InterfaceLaw::Violated);
    assert_eq!(document.audit.notes, ["interface_drift", "counters_unavailable"]);
    assert!(document.law().is_ok());
}

#[test]
fn where_nothing_could_be_compared_no_law_is_said_to_hold() {
    let gone =
        HookRow { counter: None, drift_packets: None, drift_bytes: None, ..hook("a", "rx", 0) };
    let audit = concluded(vec![gone], Vec::new()).audit;
    assert_eq!(
        (audit.interface_law, audit.notes),
        (InterfaceLaw::Unknown, vec!["counters_unavailable"])
    );
    let audit = concluded(Vec::new(), Vec::new()).audit;
    assert_eq!((audit.interface_law, audit.notes), (InterfaceLaw::Unknown, vec!["no_edges"]));
}

#[test]
fn an_xdp_program_is_named_where_a_device_disagrees_and_nowhere_else() {
    let drifting = || HookRow { drift_packets: Some(1), ..hook("a", "tx", 0) };
    for (rows, expected) in [
        (vec![hook("a", "tx", 0)], &[][..]),
        (vec![drifting()], &["interface_drift", "xdp_program"]),
    ] {
        let mut document = concluded(rows, Vec::new());
        document.conclude(Vec::new(), true);
        assert_eq!(document.audit.notes, expected);
    }
}

#[test]
fn link_headers_that_a_device_does_not_count_are_named_as_the_cause() {
    let counted = |bytes| HookRow {
        counter: Some(CounterRow {
            name: "rx",
            packets_min: 10,
            packets_max: 10,
            bytes_min: bytes,
            bytes_max: bytes,
        }),
        drift_bytes: Some(1000 - bytes),
        ..hook("a", "rx", 10)
    };
    let notes = |row| concluded(vec![row], Vec::new()).audit.notes;
    assert_eq!(notes(counted(860)), ["interface_drift", "gro_link_header"]);
    assert_eq!(notes(counted(850)), ["interface_drift"]);
}
