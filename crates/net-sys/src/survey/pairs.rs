//! Pairs of devices that lie in our namespace with both ends.
//!
//! When one end moves away, the kernel tells of that end only: the other one leads elsewhere now
//! and says so at its next change, which may never come.

use std::collections::HashMap;

use super::crossing::is_paired;
use crate::link::Link;

/// Each end by the interface index of the other.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    ends: HashMap<u32, u32>,
}

impl Pairs {
    /// Takes in a device of our namespace; returns its other end if that is here too.
    pub(super) fn seen(&mut self, link: &Link) -> Option<u32> {
        let peer = link.peer_ifindex.filter(|_| is_paired(link))?;
        if link.link_netnsid.is_some() {
            return None;
        }
        self.ends.insert(peer, link.ifindex);
        self.ends.insert(link.ifindex, peer);
        Some(peer)
    }

    /// Forgets a device; returns its other end.
    pub(super) fn parted(&mut self, ifindex: u32) -> Option<u32> {
        let peer = self.ends.remove(&ifindex)?;
        // Unless it has got a new one since.
        if self.ends.get(&peer) == Some(&ifindex) {
            self.ends.remove(&peer);
        }
        Some(peer)
    }

    pub(super) fn clear(&mut self) {
        self.ends.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn veth(ifindex: u32, peer: u32) -> Link {
        Link { ifindex, peer_ifindex: Some(peer), kind: Some("veth".to_owned()), ..Link::default() }
    }

    #[test]
    fn the_other_end_is_told_once() {
        let mut pairs = Pairs::default();
        assert_eq!(pairs.seen(&veth(3, 4)), Some(4));
        assert_eq!(pairs.seen(&veth(4, 3)), Some(3));
        assert_eq!(pairs.parted(4), Some(3));
        assert_eq!(pairs.parted(4), None);
        assert_eq!(pairs.parted(3), None);
    }

    #[test]
    fn one_end_is_enough_to_know_both() {
        let mut pairs = Pairs::default();
        pairs.seen(&veth(3, 4));
        assert_eq!(pairs.parted(4), Some(3));
    }

    #[test]
    fn an_end_that_has_a_new_partner_keeps_it() {
        let mut pairs = Pairs::default();
        pairs.seen(&veth(3, 4));
        pairs.seen(&veth(3, 5));
        assert_eq!(pairs.parted(4), Some(3));
        assert_eq!(pairs.parted(5), Some(3));
    }

    #[test]
    fn other_kinds_and_ends_elsewhere_are_no_pair_here() {
        let mut pairs = Pairs::default();
        let vlan = Link { kind: Some("vlan".to_owned()), ..veth(3, 4) };
        let elsewhere = Link { link_netnsid: crate::link::Nsid::new(0), ..veth(3, 4) };
        assert_eq!(pairs.seen(&vlan), None);
        assert_eq!(pairs.seen(&elsewhere), None);
        assert_eq!(pairs.parted(4), None);
    }
}
