//! The flows system of a running agent.

use std::{
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        mpsc::{Receiver, SyncSender},
    },
};

use arc_swap::ArcSwapOption;
use telemetry::registry::{CollectorHandle, Options, Registry};

use crate::{
    api,
    catalogue::CATALOGUE,
    command::{Command, channel},
    config::Config,
    document::Document,
    error::Error,
    published::Published,
    service::{Service, beat_limit},
};

/// The system before it runs.
#[derive(Debug)]
pub struct System {
    config: Config,
    handle: CollectorHandle,
    sender: SyncSender<Command>,
    commands: Receiver<Command>,
    published: Published,
    listening: Arc<OnceLock<SocketAddr>>,
}

/// Controls of a running system; cheap to clone.
#[derive(Debug, Clone)]
pub struct Controls {
    sender: SyncSender<Command>,
}

impl System {
    /// The system beside others in one agent.
    ///
    /// # Errors
    ///
    /// When the registry refuses its metrics.
    pub fn new(config: Config, registry: &Registry) -> Result<Self, Error> {
        Self::with(config, registry, false)
    }

    /// The only system of its process: nothing is exposed before recovery is done.
    ///
    /// # Errors
    ///
    /// As [`System::new`].
    pub fn alone(config: Config, registry: &Registry) -> Result<Self, Error> {
        Self::with(config, registry, true)
    }

    fn with(config: Config, registry: &Registry, alone: bool) -> Result<Self, Error> {
        let options = Options {
            withhold_until_started: alone,
            beat_limit: Some(beat_limit(&config)),
            series_limit: series_limit(&config),
        };
        let handle = registry.collector_with("flows", CATALOGUE, options)?;
        for condition in ["lock", "recovery", "discovery", "commit"] {
            handle.condition(condition, false, "not yet");
        }
        let (sender, commands) = channel();
        Ok(Self {
            config,
            handle,
            sender,
            commands,
            published: Arc::new(ArcSwapOption::empty()),
            listening: Arc::new(OnceLock::new()),
        })
    }

    /// The API of the system.
    pub fn routes(&self) -> axum::Router {
        api::routes(Arc::clone(&self.published), self.sender.clone())
    }

    /// Controls that work from any thread.
    pub fn controls(&self) -> Controls {
        Controls { sender: self.sender.clone() }
    }

    /// Tells where the process listens, for the ready file.
    pub fn listening(&self, address: SocketAddr) {
        // The first listener is the one that counts.
        self.listening.set(address).ok();
    }

    /// Measures once, for as long as the settings say or until told to stop.
    ///
    /// # Errors
    ///
    /// When an edge can't be hooked or the kernel side fails. A violated law is in the
    /// document, see [`Document::law`].
    pub fn measure(self) -> Result<Document, Error> {
        let duration = self.config.settings().duration.unwrap_or_default();
        self.live(|service, commands| service.measure(duration, commands))
    }

    /// Runs until told to stop. Call it on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the start fails, or the end in good order does.
    pub fn run(self) -> Result<(), Error> {
        self.live(Service::run)
    }

    fn live<T>(
        self,
        life: impl FnOnce(Service, &Receiver<Command>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Self { config, handle, sender, commands, published, listening } = self;
        let listening = listening.get().copied();
        let result = Service::start(config, handle.clone(), sender, published, listening)
            .and_then(|service| life(service, &commands));
        if let Err(error) = &result {
            handle.down(error.reason());
        }
        result
    }
}

impl Controls {
    /// Ends the system in good order.
    pub fn stop(&self) {
        // A system that is gone has stopped.
        drop(self.sender.send(Command::Stop));
    }

    /// Puts new settings into force, as far as they can change while running.
    pub fn reload(&self, config: Config) {
        drop(self.sender.send(Command::Reload(Box::new(config))));
    }
}

/// Room for the largest family: no series that the ledger has may be left out, or the sums
/// would not be those of the node.
fn series_limit(config: &Config) -> usize {
    const SMALL_FAMILIES: usize = 1024;
    const RESERVED: usize = 2;
    let settings = config.settings();
    let largest = settings.pair_series_max.max(settings.pod_series_max) as usize;
    (largest + RESERVED).max(SMALL_FAMILIES)
}

#[cfg(test)]
mod tests {
    use telemetry::{
        catalogue::Catalogue,
        metric::{Family, LabelValue},
        registry::Build,
    };

    use super::*;
    use crate::{catalogue as metric, testing::config};

    fn registry() -> Registry {
        Registry::new(Build { version: "", revision: "", rustc: "", target: "" })
    }

    /// How many of these pods are still there when a scraper reads them.
    fn exposed(flags: &[&str], pods: usize) -> usize {
        let registry = registry();
        let system = System::new(config(flags), &registry).unwrap();
        let mut family = Family::new(&metric::POD_TX_BYTES);
        for pod in 0..pods {
            let pod: Arc<str> = format!("pod-{pod}").into();
            let labels: [LabelValue; 4] = ["".into(), (&pod).into(), "".into(), "".into()];
            family.push(labels, 1_u64);
        }
        system.handle.publish(vec![family]);
        registry.snapshot().family(metric::POD_TX_BYTES.name).unwrap().points().len()
    }

    #[test]
    fn no_pod_is_left_out_for_the_limit_of_pairs() {
        let few_pairs = ["--pair-series-max", "16", "--pod-series-max", "5000"];
        assert_eq!(exposed(&few_pairs, 5001), 5001, "all pods and the rest of them");
    }

    #[test]
    fn a_system_that_has_not_started_is_not_ready_and_says_for_what_it_waits() {
        let registry = registry();
        let system = System::alone(config(&[]), &registry).unwrap();
        let readiness = registry.readiness();
        assert!(!readiness.good);
        let waits: Vec<_> = readiness.checks.iter().map(|check| check.name).collect();
        assert_eq!(waits, ["started", "lock", "recovery", "discovery", "commit"]);
        assert_eq!(registry.withheld_by(), Some("flows"), "nobody reads a zero meanwhile");
        drop(system);
    }

    #[test]
    fn in_an_agent_a_system_that_starts_hides_no_other() {
        let registry = registry();
        registry.collector("other", Catalogue::EMPTY).unwrap();
        let _system = System::new(config(&[]), &registry).unwrap();
        assert_eq!(registry.withheld_by(), None);
    }

    #[test]
    fn a_start_that_fails_shows_as_down_with_its_reason() {
        let registry = registry();
        let flags = ["--bpf-pin-dir", "/proc/nowhere", "--discover", "off", "--netns", "a"];
        let system = System::alone(config(&flags), &registry).unwrap();
        let error = system.run().unwrap_err();
        assert_eq!(error.reason(), "no_bpffs", "{error}");
        let snapshot = registry.snapshot();
        let down = snapshot.family("fathom_collector_down_info").unwrap();
        let labels: Vec<_> = down.points()[0].labels.iter().map(LabelValue::as_str).collect();
        assert_eq!(labels, ["flows", "no_bpffs"]);
    }
}
