//! What happens to a node, step by step.

use std::net::{IpAddr, Ipv4Addr};

use flow_model::flow::{Direction, FlowKey, Slot};
use flow_model::page::{FlowKeyMode, Geometry};
use proptest::prelude::{Just, Strategy, any, prop_oneof};

use crate::machine::Packet;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// An edge appears; its pod is known at once or later.
    Add {
        edge: u8,
        named: bool,
    },
    /// Its pod becomes known.
    Name {
        edge: u8,
        pod: u8,
    },
    /// Its device is gone.
    Drop {
        edge: u8,
    },
    /// Packets that have all landed before the next step.
    Burst(Traffic),
    /// Packets that arrive while the agent works.
    Trickle(Traffic),
    Drain,
    /// Time passes.
    Wait {
        ns: u64,
    },
}

/// `packets` frames of one edge with one peer; peer 0 is not IP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) edge: u8,
    pub(crate) rx: bool,
    pub(crate) peer: u8,
    pub(crate) packets: u8,
    pub(crate) bytes: u64,
}

impl Traffic {
    pub(crate) fn packets(self, slot: Slot) -> impl Iterator<Item = Packet> {
        let direction = if self.rx { Direction::Rx } else { Direction::Tx };
        let (own, peer) = (address(self.edge, 1), address(200, self.peer));
        let (src, dst) = if self.rx { (peer, own) } else { (own, peer) };
        let key = FlowKey {
            slot,
            direction,
            src,
            dst,
            src_port: 1,
            dst_port: u16::from(self.peer),
            protocol: 6,
            fragment: false,
        };
        let key = (self.peer != 0).then_some(key);
        (0..self.packets).map(move |_| Packet { slot, direction, key, bytes: self.bytes })
    }
}

fn address(a: u8, b: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, a, b).into()
}

pub(crate) fn geometry(pair_series: u32, max_edges: u32) -> Geometry {
    Geometry {
        flow_capacity4: 64,
        flow_capacity6: 64,
        shards: 1,
        max_edges,
        pair_series,
        flow_key: FlowKeyMode::FiveTuple,
    }
}

/// A pair idle for this long is retired.
pub(crate) const IDLE_NS: u64 = 100_000;

/// Traffic of one edge and peer.
pub(crate) const fn traffic(edge: u8, rx: bool, peer: u8, packets: u8, bytes: u64) -> Traffic {
    Traffic { edge, rx, peer, packets, bytes }
}

/// Ends every script: all packets land, all edges leave, all pairs fall idle, and enough
/// drains follow for all of that to be in the ledger.
pub(crate) fn farewell() -> Vec<Op> {
    let mut ops = vec![Op::Drain, Op::Drain];
    ops.extend((1..=6).map(|edge| Op::Drop { edge }));
    for _ in 0..5 {
        ops.extend([Op::Wait { ns: IDLE_NS }, Op::Drain]);
    }
    ops
}

/// Two interfaces of one pod, slots given again, an edge named late, pairs that fall
/// idle, packets during every drain.
pub(crate) fn full_life() -> Vec<Op> {
    let mut ops = vec![
        Op::Add { edge: 1, named: true },
        Op::Add { edge: 2, named: false },
        Op::Burst(traffic(1, false, 1, 3, 100)),
        Op::Burst(traffic(1, true, 1, 2, 60)),
        Op::Burst(traffic(2, false, 2, 4, 1500)),
        Op::Burst(traffic(2, false, 0, 1, 42)),
        Op::Trickle(traffic(1, false, 1, 9, 70)),
        Op::Drain,
        Op::Wait { ns: 10 },
        Op::Name { edge: 2, pod: 1 },
        Op::Trickle(traffic(2, false, 2, 9, 80)),
        Op::Trickle(traffic(2, true, 0, 2, 42)),
        Op::Drain,
        Op::Drop { edge: 1 },
        Op::Add { edge: 3, named: true },
        Op::Burst(traffic(3, false, 3, 1, 64)),
        Op::Trickle(traffic(3, false, 3, 20, 65)),
        Op::Drain,
        Op::Drain,
        Op::Drain,
        Op::Drain,
        Op::Add { edge: 4, named: true },
        Op::Burst(traffic(4, false, 4, 2, 90)),
        Op::Burst(traffic(4, true, 5, 2, 91)),
        Op::Trickle(traffic(4, true, 5, 9, 92)),
        Op::Drain,
    ];
    ops.push(Op::Drain);
    ops
}

/// Scripts in which each pair first appears in a burst, so that the epoch in which its
/// series begins does not hang on the timing of single packets.
pub(crate) fn random_script() -> impl Strategy<Value = Vec<Op>> {
    let one = prop_oneof![
        2 => (1_u8..5, any::<bool>()).prop_map(|(edge, named)| Op::Add { edge, named }),
        1 => (1_u8..5, 1_u8..4).prop_map(|(edge, pod)| Op::Name { edge, pod }),
        1 => (1_u8..5).prop_map(|edge| Op::Drop { edge }),
        4 => any_traffic().prop_map(Op::Burst),
        3 => any_traffic().prop_map(Op::Trickle),
        5 => Just(Op::Drain),
        1 => (1_u64..50).prop_map(|ns| Op::Wait { ns }),
    ];
    proptest::collection::vec(one, 5..40).prop_map(burst_first)
}

fn any_traffic() -> impl Strategy<Value = Traffic> {
    (1_u8..5, any::<bool>(), 0_u8..6, 1_u8..6, 40_u64..2000)
        .prop_map(|(edge, rx, peer, packets, bytes)| traffic(edge, rx, peer, packets, bytes))
}

fn burst_first(ops: Vec<Op>) -> Vec<Op> {
    let mut known = Vec::new();
    let settled = ops.into_iter().map(|op| match op {
        Op::Trickle(one) if !known.contains(&(one.edge, one.peer)) => Op::Burst(one),
        Op::Burst(one) => {
            known.push((one.edge, one.peer));
            Op::Burst(one)
        }
        other => other,
    });
    settled.collect()
}
