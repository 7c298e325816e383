//! Edges that the command line names.

use std::collections::BTreeMap;

use flow_model::flow::Direction;
use net_sys::{Netns, Route, link::Link};

use crate::{
    error::{Error, SiteError},
    parse::{NetnsEdge, PodEdge},
    plan::EdgePlan,
    site::{Namespace, Way},
};

/// Edges that the settings name.
pub(crate) struct Found {
    /// Those that are there.
    pub(crate) plans: Vec<EdgePlan>,
    /// Names of those that are not, and why.
    pub(crate) missing: Vec<(String, Error)>,
}

/// Finds every named edge, or says which can't be had.
pub(crate) fn resolve(pod_edges: &[PodEdge], netns: &[NetnsEdge]) -> Result<Vec<EdgePlan>, Error> {
    let found = look_up(pod_edges, netns)?;
    match found.missing.into_iter().next() {
        Some((_, error)) => Err(error),
        None => Ok(found.plans),
    }
}

/// Finds the named edges that are there.
///
/// # Errors
///
/// When one is named twice, or two have one name.
pub(crate) fn look_up(pod_edges: &[PodEdge], netns: &[NetnsEdge]) -> Result<Found, Error> {
    name_once(pod_edges)?;
    let pods = pod_edges
        .iter()
        .map(|edge| (format!("--pod-edge {edge}"), edge.name.clone(), pod_edge(edge)));
    let namespaces =
        netns.iter().map(|edge| (format!("--netns {edge}"), edge.name.clone(), netns_edge(edge)));
    let (mut found, mut missing) = (Vec::new(), Vec::new());
    for (given, name, named) in pods.chain(namespaces) {
        match named {
            Ok(named) => admit(&mut found, given, named)?,
            Err(source) => missing.push((name, Error::Edge { edge: given, source })),
        }
    }
    let plans = found.into_iter().map(|(_, named)| named.plan).collect();
    Ok(Found { plans, missing })
}

/// One interface named twice is a mistake, whether it is there or not.
fn name_once(pod_edges: &[PodEdge]) -> Result<(), Error> {
    let mut known: BTreeMap<&str, &PodEdge> = BTreeMap::new();
    for edge in pod_edges {
        if let Some(first) = known.insert(&edge.interface, edge) {
            let [first, second] = [first, edge].map(|edge| format!("--pod-edge {edge}"));
            return Err(Error::Twice { first, second, why: "one interface" });
        }
    }
    Ok(())
}

/// An edge and where the other end of its veth is.
struct Named {
    plan: EdgePlan,
    device: Device,
    peer: Option<Device>,
}

#[derive(PartialEq, Eq)]
struct Device {
    netns_inode: u64,
    ifindex: u32,
}

fn pod_edge(edge: &PodEdge) -> Result<Named, SiteError> {
    let namespace = Namespace::own()?;
    let links = namespace.links()?;
    let link = by_name(&links, &edge.interface)?;
    if link.loopback {
        return Err(SiteError::Loopback { interface: edge.interface.clone() });
    }
    Ok(Named {
        plan: EdgePlan::host(&edge.name, &namespace, link),
        device: Device { netns_inode: namespace.inode, ifindex: link.ifindex },
        peer: peer_of(&namespace, link, None),
    })
}

fn netns_edge(edge: &NetnsEdge) -> Result<Named, SiteError> {
    let path = net_sys::netns::path_of(edge.path.as_os_str());
    let namespace = Namespace::at(path)?;
    let links = namespace.links()?;
    let link = match &edge.interface {
        Some(interface) => by_name(&links, interface)?,
        None => pick(&links)?,
    };
    let own = Netns::current()?;
    let peer = peer_of(&namespace, link, Some(&own));
    // Others name the device they stand on in the place of a peer.
    let is_pair = matches!(link.kind.as_deref(), Some("veth" | "netkit"));
    let here = peer.as_ref().filter(|peer| is_pair && peer.netns_inode == own.inode());
    let host_ifindex = here.map_or(0, |peer| peer.ifindex);
    Ok(Named {
        plan: EdgePlan::pod(&edge.name, &namespace, link, host_ifindex),
        device: Device { netns_inode: namespace.inode, ifindex: link.ifindex },
        peer,
    })
}

fn by_name<'a>(links: &'a [Link], interface: &str) -> Result<&'a Link, SiteError> {
    links
        .iter()
        .find(|link| link.name == interface)
        .ok_or_else(|| SiteError::NoInterface { interface: interface.to_owned() })
}

/// `eth0`, else the only device that is not loopback.
fn pick(links: &[Link]) -> Result<&Link, SiteError> {
    if let Some(eth0) = links.iter().find(|link| link.name == "eth0") {
        return Ok(eth0);
    }
    let mut candidates = links.iter().filter(|link| !link.loopback);
    match (candidates.next(), candidates.next()) {
        (None, _) => Err(SiteError::Empty),
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(SiteError::Ambiguous {
            candidates: links
                .iter()
                .filter(|link| !link.loopback)
                .map(|link| link.name.clone())
                .collect(),
        }),
    }
}

/// The other end of a veth as far as it can be told: in the same namespace, or in
/// `other`. Ends elsewhere are found from their own side.
fn peer_of(namespace: &Namespace, link: &Link, other: Option<&Netns>) -> Option<Device> {
    let ifindex = link.peer_ifindex?;
    let Some(nsid) = link.link_netnsid else {
        return Some(Device { netns_inode: namespace.inode, ifindex });
    };
    let other = other?;
    let there = namespace.within(|| Ok(Route::open()?.nsid(other)?)).ok()??;
    (there == nsid).then(|| Device { netns_inode: other.inode(), ifindex })
}

fn admit(found: &mut Vec<(String, Named)>, given: String, named: Named) -> Result<(), Error> {
    for (first, earlier) in found.iter() {
        let why = if earlier.device == named.device {
            "one interface"
        } else if earlier.peer.as_ref() == Some(&named.device)
            || named.peer.as_ref() == Some(&earlier.device)
            || ends_of_one_veth(&earlier.plan, &named.plan)
        {
            "the two ends of one veth"
        } else if earlier.plan.name == named.plan.name {
            let (first, name) = (first.clone(), named.plan.name);
            return Err(Error::NameTaken { first, second: given, name });
        } else {
            continue;
        };
        return Err(Error::Twice { first: first.clone(), second: given, why });
    }
    found.push((given, named));
    Ok(())
}

/// Whether two namespaces hold the two ends of one veth, asked from inside the first.
fn ends_of_one_veth(one: &EdgePlan, two: &EdgePlan) -> bool {
    let (here, there) = (one.site(Direction::Tx), two.site(Direction::Tx));
    let Way::File(path) = &there.namespace.way else {
        return false;
    };
    let Ok(other) = Netns::open(path) else {
        return false;
    };
    let peer = here.namespace.within(|| {
        let mut route = Route::open()?;
        let link = route.link(here.ifindex, None)?;
        let nsid = route.nsid(&other)?;
        Ok(link.peer_ifindex.filter(|_| nsid.is_some() && nsid == link.link_netnsid))
    });
    peer.ok().flatten() == Some(there.ifindex)
}

#[cfg(test)]
mod tests;
