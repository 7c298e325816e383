//! New settings while the agent runs.

use std::time::Duration;

use super::{Service, dumper};
use crate::{config::Config, settings::Settings};

impl Service {
    /// Puts into force what can change; tells what can't.
    pub(super) fn reload(&mut self, config: Config) {
        let waiting = needs_restart(self.config.settings(), config.settings());
        if !waiting.is_empty() {
            tracing::warn!(
                event = "config.reloaded",
                settings = waiting.join(","),
                "These settings need a restart"
            );
        }
        self.engine.ledger_mut().set_settings(config.ledger());
        self.handle.limit_beat(3 * config.interval() + Duration::from_secs(30));
        match dumper(&config) {
            Ok(dumper) => self.dumper = dumper,
            Err(error) => tracing::warn!(%error, "Dumps go on as before"),
        }
        self.config = self.config.with_reloadable(config);
        self.follow_named();
        tracing::info!(event = "config.reloaded", "New settings are in force");
    }
}

/// Settings that differ and are fixed while the process runs.
fn needs_restart(old: &Settings, new: &Settings) -> Vec<&'static str> {
    let fixed = [
        ("metrics_port", old.metrics_port != new.metrics_port),
        ("listen", old.listen != new.listen),
        ("connection_tracking", old.connection_tracking != new.connection_tracking),
        ("enable_profiling", old.enable_profiling != new.enable_profiling),
        ("profiling_port", old.profiling_port != new.profiling_port),
        ("node_name", old.node_name != new.node_name),
        ("discover", old.discover != new.discover),
        ("edge_hooks", old.edge_hooks != new.edge_hooks),
        ("netns_dir", old.netns_dir != new.netns_dir),
        ("attach", old.attach != new.attach),
        ("flow_key", old.flow_key != new.flow_key),
        ("flow_capacity", old.flow_capacity != new.flow_capacity),
        ("flow_capacity6", old.flow_capacity6 != new.flow_capacity6),
        ("edge_flow_quota", old.edge_flow_quota != new.edge_flow_quota),
        ("max_edges", old.max_edges != new.max_edges),
        ("shards", old.shards != new.shards),
        ("early_drain_percent", old.early_drain_percent != new.early_drain_percent),
        ("bpf_pin_dir", old.pins.bpf_pin_dir != new.pins.bpf_pin_dir),
        ("no_pin", old.no_pin != new.no_pin),
        ("pair_series_max", old.pair_series_max != new.pair_series_max),
    ];
    fixed.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}
