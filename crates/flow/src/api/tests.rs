use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use axum::{body::Body, http::Request};
use flow_model::{
    audit::{Family, FlowCheck, LedgerCheck, SeriesCheck},
    edge::EdgeId,
    flow::{Direction, Parity, Slot},
};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::{
    audit::{Bracket, InterfaceCheck, Passed},
    degradation::Degradation,
    site::Reading,
    testing::{counts, flow, ip, key, view},
};

fn published(view: View) -> Published {
    Arc::new(arc_swap::ArcSwapOption::from_pointee(view))
}

/// Three flows: tx of pod-a by TCP and UDP, rx of pod-b.
fn three_flows() -> View {
    let udp = flow_model::flow::FlowKey { protocol: 17, dst: ip("10.0.0.3"), ..key() };
    let rx = flow_model::flow::FlowKey {
        direction: Direction::Rx,
        src: ip("10.0.0.9"),
        slot: Slot(2),
        ..key()
    };
    view(vec![
        (EdgeId(1), flow(key(), counts(3, 1000), [100, 900])),
        (EdgeId(1), flow(udp, counts(9, 500), [100, 950])),
        (EdgeId(2), flow(rx, counts(1, 60), [100, 999])),
    ])
}

fn ask_of(published: Published, sender: SyncSender<Command>, target: &str) -> (StatusCode, Value) {
    let request = Request::get(target).body(Body::empty()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let response = routes(published, sender).oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    })
}

fn ask(view: View, target: &str) -> (StatusCode, Value) {
    let (sender, _commands) = sync_channel(1);
    ask_of(published(view), sender, target)
}

fn ok(view: View, target: &str) -> Value {
    let (status, body) = ask(view, target);
    assert_eq!(status, StatusCode::OK, "{body}");
    body
}

fn bytes_of(body: &Value) -> Vec<u64> {
    body["flows"].as_array().unwrap().iter().map(|row| row["bytes"].as_u64().unwrap()).collect()
}

#[test]
fn before_recovery_every_route_says_that_it_must_wait() {
    for route in ["", "/edges", "/pairs", "/audit"] {
        let (sender, _commands) = sync_channel(1);
        let target = format!("/api/v1/flows{route}");
        let (status, body) = ask_of(Published::default(), sender, &target);
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "{route}");
        assert_eq!(body, json!({ "error": "recovery is not done yet" }), "{route}");
    }
}

#[test]
fn flows_come_largest_first_with_their_epoch() {
    let body = ok(three_flows(), "/api/v1/flows");
    assert_eq!(bytes_of(&body), [1000, 500, 60]);
    assert_eq!((&body["epoch"], &body["truncated"]), (&json!(7), &json!(false)));
    assert_eq!(body["at"], "1970-01-01T00:00:09.000000000Z");
    let first = &body["flows"][0];
    assert_eq!((&first["edge"], &first["local"]["pod"]), (&json!("pod-a"), &json!("pod-a")));
    assert_eq!(first["tcp"], json!({ "syn": 1, "fin": 0, "rst": 0 }));
}

#[test]
fn rows_beyond_the_limit_are_left_out_and_said_to_be() {
    let body = ok(three_flows(), "/api/v1/flows?limit=2");
    assert_eq!((bytes_of(&body), &body["truncated"]), (vec![1000, 500], &json!(true)));
    let body = ok(three_flows(), "/api/v1/flows?limit=3");
    assert_eq!(body["truncated"], json!(false), "exactly as many as asked for are all");
}

#[test]
fn every_parameter_narrows_or_sorts_what_is_shown() {
    for (query, expected) in [
        ("direction=rx", vec![60]),
        ("pod=pod-a", vec![1000, 500]),
        ("pod=nobody", vec![]),
        ("namespace=", vec![1000, 500, 60]),
        ("namespace=kube-system", vec![]),
        ("peer=10.0.0.3", vec![500]),
        ("peer=10.0.0.9", vec![60]),
        ("peer=10.0.0.1", vec![]),
        ("protocol=udp", vec![500]),
        ("protocol=17", vec![500]),
        ("sort=packets", vec![500, 1000, 60]),
        ("sort=last_seen", vec![60, 500, 1000]),
        ("direction=tx&pod=pod-a&protocol=tcp", vec![1000]),
    ] {
        let body = ok(three_flows(), &format!("/api/v1/flows?{query}"));
        assert_eq!(bytes_of(&body), expected, "{query}");
    }
}

#[test]
fn what_has_no_meaning_is_refused_by_the_name_of_its_parameter() {
    for (query, parameter) in [
        ("direction=up", "direction"),
        ("peer=10.0.0", "peer"),
        ("protocol=tpc", "protocol"),
        ("protocol=256", "protocol"),
        ("sort=size", "sort"),
        ("limit=0", "limit"),
        ("limit=10001", "limit"),
        ("limit=-1", "limit"),
        ("fresh=yes", "fresh"),
        ("colour=red", "colour"),
    ] {
        let (status, body) = ask(three_flows(), &format!("/api/v1/flows?{query}"));
        assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
        let error = body["error"].as_str().unwrap();
        assert!(error.contains(parameter), "{query}: {error}");
    }
}

#[test]
fn without_a_drain_there_are_no_flows_to_show() {
    let (status, body) = ask(View { clock: None, ..three_flows() }, "/api/v1/flows");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(body["error"], "no epoch was drained yet");
}

/// Answers the drains that readers ask for, each with another view.
fn answer(commands: &Receiver<Command>, published: &Published) -> usize {
    let mut drains = 0;
    for command in commands {
        let Command::Fresh(reply) = command else { panic!("{command:?}") };
        published.store(Some(Arc::new(three_flows())));
        reply.send(()).unwrap();
        drains += 1;
    }
    drains
}

#[test]
fn a_fresh_answer_waits_for_the_drain() {
    let (sender, commands) = sync_channel(1);
    let published = published(view(Vec::new()));
    let seen = Arc::clone(&published);
    let engine = std::thread::spawn(move || answer(&commands, &seen));
    let (status, body) = ask_of(published, sender, "/api/v1/flows?fresh=1");
    assert_eq!((status, bytes_of(&body)), (StatusCode::OK, vec![1000, 500, 60]));
    assert_eq!(engine.join().unwrap(), 1, "one request is one drain");
}

#[test]
fn a_fresh_answer_that_can_not_be_had_is_not_an_old_one() {
    let (sender, commands) = sync_channel(1);
    drop(commands);
    let (status, _) = ask_of(published(three_flows()), sender, "/api/v1/flows?fresh=1");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "the engine is gone");
    let (sender, _full) = sync_channel(0);
    let (status, _) = ask_of(published(three_flows()), sender, "/api/v1/flows?fresh=1");
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE, "the queue is full");
}

#[test]
fn edges_show_their_hooks_and_those_refused_why() {
    let body = ok(view(Vec::new()), "/api/v1/flows/edges");
    assert_eq!(body.as_array().unwrap().len(), 3);
    let (live, draining, refused) = (&body[0], &body[1], &body[2]);
    assert_eq!((&live["edge"], &live["state"]), (&json!("pod-a"), &json!("attached")));
    assert_eq!(live["hooks"][0]["place"], "host");
    assert_eq!(live["hooks"][1]["place"], "pod");
    assert_eq!(live["hooks"][1]["netns_inode"], 4_026_532_000_u64);
    assert_eq!((&live["hooks"][0]["bytes"], &live["hooks"][0]["skbs"]), (&json!(1042), &json!(3)));
    assert_eq!(draining["state"], "draining");
    assert!(draining["hooks"][0].get("interface").is_none(), "its hooks are gone: {draining}");
    assert_eq!(
        *refused,
        json!({ "edge": "veth-x", "id": 0, "state": "refused", "reason": "no_netns" })
    );
}

#[test]
fn a_degraded_edge_says_why() {
    for why in Degradation::ALL {
        let mut view = view(Vec::new());
        view.hooked.get_mut(&EdgeId(1)).unwrap().degraded = Some(why);
        let body = ok(view, "/api/v1/flows/edges");
        let told = (&body[0]["state"], &body[0]["reason"]);
        assert_eq!(told, (&json!("degraded"), &json!(why.as_str())));
    }
}

#[test]
fn pairs_come_with_what_has_no_pair() {
    let body = ok(view(Vec::new()), "/api/v1/flows/pairs");
    let pair = json!({
        "src_ip": "10.0.0.1", "dst_ip": "10.0.0.2", "protocol": "tcp",
        "created": "1970-01-01T00:00:05.000000000Z", "packets": 3, "bytes": 1000,
    });
    assert_eq!(body["pairs"], json!([pair]));
    assert_eq!(body["other"], json!({ "packets": 1, "bytes": 42 }));
    assert_eq!(body["ignored"], json!({ "packets": 0, "bytes": 0 }));
}

#[test]
fn both_sides_of_every_law_are_shown_whether_it_holds_or_not() {
    let mut view = view(Vec::new());
    let mut snapshot = (*view.snapshot).clone();
    snapshot.laws.flow.push(FlowCheck {
        edge: EdgeId(1),
        slot: Slot(1),
        parity: Parity::Odd,
        direction: Direction::Tx,
        totals: counts(10, 1000),
        committed: counts(7, 700),
        folded: counts(2, 200),
    });
    snapshot.laws.ledger[1] = LedgerCheck { book: counts(5, 50), node: counts(5, 50) };
    snapshot.laws.series.push(SeriesCheck {
        family: Family::Pod,
        direction: Direction::Rx,
        exposed: counts(1, 10),
        other: counts(1, 10),
        ignored: counts(1, 10),
        retired: counts(1, 10),
        unnamed: counts(1, 10),
        base: counts(5, 50),
    });
    view.snapshot = Arc::new(snapshot);
    let body = ok(view, "/api/v1/flows/audit");
    let laws = body["laws"].as_array().unwrap();
    assert_eq!(laws.len(), 4, "{laws:?}");
    assert_eq!((&laws[0]["law"], &laws[0]["edge"]), (&json!("flow"), &json!(1)));
    assert_eq!(laws[0]["left"], json!({ "packets": 10, "bytes": 1000 }));
    assert_eq!(laws[0]["right"], json!({ "packets": 9, "bytes": 900 }));
    assert_eq!(laws[0]["holds"], false);
    assert!(laws[1..].iter().all(|law| law["holds"] == true), "{laws:?}");
    assert_eq!((&laws[3]["family"], &laws[3]["direction"]), (&json!("pod"), &json!("rx")));
}

#[test]
fn the_interface_law_is_shown_per_hook_with_both_ranges() {
    let reading = |packets| Reading { packets, bytes: packets * 100 };
    let still = |packets| Bracket { before: reading(packets), after: reading(packets) };
    let hook = flow_model::flow::Totals { wire: counts(8, 800), skb: counts(2, 200) };
    let check = |passed| InterfaceCheck { passed, hook };
    let within = Passed::between(still(0), still(5)).unwrap();
    let beyond = Passed::between(still(0), still(9)).unwrap();
    let mut view = view(Vec::new());
    view.hooked.get_mut(&EdgeId(1)).unwrap().checks = [Some(check(within)), Some(check(beyond))];
    let body = ok(view, "/api/v1/flows/audit");
    let [tx, rx] = [&body["interfaces"][0], &body["interfaces"][1]];
    assert_eq!(
        (&tx["interface"], &tx["counter"], &tx["holds"]),
        (&json!("veth-a"), &json!("rx"), &json!(true))
    );
    assert_eq!(tx["hook"], json!([{ "packets": 2, "bytes": 200 }, { "packets": 8, "bytes": 800 }]));
    assert_eq!((&rx["interface"], &rx["holds"]), (&json!("eth0"), &json!(false)));
    assert_eq!(rx["device"][1], json!({ "packets": 9, "bytes": 900 }));
}
