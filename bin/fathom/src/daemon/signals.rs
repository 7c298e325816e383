//! Signals as what they ask for.

use anyhow::Context;
use tokio::signal::unix::{Signal as Stream, SignalKind, signal};

use crate::failure::Failure;

/// What a signal asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// To end in good order (SIGTERM, SIGINT).
    Stop,
    /// To read the configuration again (SIGHUP).
    Reload,
}

/// Signals of this process from now on.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Stream,
    interrupt: Stream,
    hangup: Stream,
}

impl Signals {
    /// Starts to listen; must be called inside a runtime.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let stream = |kind| {
            signal(kind)
                .context("signals can't be received; check the seccomp profile")
                .map_err(Failure::unavailable)
        };
        Ok(Self {
            terminate: stream(SignalKind::terminate())?,
            interrupt: stream(SignalKind::interrupt())?,
            hangup: stream(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Signal {
        tokio::select! {
            Some(()) = self.terminate.recv() => Signal::Stop,
            Some(()) = self.interrupt.recv() => Signal::Stop,
            Some(()) = self.hangup.recv() => Signal::Reload,
            else => std::future::pending().await,
        }
    }

    /// Waits until somebody asks to end.
    pub(crate) async fn again(&mut self) {
        while self.next().await != Signal::Stop {}
    }
}
