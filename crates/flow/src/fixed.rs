//! Settings that can't change while the process runs.

use crate::settings::Settings;

/// Puts the old values of fixed settings into new ones and names those that differed.
/// What is not listed here is read again wherever it is used.
pub(crate) fn keep_fixed(old: &Settings, new: &mut Settings) -> Vec<&'static str> {
    let mut differing = Vec::new();
    macro_rules! keep {
        ($($field:ident)*) => { $(
            if new.$field != old.$field {
                differing.push(stringify!($field));
                new.$field.clone_from(&old.$field);
            }
        )* };
    }
    keep! {
        metrics_port listen connection_tracking enable_profiling profiling_port
        profiling_listen node_name daemonset_node_name pod_uid pod_name pod_namespace
        ready_file discover discover_exclude edge_hooks netns_dir host_traffic host_cgroup
        nic attach flow_key flow_capacity flow_capacity6 edge_flow_quota max_edges shards
        early_drain_percent no_pin takeover_wait on_exit shutdown_deadline pair_series_max
        pod_series_max workload_series_max zone_series_max conntrack decap kube kubeconfig
        kube_sync_timeout
    }
    if new.pins.bpf_pin_dir != old.pins.bpf_pin_dir {
        differing.push("bpf_pin_dir");
        new.pins.bpf_pin_dir.clone_from(&old.pins.bpf_pin_dir);
    }
    differing
}
