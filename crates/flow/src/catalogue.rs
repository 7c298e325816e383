//! Every metric of the flows system.
//!
//! The twelve `kubeadapt_` names are those that existing dashboards use; they keep their
//! names, types and labels. Where a family of them has no unit suffix, that is why.

use telemetry::{
    catalogue::Catalogue,
    metric::{Metric, Unit},
};

const DIRECTION: &[&str] = &["direction"];
const PAIR: &[&str] = &["src_ip", "dst_ip", "protocol"];
const POD: &[&str] = &["namespace", "pod", "workload_kind", "workload"];

pub(crate) static PAIR_BYTES: Metric = Metric::counter(
    "kubeadapt_connection_traffic_bytes_total",
    Unit::Bytes,
    "Bytes that pods sent, by address pair as on the wire at the pod; error 0.",
    PAIR,
);
pub(crate) static PAIR_PACKETS: Metric = Metric::counter(
    "kubeadapt_connection_traffic_packets_total",
    Unit::Packets,
    "Packets that pods sent, by address pair as on the wire at the pod; error 0.",
    PAIR,
);
pub(crate) static ACTIVE_CONNECTIONS: Metric = Metric::gauge(
    "kubeadapt_active_connections",
    Unit::Count("{connection}"),
    "Distinct unordered 5-tuples at pod edges with a packet within the idle time, minus TCP ended by RST or FIN both ways.",
    &["protocol"],
);
pub(crate) static LOAD_STATUS: Metric = Metric::gauge(
    "kubeadapt_bpf_load_status",
    Unit::None,
    "1 when the counting program is loaded, 0 when that failed.",
    &[],
);
pub(crate) static LOAD_ATTEMPTS: Metric = Metric::counter(
    "kubeadapt_bpf_load_attempts_total",
    Unit::Count("{attempt}"),
    "Attempts to load the counting program since the process started.",
    &[],
);
pub(crate) static LOAD_DURATION: Metric = Metric::gauge(
    "kubeadapt_bpf_load_duration_seconds",
    Unit::Seconds,
    "Time that the last load of the counting program took, CLOCK_MONOTONIC.",
    &[],
);
pub(crate) static MAP_UTILISATION: Metric = Metric::gauge(
    "kubeadapt_bpf_map_utilization_percent",
    Unit::Percent,
    "Highest fill of a map in the last epoch, 0 to 100.",
    &["map"],
);
pub(crate) static OVERFLOW: Metric = Metric::counter(
    "kubeadapt_overflow_flows_total",
    Unit::Count("{insertion}"),
    "Insertions that found no room in the flow table; their packets were folded, at most one insertion per packet.",
    &[],
);
pub(crate) static BATCH_SIZE: Metric = Metric::gauge(
    "kubeadapt_ip_pairs_batch_size",
    Unit::Count("{pair}"),
    "Distinct address pairs in the last epoch.",
    &[],
);
pub(crate) static COLLECTION_DURATION: Metric = Metric::histogram(
    "kubeadapt_ebpf_collection_duration_seconds",
    Unit::Seconds,
    "Time from the flip of an epoch to its maps being empty again, CLOCK_MONOTONIC.",
    &[],
);
pub(crate) static COLLECTOR_ERRORS: Metric = Metric::counter(
    "kubeadapt_collector_errors_total",
    Unit::Count("{error}"),
    "Errors by the step that failed, since the process started.",
    &["type"],
);
pub(crate) static TRACKING_INFO: Metric = Metric::info(
    "kubeadapt_connection_tracking_info",
    "How flows are counted; the value is always 1.",
    &["enabled", "flow_key", "drain", "overflow", "node", "daemonset_pod_uid"],
);

pub(crate) static TX_BYTES: Metric = Metric::counter(
    "fathom_flows_tx_bytes_total",
    Unit::Bytes,
    "Bytes on the wire that pods sent, all pod edges; error 0.",
    &[],
);
pub(crate) static TX_PACKETS: Metric = Metric::counter(
    "fathom_flows_tx_packets_total",
    Unit::Packets,
    "Packets on the wire that pods sent, all pod edges; error 0.",
    &[],
);
pub(crate) static RX_BYTES: Metric = Metric::counter(
    "fathom_flows_rx_bytes_total",
    Unit::Bytes,
    "Bytes on the wire that pods received, all pod edges; error 0.",
    &[],
);
pub(crate) static RX_PACKETS: Metric = Metric::counter(
    "fathom_flows_rx_packets_total",
    Unit::Packets,
    "Packets on the wire that pods received, all pod edges; error 0.",
    &[],
);
pub(crate) static POD_TX_BYTES: Metric = Metric::counter(
    "fathom_flows_pod_tx_bytes_total",
    Unit::Bytes,
    "Bytes on the wire that one pod sent, all its interfaces; error 0.",
    POD,
);
pub(crate) static POD_TX_PACKETS: Metric = Metric::counter(
    "fathom_flows_pod_tx_packets_total",
    Unit::Packets,
    "Packets on the wire that one pod sent, all its interfaces; error 0.",
    POD,
);
pub(crate) static POD_RX_BYTES: Metric = Metric::counter(
    "fathom_flows_pod_rx_bytes_total",
    Unit::Bytes,
    "Bytes on the wire that one pod received, all its interfaces; error 0.",
    POD,
);
pub(crate) static POD_RX_PACKETS: Metric = Metric::counter(
    "fathom_flows_pod_rx_packets_total",
    Unit::Packets,
    "Packets on the wire that one pod received, all its interfaces; error 0.",
    POD,
);
pub(crate) static RETIRED_BYTES: Metric = Metric::counter(
    "fathom_flows_retired_bytes_total",
    Unit::Bytes,
    "Final amounts of series no longer exposed. A step function: no rate() of it.",
    &["family", "direction"],
);
pub(crate) static RETIRED_PACKETS: Metric = Metric::counter(
    "fathom_flows_retired_packets_total",
    Unit::Packets,
    "Final amounts of series no longer exposed. A step function: no rate() of it.",
    &["family", "direction"],
);
pub(crate) static SERIES: Metric =
    Metric::gauge("fathom_flows_series", Unit::Count("{series}"), "Exposed series.", &["family"]);
pub(crate) static SERIES_REFUSED: Metric = Metric::counter(
    "fathom_flows_series_refused_total",
    Unit::Count("{event}"),
    "Times that an amount went to `other` for lack of a series, since the process started.",
    &["family"],
);
pub(crate) static FOLDED_BYTES: Metric = Metric::counter(
    "fathom_flows_folded_bytes_total",
    Unit::Bytes,
    "Bytes counted without the flow they belong to; part of tx and rx.",
    &["direction", "class"],
);
pub(crate) static FOLDED_PACKETS: Metric = Metric::counter(
    "fathom_flows_folded_packets_total",
    Unit::Packets,
    "Packets counted without the flow they belong to; part of tx and rx.",
    &["direction", "class"],
);
pub(crate) static UNPARSED: Metric = Metric::counter(
    "fathom_flows_unparsed_packets_total",
    Unit::Packets,
    "Packets whose headers were not understood; counted in tx and rx all the same.",
    &["reason"],
);
pub(crate) static DRIFT_BYTES: Metric = Metric::gauge(
    "fathom_flows_audit_drift_bytes",
    Unit::Bytes,
    "By how much the two sides of a law differ; 0 when all is well.",
    &["law"],
);
pub(crate) static DRIFT_PACKETS: Metric = Metric::gauge(
    "fathom_flows_audit_drift_packets",
    Unit::Packets,
    "By how much the two sides of a law differ; 0 when all is well.",
    &["law"],
);
pub(crate) static MISSED_BYTES: Metric = Metric::counter(
    "fathom_flows_missed_before_attach_bytes_total",
    Unit::Bytes,
    "Bytes that passed an interface while it had no hook: before the first one, or while one was missing; by the interface's own counters.",
    DIRECTION,
);
pub(crate) static MISSED_PACKETS: Metric = Metric::counter(
    "fathom_flows_missed_before_attach_packets_total",
    Unit::Packets,
    "Packets that passed an interface while it had no hook: before the first one, or while one was missing; by the interface's own counters.",
    DIRECTION,
);
pub(crate) static BYPASSED_BYTES: Metric = Metric::counter(
    "fathom_flows_bypassed_bytes_total",
    Unit::Bytes,
    "Bytes that reached a pod around a receive hook on the host side, by interface counters.",
    &[],
);
pub(crate) static BYPASSED_PACKETS: Metric = Metric::counter(
    "fathom_flows_bypassed_packets_total",
    Unit::Packets,
    "Packets that reached a pod around a receive hook on the host side, by interface counters.",
    &[],
);
pub(crate) static EDGES: Metric = Metric::gauge(
    "fathom_flows_edges",
    Unit::Count("{edge}"),
    "Pod edges by state.",
    &["state", "reason"],
);
pub(crate) static HOOKS: Metric = Metric::gauge(
    "fathom_flows_hooks",
    Unit::Count("{hook}"),
    "Hooks in place.",
    &["attach", "place", "direction"],
);
pub(crate) static UNNAMED_BYTES: Metric = Metric::gauge(
    "fathom_flows_unnamed_bytes",
    Unit::Bytes,
    "Bytes held back from the pod family until their pod is known.",
    DIRECTION,
);
pub(crate) static ATTACH_LAG: Metric = Metric::histogram(
    "fathom_flows_attach_lag_seconds",
    Unit::Seconds,
    "Time from the kernel's message about a device to its hooks being in place, CLOCK_MONOTONIC.",
    &[],
);
pub(crate) static GRACE: Metric = Metric::histogram(
    "fathom_flows_grace_seconds",
    Unit::Seconds,
    "Time that the kernel took to end all program runs of a closed epoch, CLOCK_MONOTONIC.",
    &[],
);
pub(crate) static ATTACH_ERRORS: Metric = Metric::counter(
    "fathom_flows_attach_errors_total",
    Unit::Count("{error}"),
    "Hooks that could not be attached, since the process started.",
    &["reason"],
);
pub(crate) static EPOCHS: Metric = Metric::counter(
    "fathom_flows_epochs_total",
    Unit::Count("{epoch}"),
    "Epochs drained since the process started.",
    &[],
);
pub(crate) static DRAINED_FLOWS: Metric = Metric::counter(
    "fathom_flows_drained_flows_total",
    Unit::Count("{flow}"),
    "Flow entries read since the process started.",
    &[],
);
pub(crate) static EARLY_DRAINS: Metric = Metric::counter(
    "fathom_flows_early_drains_total",
    Unit::Count("{epoch}"),
    "Epochs drained ahead of their time, since the process started.",
    &["cause"],
);
pub(crate) static OVERRUNS: Metric = Metric::counter(
    "fathom_flows_drain_overruns_total",
    Unit::Count("{epoch}"),
    "Drains that took longer than the interval, since the process started.",
    &[],
);
pub(crate) static UNSLOTTED: Metric = Metric::counter(
    "fathom_flows_unslotted_packets_total",
    Unit::Packets,
    "Packets on a hook without a slot. They are in no other number: a bug, alert on it.",
    &[],
);
pub(crate) static UNTRACKED: Metric = Metric::counter(
    "fathom_flows_connections_untracked_total",
    Unit::Count("{connection}"),
    "Connections that found no room in the table, since the process started.",
    &[],
);
pub(crate) static RECOVERED: Metric = Metric::counter(
    "fathom_flows_recovered_epochs_total",
    Unit::Count("{epoch}"),
    "Epochs that an earlier process left unfinished, by what became of them.",
    &["how"],
);
pub(crate) static AMBIGUOUS: Metric = Metric::counter(
    "fathom_flows_ambiguous_peer_bytes_total",
    Unit::Bytes,
    "Bytes whose peer address changed owner within the epoch.",
    &[],
);
pub(crate) static LOST_NOTICES: Metric = Metric::counter(
    "fathom_flows_lost_notices_total",
    Unit::Count("{notice}"),
    "Notices that the kernel had no room for; fill is polled as well.",
    &[],
);
pub(crate) static DUMPS: Metric = Metric::counter(
    "fathom_flows_dumps_total",
    Unit::Count("{epoch}"),
    "Epochs to be dumped, by what became of them, since the process started.",
    &["result"],
);
pub(crate) static KERNEL_MEMORY: Metric = Metric::gauge(
    "fathom_flows_kernel_memory_bytes",
    Unit::Bytes,
    "Kernel memory of a map as its descriptor tells.",
    &["map"],
);

/// All of them.
pub const CATALOGUE: Catalogue = Catalogue {
    title: "Flows",
    metrics: &[
        &PAIR_BYTES,
        &PAIR_PACKETS,
        &ACTIVE_CONNECTIONS,
        &LOAD_STATUS,
        &LOAD_ATTEMPTS,
        &LOAD_DURATION,
        &MAP_UTILISATION,
        &OVERFLOW,
        &BATCH_SIZE,
        &COLLECTION_DURATION,
        &COLLECTOR_ERRORS,
        &TRACKING_INFO,
        &TX_BYTES,
        &TX_PACKETS,
        &RX_BYTES,
        &RX_PACKETS,
        &POD_TX_BYTES,
        &POD_TX_PACKETS,
        &POD_RX_BYTES,
        &POD_RX_PACKETS,
        &RETIRED_BYTES,
        &RETIRED_PACKETS,
        &SERIES,
        &SERIES_REFUSED,
        &FOLDED_BYTES,
        &FOLDED_PACKETS,
        &UNPARSED,
        &DRIFT_BYTES,
        &DRIFT_PACKETS,
        &MISSED_BYTES,
        &MISSED_PACKETS,
        &BYPASSED_BYTES,
        &BYPASSED_PACKETS,
        &EDGES,
        &HOOKS,
        &UNNAMED_BYTES,
        &ATTACH_LAG,
        &GRACE,
        &ATTACH_ERRORS,
        &EPOCHS,
        &DRAINED_FLOWS,
        &EARLY_DRAINS,
        &OVERRUNS,
        &UNSLOTTED,
        &UNTRACKED,
        &RECOVERED,
        &AMBIGUOUS,
        &LOST_NOTICES,
        &DUMPS,
        &KERNEL_MEMORY,
    ],
};
