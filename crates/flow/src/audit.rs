//! The interface law: what a device counted against what its hook counted.

use flow_model::flow::Totals;

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
    fn counters_that_fell_say_nothing() {
        assert_eq!(Passed::between(still(10), still(3)), None);
    }
}
