//! `fathom flows --duration`: one measurement, one document.

use flow::document::Document;
use flow::{Config, Controls, System};
use telemetry::registry::Registry;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::args::Flows;
use crate::daemon::signals::Signals;
use crate::failure::Failure;
use crate::serving::Listener;
use crate::{runtime, version};

/// Measures until the time is over or a signal ends it early.
pub(crate) fn measure(flows: &Flows) -> Result<Document, Failure> {
    let runtime = runtime::start(1)?;
    let stop = CancellationToken::new();
    let system = prepare(flows, &runtime, &stop)?;
    let document = system.measure()?;
    stop.cancel();
    runtime.shutdown_background();
    Ok(document)
}

/// The system, and a listener for whoever asked for one. A taken port costs nothing,
/// because nothing is attached yet.
fn prepare(flows: &Flows, runtime: &Runtime, stop: &CancellationToken) -> Result<System, Failure> {
    let _entered = runtime.enter();
    let registry = Registry::new(version::build());
    let web_config = flows.process.web_config_file.clone();
    let listener = Listener::bind(flows.settings.listener(), web_config, &registry)?;
    let system = System::alone(Config::new(flows.settings.clone())?, &registry)?;
    if let Some(address) = listener.address() {
        system.listening(address);
    }
    listener.serve(system.routes(), stop.clone(), flows.settings.shutdown_deadline);
    end_early(system.controls())?;
    Ok(system)
}

fn end_early(controls: Controls) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    tokio::spawn(async move {
        // There is nothing to reload: the end of the terminal ends the window, too.
        signals.next().await;
        controls.stop();
    });
    Ok(())
}
