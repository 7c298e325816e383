//! Pushing metrics where an endpoint is configured.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use flow::Settings;
use flow::settings::OtlpProtocol;
use telemetry::otlp::{Config, Counters, Exporter, Protocol, metrics_url};
use telemetry::registry::Registry;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::plan::Plan;
use crate::failure::Failure;

/// The push under way, if there is one.
#[derive(Debug)]
pub(crate) struct Push {
    counters: Arc<Counters>,
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Push {
    /// Starts to push, or only gets ready to do so after a reload.
    pub(crate) fn start(plan: &Plan, registry: &Registry) -> Result<Self, Failure> {
        let counters = Counters::register(registry).map_err(Failure::bug)?;
        let mut push = Self { counters, running: None };
        let exporter = push.prepare(plan, registry)?;
        push.replace(exporter, plan.deadline);
        Ok(push)
    }

    /// An exporter for a plan, before anything is changed.
    pub(crate) fn prepare(
        &self,
        plan: &Plan,
        registry: &Registry,
    ) -> Result<Option<Exporter>, Failure> {
        let Some(config) = config(plan) else { return Ok(None) };
        let exporter = Exporter::new(&config, registry.clone(), Arc::clone(&self.counters));
        exporter.map(Some).map_err(Failure::usage)
    }

    /// Goes on with another exporter. The old one pushes once more in the background.
    pub(crate) fn replace(&mut self, exporter: Option<Exporter>, deadline: Duration) {
        if let Some(old) = self.running.take() {
            old.stop.cancel();
        }
        self.running = exporter.map(|exporter| {
            let stop = CancellationToken::new();
            let task = tokio::spawn(exporter.run(stop.clone(), deadline));
            Running { stop, task }
        });
    }

    /// Pushes for the last time.
    pub(crate) async fn stop(&mut self, deadline: Duration) {
        if let Some(Running { stop, task }) = self.running.take() {
            stop.cancel();
            // What was not pushed in time is counted by the exporter itself.
            drop(tokio::time::timeout(deadline, task).await);
        }
    }
}

fn config(plan: &Plan) -> Option<Config> {
    let settings = plan.shared();
    Some(Config {
        endpoint: endpoint(settings)?,
        protocol: protocol(settings),
        interval: settings.otlp_interval,
        timeout: Duration::from_millis(settings.otlp_timeout),
        headers: settings.otlp_header.clone(),
        resource: resource(settings, plan.flows.node_name()),
        certificate: None,
    })
}

/// The endpoint for metrics as it is, else the one for all signals with the path of metrics.
fn endpoint(settings: &Settings) -> Option<String> {
    let given = |text: &&String| !text.is_empty();
    if let Some(own) = settings.otlp_endpoint.as_ref().filter(given) {
        return Some(own.clone());
    }
    let base = settings.otlp_base_endpoint.as_ref().filter(given)?;
    Some(match protocol(settings) {
        Protocol::Grpc => base.clone(),
        _ => metrics_url(base),
    })
}

const fn protocol(settings: &Settings) -> Protocol {
    match settings.otlp_protocol {
        OtlpProtocol::HttpProtobuf => Protocol::HttpProtobuf,
        OtlpProtocol::Grpc => Protocol::Grpc,
    }
}

/// Who pushes. `OTEL_SERVICE_NAME` beats a name among the attributes, our default does not.
fn resource(settings: &Settings, node: String) -> BTreeMap<String, String> {
    let mut resource: BTreeMap<_, _> = settings.otlp_resource_attributes.iter().cloned().collect();
    let name = &settings.otlp_service_name;
    if name != DEFAULT_NAME || !resource.contains_key(SERVICE_NAME) {
        resource.insert(SERVICE_NAME.into(), name.clone());
    }
    resource.entry("k8s.node.name".into()).or_insert(node);
    if let Some(uid) = settings.pod_uid.as_ref().filter(|uid| !uid.is_empty()) {
        resource.entry("k8s.pod.uid".into()).or_insert_with(|| uid.clone());
    }
    resource
}

const SERVICE_NAME: &str = "service.name";
const DEFAULT_NAME: &str = "fathom";

#[cfg(test)]
mod tests {
    use flow::Settings;

    use super::{endpoint, resource};
    use crate::args::Command;
    use crate::settings::{Environment, Input};

    fn settings<const N: usize>(variables: [(&str, &str); N]) -> Settings {
        let told = Input::new(["fathom", "flows"], Environment::from(variables)).read().unwrap();
        match told.command {
            Command::Flows(flows) => flows.settings,
            other => panic!("flows was asked for, not {other:?}"),
        }
    }

    #[test]
    fn nothing_is_pushed_unless_an_endpoint_is_given() {
        assert_eq!(endpoint(&settings([])), None);
        assert_eq!(endpoint(&settings([("OTEL_EXPORTER_OTLP_ENDPOINT", "")])), None);
    }

    #[test]
    fn only_the_endpoint_of_all_signals_gets_the_path_of_metrics() {
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4318/");
        let own = ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "http://m:4318/x");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        assert_eq!(endpoint(&settings([all])).as_deref(), Some("http://c:4318/v1/metrics"));
        assert_eq!(endpoint(&settings([all, own])).as_deref(), Some("http://m:4318/x"));
        assert_eq!(endpoint(&settings([all, grpc])).as_deref(), Some("http://c:4318/"));
    }

    #[test]
    fn a_given_service_name_beats_the_attribute_and_the_default_does_not() {
        let attribute = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,zone=z");
        let named = |variables: &Settings| resource(variables, "n".into())["service.name"].clone();
        assert_eq!(named(&settings([])), "fathom");
        assert_eq!(named(&settings([attribute])), "a");
        assert_eq!(named(&settings([attribute, ("OTEL_SERVICE_NAME", "b")])), "b");
    }

    #[test]
    fn the_resource_tells_node_and_pod() {
        let resource = resource(&settings([("DAEMONSET_POD_UID", "u")]), "n".into());
        assert_eq!(resource["k8s.node.name"], "n");
        assert_eq!(resource["k8s.pod.uid"], "u");
    }
}
