//! The rule that makes plans of devices.

use std::time::{Duration, Instant};

use flow_bpf::LinkLayer;
use flow_model::edge::{Place, Text};
use net_sys::{
    survey::{Crossing, Device},
    tcx::Hook,
};

use crate::{
    degradation::Degradation,
    error::Error,
    parse::Glob,
    plan::EdgePlan,
    settings::{EdgeHooks, Settings},
    site::{Namespace, Site, Way},
};

/// Which devices are pod edges, and where they are hooked.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    /// Host-side names that are never edges.
    pub(crate) exclude: Vec<Glob>,
    /// Where edges are hooked.
    pub(crate) hooks: EdgeHooks,
    /// The namespace of the process.
    pub(crate) own: Namespace,
}

/// What the rule makes of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not a pod edge.
    Ignored,
    /// A pod edge whose namespace file may still come.
    Early,
    /// To be hooked like this.
    Edge(Box<EdgePlan>),
}

/// How long a namespace file may come after its device.
pub(crate) const EARLY: Duration = Duration::from_secs(2);

impl Rule {
    /// The rule that settings ask for.
    pub(crate) fn of(settings: &Settings) -> Result<Self, Error> {
        let own = Namespace::own()
            .map_err(|source| Error::Edge { edge: "own namespace".into(), source })?;
        Ok(Self { exclude: settings.discover_exclude.clone(), hooks: settings.edge_hooks, own })
    }

    /// Judges a device. `now` decides whether its namespace file is still waited for.
    pub(crate) fn judge(&self, crossing: &Crossing, now: Instant) -> Verdict {
        match &crossing.host {
            Some(host) if self.is_excluded(&host.name) => Verdict::Ignored,
            Some(host) => self.judge_pair(crossing, host, now),
            None => self.judge_alone(crossing),
        }
    }

    fn is_excluded(&self, name: &str) -> bool {
        self.exclude.iter().any(|glob| glob.matches(name))
    }

    /// A device with a side here. Without a way into its namespace both directions are
    /// hooked on this side.
    fn judge_pair(&self, crossing: &Crossing, host: &Device, now: Instant) -> Verdict {
        let inside = inside(crossing);
        let kind = host.kind.as_deref();
        if inside.is_none()
            && self.hooks != EdgeHooks::Host
            && now.saturating_duration_since(crossing.noticed) < EARLY
        {
            return Verdict::Early;
        }
        let here = |hook| site(&self.own, host, hook, Place::Host);
        let there =
            |(namespace, pod): &(Namespace, &Device), hook| site(namespace, pod, hook, Place::Pod);
        let sites = match (&inside, self.hooks) {
            (Some(pod), EdgeHooks::Pod) => [there(pod, Hook::Egress), there(pod, Hook::Ingress)],
            (Some(pod), EdgeHooks::Auto) if kind == Some("netkit") => {
                [there(pod, Hook::Egress), there(pod, Hook::Ingress)]
            }
            (Some(pod), EdgeHooks::Auto) => [here(Hook::Ingress), there(pod, Hook::Ingress)],
            _ => [here(Hook::Ingress), here(Hook::Egress)],
        };
        let wanted_inside = inside.is_none() && self.hooks != EdgeHooks::Host;
        let degraded = wanted_inside.then_some(Degradation::HostEgress);
        Verdict::Edge(Box::new(EdgePlan { degraded, ..plan(crossing, sites) }))
    }

    /// A device without a side here: hooked inside, if it is one that reaches the network.
    fn judge_alone(&self, crossing: &Crossing) -> Verdict {
        let Some((namespace, pod)) = inside(crossing) else {
            return Verdict::Ignored;
        };
        if !pod.up || !is_uplink(pod) || self.is_excluded(&pod.name) {
            return Verdict::Ignored;
        }
        let sites =
            [Hook::Egress, Hook::Ingress].map(|hook| site(&namespace, pod, hook, Place::Pod));
        Verdict::Edge(Box::new(plan(crossing, sites)))
    }
}

/// Physical functions and devices stacked on one of the node's. Bridges, tunnels and
/// veths between namespaces carry what another edge counts, or what is not this node's.
fn is_uplink(device: &Device) -> bool {
    match device.kind.as_deref() {
        None => device.is_ethernet(),
        Some(kind) => ["macvlan", "macvtap", "ipvlan", "ipvtap"].contains(&kind),
    }
}

fn inside(crossing: &Crossing) -> Option<(Namespace, &Device)> {
    let namespace = crossing.namespace.as_ref()?;
    let way = Way::File(namespace.path.clone());
    Some((Namespace { way, inode: namespace.inode }, crossing.pod.as_ref()?))
}

fn site(namespace: &Namespace, device: &Device, hook: Hook, place: Place) -> Site {
    Site {
        namespace: namespace.clone(),
        ifindex: device.ifindex,
        interface: device.name.clone(),
        hook,
        place,
        link_layer: LinkLayer::from_arphrd(device.link_type),
    }
}

fn plan(crossing: &Crossing, sites: [Site; 2]) -> EdgePlan {
    let index = |device: Option<&Device>| device.map_or(0, |device| device.ifindex);
    EdgePlan {
        name: name(crossing),
        sites,
        netns_inode: crossing.namespace.as_ref().map_or(0, |namespace| namespace.inode),
        host_ifindex: index(crossing.host.as_ref()),
        pod_ifindex: index(crossing.pod.as_ref()),
        degraded: None,
    }
}

/// The namespace's file name, else the device's. Names come from elsewhere: what does not
/// fit the edge book is cut.
fn name(crossing: &Crossing) -> String {
    let file = crossing.namespace.as_ref().and_then(|namespace| namespace.path.file_name());
    let device = crossing.host.as_ref().or(crossing.pod.as_ref());
    let name = file
        .map(|file| file.to_string_lossy().into_owned())
        .or_else(|| device.map(|device| device.name.clone()))
        .unwrap_or_default();
    let fits = name.char_indices().map(|(at, sign)| at + sign.len_utf8());
    let end = fits.take_while(|end| *end <= Text::MAX).last().unwrap_or_default();
    name.get(..end).unwrap_or_default().to_owned()
}

#[cfg(test)]
pub(crate) mod tests;
