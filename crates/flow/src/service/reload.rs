//! New settings while the agent runs.

use super::{Service, beat_limit, dumper};
use crate::config::Config;

impl Service {
    /// Puts into force what can change; tells what can't. Edges that contradict each other
    /// change nothing.
    pub(super) fn reload(&mut self, new: Config) {
        if let Err(error) = new.check_edges() {
            tracing::error!(event = "config.rejected", %error, "Settings are not changed");
            return;
        }
        let (config, waiting) = self.config.with_reloadable(new);
        if !waiting.is_empty() {
            tracing::warn!(
                event = "config.reloaded",
                settings = waiting.join(","),
                "These settings need a restart"
            );
        }
        self.engine.ledger_mut().set_settings(config.ledger());
        self.handle.limit_beat(beat_limit(&config));
        self.count_dumps();
        match dumper(&config) {
            Ok(dumper) => self.dumper = dumper,
            Err(error) => tracing::warn!(event = "dump.failed", %error, "Dumps go on as before"),
        }
        self.config = config;
        self.follow_named(false);
        tracing::info!(event = "config.reloaded", "New settings are in force");
    }
}
