//! The document of a measurement: from ledger, rows and closed hooks to what is printed.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use flow_model::{
    edge::EdgeId,
    flow::{Class, Direction, FlowKey},
    snapshot::Snapshot,
};

use crate::{
    audit::Passed,
    config::Config,
    document::{
        Audit, CounterRow, Document, FlowRow, FoldedRow, HookRow, Host, InterfaceLaw, Note, SCHEMA,
        Sum, TotalsRow, Window,
    },
    engine::Closed,
    error::Error,
    host,
    rows::{Row, Rows},
    site::Site,
    time::{WallClock, nanos, rfc3339},
};

/// Everything that a measurement brought.
#[derive(Debug)]
pub(crate) struct Measured<'a> {
    /// What was asked for.
    pub(crate) config: &'a Config,
    /// How programs were attached.
    pub(crate) attach: &'static str,
    /// From the moment at which every hook was there, CLOCK_MONOTONIC.
    pub(crate) ready: Duration,
    /// To the moment at which the first was removed.
    pub(crate) stopped: Duration,
    /// Resolution of flow times.
    pub(crate) tick: Duration,
    /// The ledger after the last drain.
    pub(crate) snapshot: &'a Snapshot,
    /// Flows.
    pub(crate) rows: &'a Rows,
    /// Hooks.
    pub(crate) closed: &'a BTreeMap<EdgeId, Closed>,
    /// Drains ahead of time.
    pub(crate) early_drains: u64,
    /// Notices that found no room.
    pub(crate) lost_events: u64,
    /// What else is to be told, by code.
    pub(crate) notes: Vec<Note>,
    /// Whether a hooked device has an XDP program.
    pub(crate) xdp: bool,
}

impl Measured<'_> {
    /// The document.
    pub(crate) fn document(self) -> Document {
        let clock = WallClock::read();
        let mut document = Document {
            schema: SCHEMA,
            host: Host {
                node: self.config.node_name(),
                kernel: host::kernel_text(),
                attach: self.attach,
                cpus: host::cpus(),
            },
            window: Window {
                ready_at: rfc3339(clock.at(self.ready)),
                stopped_at: rfc3339(clock.at(self.stopped)),
                duration_ns: nanos(self.stopped.saturating_sub(self.ready)),
                epochs: self.snapshot.activity.epochs,
                tick_ns: nanos(self.tick),
            },
            hooks: hook_rows(self.snapshot, self.closed),
            flows: flow_rows(self.rows, self.closed, self.config, &clock),
            folded: folded_rows(self.snapshot, self.rows, self.closed),
            totals: TotalsRow::default(),
            audit: Audit {
                flow_law_packets: 0,
                flow_law_bytes: 0,
                interface_law: InterfaceLaw::Unknown,
                early_drains: self.early_drains,
                lost_events: self.lost_events,
                notes: Vec::new(),
            },
        };
        document.conclude(self.notes, self.xdp);
        document
    }
}

fn hook_rows(snapshot: &Snapshot, closed: &BTreeMap<EdgeId, Closed>) -> Vec<HookRow> {
    let mut rows = Vec::with_capacity(2 * closed.len());
    for edge in &snapshot.edges {
        let Some(closed) = closed.get(&edge.record.id) else {
            continue;
        };
        for direction in Direction::ALL {
            let at = direction as usize;
            let site = closed.plan.site(direction);
            let totals = edge.totals[at];
            let passed =
                closed.counters[at].and_then(|[opened, shut]| Passed::between(opened, shut));
            let drift = passed.map(|passed| passed.drift(&totals));
            rows.push(HookRow {
                edge: closed.plan.name.clone(),
                direction: direction.as_str(),
                interface: site.interface.clone(),
                ifindex: site.ifindex,
                netns_inode: site.namespace.inode,
                hook: match site.hook {
                    net_sys::tcx::Hook::Ingress => "ingress",
                    net_sys::tcx::Hook::Egress => "egress",
                },
                place: match site.place {
                    flow_model::edge::Place::Pod => "pod",
                    _ => "host",
                },
                packets: totals.wire.packets,
                bytes: totals.wire.bytes,
                skbs: totals.skb.packets,
                skb_bytes: totals.skb.bytes,
                unparsed: edge.folded[at][Class::Unparsed as usize].packets,
                counter: passed.map(|passed| counter_row(site, &passed)),
                drift_packets: drift.map(|drift| drift.packets),
                drift_bytes: drift.map(|drift| drift.bytes),
            });
        }
    }
    rows
}

fn counter_row(site: &Site, passed: &Passed) -> CounterRow {
    CounterRow {
        name: site.counter(),
        packets_min: passed.least.packets,
        packets_max: passed.most.packets,
        bytes_min: passed.least.bytes,
        bytes_max: passed.most.bytes,
    }
}

fn flow_rows(
    rows: &Rows,
    closed: &BTreeMap<EdgeId, Closed>,
    config: &Config,
    clock: &WallClock,
) -> Vec<FlowRow> {
    // Edges of one name are one pod: its flow through two interfaces is one row.
    let mut merged: HashMap<(&str, &FlowKey), Row> = HashMap::new();
    for (edge, key, row) in rows.iter() {
        let Some(edge) = closed.get(&edge) else { continue };
        merged
            .entry((edge.plan.name.as_str(), key))
            .and_modify(|known| known.merge(row))
            .or_insert(*row);
    }
    let mut named: Vec<_> = merged.iter().map(|((edge, key), row)| (*edge, *key, row)).collect();
    named.sort_unstable_by(|(one, key, row), (other, other_key, other_row)| {
        other_row
            .counts
            .bytes
            .cmp(&row.counts.bytes)
            .then_with(|| one.cmp(other))
            .then_with(|| key.cmp(other_key))
    });
    named
        .into_iter()
        .map(|(edge, key, row)| FlowRow::new(edge, key, row, config.flow_key(), clock))
        .collect()
}

fn folded_rows(
    snapshot: &Snapshot,
    rows: &Rows,
    closed: &BTreeMap<EdgeId, Closed>,
) -> Vec<FoldedRow> {
    let in_kernel = snapshot.edges.iter().flat_map(|edge| {
        Direction::ALL.into_iter().flat_map(move |direction| {
            Class::ALL.into_iter().map(move |class| {
                let counts = edge.folded[direction as usize][class as usize];
                (edge.record.id, direction, class.as_str(), counts)
            })
        })
    });
    let beyond = rows.beyond().map(|(edge, direction, counts)| (edge, direction, "rows", counts));
    in_kernel
        .chain(beyond)
        .filter(|(.., counts)| !counts.is_zero())
        .filter_map(|(edge, direction, class, counts)| {
            Some(FoldedRow {
                edge: closed.get(&edge)?.plan.name.clone(),
                direction: direction.as_str(),
                class,
                packets: counts.packets,
                bytes: counts.bytes,
            })
        })
        .collect()
}

impl Document {
    /// Sums up and audits what the rows say.
    fn conclude(&mut self, mut notes: Vec<Note>, xdp: bool) {
        for hook in &self.hooks {
            let sum =
                if hook.direction == "tx" { &mut self.totals.tx } else { &mut self.totals.rx };
            *sum = Sum {
                packets: sum.packets + hook.packets,
                bytes: sum.bytes + hook.bytes,
                skbs: sum.skbs + hook.skbs,
                skb_bytes: sum.skb_bytes + hook.skb_bytes,
            };
        }
        let (packets, bytes) = self.flow_law();
        self.audit.flow_law_packets = packets;
        self.audit.flow_law_bytes = bytes;
        notes.extend(self.judge_interfaces(xdp));
        notes.extend(self.hooks.is_empty().then_some(Note::NoEdges));
        notes.sort_unstable();
        self.audit.notes = notes.into_iter().map(Note::as_str).collect();
    }

    fn judge_interfaces(&mut self, xdp: bool) -> Vec<Note> {
        let (interface_law, mut notes) = (&mut self.audit.interface_law, Vec::new());
        let drifting = || self.hooks.iter().filter(|hook| hook.drifts());
        if self.hooks.iter().any(|hook| hook.counter.is_some()) {
            *interface_law = InterfaceLaw::Ok;
        }
        if self.hooks.iter().any(|hook| hook.counter.is_none()) {
            notes.push(Note::CountersUnavailable);
        }
        if drifting().next().is_none() {
            return notes;
        }
        *interface_law = InterfaceLaw::Violated;
        notes.push(Note::InterfaceDrift);
        notes.extend(xdp.then_some(Note::XdpProgram));
        if drifting().any(HookRow::lacks_link_headers) {
            notes.push(Note::GroLinkHeader);
        }
        notes
    }

    /// How far hooks and rows lie apart.
    fn flow_law(&self) -> (u64, u64) {
        let mut hooks: BTreeMap<(&str, &str), (u64, u64)> = BTreeMap::new();
        for hook in &self.hooks {
            let sum = hooks.entry((hook.edge.as_str(), hook.direction)).or_default();
            sum.0 += hook.packets;
            sum.1 += hook.bytes;
        }
        let rows = self.accounted();
        let edges = hooks.keys().chain(rows.keys()).collect::<std::collections::BTreeSet<_>>();
        edges.into_iter().fold((0, 0), |(packets, bytes), edge| {
            let hook = hooks.get(edge).copied().unwrap_or_default();
            let row = rows.get(edge).copied().unwrap_or_default();
            (packets + hook.0.abs_diff(row.0), bytes + hook.1.abs_diff(row.1))
        })
    }

    /// The law that does not hold, if there is one that must.
    pub fn law(&self) -> Result<(), Error> {
        let Audit { flow_law_packets: packets, flow_law_bytes: bytes, .. } = self.audit;
        if packets == 0 && bytes == 0 {
            return Ok(());
        }
        Err(Error::Law { law: "flow", packets, bytes })
    }
}

#[cfg(test)]
mod tests;
