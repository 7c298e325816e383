//! What a reader of flows may ask for.

use std::{cmp::Ordering, net::IpAddr};

use flow_model::flow::{Direction, FlowEntry};
use serde::Deserialize;

use crate::document::Protocol;

/// The query as it came.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlowQuery {
    direction: Option<String>,
    pod: Option<String>,
    namespace: Option<String>,
    peer: Option<String>,
    protocol: Option<String>,
    sort: Option<String>,
    limit: Option<usize>,
    fresh: Option<String>,
}

/// The query as it is answered.
#[derive(Debug)]
pub(super) struct Checked {
    direction: Option<Direction>,
    pod: Option<String>,
    namespace: Option<String>,
    peer: Option<IpAddr>,
    protocol: Option<u8>,
    sort: Sort,
    /// The most rows.
    pub(super) limit: usize,
    /// Whether to drain first.
    pub(super) fresh: bool,
}

#[derive(Debug, Clone, Copy)]
enum Sort {
    Bytes,
    Packets,
    LastSeen,
}

const LIMIT: usize = 100;
const MAX_LIMIT: usize = 10_000;

impl FlowQuery {
    /// Refuses what has no meaning, naming the parameter.
    pub(super) fn check(self) -> Result<Checked, String> {
        let direction = self
            .direction
            .map(|text| {
                Direction::ALL
                    .into_iter()
                    .find(|direction| direction.as_str() == text)
                    .ok_or("direction: must be tx or rx")
            })
            .transpose()?;
        let peer = self
            .peer
            .map(|text| text.parse().map_err(|_| "peer: must be an IP address"))
            .transpose()?;
        let limit = self.limit.unwrap_or(LIMIT);
        if !(1..=MAX_LIMIT).contains(&limit) {
            return Err(format!("limit: must lie between 1 and {MAX_LIMIT}"));
        }
        Ok(Checked {
            direction,
            pod: self.pod,
            namespace: self.namespace,
            peer,
            protocol: self.protocol.map(|text| protocol(&text)).transpose()?,
            sort: sort(self.sort.as_deref())?,
            limit,
            fresh: fresh(self.fresh.as_deref())?,
        })
    }
}

fn protocol(text: &str) -> Result<u8, &'static str> {
    (0..=u8::MAX)
        .find(|number| Protocol(*number).name() == Some(text))
        .or_else(|| text.parse().ok())
        .ok_or("protocol: must be tcp, udp, icmp, icmpv6, sctp or a number")
}

fn sort(text: Option<&str>) -> Result<Sort, &'static str> {
    match text {
        None | Some("bytes") => Ok(Sort::Bytes),
        Some("packets") => Ok(Sort::Packets),
        Some("last_seen") => Ok(Sort::LastSeen),
        Some(_) => Err("sort: must be bytes, packets or last_seen"),
    }
}

fn fresh(text: Option<&str>) -> Result<bool, &'static str> {
    match text {
        None | Some("0" | "false") => Ok(false),
        Some("1" | "true") => Ok(true),
        Some(_) => Err("fresh: must be 1 or 0"),
    }
}

impl Checked {
    /// Whether a flow at an edge is asked for.
    pub(super) fn wants(&self, edge: &str, flow: &FlowEntry) -> bool {
        let key = &flow.key;
        // Without Kubernetes a pod is its edge and has no namespace.
        let remote = match key.direction {
            Direction::Tx => key.dst,
            Direction::Rx => key.src,
        };
        self.direction.is_none_or(|direction| direction == key.direction)
            && self.pod.as_deref().is_none_or(|pod| pod == edge)
            && self.namespace.as_deref().is_none_or(str::is_empty)
            && self.peer.is_none_or(|peer| peer == remote)
            && self.protocol.is_none_or(|protocol| protocol == key.protocol)
    }

    /// Largest or newest first; equal ones by key, so that pages are stable.
    pub(super) fn order(&self, one: &FlowEntry, other: &FlowEntry) -> Ordering {
        let rank = |flow: &FlowEntry| match self.sort {
            Sort::Bytes => flow.counts.bytes,
            Sort::Packets => flow.counts.packets,
            Sort::LastSeen => flow.last.into(),
        };
        rank(other).cmp(&rank(one)).then_with(|| one.key.cmp(&other.key))
    }
}
