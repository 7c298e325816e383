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
            series_limit: config.settings().pair_series_max as usize + 2,
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

    /// Runs until told to stop. Call it on a thread of its own.
    ///
    /// # Errors
    ///
    /// When the start fails, or the end in good order does.
    pub fn run(self) -> Result<(), Error> {
        let Self { config, handle, sender, commands, published, listening } = self;
        let result =
            Service::start(config, handle.clone(), sender, published, listening.get().copied())
                .and_then(|service| service.run(&commands));
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
