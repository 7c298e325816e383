//! What scrapes and the API show of a running service.

use flow_model::flow::Direction;

use super::*;

/// The families that dashboards of the replaced agent rely on.
const RAW: [&str; 12] = [
    "kubeadapt_connection_traffic_bytes_total",
    "kubeadapt_connection_traffic_packets_total",
    "kubeadapt_active_connections",
    "kubeadapt_bpf_load_status",
    "kubeadapt_bpf_load_attempts_total",
    "kubeadapt_bpf_load_duration_seconds",
    "kubeadapt_bpf_map_utilization_percent",
    "kubeadapt_overflow_flows_total",
    "kubeadapt_ip_pairs_batch_size",
    "kubeadapt_ebpf_collection_duration_seconds",
    "kubeadapt_collector_errors_total",
    "kubeadapt_connection_tracking_info",
];

/// Asserts that each of the old families has a sample.
pub(super) fn has_the_raw_families(text: &str) {
    for family in RAW {
        let sample = |line: &str| line.starts_with(family) && !line.starts_with('#');
        assert!(text.lines().any(sample), "{family} is missing");
    }
}

fn named(node: &Node) -> Agent {
    let agent = Agent::start(&["--discover", "off", "--pod-edge", "host0=pod-a"]);
    node.send(300);
    agent
}

#[test]
#[ignore = "root: loads programs"]
fn what_is_exposed_is_what_the_ledger_holds() {
    let node = Node::build();
    node.inside(|| {
        let mut agent = named(&node);
        let snapshot = agent.drained();
        for (direction, totals) in Direction::ALL.into_iter().zip(snapshot.node) {
            let name = direction.as_str();
            let series = |unit: &str| agent.value(&format!("fathom_flows_{name}_{unit}_total "));
            assert_eq!(series("bytes"), totals.wire.bytes);
            assert_eq!(series("packets"), totals.wire.packets);
            let pod = format!("fathom_flows_pod_{name}_bytes_total{{namespace=\"\",pod=\"pod-a\"");
            assert_eq!(agent.value(&pod), totals.wire.bytes, "there is one pod");
        }
        let pairs = agent.value("kubeadapt_connection_traffic_bytes_total{");
        let retired = "fathom_flows_retired_bytes_total{family=\"pair\",direction=\"tx\"} ";
        assert_eq!(pairs + agent.value(retired), snapshot.node[0].wire.bytes, "pairs are sent");
        has_the_raw_families(&agent.metrics());
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn the_view_of_the_api_is_that_of_the_same_commit() {
    let node = Node::build();
    node.inside(|| {
        let mut agent = named(&node);
        let snapshot = agent.drained();
        let view = agent.published.load_full().unwrap();
        assert_eq!(view.snapshot.epoch, snapshot.epoch);
        let received: u64 = view
            .epoch
            .iter()
            .filter(|(_, flow)| flow.key.direction == Direction::Rx && flow.key.protocol == 17)
            .map(|(_, flow)| flow.counts.packets)
            .sum();
        assert_eq!(received, 300, "the datagrams of this epoch");
        let id = agent.only_edge();
        assert_eq!(view.names[&id], "pod-a");
        assert_eq!(view.hooked[&id].plan.name, "pod-a");
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn a_reader_that_asks_for_a_fresh_epoch_gets_it() {
    let node = Node::build();
    node.inside(|| {
        let mut agent = named(&node);
        let before = agent.drained().epoch;
        let (reply, mut done) = oneshot::channel();
        agent.service.config = config(&["--no-pin", "--collection-interval", "10m"]);
        agent.service.obey(Command::Fresh(reply));
        agent.until("an answer", |agent| {
            agent.published.load().as_ref().is_some_and(|view| view.snapshot.epoch > before)
        });
        assert_eq!(done.try_recv(), Ok(()));
        assert_eq!(agent.value("fathom_flows_early_drains_total{cause=\"fresh\"} "), 1);
        agent.end();
    });
}

#[test]
#[ignore = "root: loads programs"]
fn what_passed_a_hook_that_somebody_removed_shows_as_a_violation() {
    let node = Node::build();
    node.inside(|| {
        let flags = ["--discover", "off", "--pod-edge", "host0=pod-a", "--attach", "clsact"];
        let mut agent = Agent::start(&flags);
        agent.service.resync();
        agent.drained();
        let drift = "fathom_flows_audit_drift_packets{law=\"interface\"} ";
        assert_eq!(agent.value(drift), 0);
        tc(node.node.place(), "filter del dev host0 egress");
        node.send(300);
        agent.service.resync();
        agent.drained();
        assert!((300..320).contains(&agent.value(drift)), "{}", agent.value(drift));
        assert_eq!(agent.edges("degraded", "tampered"), 1);
        agent.service.resync();
        agent.drained();
        assert_eq!(agent.value(drift), 0, "the new hook sees everything");
        agent.end();
    });
}
