//! The HTTP listener of the process.
//!
//! It binds first, so that a taken port is an error before anything is attached; bounds
//! what clients can hold (connections, header time, write time, body, unread answers); and
//! applies the TLS and basic-auth file of the Prometheus exporter toolkit, which it reads
//! again when it changes. What is served behind it belongs to the systems.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::registry::{Registry, RegistryError};

mod auth;
mod connection;
mod layers;
mod outbox;
mod places;
mod reload;
mod routes;
mod stats;
mod timed_io;
mod tls;
mod web_config;

pub use self::routes::Endpoint;
pub use self::tls::TlsProblem;
pub use self::web_config::{Problem, WebConfigError};

pub(crate) use self::stats::CATALOGUE;

use self::connection::accept_loop;
use self::outbox::Outbox;
use self::places::Places;
use self::stats::Stats;
use self::web_config::Security;

/// Where and how to listen.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses to bind; one port on several addresses counts as several.
    pub listen: Vec<SocketAddr>,
    /// The `--web.config.file`, for TLS and basic auth.
    pub web_config: Option<PathBuf>,
    /// What clients may take.
    pub limits: Limits,
}

impl Config {
    /// Listens on one address without TLS, with the usual limits.
    pub fn plain(listen: SocketAddr) -> Self {
        Self { listen: vec![listen], web_config: None, limits: Limits::default() }
    }
}

/// What clients may take, in number and time.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once. One more takes the place of the one that is waited for longest;
    /// if all are being answered, it is answered 503 and closed.
    pub connections: usize,
    /// From connecting, or from the end of the last answer, to the end of a request's head.
    pub header: Duration,
    /// From the first octet that a client does not take to the end of the answer.
    pub write: Duration,
    /// For an answer to be prepared.
    pub handler: Duration,
    /// Silence in both directions.
    pub idle: Duration,
    /// Octets of a request's body.
    pub body: usize,
    /// Between looks at the web configuration and the files that it names.
    pub reload: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            header: Duration::from_secs(10),
            write: Duration::from_secs(30),
            handler: Duration::from_secs(30),
            idle: Duration::from_secs(90),
            body: 64 << 10,
            reload: Duration::from_secs(2),
        }
    }
}

/// A bound listener that does not serve yet.
#[derive(Debug)]
pub struct Admin {
    listeners: Vec<TcpListener>,
    web_config: Option<reload::Watch>,
    shared: Arc<Shared>,
    registry: Option<Registry>,
}

/// What every connection refers to.
#[derive(Debug)]
struct Shared {
    limits: Limits,
    stats: Arc<Stats>,
    security: ArcSwap<Security>,
    places: Arc<Places>,
    outbox: Outbox,
}

impl Admin {
    /// Reads the web configuration, binds every address and registers the listener's own
    /// metrics. Must be called inside a tokio runtime, once for each registry.
    pub fn bind(config: &Config, registry: &Registry) -> Result<Self, AdminError> {
        let mut admin = Self::bind_apart(config)?;
        registry.source("http", CATALOGUE, Arc::clone(&admin.shared.stats) as _)?;
        admin.registry = Some(registry.clone());
        Ok(admin)
    }

    /// Binds a listener that is no part of any registry, as for profiling.
    pub fn bind_apart(config: &Config) -> Result<Self, AdminError> {
        let (web_config, security) = match &config.web_config {
            Some(path) => reload::Watch::start(path).map(|(watch, first)| (Some(watch), first))?,
            None => (None, Security::default()),
        };
        let listeners = config.listen.iter().map(|address| bind(*address));
        let shared = Shared {
            limits: config.limits,
            stats: Arc::default(),
            security: ArcSwap::from_pointee(security),
            places: Arc::new(Places::new(config.limits.connections)),
            outbox: Outbox::default(),
        };
        Ok(Self {
            listeners: listeners.collect::<Result<_, _>>()?,
            web_config,
            shared: Arc::new(shared),
            registry: None,
        })
    }

    /// The addresses in use, with the ports that the kernel chose for port 0.
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.listeners.iter().filter_map(|listener| listener.local_addr().ok()).collect()
    }

    /// `/metrics` and the health endpoints, to be merged with what systems serve.
    ///
    /// Empty when the listener was bound apart from a registry.
    pub fn routes(&self) -> Router {
        self.registry.as_ref().map_or_else(Router::new, |registry| {
            routes::standard(registry.clone(), Arc::clone(&self.shared))
        })
    }

    /// Serves `router` until `stop`, then lets open requests end within `deadline`.
    pub async fn serve(self, router: Router, stop: CancellationToken, deadline: Duration) {
        let service = layers::around(router, Arc::clone(&self.shared));
        let mut loops = JoinSet::new();
        for listener in self.listeners {
            let (shared, service) = (Arc::clone(&self.shared), service.clone());
            loops.spawn(accept_loop(listener, shared, service, stop.clone(), deadline));
        }
        if let Some(watch) = self.web_config {
            loops.spawn(watch.run(Arc::clone(&self.shared), stop.clone()));
        }
        stop.cancelled().await;
        while loops.join_next().await.is_some() {}
    }
}

/// A page that lists `endpoints`, for `/` of a process without a web UI.
pub fn landing(title: &'static str, endpoints: &[Endpoint]) -> Router {
    routes::landing(title, endpoints)
}

/// Why the listener could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// Somebody else listens there.
    #[error("{address} is taken by another process; choose another port or stop that process")]
    Taken {
        /// The address.
        address: SocketAddr,
    },
    /// A port that needs a capability.
    #[error("{address} may not be bound; grant NET_BIND_SERVICE or choose a port above 1023")]
    NotPermitted {
        /// The address.
        address: SocketAddr,
    },
    /// Any other refusal of the kernel.
    #[error("{address} cannot be bound; check that the address belongs to this host")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A web configuration that cannot be used.
    #[error(transparent)]
    WebConfig(#[from] WebConfigError),
    /// A second listener for one registry.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

fn bind(address: SocketAddr) -> Result<TcpListener, AdminError> {
    let bound = std::net::TcpListener::bind(address).and_then(|listener| {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener)
    });
    bound.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => AdminError::Taken { address },
        io::ErrorKind::PermissionDenied => AdminError::NotPermitted { address },
        _ => AdminError::Bind { address, source },
    })
}
