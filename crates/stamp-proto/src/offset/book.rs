//! Offsets between this node and others, and through this node between any two.

use std::collections::BTreeMap;

use super::{Offset, Ppb, drift};
use crate::clock::MonoTime;

/// What is known of the clocks of all nodes, seen from one of them.
///
/// A reader gets an interval with its age, or nothing: bounds grow with time and
/// entries expire.
#[derive(Debug)]
pub struct OffsetBook {
    own: String,
    expire_ns: i64,
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    offset: Offset,
    rate: Ppb,
}

/// The clock of one node minus that of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Between {
    /// Middle of the interval, in nanoseconds.
    pub offset_ns: i64,
    /// Half the width of the interval.
    pub bound_ns: u64,
    /// Since the older of the measurements behind it.
    pub age_ns: u64,
}

impl OffsetBook {
    /// The book of node `own`, whose entries hold for `expire_ns` nanoseconds.
    pub const fn new(own: String, expire_ns: i64) -> Self {
        Self { own, expire_ns, entries: BTreeMap::new() }
    }

    /// Enters the offset of `node`'s clock to ours; it loosens at `rate` as it ages.
    pub fn enter(&mut self, node: String, offset: Offset, rate: Ppb) {
        self.entries.insert(node, Entry { offset, rate });
    }

    /// Forgets `node`.
    pub fn remove(&mut self, node: &str) {
        self.entries.remove(node);
    }

    /// The clock of `b` minus the clock of `a`, at `now`.
    ///
    /// Two other nodes are compared through this one; their bounds add up.
    pub fn between(&self, a: &str, b: &str, now: MonoTime) -> Option<Between> {
        let (from, to) = (self.beside_own(a, now)?, self.beside_own(b, now)?);
        Some(Between {
            offset_ns: to.offset_ns.checked_sub(from.offset_ns)?,
            bound_ns: to.bound_ns.checked_add(from.bound_ns)?,
            age_ns: to.age_ns.max(from.age_ns),
        })
    }

    /// The nodes that have an entry, expired or not.
    pub fn nodes(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    fn beside_own(&self, node: &str, now: MonoTime) -> Option<Between> {
        if node == self.own {
            return Some(Between { offset_ns: 0, bound_ns: 0, age_ns: 0 });
        }
        let Entry { offset, rate } = self.entries.get(node)?;
        let age_ns = now.since(offset.measured_at).max(0);
        (age_ns <= self.expire_ns).then(|| Between {
            offset_ns: offset.offset_ns,
            bound_ns: offset.bound_ns.saturating_add(drift(age_ns, *rate) as u64),
            age_ns: age_ns as u64,
        })
    }
}
