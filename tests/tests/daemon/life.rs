//! Counters continue over every kind of end: nothing lost, nothing twice, never less.

use std::net::IpAddr;
use std::time::Duration;

use fathom_tests::binary::SOON;
use fathom_tests::daemon::{Daemon, Pins, Setup};
use fathom_tests::exposition::Exposition;
use fathom_tests::kernel::Standing;
use fathom_tests::site::{exchange, pod, v4, v6};
use testkit::Device;
use testkit::lab::{Addresses, Lab};
use testkit::proc::{Process, wait_until};
use testkit::traffic::{Generator, Load, Path};

use super::{Account, assert_never_less, edges, exact_lab, length};

fn requests(lab: &Lab) {
    let (a1, a2) = (pod(lab, "a1"), pod(lab, "a2"));
    let load = Load::Requests { question: 100, answer: 10_000, rate: None, limit: Some(50) };
    for target in [v4(a2.addresses), v6(a2.addresses)] {
        exchange(a1, a2, target, &load);
    }
}

/// A steady stream from a1 to a2.
fn stream(lab: &Lab, lifetime: Duration) -> Generator {
    start(lab, ["a1", "a2"], v4, &Load::Bulk { rate: Some(RATE), limit: None }, lifetime)
}

/// Datagrams from a2 to a1.
fn datagrams(lab: &Lab, lifetime: Duration) -> Generator {
    let load = Load::Datagrams { sizes: vec![60, 1200], rate: Some(2000), limit: None };
    start(lab, ["a2", "a1"], v6, &load, lifetime)
}

fn start(
    lab: &Lab,
    [from, to]: [&str; 2],
    address: fn(Addresses) -> IpAddr,
    load: &Load,
    lifetime: Duration,
) -> Generator {
    let path = Path {
        client: pod(lab, from).namespace.place().clone(),
        server: pod(lab, to).namespace.place().clone(),
        target: (address(pod(lab, to).addresses), 0).into(),
        lifetime,
    };
    Generator::start(load, &path).unwrap()
}

/// Waits until `bytes` more went through.
fn pass(traffic: &Generator, bytes: u64) {
    let goal = traffic.report().server.received_bytes + bytes;
    wait_until("traffic", SOON, || traffic.report().server.received_bytes >= goal).unwrap();
}

/// Insists that no scrape, not even the first, shows less than `seen`.
fn never_less(daemon: &Daemon, seen: &Exposition) {
    assert_never_less(&daemon.scrape_until(|_| true), seen);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_passes_between_two_runs_is_counted() {
    continues("tcx");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_passes_between_two_runs_is_counted_by_filters_too() {
    continues("clsact");
}

fn continues(lane: &str) {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let account = Account::open(&edges);
    let setup = Setup::new(lab.node_a().namespace.place(), &edges, &pins);
    let setup = setup.flags(["--attach", lane]);
    let daemon = setup.start();
    requests(&lab);
    let (seen, _) = account.meet(&daemon);
    let ended = daemon.stop();
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
    requests(&lab);
    let daemon = setup.launch();
    never_less(&daemon, &seen);
    account.meet(&daemon);
    requests(&lab);
    account.meet(&daemon);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn an_end_in_the_middle_of_a_stream_loses_nothing() {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let account = Account::open(&edges);
    let setup = Setup::new(lab.node_a().namespace.place(), &edges, &pins);
    let mut daemon = setup.start();
    let traffic = stream(&lab, Duration::from_secs(60));
    // Another size, another number of tables: everything moves to new maps under load.
    for flags in [["--flow-capacity", "4096"], ["--shards", "1"], ["--pair-series-max", "64"]] {
        pass(&traffic, RATE / 4);
        let seen = daemon.scrape();
        assert_eq!(daemon.stop().status.code(), Some(0));
        pass(&traffic, RATE / 8);
        daemon = setup.clone().flags(flags).start();
        never_less(&daemon, &seen);
    }
    traffic.stop().unwrap();
    account.meet(&daemon);
}

/// Ends a daemon under TCP and UDP `rounds` times, each time by `turn`, and insists that
/// nothing was lost and that each place still has one hook.
#[expect(clippy::print_stdout, reason = "a campaign is told by its numbers")]
fn endure(lane: &str, rounds: u64, mut turn: impl FnMut(Daemon, &Stage<'_>) -> Daemon) {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let account = Account::open(&edges);
    let setup = Setup::new(lab.node_a().namespace.place(), &edges, &pins);
    let setup = setup.flags(["--attach", lane]);
    let mut daemon = setup.start();
    let lifetime = Duration::from_secs(60 + 10 * rounds);
    let (traffic, more) = (stream(&lab, lifetime), datagrams(&lab, lifetime));
    let stage = Stage { setup: &setup, traffic: &traffic, device: edges[0].device() };
    for _ in 0..rounds {
        daemon = turn(daemon, &stage);
    }
    daemon.wait_ready();
    for running in [traffic, more] {
        assert!(!running.is_finished(), "traffic must not end before the last round");
        running.stop().unwrap();
    }
    for edge in &edges {
        let standing = Standing::of(edge.device());
        assert_eq!(standing.programs(), [1, 1], "one hook a side: {standing:?}");
    }
    let (scrape, [sent, received]) = account.meet(&daemon);
    let recovered = scrape.sum("fathom_flows_recovered_epochs_total", &[("how", "foreign")]);
    assert_eq!(recovered, Some(0));
    println!("{lane}: {rounds} rounds, sent {sent:?}, received {received:?}, lost 0");
}

/// What a round has at hand.
struct Stage<'a> {
    setup: &'a Setup,
    traffic: &'a Generator,
    device: &'a Device,
}

/// Kills at points given by the amount that passed since the start, so that it hits the start,
/// recovery and any step of a drain alike. `FATHOM_TESTS_KILLS` makes it longer.
#[test]
#[ignore = "root: needs network namespaces"]
fn kills_under_load_lose_nothing() {
    killed("tcx");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn kills_under_load_lose_nothing_with_filters_either() {
    killed("clsact");
}

fn killed(lane: &str) {
    let (mut seen, mut dice) = (Exposition::default(), SEED);
    endure(lane, length("FATHOM_TESTS_KILLS", 10), |daemon, stage| {
        dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        pass(stage.traffic, (dice >> 33) % (RATE * 3 / 5));
        if let Ok(answer) = daemon.ask("/metrics")
            && answer.status == 200
        {
            let now = Exposition::parse(&answer.body);
            assert_never_less(&now, &seen);
            seen = now;
        }
        daemon.kill();
        stage.setup.launch()
    });
}

/// Each process that starts puts its own programs in the place of those that stand there, by an
/// update of the link or a replacement of the filter. `FATHOM_TESTS_SWAPS` makes it longer.
#[test]
#[ignore = "root: needs network namespaces"]
fn swaps_of_the_programs_under_load_lose_nothing() {
    swapped("tcx");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn swaps_of_the_programs_under_load_lose_nothing_with_filters_either() {
    swapped("clsact");
}

fn swapped(lane: &str) {
    let mut seen = Exposition::default();
    endure(lane, length("FATHOM_TESTS_SWAPS", 10), |daemon, stage| {
        let now = daemon.scrape();
        assert_never_less(&now, &seen);
        seen = now;
        let ended = daemon.stop();
        assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
        let left = Standing::of(stage.device);
        pass(stage.traffic, RATE / 50);
        let daemon = stage.setup.start();
        never_less(&daemon, &seen);
        let found = Standing::of(stage.device);
        assert_eq!([left.programs(), found.programs()], [[1, 1]; 2], "{left:?} {found:?}");
        assert_ne!(left, found, "programs of the new process");
        daemon
    });
}

fn prometheus(lab: &Lab, scratch: &std::path::Path) -> Process {
    let config = scratch.join("prometheus.yml");
    let text = "global: {scrape_interval: 200ms, scrape_timeout: 200ms}\n\
                scrape_configs:\n- job_name: fathom\n  static_configs:\n  - targets: [127.0.0.1:9090]\n";
    std::fs::write(&config, text).unwrap();
    let node = lab.node_a().namespace.place();
    let command = node.command("prometheus").current_dir(scratch);
    let command = command.arg(format!("--config.file={}", config.display()));
    let command = command.args(["--web.listen-address=127.0.0.1:9095", "--storage.tsdb.path=data"]);
    let mut running = command.spawn().unwrap();
    running.wait_for_stderr("Server is ready", SOON).unwrap();
    running
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_real_prometheus_sees_no_counter_fall() {
    let (lab, pins) = (exact_lab(), Pins::new());
    let edges = edges(&lab);
    let account = Account::open(&edges);
    let setup = Setup::new(lab.node_a().namespace.place(), &edges, &pins);
    let scratch = tempfile::TempDir::new().unwrap();
    let mut daemon = setup.start();
    let running = prometheus(&lab, scratch.path());
    let query = |text: &str| -> Option<f64> {
        let path = format!("/api/v1/query?query={text}");
        let answer = fathom_tests::daemon::ask_in(lab.node_a().namespace.place(), 9095, &path);
        let answer: serde_json::Value = serde_json::from_str(&answer.ok()?.body).ok()?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    };
    let traffic = stream(&lab, Duration::from_secs(60));
    for _ in 0..3 {
        let samples = query("count_over_time(fathom_flows_tx_bytes_total[5m])").unwrap_or(0.0);
        wait_until("scrapes by Prometheus", SOON, || {
            query("count_over_time(fathom_flows_tx_bytes_total[5m])").unwrap_or(0.0) > samples + 3.0
        })
        .unwrap();
        daemon.kill();
        pass(&traffic, RATE / 10);
        daemon = setup.start();
    }
    traffic.stop().unwrap();
    let (_, [sent, _]) = account.meet(&daemon);
    wait_until("last value in Prometheus", SOON, || {
        query("fathom_flows_tx_bytes_total").map(|bytes| bytes as u64) == Some(sent.bytes)
    })
    .unwrap();
    for family in [
        "fathom_flows_tx_bytes_total",
        "fathom_flows_rx_packets_total",
        "sum(resets(kubeadapt_connection_traffic_bytes_total[5m]))",
        "sum(resets(fathom_flows_pod_tx_bytes_total[5m]))",
    ] {
        let text = match family.starts_with("sum") {
            true => family.to_owned(),
            false => format!("resets({family}[5m])"),
        };
        assert_eq!(query(&text), Some(0.0), "{text}");
    }
    drop(running);
}

/// Bytes a second: several drains and thousands of frames a second, on any machine.
const RATE: u64 = 30_000_000;
const SEED: u64 = 0x5eed_f10e;
