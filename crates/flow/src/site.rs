//! Where hooks go: namespaces, devices, and what their interface counters say.

use std::path::PathBuf;

use flow_bpf::LinkLayer;
use flow_model::{edge::Place, flow::Direction};
use net_sys::{
    Netns, Route,
    link::Link,
    tcx::{Hook, Order},
};

use crate::error::SiteError;

/// A network namespace by the file that leads to it. No descriptor is held: it would
/// keep the devices of an ended pod alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Namespace {
    /// The file; nothing for the namespace of the process.
    pub path: Option<PathBuf>,
    /// The inode it led to when the edge was found.
    pub inode: u64,
}

impl Namespace {
    /// The namespace of the process.
    pub fn own() -> Result<Self, SiteError> {
        Ok(Self { path: None, inode: Netns::current()?.inode() })
    }

    /// The namespace behind a file.
    pub fn at(path: PathBuf) -> Result<Self, SiteError> {
        let inode = Netns::open(&path)?.inode();
        Ok(Self { path: Some(path), inode })
    }

    /// Runs `visit` inside, if the file still leads to the same namespace.
    pub fn within<T: Send>(
        &self,
        visit: impl FnOnce() -> Result<T, SiteError> + Send,
    ) -> Result<T, SiteError> {
        let Some(path) = &self.path else { return visit() };
        let netns = Netns::open(path)?;
        if netns.inode() != self.inode {
            return Err(SiteError::Replaced { path: path.clone() });
        }
        netns.within(visit)?
    }

    /// Every device inside.
    pub fn links(&self) -> Result<Vec<Link>, SiteError> {
        self.within(|| Ok(Route::open()?.links(None)?))
    }
}

/// Place of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// The namespace of the device.
    pub namespace: Namespace,
    /// The device.
    pub ifindex: u32,
    /// Its name when it was found.
    pub interface: String,
    /// Which side of it.
    pub hook: Hook,
    /// Host side or pod side.
    pub place: Place,
    /// How its frames start.
    pub link_layer: LinkLayer,
}

/// Interface counters of the side that a hook sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Reading {
    /// `rx_packets` or `tx_packets`.
    pub packets: u64,
    /// `rx_bytes` or `tx_bytes`.
    pub bytes: u64,
}

impl Site {
    /// A hook on one side of a device.
    pub fn new(namespace: &Namespace, link: &Link, hook: Hook, place: Place) -> Self {
        Self {
            namespace: namespace.clone(),
            ifindex: link.ifindex,
            interface: link.name.clone(),
            hook,
            place,
            link_layer: LinkLayer::from_arphrd(link.link_type),
        }
    }

    /// First among those that see what arrives, last among those that see what leaves:
    /// what a policy dropped before an egress hook was never sent.
    pub const fn order(&self) -> Order {
        match self.hook {
            Hook::Ingress => Order::First,
            Hook::Egress => Order::Last,
        }
    }

    /// Name of the interface counter that counts the same frames.
    pub const fn counter(&self) -> &'static str {
        match self.hook {
            Hook::Ingress => "rx",
            Hook::Egress => "tx",
        }
    }

    /// That counter now.
    pub fn reading(&self) -> Result<Reading, SiteError> {
        let link = self.namespace.within(|| Ok(Route::open()?.link(self.ifindex, None)?))?;
        let counters = link.counters.ok_or(SiteError::NoCounters)?;
        Ok(match self.hook {
            Hook::Ingress => Reading { packets: counters.rx_packets, bytes: counters.rx_bytes },
            Hook::Egress => Reading { packets: counters.tx_packets, bytes: counters.tx_bytes },
        })
    }
}

/// An edge that is to be hooked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EdgePlan {
    /// Its name.
    pub name: String,
    /// Its hooks, by direction.
    pub sites: [Site; 2],
    /// Inode of the pod's namespace, 0 if it is not known.
    pub netns_inode: u64,
    /// The device in the node's namespace, 0 if there is none.
    pub host_ifindex: u32,
    /// The device in the pod's namespace, 0 if it is not known.
    pub pod_ifindex: u32,
}

impl EdgePlan {
    /// A host-side device, hooked on both sides of it.
    pub fn host(name: &str, namespace: &Namespace, link: &Link) -> Self {
        Self {
            name: name.to_owned(),
            sites: [
                Site::new(namespace, link, Hook::Ingress, Place::Host),
                Site::new(namespace, link, Hook::Egress, Place::Host),
            ],
            netns_inode: 0,
            host_ifindex: link.ifindex,
            pod_ifindex: link.peer_ifindex.unwrap_or_default(),
        }
    }

    /// A pod's own device, hooked on both sides of it.
    pub fn pod(name: &str, namespace: &Namespace, link: &Link) -> Self {
        Self {
            name: name.to_owned(),
            sites: [
                Site::new(namespace, link, Hook::Egress, Place::Pod),
                Site::new(namespace, link, Hook::Ingress, Place::Pod),
            ],
            netns_inode: namespace.inode,
            host_ifindex: link.peer_ifindex.unwrap_or_default(),
            pod_ifindex: link.ifindex,
        }
    }

    /// The hook of one direction.
    pub const fn site(&self, direction: Direction) -> &Site {
        &self.sites[direction as usize]
    }
}
