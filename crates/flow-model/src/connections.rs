//! How many connections are active at pod edges.
//!
//! A connection is an unordered 5-tuple: both directions, and both ends of it when
//! two pods of a node talk, are one. It is active while a packet was seen within the
//! idle time, unless TCP has ended it by a RST or by a FIN from both sides. Within one
//! epoch the order of packets is not known: an end in the epoch counts as the last
//! thing that happened.
//!
//! Memory only, bounded; what finds no room is counted. A connection is known by 64 bits of
//! a keyed hash of its tuple, which takes half the memory of the tuple: of a million
//! connections two are taken for one with a probability of 3 in 10⁸, and nobody outside
//! knows the key.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::IpAddr;

use crate::flow::{FlowEntry, Protocol};

/// The kernel's coarse clock against CLOCK_MONOTONIC: one pair read at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TickClock {
    /// Low 32 bits of the tick counter.
    pub tick: u32,
    /// Monotonic nanoseconds at that tick.
    pub monotonic_ns: u64,
    /// Nanoseconds per tick: the resolution.
    pub tick_ns: u64,
}

impl TickClock {
    /// Monotonic time of a tick at most 2³¹ ticks away from the pair, on either side.
    pub const fn monotonic_ns(&self, tick: u32) -> u64 {
        let ago = self.tick.wrapping_sub(tick);
        if ago <= u32::MAX / 2 {
            self.monotonic_ns.saturating_sub(self.tick_ns.saturating_mul(ago as u64))
        } else {
            let ahead = tick.wrapping_sub(self.tick) as u64;
            self.monotonic_ns.saturating_add(self.tick_ns.saturating_mul(ahead))
        }
    }
}

/// Active connections by protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Active {
    /// TCP.
    pub tcp: u64,
    /// UDP.
    pub udp: u64,
}

/// Connections seen within the idle time.
#[derive(Debug)]
pub struct Connections {
    capacity: usize,
    table: HashMap<u64, Connection>,
    untracked: u64,
}

#[derive(Debug, Clone, Copy, Hash)]
struct Key {
    low: (IpAddr, u16),
    high: (IpAddr, u16),
    tcp: bool,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    tcp: bool,
    last_ns: u64,
    /// Which epoch `now` is about, by the time at which its clock was read.
    epoch: u64,
    before: Ends,
    now: Ends,
}

/// What TCP has said about the end of a connection.
#[derive(Debug, Clone, Copy, Default)]
struct Ends {
    /// FIN from the low and from the high end.
    fins: [bool; 2],
    reset: bool,
}

impl Connections {
    /// An empty table with room for `capacity` connections.
    pub fn new(capacity: usize) -> Self {
        Self { capacity, table: HashMap::new(), untracked: 0 }
    }

    /// Takes note of one flow of an epoch. Flows without ports of their own are none.
    pub fn observe(&mut self, flow: &FlowEntry, clock: &TickClock) {
        let Some((key, sender)) = Key::of(flow) else {
            return;
        };
        let last_ns = clock.monotonic_ns(flow.last);
        let hash = self.table.hasher().hash_one(key);
        let room = self.table.len() < self.capacity;
        if let Some(known) = self.table.get_mut(&hash) {
            known.enter(clock.monotonic_ns);
            known.update(flow, sender, last_ns);
        } else if room {
            let mut new = Connection::new(key.tcp, clock.monotonic_ns);
            new.update(flow, sender, last_ns);
            self.table.insert(hash, new);
        } else {
            self.untracked += 1;
        }
    }

    /// Forgets connections silent for `idle_ns` and counts the others that are not ended.
    /// An ended one is kept until then, so that its last segments don't revive it.
    pub fn sweep(&mut self, now_ns: u64, idle_ns: u64) -> Active {
        let mut active = Active::default();
        self.table.retain(|_, connection| {
            let kept = now_ns.saturating_sub(connection.last_ns) <= idle_ns;
            if kept && !connection.ended() {
                *if connection.tcp { &mut active.tcp } else { &mut active.udp } += 1;
            }
            kept
        });
        active
    }

    /// Connections in the table.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Observations of connections for which there was no room.
    pub const fn untracked(&self) -> u64 {
        self.untracked
    }
}

impl Key {
    /// The connection of a flow, and which end sent it.
    fn of(flow: &FlowEntry) -> Option<(Self, usize)> {
        let tcp = match Protocol::of(flow.key.protocol) {
            Protocol::Tcp => true,
            Protocol::Udp => false,
            _ => return None,
        };
        if flow.key.fragment {
            return None;
        }
        let (src, dst) = ((flow.key.src, flow.key.src_port), (flow.key.dst, flow.key.dst_port));
        let sender = usize::from(src > dst);
        Some((Self { low: src.min(dst), high: src.max(dst), tcp }, sender))
    }
}

impl Connection {
    fn new(tcp: bool, epoch: u64) -> Self {
        Self { tcp, last_ns: 0, epoch, before: Ends::default(), now: Ends::default() }
    }

    fn enter(&mut self, epoch: u64) {
        if self.epoch != epoch {
            self.before = self.before.or(self.now);
            (self.now, self.epoch) = (Ends::default(), epoch);
        }
    }

    /// Takes a flow of the epoch. They come in any order, so a SYN begins a new life only
    /// behind an end of an earlier epoch.
    fn update(&mut self, flow: &FlowEntry, sender: usize, last_ns: u64) {
        if self.before.complete() && flow.syn > 0 {
            self.before = Ends::default();
        }
        self.last_ns = self.last_ns.max(last_ns);
        self.now.fins[sender] |= flow.fin > 0;
        self.now.reset |= flow.rst > 0;
    }

    const fn ended(&self) -> bool {
        self.before.or(self.now).complete()
    }
}

impl Ends {
    const fn or(self, other: Self) -> Self {
        let [low, high] = self.fins;
        Self {
            fins: [low || other.fins[0], high || other.fins[1]],
            reset: self.reset || other.reset,
        }
    }

    const fn complete(&self) -> bool {
        self.reset || (self.fins[0] && self.fins[1])
    }
}

#[cfg(test)]
mod tests;
