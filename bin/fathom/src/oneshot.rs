//! `fathom flows --duration`: one measurement, one document.

use flow::document::Document;
use flow::{Config, Controls, System};
use telemetry::registry::Registry;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use crate::args::Flows;
use crate::daemon::signals::Signals;
use crate::failure::Failure;
use crate::serving::{FLOWS, Listener};
use crate::{runtime, version};

/// Measures until the time is over or a signal ends it early.
pub(crate) fn measure(flows: &Flows, unused: &[String]) -> Result<Document, Failure> {
    for key in without_effect(flows).chain(unused.iter().map(String::as_str)) {
        tracing::warn!(event = "config.unused", key, "This has no effect here");
    }
    let runtime = runtime::start(1)?;
    let stop = CancellationToken::new();
    let system = prepare(flows, &runtime, &stop)?;
    let document = system.measure()?;
    stop.cancel();
    runtime.shutdown_background();
    Ok(document)
}

/// What is given and only means something to a daemon.
fn without_effect<'a>(flows: &Flows) -> impl Iterator<Item = &'a str> + use<'a> {
    let Flows { settings, process, .. } = flows;
    let given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let web_config = process.web_config_file.is_some() && settings.listener().is_none();
    let unused = [
        ("otlp_endpoint", given(&settings.otlp_endpoint)),
        ("otlp_base_endpoint", given(&settings.otlp_base_endpoint)),
        ("enable_profiling", settings.enable_profiling),
        ("web_config_file", web_config),
    ];
    unused.into_iter().filter(|(_, unused)| *unused).map(|(key, _)| key)
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
    listener.serve(system.routes(), FLOWS, stop.clone(), flows.settings.shutdown_deadline);
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
