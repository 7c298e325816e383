//! Where hooks go: namespaces, devices, and what their interface counters say.

use std::{collections::BTreeSet, fs, path::PathBuf};

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

use crate::error::SiteError;

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

    /// The namespace with an inode: ours, or by a file in one of `dirs`, or by a process.
    pub(crate) fn find(inode: u64, dirs: &[PathBuf]) -> Result<Self, SiteError> {
        let own = Self::own()?;
        if own.inode == inode {
            return Ok(own);
        }
        files(dirs)
            .chain(processes())
            .filter_map(|path| Self::at(path).ok())
            .find(|namespace| namespace.inode == inode)
            .ok_or(SiteError::Unreachable { inode })
    }

    /// Every namespace that there is a way to, ours among them.
    pub(crate) fn reachable(dirs: &[PathBuf]) -> Vec<Self> {
        let mut known = BTreeSet::new();
        let others = files(dirs).chain(processes()).filter_map(|path| Self::at(path).ok());
        let all = Self::own().into_iter().chain(others);
        all.filter(|namespace| known.insert(namespace.inode)).collect()
    }

    /// The namespace that holds the other end of a pair, found like others.
    fn beyond(home: &Self, host_ifindex: u32, dirs: &[PathBuf]) -> Result<Self, SiteError> {
        home.within(|| {
            let mut route = Route::open()?;
            let wanted = route.link(host_ifindex, None)?.link_netnsid;
            let unreachable = SiteError::Unreachable { inode: 0 };
            if wanted.is_none() {
                return Err(unreachable);
            }
            let found = files(dirs).chain(processes()).find_map(|path| {
                let netns = Netns::open(&path).ok()?;
                let leads_there = route.nsid(&netns).ok()? == wanted;
                leads_there.then(|| Self { inode: netns.inode(), way: Way::File(path) })
            });
            found.ok_or(unreachable)
        })
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

/// What may be namespace files, as many as anybody could have.
fn files(dirs: &[PathBuf]) -> impl Iterator<Item = PathBuf> {
    let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten().flatten();
    entries.take(MOST).map(|entry| entry.path())
}

/// Namespaces of processes: one that nobody has a file of lives as long as they do.
fn processes() -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten().take(MOST);
    let is_process = |name: &str| name.bytes().all(|sign| sign.is_ascii_digit());
    entries
        .filter(move |entry| entry.file_name().to_str().is_some_and(is_process))
        .map(|entry| entry.path().join("ns/net"))
}

const MOST: usize = 65_536;

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
    /// What is left of it without an amount, at least nothing.
    pub(crate) const fn less(self, counts: Counts) -> Self {
        Self {
            packets: self.packets.saturating_sub(counts.packets),
            bytes: self.bytes.saturating_sub(counts.bytes),
        }
    }

    /// The larger of two, number by number.
    pub(crate) fn at_least(self, other: Self) -> Self {
        Self { packets: self.packets.max(other.packets), bytes: self.bytes.max(other.bytes) }
    }

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
    /// inode; `home` is the one in which the node's devices are.
    pub(crate) fn recorded(
        record: &EdgeRecord,
        direction: Direction,
        dirs: &[PathBuf],
        home: &Namespace,
    ) -> Result<Self, SiteError> {
        let place = record.hooks[direction as usize].place;
        let (namespace, ifindex) = match place {
            // Hooked before its namespace was known, and moved inside since.
            Place::Pod if record.netns_inode == 0 => {
                (Namespace::beyond(home, record.host_ifindex, dirs)?, record.pod_ifindex)
            }
            Place::Pod => {
                let found = Namespace::find(record.netns_inode, dirs).map_err(|error| {
                    let interface = record.identity.name.to_string();
                    let gone = SiteError::NoInterface { interface };
                    if has_pair(home, record.host_ifindex) { error } else { gone }
                });
                (found?, record.pod_ifindex)
            }
            _ => (home.clone(), record.host_ifindex),
        };
        let hook = side_of(place, direction);
        let link = namespace.within(|| Ok(Route::open()?.link(ifindex, None)?))?;
        Ok(Self::new(&namespace, &link, hook, place))
    }

    /// Whether two sites are on one device.
    pub(crate) fn is_beside(&self, other: &Self) -> bool {
        (self.namespace.inode, self.ifindex) == (other.namespace.inode, other.ifindex)
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
        self.counted(&self.link()?)
    }

    /// What the device is called now.
    pub(crate) fn name_now(&self) -> Result<String, SiteError> {
        Ok(self.link()?.name)
    }

    /// A number that tells the device from another that gets its index later, as far as their
    /// link-layer addresses do; never 0.
    pub(crate) fn address(&self) -> Result<u64, SiteError> {
        const NOT_EMPTY: u64 = 1 << 63;
        let octets = self.link()?.address.into_iter();
        let number = octets.fold(0_u64, |number, octet| number.rotate_left(8) ^ u64::from(octet));
        Ok(number | NOT_EMPTY)
    }

    /// Whether an XDP program sees what arrives there first.
    pub(crate) fn has_xdp(&self) -> bool {
        self.link().is_ok_and(|link| link.xdp)
    }

    fn link(&self) -> Result<Link, SiteError> {
        self.namespace.within(|| Ok(Route::open()?.link(self.ifindex, None)?))
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

/// The side of a device on which one direction of a pod's traffic passes.
pub(crate) const fn side_of(place: Place, direction: Direction) -> Hook {
    match (place, direction) {
        (Place::Pod, Direction::Tx) | (Place::Host, Direction::Rx) => Hook::Egress,
        _ => Hook::Ingress,
    }
}

/// Whether a device of the node still has its other end somewhere: then the namespace of
/// that is there as well, whether there is a way to it or not.
fn has_pair(home: &Namespace, host_ifindex: u32) -> bool {
    let link = home.within(|| Ok(Route::open()?.link(host_ifindex, None)?));
    link.is_ok_and(|link| link.link_netnsid.is_some())
}
