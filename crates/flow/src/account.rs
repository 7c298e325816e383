//! How far what passed a device was counted, for whoever hooks it next.

use std::collections::VecDeque;

use flow_model::flow::{Counts, Direction};
use net_sys::tcx::Hook;

use crate::site::Reading;

/// One side of a device, looked at together with its hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Tells the device from another that gets its index; never 0.
    pub(crate) address: u64,
    /// Packets that its counter told.
    pub(crate) seen: u64,
    /// What its counter told beyond what the hook had counted. It wraps: a hook counts every
    /// segment of what a device may count as one packet.
    uncounted: Counts,
}

/// Words of a mark in the edge book.
const WORDS: usize = 4;

impl Mark {
    /// What device and hook told at one time.
    pub(crate) const fn new(address: u64, device: Reading, hook: Counts) -> Self {
        let uncounted = Counts {
            packets: device.packets.wrapping_sub(hook.packets),
            bytes: device.bytes.wrapping_sub(hook.bytes),
        };
        Self { address, seen: device.packets, uncounted }
    }

    /// Reads what an edge book holds of one direction.
    pub(crate) const fn load(words: &[u64; 2 * WORDS], direction: Direction) -> Option<Self> {
        let at = WORDS * direction as usize;
        let uncounted = Counts { packets: words[at + 1], bytes: words[at + 2] };
        let mark = Self { address: words[at + 3], seen: words[at], uncounted };
        if mark.address == 0 { None } else { Some(mark) }
    }

    /// Writes it where [`Mark::load`] reads it: the address last, without which there is none.
    pub(crate) const fn store(self, words: &mut [u64; 2 * WORDS], direction: Direction) {
        let at = WORDS * direction as usize;
        words[at] = self.seen;
        words[at + 1] = self.uncounted.packets;
        words[at + 2] = self.uncounted.bytes;
        words[at + 3] = self.address;
    }

    /// The same for hooks whose counts begin at zero, when they had counted this much.
    pub(crate) const fn rebased(self, hook: Counts) -> Self {
        let Reading { packets, bytes } = self.accounted(hook);
        Self { uncounted: Counts { packets, bytes }, ..self }
    }

    /// Where the device's counter stands when everything is accounted for that passed it until
    /// its hook had counted this much.
    const fn accounted(&self, hook: Counts) -> Reading {
        Reading {
            packets: self.uncounted.packets.wrapping_add(hook.packets),
            bytes: self.uncounted.bytes.wrapping_add(hook.bytes),
        }
    }
}

/// Sides of devices that lost their hooks, the latest last. Most of the devices are gone for
/// good; those that moved come back and count on.
#[derive(Debug, Default)]
pub(crate) struct Parted(VecDeque<Side>);

#[derive(Debug)]
struct Side {
    ifindex: u32,
    hook: Hook,
    address: u64,
    seen: u64,
    accounted: Reading,
}

/// Sides that are remembered, whatever comes and goes.
const MOST: usize = 1024;

impl Parted {
    /// Remembers a side whose hook had counted `counted` at its end, and whose device told `last`
    /// thereafter, if it could be asked.
    pub(crate) fn keep(
        &mut self,
        (ifindex, hook): (u32, Hook),
        mark: Mark,
        counted: Counts,
        last: Option<Reading>,
    ) {
        let accounted = mark.accounted(counted);
        let accounted = last.map_or(accounted, |last| Reading {
            packets: accounted.packets.min(last.packets),
            bytes: accounted.bytes.min(last.bytes),
        });
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(Side { ifindex, hook, address: mark.address, seen: mark.seen, accounted });
    }

    /// What passed a side since its last hook, if it is one of these: a device that was made
    /// anew has other counters, which began at zero.
    pub(crate) fn rejoin(
        &mut self,
        (ifindex, hook): (u32, Hook),
        address: u64,
        now: Reading,
    ) -> Option<Counts> {
        let is_it = |side: &Side| {
            (side.ifindex, side.hook, side.address) == (ifindex, hook, address)
                && now.packets >= side.seen
        };
        let found = self.0.iter().rposition(is_it)?;
        let side = self.0.remove(found)?;
        Some(now.counts().saturating_sub(side.accounted.counts()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: u64 = 1 << 63 | 7;
    const SIDE: (u32, Hook) = (5, Hook::Ingress);

    fn reading(packets: u64) -> Reading {
        Reading { packets, bytes: packets * 100 }
    }

    fn counts(packets: u64) -> Counts {
        reading(packets).counts()
    }

    /// A device that had told 1000 packets when its hook had counted 300.
    fn mark() -> Mark {
        Mark::new(ADDRESS, reading(1000), counts(300))
    }

    #[test]
    fn a_mark_survives_its_words_and_an_empty_record_has_none() {
        let mut words = [0; 8];
        mark().store(&mut words, Direction::Rx);
        assert_eq!(Mark::load(&words, Direction::Rx), Some(mark()));
        assert_eq!(Mark::load(&words, Direction::Tx), None);
    }

    #[test]
    fn a_device_that_comes_back_missed_what_its_hook_did_not_count() {
        let mut parted = Parted::default();
        parted.keep(SIDE, mark(), counts(350), None);
        assert_eq!(parted.rejoin(SIDE, ADDRESS, reading(1060)), Some(counts(10)));
        assert_eq!(parted.rejoin(SIDE, ADDRESS, reading(1060)), None, "it is told once");
    }

    #[test]
    fn what_a_device_told_after_its_hook_had_ended_is_accounted_for_at_most() {
        let mut parted = Parted::default();
        // Its hook counted segments one by one.
        parted.keep(SIDE, mark(), counts(9000), Some(reading(1200)));
        assert_eq!(parted.rejoin(SIDE, ADDRESS, reading(1203)), Some(counts(3)));
    }

    #[test]
    fn another_device_is_not_taken_for_the_one_that_left() {
        let mut parted = Parted::default();
        parted.keep(SIDE, mark(), counts(350), None);
        let anew = reading(40);
        assert_eq!(parted.rejoin(SIDE, ADDRESS, anew), None, "its counters began at zero");
        assert_eq!(parted.rejoin(SIDE, ADDRESS + 1, reading(2000)), None);
        assert_eq!(parted.rejoin((5, Hook::Egress), ADDRESS, reading(2000)), None);
        assert_eq!(parted.rejoin((6, Hook::Ingress), ADDRESS, reading(2000)), None);
    }

    #[test]
    fn the_latest_of_many_is_remembered_and_the_oldest_forgotten() {
        let mut parted = Parted::default();
        for ifindex in 1..=1025 {
            parted.keep((ifindex, Hook::Ingress), mark(), counts(300), None);
        }
        assert_eq!(parted.rejoin((1, Hook::Ingress), ADDRESS, reading(1000)), None);
        let last = parted.rejoin((1025, Hook::Ingress), ADDRESS, reading(1000));
        assert_eq!(last, Some(Counts::ZERO));
    }

    #[test]
    fn counts_that_begin_at_zero_account_for_as_much() {
        let (before, after) = (mark(), mark().rebased(counts(350)));
        assert_eq!(before.accounted(counts(360)), after.accounted(counts(10)));
    }
}
