//! Groups of flags in the help of `fathom flows`, which has too many for one list.

/// The heading under which a setting is shown; none leaves it among the general ones.
pub(super) fn of(id: &str) -> Option<&'static str> {
    let listed = GROUPS.iter().find(|(_, ids)| ids.contains(&id));
    let by_prefix =
        || PREFIXES.iter().find(|(_, prefix)| id.starts_with(prefix)).map(|(heading, _)| *heading);
    listed.map(|(heading, _)| *heading).or_else(by_prefix)
}

const EDGES: &str = "What is counted";
const KERNEL: &str = "Kernel side";
const SERIES: &str = "Series";
const KUBERNETES: &str = "Kubernetes";
const PROCESS: &str = "Process";
const PUSH: &str = "Push";

const GROUPS: [(&str, &[&str]); 5] = [
    (
        EDGES,
        &[
            "pod_edge",
            "netns",
            "discover",
            "discover_exclude",
            "edge_hooks",
            "netns_dir",
            "host_traffic",
            "host_cgroup",
            "nic",
            "resync_interval",
            "decap",
            "signals",
            "connection_tracking",
            "flow_key",
        ],
    ),
    (
        KERNEL,
        &[
            "attach",
            "flow_capacity",
            "flow_capacity6",
            "edge_flow_quota",
            "max_edges",
            "shards",
            "early_drain_percent",
            "bpf_pin_dir",
            "no_pin",
            "takeover_wait",
            "on_exit",
        ],
    ),
    (
        SERIES,
        &[
            "pair_series_max",
            "pod_series_max",
            "workload_series_max",
            "zone_series_max",
            "series_idle",
            "connection_idle",
            "peer_cidr",
            "ignore_peer",
            "conntrack",
        ],
    ),
    (
        KUBERNETES,
        &[
            "node_name",
            "daemonset_node_name",
            "pod_uid",
            "pod_name",
            "pod_namespace",
            "kube",
            "kubeconfig",
            "kube_sync_timeout",
        ],
    ),
    (
        PROCESS,
        &[
            "log_level",
            "log_format",
            "web_config_file",
            "enable_profiling",
            "profiling_port",
            "profiling_listen",
            "shutdown_deadline",
            "ready_file",
        ],
    ),
];

const PREFIXES: [(&str, &str); 2] = [(PUSH, "otlp_"), (PROCESS, "dump_")];

#[cfg(test)]
mod tests {
    use super::GROUPS;

    #[test]
    fn every_listed_setting_exists() {
        let definition = crate::args::definition();
        let flows = definition.find_subcommand("flows").unwrap();
        let known: Vec<_> = flows.get_arguments().map(|arg| arg.get_id().as_str()).collect();
        for id in GROUPS.iter().flat_map(|(_, ids)| *ids) {
            assert!(known.contains(id), "{id} is grouped and does not exist");
        }
    }
}
