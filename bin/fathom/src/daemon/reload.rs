//! SIGHUP: the same sources are read again; what is bad changes nothing.
//!
//! Here is what belongs to the process. A system says `config.reloaded` itself, once the new
//! settings are in force.

use super::Parts;
use super::plan::Plan;
use crate::failure::Failure;
use crate::settings::Input;

/// Reads every source again and takes what can be taken while the process runs.
pub(super) fn take(input: &Input, plan: &mut Plan, parts: Parts<'_>) {
    let registry = parts.registry;
    match apply(input, plan, parts) {
        Ok(fixed) => {
            registry.config_reloaded(true);
            tracing::info!(event = "config.read", "Configuration read again");
            if !fixed.is_empty() {
                let keys = fixed.join(", ");
                tracing::warn!(event = "config.read", keys, "These changes need a restart");
            }
        }
        Err(failure) => {
            registry.config_reloaded(false);
            tracing::error!(event = "config.rejected", error = %failure, "Configuration not changed");
        }
    }
}

/// Everything that can fail comes before the first change.
fn apply(input: &Input, plan: &mut Plan, parts: Parts<'_>) -> Result<Vec<&'static str>, Failure> {
    let new = Plan::new(input.read()?)?;
    if plan.counts {
        new.flows.check_edges()?;
    }
    let exporter = parts.push.prepare(&new, parts.registry)?;
    parts.push.replace(exporter, plan.deadline);
    parts.logs.set_level(new.process.log_level);
    parts.systems.reload(&new);
    let fixed = plan.fixed_differences(&new);
    plan.process.log_level = new.process.log_level;
    plan.flows = new.flows;
    Ok(fixed)
}
