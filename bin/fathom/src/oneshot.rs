//! `fathom flows --duration`: one measurement, one document.

use std::sync::mpsc::SyncSender;

use axum::Router;
use flow::document::Document;
use flow::{Command, Config};
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
    let duration = flows.settings.duration.unwrap_or_default();
    let config = Config::new(flows.settings.clone())?;
    let (sender, commands) = flow::channel();
    let runtime = runtime::start(1)?;
    let stop = CancellationToken::new();
    serve(flows, &runtime, &stop)?;
    end_early(&runtime, sender.clone())?;
    let document = flow::measure(&config, duration, &commands, sender)?;
    stop.cancel();
    runtime.shutdown_background();
    Ok(document)
}

/// Health and the process's own metrics, for whoever asked for a listener.
fn serve(flows: &Flows, runtime: &Runtime, stop: &CancellationToken) -> Result<(), Failure> {
    let _entered = runtime.enter();
    let registry = Registry::new(version::build());
    let web_config = flows.process.web_config_file.clone();
    let listener = Listener::bind(flows.settings.listener(), web_config, &registry)?;
    listener.serve(Router::new(), stop.clone(), flows.settings.shutdown_deadline);
    Ok(())
}

fn end_early(runtime: &Runtime, sender: SyncSender<Command>) -> Result<(), Failure> {
    let _entered = runtime.enter();
    let mut signals = Signals::listen()?;
    runtime.spawn(async move {
        // There is nothing to reload: the end of the terminal ends the window, too.
        signals.next().await;
        // A full queue is emptied at the next drain; the window then ends by itself.
        drop(sender.try_send(Command::Stop));
    });
    Ok(())
}
