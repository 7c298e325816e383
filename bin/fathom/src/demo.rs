//! `fathom demo`: a laboratory with traffic, and the flows system on one of its nodes.

use std::fmt::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use flow::settings::{AutoOnOff, Discover, OnExit};
use flow::{Config, Settings};
use net_sys::host::Capabilities;
use telemetry::logs::Format;
use testkit::Lab;
use testkit::lab::{LabError, Node, Plan as LabPlan};

use crate::args::{Demo, Process, address};
use crate::daemon::{self, Plan};
use crate::failure::Failure;
use crate::output;
use crate::settings::Input;

/// Builds, shows, and leaves nothing behind.
pub(crate) fn run(input: &Input, asked: &Demo, settings: Settings) -> Result<(), Failure> {
    check_rights()?;
    let mut lab = Lab::build(&LabPlan::default()).map_err(not_built)?;
    lab.start_traffic().map_err(not_built)?;
    let plan = plan(asked, settings, lab.node_a())?;
    daemon::rehearse(input, plan, |listen| output::print_text(&invitation(&lab, listen)))
}

/// Without these the first `ip` command would fail halfway through.
fn check_rights() -> Result<(), Failure> {
    let held = Capabilities::effective().map_err(Failure::unavailable)?;
    let needed = Capabilities::from_names(RIGHTS).map_err(Failure::bug)?;
    if held.contains(needed) {
        return Ok(());
    }
    let absent = needed.difference(held);
    Err(Failure::not_permitted(anyhow!("the laboratory needs {absent}; run it as root")))
}

fn not_built(error: LabError) -> Failure {
    Failure::unavailable(anyhow::Error::from(error).context("the laboratory can't be built"))
}

fn plan(asked: &Demo, settings: Settings, node: &Node) -> Result<Plan, Failure> {
    let edges =
        node.pods.iter().map(|pod| format!("{}={}", pod.host_device.name(), pod.name).parse());
    let settings = Settings {
        pod_edge: edges.collect::<Result<_, _>>().map_err(Failure::bug)?,
        discover: Discover::Off,
        no_pin: true,
        on_exit: OnExit::Detach,
        collection_interval: INTERVAL,
        kube: AutoOnOff::Off,
        node_name: Some(node.name.to_owned()),
        ..settings
    };
    Ok(Plan {
        process: Process {
            config: None,
            log_level: asked.log_level,
            log_format: Format::Console,
            web_config_file: None,
        },
        listen: address(asked.listen),
        deadline: settings.shutdown_deadline,
        flows: Config::new(settings)?,
        counts: true,
        stamp: None,
        alone: true,
        unused: Vec::new(),
        place: Some(node.namespace.place().clone()),
        lifetime: asked.duration,
    })
}

fn invitation(lab: &Lab, listen: Option<SocketAddr>) -> String {
    let mut text =
        String::from("Two nodes with three pods are up, and everybody talks to everybody:\n");
    for pod in lab.pods() {
        let put = writeln!(text, "  {}  {}  {}", pod.name, pod.addresses.v4, pod.addresses.v6);
        put.expect("a String takes everything");
    }
    if let Some(address) = listen {
        let put = write!(
            text,
            "\nPackets of a1 and a2 are counted on {}. Look at\n  \
             curl -s http://{address}/metrics | grep fathom_flows_tx\n  \
             curl -s 'http://{address}/api/v1/flows?sort=bytes&limit=5'\n  \
             curl -s http://{address}/api/v1/flows/audit\n",
            lab.node_a().name,
        );
        put.expect("a String takes everything");
    }
    text.push_str("\nCtrl-C ends it and leaves nothing behind.\n");
    text
}

const RIGHTS: [&str; 3] = ["NET_ADMIN", "SYS_ADMIN", "BPF"];

/// Short, so that there is something to see at once.
const INTERVAL: Duration = Duration::from_secs(2);
