//! What a daemon is going to do, decided before it does anything.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::anyhow;
use flow::{Config, Settings};
use stamp::config::Stamp;
use testkit::Place;

use crate::args::{Agent, Command, Flows, Process, address};
use crate::failure::Failure;
use crate::serving::{port_clash, profiling};
use crate::settings::Told;

/// The whole of it.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Settings of the process.
    pub process: Process,
    /// Where to serve.
    pub listen: Option<SocketAddr>,
    /// Bound on the end.
    pub deadline: Duration,
    /// The flows system, or what the process takes from it where nobody named it.
    pub flows: Config,
    /// Whether flows are counted.
    pub counts: bool,
    /// The stamp system, if it runs.
    pub stamp: Option<Stamp>,
    /// Whether one failing system is the end of the process.
    pub alone: bool,
    /// Keys that were given and do nothing here.
    pub unused: Vec<String>,
    /// The namespace to measure in, if it is not the process's own.
    pub place: Option<Place>,
    /// When to end without being told.
    pub lifetime: Option<Duration>,
}

impl Plan {
    /// Decides, or tells what contradicts.
    pub(crate) fn new(told: Told) -> Result<Self, Failure> {
        let plan = match told.command {
            Command::Flows(flows) => Self::of_flows(*flows, told.unused)?,
            Command::Agent(agent) if told.systems.is_empty() => {
                return Err(nothing_to_run(&agent));
            }
            Command::Agent(agent) => Self {
                counts: told.systems.contains(&"flows"),
                stamp: told.stamp,
                ..Self::of_agent(agent, told.flows, told.unused)?
            },
            _ => return Err(Failure::bug(anyhow!("only flows and agent are daemons"))),
        };
        match port_clash(plan.listen, plan.shared()) {
            Some(clash) => Err(Failure::usage(anyhow!(clash))),
            None => Ok(plan),
        }
    }

    fn of_flows(flows: Flows, unused: Vec<String>) -> Result<Self, Failure> {
        let Flows { settings, process, .. } = flows;
        Ok(Self {
            process,
            listen: settings.listener(),
            deadline: settings.shutdown_deadline,
            flows: Config::new(settings)?,
            counts: true,
            stamp: None,
            alone: true,
            unused,
            place: None,
            lifetime: None,
        })
    }

    fn of_agent(agent: Agent, flows: Settings, unused: Vec<String>) -> Result<Self, Failure> {
        let settings =
            Settings { duration: None, shutdown_deadline: agent.shutdown_deadline, ..flows };
        Ok(Self {
            process: agent.process,
            listen: address(agent.listen),
            deadline: agent.shutdown_deadline,
            flows: Config::new(settings)?,
            counts: true,
            stamp: None,
            alone: false,
            unused,
            place: None,
            lifetime: None,
        })
    }

    /// Settings that the systems and the process share.
    pub(crate) const fn shared(&self) -> &Settings {
        self.flows.settings()
    }

    /// Where profiles are served, if they are.
    pub(crate) fn profiling(&self) -> Option<SocketAddr> {
        profiling(self.shared())
    }

    /// Settings of the process that another plan has otherwise and that are fixed while it
    /// runs. Those a system has by itself are told by the system.
    pub(crate) fn fixed_differences(&self, other: &Self) -> Vec<&'static str> {
        let (own, others) = (&self.process, &other.process);
        let differs = [
            ("listen", !self.alone && self.listen != other.listen),
            ("shutdown_deadline", self.deadline != other.deadline),
            ("log_format", own.log_format != others.log_format),
            ("web_config_file", own.web_config_file != others.web_config_file),
            ("flows", self.counts != other.counts),
            ("stamp", self.stamp.is_some() != other.stamp.is_some()),
        ];
        let fixed = differs.into_iter().filter(|(_, differs)| *differs);
        fixed.map(|(key, _)| key).collect()
    }
}

fn nothing_to_run(agent: &Agent) -> Failure {
    match &agent.process.config {
        None => Failure::usage(anyhow!("the agent needs a configuration file; give --config FILE")),
        Some(path) => {
            let path = path.display();
            Failure::usage(anyhow!("{path}: names no system to run; add for example `flows: {{}}`"))
        }
    }
}
