//! What leads from this namespace into another, or lies in another without a side here.

use std::path::PathBuf;
use std::time::Instant;

use crate::link::{Link, Nsid};

/// What stays the same while a crossing lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Key {
    /// It has a side in this namespace.
    Host {
        /// Interface index of that side.
        ifindex: u32,
    },
    /// It lies in another namespace as a whole, as far as we are concerned.
    Inside {
        /// Inode number of that namespace.
        namespace: u64,
        /// Interface index in there, which other namespaces use too.
        ifindex: u32,
    },
}

/// A way out of or into another network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Crossing {
    /// Its identity.
    pub key: Key,
    /// The device in this namespace.
    pub host: Option<Device>,
    /// The device in the other namespace; not known while it cannot be read.
    pub pod: Option<Device>,
    /// Id of the other namespace in this one, if it has one.
    pub nsid: Option<Nsid>,
    /// The file that leads to the other namespace, if one was found.
    pub namespace: Option<Namespace>,
    /// When the message that made it known arrived, or when it was found by looking.
    pub noticed: Instant,
}

impl Crossing {
    pub(super) const fn with_host(host: Device, nsid: Option<Nsid>, noticed: Instant) -> Self {
        Self {
            key: Key::Host { ifindex: host.ifindex },
            host: Some(host),
            pod: None,
            nsid,
            namespace: None,
            noticed,
        }
    }

    pub(super) fn inside(
        namespace: &Namespace,
        device: Device,
        nsid: Option<Nsid>,
        noticed: Instant,
    ) -> Self {
        Self {
            key: Key::Inside { namespace: namespace.inode, ifindex: device.ifindex },
            host: None,
            pod: Some(device),
            nsid,
            namespace: Some(namespace.clone()),
            noticed,
        }
    }
}

/// A network device, as far as it tells one crossing from another.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Device {
    /// Interface index in its own namespace.
    pub ifindex: u32,
    /// Name, which may hold any characters.
    pub name: String,
    /// Driver kind, such as `veth`; hardware has none.
    pub kind: Option<String>,
    /// Link layer (`ARPHRD_*`), which decides the length of the link header.
    pub link_type: u16,
    /// Index of the other side, or of the device it stands on.
    pub peer_ifindex: Option<u32>,
    /// Whether that other side lies in another namespace than this device.
    pub peer_elsewhere: bool,
    /// Whether the administrator switched it on.
    pub up: bool,
}

impl Device {
    /// Whether frames carry a 14-octet Ethernet header.
    pub const fn is_ethernet(&self) -> bool {
        matches!(self.link_type, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK)
    }

    pub(super) fn of(link: &Link) -> Self {
        Self {
            ifindex: link.ifindex,
            name: link.name.clone(),
            kind: link.kind.clone(),
            link_type: link.link_type,
            peer_ifindex: link.peer_ifindex,
            peer_elsewhere: link.link_netnsid.is_some(),
            up: link.up,
        }
    }
}

/// A file that leads to a network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Namespace {
    /// Where it was found; the name may be in use for another namespace by now.
    pub path: PathBuf,
    /// Inode number, to be compared after opening.
    pub inode: u64,
}

/// Whether devices of this kind come in pairs, one for each side.
pub(super) fn is_paired(link: &Link) -> bool {
    matches!(link.kind.as_deref(), Some("veth" | "netkit"))
}

/// Whether the device leads into another namespace.
pub(super) fn crosses(link: &Link) -> bool {
    is_paired(link) && link.link_netnsid.is_some()
}
