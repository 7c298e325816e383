//! Who takes the times: programs in the kernel where it takes them, else the sockets.

use std::collections::BTreeMap;

use net_sys::tcx::Order;
use stamp_bpf::PortUse;
use stamp_proto::reflector::Policy;
use stamp_proto::timestamp::Format;

use super::{device, times};
use crate::clock::HostClock;
use crate::error::{Error, Problem};
use crate::kernel::{Kernel, Lane, Pins, Plan, Wanted};
use crate::parse::Target;
use crate::ports::Ports;
use crate::resolver;
use crate::service::{Answering, Reflecting, Sending};
use crate::settings::{Attach, Backend, Common, Format as Form, Host, Named, Reflect, Send};

/// Roles with what they were told.
pub(super) struct Roles<'a> {
    pub(super) senders: Vec<(&'a Send, Sending)>,
    pub(super) reflectors: Vec<(&'a Reflect, Reflecting)>,
}

/// Roles that share programs, because they share a port.
#[derive(Debug, Default)]
struct Group {
    reflector: Option<usize>,
    senders: Vec<usize>,
}

impl Roles<'_> {
    /// Loads and attaches what the roles need; what they can do without is only told.
    pub(super) fn bring_up(
        &mut self,
        ports: &Ports,
        clock: &HostClock,
        host: &Host,
    ) -> Result<Vec<Kernel>, Error> {
        self.check_slots()?;
        let mut kernels = Vec::new();
        for group in self.groups() {
            match self.start(&group, kernels.len(), ports, clock, host) {
                Ok(kernel) => kernels.push(kernel),
                Err(error) if self.demands(&group) || error.is_of_settings() => return Err(error),
                Err(error) => {
                    self.release(&group);
                    tracing::warn!(
                        event = "stamp.fallback",
                        from = "bpf",
                        to = "socket",
                        reason = %error,
                        "Times are taken by sockets: residence is longer, and both ways are known less well"
                    );
                }
            }
        }
        Ok(kernels)
    }

    /// Targets that have names rather than addresses.
    pub(super) fn names(&self) -> Vec<resolver::Named> {
        let of = |(sender, (settings, _)): (usize, &(&Send, Sending))| {
            let targets = settings.targets.iter().enumerate();
            let named = targets.filter_map(|(target, asked)| match asked {
                Target::Name(name) => {
                    let name = name.clone();
                    Some(resolver::Named { sender, target, name, port: settings.dest })
                }
                Target::Address { .. } => None,
            });
            named.collect::<Vec<_>>()
        };
        self.senders.iter().enumerate().flat_map(of).collect()
    }

    /// Calls targets what they are called.
    pub(super) fn name(&mut self, named: &[Named]) {
        for Named { name, node, sender, target } in named {
            let sending = self.senders.get_mut(*sender).map(|(_, sending)| sending);
            if let Some(target) = sending.and_then(|sending| sending.targets.get_mut(*target)) {
                target.name.clone_from(name);
                target.node.clone_from(node);
            }
        }
    }

    /// One group for each reflector; senders are in that of their port, else in the first.
    fn groups(&self) -> Vec<Group> {
        let wants = |common: &Common| common.backend != Backend::Socket;
        let mut groups: Vec<Group> = self
            .reflectors
            .iter()
            .enumerate()
            .filter(|(_, (settings, _))| wants(&settings.common))
            .map(|(at, _)| Group { reflector: Some(at), ..Group::default() })
            .collect();
        for (at, (settings, _)) in self.senders.iter().enumerate() {
            if !wants(&settings.common) {
                continue;
            }
            let shares = |group: &Group| {
                let reflector = group.reflector.and_then(|at| self.reflectors.get(at));
                reflector.is_some_and(|(reflect, _)| reflect.port.contains(&settings.src))
            };
            let group = groups.iter().position(shares).unwrap_or(0);
            if groups.is_empty() {
                groups.push(Group::default());
            }
            groups[group].senders.push(at);
        }
        groups
    }

    fn commons(&self, group: &Group) -> impl Iterator<Item = &Common> {
        let reflector = group.reflector.map(|at| &self.reflectors[at].0.common);
        let senders = group.senders.iter().map(|&at| &self.senders[at].0.common);
        reflector.into_iter().chain(senders.collect::<Vec<_>>())
    }

    fn demands(&self, group: &Group) -> bool {
        self.commons(group).any(|common| common.backend == Backend::Bpf)
    }

    fn start(
        &mut self,
        group: &Group,
        number: usize,
        ports: &Ports,
        clock: &HostClock,
        host: &Host,
    ) -> Result<Kernel, Error> {
        let plan = self.plan(group, ports, host)?;
        let timeout_ns = plan.policy.session_timeout_ns;
        let mut kernel = Kernel::start(plan, clock)?;
        if let Some(at) = group.reflector {
            let answering = Answering::new(number, kernel.parts(), (kernel.lane(), timeout_ns));
            self.reflectors[at].1.kernel = Some(answering);
        }
        for &at in &group.senders {
            let (_, sending) = &mut self.senders[at];
            sending.kernel = Some(number);
            sending.lane = Some(kernel.lane());
            sending.take_seats(at, &mut kernel)?;
        }
        Ok(kernel)
    }

    /// Undoes what a start that failed had begun.
    fn release(&mut self, group: &Group) {
        if let Some(at) = group.reflector {
            self.reflectors[at].1.kernel = None;
        }
        group.senders.iter().for_each(|&at| self.senders[at].1.leave_seats());
    }

    fn plan(&self, group: &Group, ports: &Ports, host: &Host) -> Result<Plan, Error> {
        let reflector = group.reflector.map(|at| &self.reflectors[at]);
        let (policy, format, watched) = match reflector {
            Some((settings, reflecting)) => (
                reflecting.reflector.policy().clone(),
                times(settings.common.timestamp_format),
                is_watched(settings),
            ),
            None => (Policy::default(), Format::Ntp, false),
        };
        let last = self.commons(group).any(|common| common.attach == Attach::Last);
        let pins = reflector.filter(|_| host.pinning.pin).and_then(|(settings, _)| {
            let pins = Pins::make(&host.pinning.bpf_pin_dir, settings.port[0], device(&settings.device));
            // It answers all the same, for as long as the process lives.
            pins.inspect_err(|error| {
                tracing::warn!(event = "stamp.unpinned", %error, "The reflector ends with its process");
            })
            .ok()
        });
        Ok(Plan {
            ports: self.ports(group, ports, &policy),
            wanted: self.wanted(group),
            members: reflector.map(|(settings, _)| settings.member.clone()).unwrap_or_default(),
            xdp: reflector.is_some_and(|(settings, _)| settings.xdp),
            policy,
            format,
            watched,
            order: if last { Order::Last } else { Order::First },
            pins,
            lane: host.lane.map_or_else(Lane::best, Ok)?,
            skew: host.skew,
            lease: host.pinning.lease,
        })
    }

    fn ports(&self, group: &Group, ports: &Ports, policy: &Policy) -> BTreeMap<u16, PortUse> {
        let mut of: BTreeMap<u16, PortUse> = BTreeMap::new();
        for &port in policy.reflector_ports.iter().filter(|_| group.reflector.is_some()) {
            of.entry(port).or_default().known = true;
        }
        let reflector = group.reflector.map(|at| &self.reflectors[at].0.port);
        for &port in reflector.into_iter().flatten() {
            of.entry(port).or_default().reflector = true;
        }
        for &at in &group.senders {
            let port = ports.port(&self.senders[at].1.sockets());
            of.entry(port).or_default().sender = true;
        }
        of
    }

    /// Targets name their devices when they are given their places.
    fn wanted(&self, group: &Group) -> Wanted {
        let reflector = group.reflector.map(|at| self.reflectors[at].0.device.as_str());
        let senders = group.senders.iter().map(|&at| self.senders[at].0.device.as_str());
        let names = reflector.into_iter().chain(senders).filter_map(device);
        Wanted {
            auto: reflector == Some("auto"),
            names: names.map(str::to_owned).collect(),
            ..Wanted::default()
        }
    }

    fn check_slots(&self) -> Result<(), Error> {
        let by_kernel =
            self.senders.iter().filter(|(send, _)| send.common.backend != Backend::Socket);
        let targets = by_kernel.flat_map(|(_, sending)| &sending.targets);
        let slots: usize = targets.map(|target| target.sender.settings().window).sum();
        let (octets, most) = (slots * SLOT_OCTETS, MOST_OCTETS);
        if octets > most {
            return Err(Error::Settings(vec![Problem::Slots { octets, most }]));
        }
        Ok(())
    }
}

/// Whether somebody wants to see each answered request.
fn is_watched(settings: &Reflect) -> bool {
    settings.output || settings.common.hist.is_some() || settings.common.format == Form::Json
}

/// What a request and its reply take in the kernel.
const SLOT_OCTETS: usize = 88;
const MOST_OCTETS: usize = 64 << 20;
