//! What the process may do from the start on.

use net_sys::host::{Capabilities, drop_capabilities_except, raise_memlock};
use rustix::thread::set_no_new_privs;

/// Gives up what no system needs. Capabilities belong to threads, so this comes before the
/// first of them is started.
pub(crate) fn reduce() -> anyhow::Result<()> {
    // Bounds maps before kernel 5.11. What cannot be raised is told when a map is refused.
    drop(raise_memlock());
    drop_capabilities_except(Capabilities::from_names(NEEDED)?)?;
    Ok(set_no_new_privs(true)?)
}

/// Failing to do so is no reason not to measure: nothing depends on it.
pub(crate) fn tell(reduced: anyhow::Result<()>) {
    if let Err(error) = reduced {
        tracing::warn!(event = "rights.kept", %error, "The process keeps its capabilities");
    }
}

/// SECURITY.md says for what.
const NEEDED: [&str; 9] = [
    "BPF",
    "NET_ADMIN",
    "PERFMON",
    "SYS_ADMIN",
    "SYS_RESOURCE",
    "SYS_PTRACE",
    "NET_BIND_SERVICE",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
];
