//! Where the two hooks of an edge go, and where else they could.

use flow_model::{
    edge::{EdgeRecord, Place, Text},
    flow::Direction,
};
use net_sys::{link::Link, tcx::Hook};

use crate::{
    degradation::Degradation,
    site::{Namespace, Site},
};

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

    /// A pod's own device, hooked on both sides of it. Its other end here, if it has one, is
    /// `host_ifindex`.
    pub(crate) fn pod(name: &str, namespace: &Namespace, link: &Link, host_ifindex: u32) -> Self {
        Self {
            name: name.to_owned(),
            sites: [
                Site::new(namespace, link, Hook::Egress, Place::Pod),
                Site::new(namespace, link, Hook::Ingress, Place::Pod),
            ],
            netns_inode: namespace.inode,
            host_ifindex,
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

    /// The same edge hooked inside alone, if it is hooked there in part.
    pub(crate) fn inside(&self) -> Option<Self> {
        let [tx, rx] = &self.sites;
        if tx.place != Place::Host || rx.place != Place::Pod {
            return None;
        }
        let tx = Site { hook: Hook::Egress, ..rx.clone() };
        Some(Self { sites: [tx, rx.clone()], ..self.clone() })
    }

    /// The plan, or what became of it, that a recorded edge was hooked by.
    pub(crate) fn as_recorded(&self, record: &EdgeRecord) -> Option<Self> {
        let variants =
            [Some(self.clone()), self.inside(), self.on_host_side(Degradation::HostEgress)];
        variants.into_iter().flatten().find(|plan| plan.is_recorded(record))
    }

    /// Whether a recorded edge has its hooks exactly where this plan wants them.
    fn is_recorded(&self, record: &EdgeRecord) -> bool {
        let inodes = [record.netns_inode, self.netns_inode];
        if inodes[0] != inodes[1] && !inodes.contains(&0) {
            return false;
        }
        Direction::ALL.into_iter().all(|direction| {
            let site = self.site(direction);
            let place = record.hooks[direction as usize].place;
            let device = match place {
                Place::Host => record.host_ifindex == site.ifindex,
                // Hooked before its namespace was known: the end here tells one pair
                // from another as well.
                Place::Pod if record.netns_inode == 0 => {
                    self.host_ifindex != 0 && record.host_ifindex == self.host_ifindex
                }
                Place::Pod => {
                    record.pod_ifindex == site.ifindex && record.netns_inode == site.namespace.inode
                }
                Place::None | Place::Nic | Place::Cgroup => false,
            };
            place == site.place && device
        })
    }

    /// The plan that another has for one direction, and this one for the other.
    pub(crate) fn with(self, direction: Direction, other: &Self) -> Self {
        let mut sites = self.sites;
        sites[direction as usize] = other.site(direction).clone();
        Self { sites, ..other.clone() }
    }

    /// Whether two edges are one: they have a device in common, or the two ends of a pair.
    pub(crate) fn shares_device(&self, other: &Self) -> bool {
        let one_pair = self.host_ifindex != 0 && self.host_ifindex == other.host_ifindex;
        one_pair
            || self.sites.iter().any(|mine| other.sites.iter().any(|site| site.is_beside(mine)))
    }

    /// Whether both are known to lead to one namespace.
    pub(crate) const fn is_in_namespace_of(&self, other: &Self) -> bool {
        self.netns_inode != 0 && self.netns_inode == other.netns_inode
    }

    /// A name that no edge of another namespace has.
    pub(crate) fn name_apart(&self) -> String {
        let number = match self.netns_inode {
            0 => u64::from(self.host_ifindex),
            inode => inode,
        };
        let suffix = format!(":{number}");
        let most = Text::MAX - suffix.len();
        let fits = self.name.char_indices().map(|(at, sign)| at + sign.len_utf8());
        let end = fits.take_while(|end| *end <= most).last().unwrap_or_default();
        format!("{}{suffix}", self.name.get(..end).unwrap_or_default())
    }

    /// The hook of one direction.
    pub(crate) const fn site(&self, direction: Direction) -> &Site {
        &self.sites[direction as usize]
    }
}

#[cfg(test)]
mod tests;
