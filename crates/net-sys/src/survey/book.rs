//! The crossings that the caller knows of.
//!
//! Pure: it is fed with links and views and tells what they change.

use std::collections::BTreeMap;
use std::time::Instant;

use super::change::Changes;
use super::view::{Seen, View, is_peer};
use super::{Crossing, Device, Namespace};
use crate::link::{Link, Nsid};

/// All crossings.
#[derive(Debug, Default)]
pub(super) struct Book {
    /// By the interface index of the side in our namespace.
    hosts: BTreeMap<u32, Crossing>,
    /// By inode number of the namespace and interface index in it.
    inside: BTreeMap<(u64, u32), Crossing>,
}

impl Book {
    /// Takes in a device of our namespace that leads elsewhere; tells whether that was news.
    pub(super) fn host_seen(
        &mut self,
        link: &Link,
        noticed: Instant,
        changes: &mut Changes,
    ) -> bool {
        let seen = Crossing::with_host(Device::of(link), link.link_netnsid, noticed);
        let Some(known) = self.hosts.get_mut(&link.ifindex) else {
            changes.appeared(&seen);
            self.hosts.insert(link.ifindex, seen);
            return true;
        };
        if (known.nsid, &known.host) == (seen.nsid, &seen.host) {
            return false;
        }
        let leads_there_still = known.nsid == seen.nsid && peer(known) == peer(&seen);
        *known = if leads_there_still {
            Crossing { pod: known.pod.take(), namespace: known.namespace.take(), ..seen }
        } else {
            seen
        };
        changes.changed(known);
        true
    }

    /// Drops the crossing with this side in our namespace.
    pub(super) fn host_gone(&mut self, ifindex: u32, changes: &mut Changes) {
        if let Some(gone) = self.hosts.remove(&ifindex) {
            changes.vanished(gone.key);
        }
    }

    /// Takes in what the other end of a pair is, read on its own; tells whether it is that.
    pub(super) fn pod_seen(&mut self, ifindex: u32, pod: &Link, changes: &mut Changes) -> bool {
        let pod = Device::of(pod);
        let known = self.hosts.get_mut(&ifindex);
        let fits = |known: &&mut Crossing| known.host.as_ref().is_some_and(|h| is_peer(h, &pod));
        let Some(known) = known.filter(fits) else {
            return false;
        };
        known.pod = Some(pod);
        changes.changed(known);
        true
    }

    /// Takes in a look into a namespace; returns how many devices were too many.
    pub(super) fn viewed(&mut self, view: &View, noticed: Instant, changes: &mut Changes) -> u64 {
        self.complete(view, changes);
        // What cannot be read now is still there.
        let Ok(devices) = &view.devices else { return 0 };
        let own = devices.iter().filter(|seen| !seen.side_here);
        let surplus = own.clone().skip(MAX_INSIDE).count() as u64;
        let kept: Vec<_> = own.take(MAX_INSIDE).collect();
        self.drop_inside(view.namespace.inode, &kept, changes);
        for seen in kept {
            self.inside_seen(view, &seen.device, noticed, changes);
        }
        surplus
    }

    /// Drops what lies inside a namespace that cannot be found any more.
    pub(super) fn namespace_gone(&mut self, inode: u64, changes: &mut Changes) {
        self.drop_inside(inode, &[], changes);
    }

    /// Takes back what was said about files of namespaces that `is_known` does not know.
    pub(super) fn forget_files(&mut self, is_known: impl Fn(&Namespace) -> bool) {
        for crossing in self.hosts.values_mut() {
            crossing.namespace = crossing.namespace.take().filter(&is_known);
        }
    }

    /// Keeps the crossings whose side in our namespace satisfies `exists`.
    pub(super) fn retain_hosts(&mut self, exists: impl Fn(u32) -> bool) {
        self.hosts.retain(|&ifindex, _| exists(ifindex));
    }

    pub(super) fn has_host(&self, ifindex: u32) -> bool {
        self.hosts.contains_key(&ifindex)
    }

    /// The crossings to certain namespaces whose other end is not known: index here, index there
    /// and namespace.
    pub(super) fn half_known(&self, lead_to: impl Fn(Nsid) -> bool) -> Vec<(u32, u32, Nsid)> {
        let halves = self.hosts.iter().filter(|(_, known)| known.pod.is_none());
        halves
            .filter_map(|(&here, known)| Some((here, peer(known)?, known.nsid?)))
            .filter(|&(_, _, nsid)| lead_to(nsid))
            .collect()
    }

    /// All crossings, ordered by key.
    pub(super) fn crossings(&self) -> Vec<Crossing> {
        let all = self.hosts.values().chain(self.inside.values());
        all.cloned().collect()
    }

    /// Adds what a view tells of the crossings that lead there.
    fn complete(&mut self, view: &View, changes: &mut Changes) {
        let leads_there = |known: &&mut Crossing| known.nsid == view.nsid;
        for known in self.hosts.values_mut().filter(leads_there) {
            let pod = match (&view.devices, &known.host) {
                (Ok(devices), Some(host)) => peer_among(devices, host),
                _ => known.pod.as_ref(),
            };
            if known.namespace.as_ref() == Some(&view.namespace) && known.pod.as_ref() == pod {
                continue;
            }
            known.pod = pod.cloned();
            known.namespace = Some(view.namespace.clone());
            changes.changed(known);
        }
    }

    fn inside_seen(
        &mut self,
        view: &View,
        device: &Device,
        noticed: Instant,
        changes: &mut Changes,
    ) {
        let seen = Crossing::inside(&view.namespace, device.clone(), view.nsid, noticed);
        let place = (view.namespace.inode, device.ifindex);
        match self.inside.get_mut(&place) {
            None => {
                changes.appeared(&seen);
                self.inside.insert(place, seen);
            }
            Some(known) if is_same(known, &seen) => {}
            Some(known) => {
                *known = seen;
                changes.changed(known);
            }
        }
    }

    /// Drops what lies inside a namespace and is not among `kept`, which is in order.
    fn drop_inside(&mut self, inode: u64, kept: &[&Seen], changes: &mut Changes) {
        let is_kept =
            |ifindex: u32| kept.binary_search_by_key(&ifindex, |seen| seen.device.ifindex).is_ok();
        let there = self.inside.range((inode, 0)..=(inode, u32::MAX));
        let gone: Vec<_> =
            there.map(|(&place, _)| place).filter(|&(_, ifindex)| !is_kept(ifindex)).collect();
        for place in gone {
            if let Some(gone) = self.inside.remove(&place) {
                changes.vanished(gone.key);
            }
        }
    }
}

fn peer_among<'a>(devices: &'a [Seen], host: &Device) -> Option<&'a Device> {
    let mut devices = devices.iter().map(|seen| &seen.device);
    devices.find(|device| is_peer(host, device))
}

fn peer(crossing: &Crossing) -> Option<u32> {
    crossing.host.as_ref()?.peer_ifindex
}

/// Whether two states of a crossing differ in nothing but the time.
fn is_same(known: &Crossing, seen: &Crossing) -> bool {
    known.pod == seen.pod && known.nsid == seen.nsid && known.namespace == seen.namespace
}

/// Devices looked at in one namespace: pods have a few, whoever makes thousands gets no more.
pub(super) const MAX_INSIDE: usize = 64;

#[cfg(test)]
mod tests;
