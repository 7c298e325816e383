//! The asynchronous part of the process: it serves and pushes, and may do little else.
//!
//! What strangers send is handled on these threads, so they give up the rights that the
//! measuring threads need. Capabilities belong to threads; the others keep what is in
//! `rights.rs`.

use anyhow::Context;
use net_sys::host::{Capabilities, HostError, drop_capabilities_except};
use tokio::runtime::{Builder, Runtime};

use crate::failure::Failure;

/// Starts it with so many threads, besides those for blocking work.
pub(crate) fn start(workers: usize) -> Result<Runtime, Failure> {
    let built = Builder::new_multi_thread()
        .worker_threads(workers)
        .thread_name(THREAD)
        .on_thread_start(give_up_rights)
        .enable_all()
        .build();
    built
        .context("the runtime can't start; check the limit of processes")
        .map_err(Failure::unavailable)
}

/// Failing to do so is no reason not to serve: nothing depends on it.
fn give_up_rights() {
    if let Err(error) = reduce() {
        tracing::warn!(event = "rights.kept", %error, "A serving thread keeps its capabilities");
    }
}

fn reduce() -> Result<Capabilities, HostError> {
    drop_capabilities_except(Capabilities::from_names(KEPT)?)
}

/// Certificates and credentials are read again while serving; they may belong to somebody else.
const KEPT: [&str; 2] = ["DAC_OVERRIDE", "DAC_READ_SEARCH"];

const THREAD: &str = "serving";
