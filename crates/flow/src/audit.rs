//! The interface law: what a device counted against what its hook counted.

use flow_model::flow::{Counts, Totals};

use crate::site::Reading;

/// Interface counters read before and after something of ours happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Bracket {
    /// Before.
    pub(crate) before: Reading,
    /// After.
    pub(crate) after: Reading,
}

/// The least and the most that can have passed a device while it was hooked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Passed {
    /// From after the attach to before the detach.
    pub(crate) least: Reading,
    /// From before the attach to after the detach.
    pub(crate) most: Reading,
}

impl Passed {
    /// Between two brackets. Counters that went backwards, because the device was made
    /// anew, say nothing.
    pub(crate) fn between(opened: Bracket, closed: Bracket) -> Option<Self> {
        Some(Self {
            least: difference(closed.before, opened.after)?,
            most: difference(closed.after, opened.before)?,
        })
    }

    /// How far the hook's amounts lie outside: a device counts a segmented buffer as
    /// anything between one packet and all its segments.
    pub(crate) fn drift(&self, hook: &Totals) -> Reading {
        Reading {
            packets: outside(
                hook.skb.packets,
                hook.wire.packets,
                self.least.packets,
                self.most.packets,
            ),
            bytes: outside(hook.skb.bytes, hook.wire.bytes, self.least.bytes, self.most.bytes),
        }
    }
}

/// What the last check of the interface law saw at one hook.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct InterfaceCheck {
    /// One side: the device.
    pub(crate) passed: Passed,
    /// The other side: the hook.
    pub(crate) hook: Totals,
}

impl InterfaceCheck {
    /// How far the sides lie apart.
    pub(crate) fn drift(&self) -> Reading {
        self.passed.drift(&self.hook)
    }

    /// What surely passed the device and not the hook.
    pub(crate) fn unseen(&self) -> Counts {
        self.passed.least.counts().saturating_sub(self.hook.wire)
    }
}

/// Watches by how much one device counts more than another that everything should pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shortfall {
    start: [Reading; 2],
    told: Reading,
}

impl Shortfall {
    /// Starts from what both count now.
    pub(crate) const fn new(all: Reading, part: Reading) -> Self {
        Self { start: [all, part], told: Reading { packets: 0, bytes: 0 } }
    }

    /// What is missing from the part since the last call. Counters that went backwards
    /// begin anew and say nothing this once.
    pub(crate) fn observe(&mut self, all: Reading, part: Reading) -> Reading {
        let [all_start, part_start] = self.start;
        let since = difference(all, all_start).zip(difference(part, part_start));
        let Some((all_since, part_since)) = since else {
            *self = Self::new(all, part);
            return Reading::default();
        };
        let missing = saturating(all_since, part_since);
        let new = saturating(missing, self.told);
        self.told.packets += new.packets;
        self.told.bytes += new.bytes;
        new
    }
}

/// What passed a device between two readings and is not in what its hook counted
/// between them: at most what really passed unseen.
pub(crate) fn missed(start: Reading, end: Reading, seen: &Totals, now: &Totals) -> Counts {
    let passed = saturating(end, start);
    let counted = now.skb.saturating_sub(seen.skb);
    passed.counts().saturating_sub(counted)
}

const fn saturating(larger: Reading, smaller: Reading) -> Reading {
    Reading {
        packets: larger.packets.saturating_sub(smaller.packets),
        bytes: larger.bytes.saturating_sub(smaller.bytes),
    }
}

fn difference(later: Reading, earlier: Reading) -> Option<Reading> {
    Some(Reading {
        packets: later.packets.checked_sub(earlier.packets)?,
        bytes: later.bytes.checked_sub(earlier.bytes)?,
    })
}

/// Distance between the ranges `low..=high` and `least..=most`, 0 where they meet.
fn outside(low: u64, high: u64, least: u64, most: u64) -> u64 {
    low.saturating_sub(most).max(least.saturating_sub(high))
}

#[cfg(test)]
mod tests {
    use flow_model::flow::Counts;

    use super::*;

    fn reading(packets: u64) -> Reading {
        Reading { packets, bytes: packets * 100 }
    }

    fn still(packets: u64) -> Bracket {
        Bracket { before: reading(packets), after: reading(packets) }
    }

    fn hook(skbs: u64, packets: u64) -> Totals {
        Totals {
            skb: Counts { packets: skbs, bytes: skbs * 100 },
            wire: Counts { packets, bytes: packets * 100 },
        }
    }

    #[test]
    fn without_segmentation_only_equality_holds() {
        let passed = Passed::between(still(10), still(15)).unwrap();
        assert_eq!(passed.drift(&hook(5, 5)), reading(0));
        assert_eq!(passed.drift(&hook(4, 4)), reading(1));
        assert_eq!(passed.drift(&hook(7, 7)), reading(2));
    }

    #[test]
    fn a_segmented_buffer_may_count_once_or_as_its_segments() {
        let passed = Passed::between(still(0), still(40)).unwrap();
        assert_eq!(passed.drift(&hook(1, 40)), reading(0));
        assert_eq!(passed.drift(&hook(1, 39)), reading(1));
    }

    #[test]
    fn traffic_during_attach_and_detach_widens_the_bracket() {
        let opened = Bracket { before: reading(10), after: reading(12) };
        let closed = Bracket { before: reading(20), after: reading(23) };
        let passed = Passed::between(opened, closed).unwrap();
        assert_eq!((passed.least, passed.most), (reading(8), reading(13)));
        assert_eq!(passed.drift(&hook(13, 13)), reading(0));
        assert_eq!(passed.drift(&hook(14, 14)), reading(1));
    }

    #[test]
    fn a_shortfall_is_told_once() {
        let mut watch = Shortfall::new(reading(100), reading(40));
        let told = [(110, 50), (125, 60), (125, 60), (130, 70), (150, 80)]
            .map(|(all, part)| watch.observe(reading(all), reading(part)).packets);
        assert_eq!(told, [0, 5, 0, 0, 5], "a late reading of the part takes nothing back");
    }

    #[test]
    fn a_device_made_anew_starts_a_new_comparison() {
        let mut watch = Shortfall::new(reading(100), reading(100));
        assert_eq!(watch.observe(reading(5), reading(5)), reading(0));
        assert_eq!(watch.observe(reading(9), reading(7)), reading(2));
    }

    #[test]
    fn what_a_hook_saw_of_a_device_is_not_missed() {
        let (seen, now) = (hook(100, 100), hook(103, 120));
        assert_eq!(missed(reading(10), reading(15), &seen, &now), reading(2).counts());
        assert_eq!(missed(reading(10), reading(12), &seen, &now), Counts::ZERO);
    }

    #[test]
    fn counters_that_fell_say_nothing() {
        assert_eq!(Passed::between(still(10), still(3)), None);
    }
}
