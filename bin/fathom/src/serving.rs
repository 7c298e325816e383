//! The listeners of the process, and the cryptography they and the push need.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use axum::Router;
use flow::Settings;
use telemetry::admin::{Admin, Config, Endpoint, Limits, landing};
use telemetry::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::failure::Failure;

/// Makes ring the cryptography of the process; rustls refuses to guess.
pub(crate) fn choose_cryptography() -> Result<(), Failure> {
    let installed = rustls::crypto::ring::default_provider().install_default();
    installed.map_err(|_| {
        Failure::bug(anyhow!("cryptography was chosen twice; choose it once, at the start"))
    })
}

/// A bound listener, or none if listening is off.
#[derive(Debug)]
pub(crate) struct Listener(Option<Admin>);

impl Listener {
    /// Binds before anything is attached, so that a taken port costs nothing.
    pub(crate) fn bind(
        address: Option<SocketAddr>,
        web_config: Option<PathBuf>,
        registry: &Registry,
    ) -> Result<Self, Failure> {
        let Some(address) = address else { return Ok(Self(None)) };
        let config = Config { listen: vec![address], web_config, limits: Limits::default() };
        Ok(Self(Some(Admin::bind(&config, registry)?)))
    }

    /// The address in use.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.as_ref()?.local_addrs().first().copied()
    }

    /// Serves in the background until `stop`, then lets open requests end.
    pub(crate) fn serve(
        self,
        systems: Router,
        endpoints: &'static [Endpoint],
        stop: CancellationToken,
        deadline: Duration,
    ) -> Option<JoinHandle<()>> {
        let admin = self.0?;
        let router = admin.routes().merge(landing("fathom", endpoints)).merge(systems);
        Some(tokio::spawn(admin.serve(router, stop, deadline)))
    }
}

/// Where profiles are served, if they are.
pub(crate) fn profiling(settings: &Settings) -> Option<SocketAddr> {
    let address = SocketAddr::new(settings.profiling_listen, settings.profiling_port);
    settings.enable_profiling.then_some(address)
}

/// What is wrong if profiles are to be served on the port of everything else. The kernel would
/// only say that it is taken.
pub(crate) fn port_clash(own: Option<SocketAddr>, settings: &Settings) -> Option<String> {
    let (own, other) = (own?, profiling(settings)?);
    let any = own.ip().is_unspecified() || other.ip().is_unspecified();
    let clash = own.port() == other.port() && (any || own.ip() == other.ip());
    (clash && own.port() != 0).then(|| {
        format!("profiling_port: everything else is served at {own} already; choose another port")
    })
}

/// Serves profiles on a listener of their own until `stop`.
pub(crate) fn serve_profiles(
    address: SocketAddr,
    stop: CancellationToken,
) -> Result<JoinHandle<()>, Failure> {
    let config = Config { limits: telemetry::profiling::limits(), ..Config::plain(address) };
    let admin = Admin::bind_apart(&config)?;
    // A profile under way is not worth waiting for.
    Ok(tokio::spawn(admin.serve(telemetry::profiling::router(), stop, Duration::ZERO)))
}

/// What the systems of an agent serve.
pub(crate) const fn endpoints(flows: bool, stamp: bool) -> &'static [Endpoint] {
    match (flows, stamp) {
        (true, true) => BOTH,
        (false, true) => STAMP,
        _ => FLOWS,
    }
}

/// What the flows system serves.
pub(crate) const FLOWS: &[Endpoint] =
    &[METRICS, LIVE, READY, OF_FLOWS[0], OF_FLOWS[1], OF_FLOWS[2], OF_FLOWS[3]];

/// What the stamp system serves.
pub(crate) const STAMP: &[Endpoint] =
    &[METRICS, LIVE, READY, OF_STAMP[0], OF_STAMP[1], OF_STAMP[2], OF_STAMP[3]];

const BOTH: &[Endpoint] = &[
    METRICS,
    LIVE,
    READY,
    OF_FLOWS[0],
    OF_FLOWS[1],
    OF_FLOWS[2],
    OF_FLOWS[3],
    OF_STAMP[0],
    OF_STAMP[1],
    OF_STAMP[2],
    OF_STAMP[3],
];

const OF_FLOWS: [Endpoint; 4] = [
    Endpoint { path: "/api/v1/flows", about: "flows of the last period" },
    Endpoint { path: "/api/v1/flows/edges", about: "where packets are counted" },
    Endpoint { path: "/api/v1/flows/pairs", about: "amounts by pair of addresses" },
    Endpoint { path: "/api/v1/flows/audit", about: "whether the numbers agree" },
];

const OF_STAMP: [Endpoint; 4] = [
    Endpoint { path: "/api/v1/stamp", about: "what was measured, by target" },
    Endpoint { path: "/api/v1/stamp/reflector", about: "what was answered, by session" },
    Endpoint { path: "/api/v1/stamp/offsets", about: "where other clocks stand" },
    Endpoint { path: "/api/v1/stamp/clock", about: "this host's clock" },
];

const METRICS: Endpoint = Endpoint { path: "/metrics", about: "metrics for Prometheus" };
const LIVE: Endpoint = Endpoint { path: "/health/live", about: "whether measuring goes on" };
const READY: Endpoint = Endpoint { path: "/health/ready", about: "whether everything is attached" };
