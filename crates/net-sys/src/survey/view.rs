//! A look into one namespace.
//!
//! A namespace with an id is read through the id; only one without is entered, because giving it
//! an id would be a trace that others see. Nothing is left open afterwards.

use std::path::Path;

use super::crossing::is_paired;
use super::{Device, Namespace};
use crate::link::{Link, Nsid, Route};
use crate::netlink::NetlinkError;
use crate::netns::{Netns, NetnsError};

/// What one look into a namespace found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) namespace: Namespace,
    /// Its id in our namespace.
    pub(super) nsid: Option<Nsid>,
    /// Its devices, loopback aside, by interface index.
    pub(super) devices: Result<Vec<Seen>, Blind>,
}

/// A device in another namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) device: Device,
    /// Whether it is one end of a pair whose other end lies in our namespace.
    pub(super) side_here: bool,
}

/// Why a look found nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Blind {
    /// The namespace or its file is gone.
    Gone,
    /// It has no id and may not be entered.
    NotEntered,
    /// It could not be read for another reason.
    NotRead,
}

impl From<NetnsError> for Blind {
    fn from(error: NetnsError) -> Self {
        match error {
            NetnsError::NotFound { .. } | NetnsError::NotNetns { .. } => Self::Gone,
            NetnsError::EnterNotPermitted => Self::NotEntered,
            _ => Self::NotRead,
        }
    }
}

impl From<NetlinkError> for Blind {
    fn from(error: NetlinkError) -> Self {
        match error {
            NetlinkError::NoNamespace { .. } => Self::Gone,
            _ => Self::NotRead,
        }
    }
}

impl View {
    /// Looks at what lies behind the file at `path`; `own` is our namespace.
    pub(super) fn take(route: &mut Route, own: &Netns, path: &Path) -> Result<Self, Blind> {
        let namespace = Netns::open(path)?;
        let nsid = route.nsid(&namespace)?;
        let devices = match nsid {
            Some(id) => links_there(route, own, id),
            None => links_inside(&namespace, own),
        };
        Ok(Self {
            namespace: Namespace { path: path.to_owned(), inode: namespace.inode() },
            nsid,
            devices: devices.map(|(links, us)| Seen::all(&links, us)),
        })
    }
}

impl Seen {
    fn all(links: &[Link], us: Option<Nsid>) -> Vec<Self> {
        let devices = links.iter().filter(|link| !link.loopback);
        let mut all: Vec<_> = devices.map(|link| Self::of(link, us)).collect();
        all.sort_unstable_by_key(|seen| seen.device.ifindex);
        all
    }

    /// `us` is the id that names our namespace where the link was read.
    fn of(link: &Link, us: Option<Nsid>) -> Self {
        Self {
            device: Device::of(link),
            side_here: is_paired(link) && link.link_netnsid.is_some() && link.link_netnsid == us,
        }
    }
}

/// Whether `pod` is the other end of the pair that `host` belongs to.
pub(super) fn is_peer(host: &Device, pod: &Device) -> bool {
    host.peer_ifindex == Some(pod.ifindex)
        && pod.peer_ifindex == Some(host.ifindex)
        && pod.peer_elsewhere
        && pod.kind == host.kind
}

/// Links, and the id that names our namespace where they were read.
type Links = (Vec<Link>, Option<Nsid>);

fn links_there(route: &mut Route, own: &Netns, id: Nsid) -> Result<Links, Blind> {
    let links = route.links(Some(id))?;
    // After the listing, which makes the kernel give ids to the namespaces it mentions.
    Ok((links, route.nsid(own)?))
}

fn links_inside(namespace: &Netns, own: &Netns) -> Result<Links, Blind> {
    let visit = || {
        let mut route = Route::open()?;
        let links = route.links(None)?;
        Ok((links, route.nsid(own)?))
    };
    namespace.within(visit)?
}
