//! Following changes of the web configuration.
//!
//! The files are read again every few seconds and compared by content: Kubernetes replaces
//! mounted secrets by turning a symbolic link, which inode watches miss. A change that
//! cannot be used leaves the last good configuration in force.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::web_config::{Problem, Reading, Security, WebConfigError, read};

/// The files of one web configuration, as last seen.
#[derive(Debug)]
pub(super) struct Watch {
    path: PathBuf,
    fingerprint: Vec<u8>,
}

impl Watch {
    /// Reads the configuration for the first time.
    pub(super) fn start(path: &Path) -> Result<(Self, Security), WebConfigError> {
        let Reading { outcome, fingerprint } = read(path);
        let security = outcome?;
        Ok((Self { path: path.to_owned(), fingerprint }, security))
    }

    /// Looks for changes until `stop`.
    pub(super) async fn run(mut self, shared: Arc<Shared>, stop: CancellationToken) {
        let mut look = interval(shared.limits.reload);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = look.tick() => self.look(&shared).await,
            }
        }
    }

    async fn look(&mut self, shared: &Shared) {
        let path = self.path.clone();
        let Ok(reading) = tokio::task::spawn_blocking(move || read(&path)).await else {
            return;
        };
        if reading.fingerprint == self.fingerprint {
            return;
        }
        self.fingerprint = reading.fingerprint;
        let outcome = reading.outcome.and_then(|security| self.unless_emptied(security, shared));
        shared.stats.web_config_changed(outcome.is_ok());
        match outcome {
            Ok(security) => {
                shared.security.store(Arc::new(security));
                tracing::info!(event = "web_config.reloaded", path = %self.path.display(), "Web configuration reloaded");
            }
            Err(error) => {
                tracing::error!(event = "web_config.rejected", %error, "Web configuration kept as it was");
            }
        }
    }

    /// A file is empty for a moment while it is written again, or for good after an accident.
    /// Neither may open to everybody what was closed.
    fn unless_emptied(
        &self,
        security: Security,
        shared: &Shared,
    ) -> Result<Security, WebConfigError> {
        if security.is_empty() && !shared.security.load().is_empty() {
            let problems = vec![Problem::Emptied];
            return Err(WebConfigError { path: self.path.clone(), problems });
        }
        Ok(security)
    }
}
