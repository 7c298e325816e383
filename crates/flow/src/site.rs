//! Where hooks go: namespaces, devices, and what their interface counters say.

use std::{fs, path::PathBuf};

use flow_bpf::LinkLayer;
use flow_model::{
    edge::{EdgeRecord, Place},
    flow::{Counts, Direction},
};
use net_sys::{
    Netns, Route,
    link::Link,
    tcx::{Hook, Order},
};

use crate::{degradation::Degradation, error::SiteError};

/// A network namespace. No descriptor is held: it would keep the devices of an ended
/// pod alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Namespace {
    /// How to get there.
    pub(crate) way: Way,
    /// The inode it had when the edge was found.
    pub(crate) inode: u64,
}

/// How to get into a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Way {
    /// We are there.
    Own,
    /// By this file.
    File(PathBuf),
}

impl Namespace {
    /// The namespace of the process.
    pub(crate) fn own() -> Result<Self, SiteError> {
        Ok(Self { way: Way::Own, inode: Netns::current()?.inode() })
    }

    /// The namespace behind a file.
    pub(crate) fn at(path: PathBuf) -> Result<Self, SiteError> {
        let inode = Netns::open(&path)?.inode();
        Ok(Self { way: Way::File(path), inode })
    }

    /// The namespace with an inode, by a file in one of `dirs`.
    pub(crate) fn find(inode: u64, dirs: &[PathBuf]) -> Result<Self, SiteError> {
        let files = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
        files
            .filter_map(|file| Self::at(file.path()).ok())
            .find(|namespace| namespace.inode == inode)
            .ok_or(SiteError::Unreachable { inode })
    }

    /// Whether it is the one the process lives in.
    pub(crate) fn is_own(&self) -> bool {
        self.way == Way::Own
    }

    /// Runs `visit` inside, if the way still leads to the same namespace.
    pub(crate) fn within<T: Send>(
        &self,
        visit: impl FnOnce() -> Result<T, SiteError> + Send,
    ) -> Result<T, SiteError> {
        match &self.way {
            Way::Own => visit(),
            Way::File(path) => {
                let netns = Netns::open(path)?;
                if netns.inode() != self.inode {
                    return Err(SiteError::Replaced { path: path.clone() });
                }
                netns.within(visit)?
            }
        }
    }

    /// Every device inside.
    pub(crate) fn links(&self) -> Result<Vec<Link>, SiteError> {
        self.within(|| Ok(Route::open()?.links(None)?))
    }
}

/// Place of one hook.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Site {
    /// The namespace of the device.
    pub(crate) namespace: Namespace,
    /// The device.
    pub(crate) ifindex: u32,
    /// Its name when it was found.
    pub(crate) interface: String,
    /// Which side of it.
    pub(crate) hook: Hook,
    /// Host side or pod side.
    pub(crate) place: Place,
    /// How its frames start.
    pub(crate) link_layer: LinkLayer,
}

/// Interface counters of the side that a hook sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Reading {
    /// `rx_packets` or `tx_packets`.
    pub(crate) packets: u64,
    /// `rx_bytes` or `tx_bytes`.
    pub(crate) bytes: u64,
}

impl Reading {
    /// The same numbers as an amount.
    pub(crate) const fn counts(self) -> Counts {
        Counts { packets: self.packets, bytes: self.bytes }
    }
}

impl Site {
    /// A hook on one side of a device.
    pub(crate) fn new(namespace: &Namespace, link: &Link, hook: Hook, place: Place) -> Self {
        Self {
            namespace: namespace.clone(),
            ifindex: link.ifindex,
            interface: link.name.clone(),
            hook,
            place,
            link_layer: LinkLayer::from_arphrd(link.link_type),
        }
    }

    /// The place of a hook that the edge book records. A namespace is found again by its
    /// inode among the files in `dirs`.
    pub(crate) fn recorded(
        record: &EdgeRecord,
        direction: Direction,
        dirs: &[PathBuf],
    ) -> Result<Self, SiteError> {
        let place = record.hooks[direction as usize].place;
        let (namespace, ifindex, hook) = match (place, direction) {
            (Place::Pod, Direction::Tx) => {
                (Namespace::find(record.netns_inode, dirs)?, record.pod_ifindex, Hook::Egress)
            }
            (Place::Pod, Direction::Rx) => {
                (Namespace::find(record.netns_inode, dirs)?, record.pod_ifindex, Hook::Ingress)
            }
            (_, Direction::Tx) => (Namespace::own()?, record.host_ifindex, Hook::Ingress),
            (_, Direction::Rx) => (Namespace::own()?, record.host_ifindex, Hook::Egress),
        };
        let link = namespace.within(|| Ok(Route::open()?.link(ifindex, None)?))?;
        Ok(Self::new(&namespace, &link, hook, place))
    }

    /// First among those that see what arrives, last among those that see what leaves:
    /// what a policy dropped before an egress hook was never sent.
    pub(crate) const fn order(&self) -> Order {
        match self.hook {
            Hook::Ingress => Order::First,
            Hook::Egress => Order::Last,
        }
    }

    /// Name of the interface counter that counts the same frames.
    pub(crate) const fn counter(&self) -> &'static str {
        match self.hook {
            Hook::Ingress => "rx",
            Hook::Egress => "tx",
        }
    }

    /// That counter now.
    pub(crate) fn reading(&self) -> Result<Reading, SiteError> {
        let link = self.namespace.within(|| Ok(Route::open()?.link(self.ifindex, None)?))?;
        self.counted(&link)
    }

    /// That counter in what the kernel told of the device.
    pub(crate) fn counted(&self, link: &Link) -> Result<Reading, SiteError> {
        let counters = link.counters.ok_or(SiteError::NoCounters)?;
        Ok(match self.hook {
            Hook::Ingress => Reading { packets: counters.rx_packets, bytes: counters.rx_bytes },
            Hook::Egress => Reading { packets: counters.tx_packets, bytes: counters.tx_bytes },
        })
    }
}

/// An edge that is to be hooked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EdgePlan {
    /// Its name.
    pub(crate) name: String,
    /// Its hooks, by direction.
    pub(crate) sites: [Site; 2],
    /// Inode of the pod's namespace, 0 if it is not known.
    pub(crate) netns_inode: u64,
    /// The device in the node's namespace, 0 if there is none.
    pub(crate) host_ifindex: u32,
    /// The device in the pod's namespace, 0 if it is not known.
    pub(crate) pod_ifindex: u32,
    /// Why it is hooked otherwise than it should be, if it is.
    pub(crate) degraded: Option<Degradation>,
}

impl EdgePlan {
    /// A host-side device, hooked on both sides of it.
    pub(crate) fn host(name: &str, namespace: &Namespace, link: &Link) -> Self {
        Self {
            name: name.to_owned(),
            sites: [
                Site::new(namespace, link, Hook::Ingress, Place::Host),
                Site::new(namespace, link, Hook::Egress, Place::Host),
            ],
            netns_inode: 0,
            host_ifindex: link.ifindex,
            pod_ifindex: link.peer_ifindex.unwrap_or_default(),
            degraded: None,
        }
    }

    /// A pod's own device, hooked on both sides of it.
    pub(crate) fn pod(name: &str, namespace: &Namespace, link: &Link) -> Self {
        Self {
            name: name.to_owned(),
            sites: [
                Site::new(namespace, link, Hook::Egress, Place::Pod),
                Site::new(namespace, link, Hook::Ingress, Place::Pod),
            ],
            netns_inode: namespace.inode,
            host_ifindex: link.peer_ifindex.unwrap_or_default(),
            pod_ifindex: link.ifindex,
            degraded: None,
        }
    }

    /// The same edge hooked on the host side alone, if it is hooked there in part.
    pub(crate) fn on_host_side(&self, why: Degradation) -> Option<Self> {
        let [tx, rx] = &self.sites;
        if tx.place != Place::Host || rx.place == Place::Host {
            return None;
        }
        let rx = Site { hook: Hook::Egress, ..tx.clone() };
        Some(Self { sites: [tx.clone(), rx], degraded: Some(why), ..self.clone() })
    }

    /// Whether a device of one edge is a device of the other.
    pub(crate) fn shares_device(&self, other: &Self) -> bool {
        let device = |site: &Site| (site.namespace.inode, site.ifindex);
        self.sites.iter().any(|mine| other.sites.iter().any(|site| device(site) == device(mine)))
    }

    /// The hook of one direction.
    pub(crate) const fn site(&self, direction: Direction) -> &Site {
        &self.sites[direction as usize]
    }
}
