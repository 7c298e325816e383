//! One measurement: attach, measure, detach, drain, tell.

use std::{
    collections::{BTreeMap, HashMap},
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender},
    time::{Duration, Instant},
};

use flow_bpf::Event;
use flow_model::{
    edge::EdgeId,
    flow::{Class, Direction, FlowKey},
};

use net_sys::Survey;

use crate::{
    audit::Passed,
    command::{Command, NoticeThread},
    config::Config,
    discover::{EARLY, Rule, Verdict},
    document::{
        Audit, CounterRow, Document, FlowRow, FoldedRow, HookRow, Host, SCHEMA, Sum, TotalsRow,
        Window,
    },
    engine::{Closed, Engine},
    error::Error,
    hook::Lane,
    host::{self, lane},
    named,
    ready::ReadyFile,
    rows::{LIMIT, Row, Rows},
    site::Namespace,
    site::Site,
    time::{WallClock, monotonic, nanos, rfc3339, tick_clock},
};

/// Measures until `duration` has passed or a command to stop arrives.
///
/// # Errors
///
/// When an edge can't be hooked or the kernel side fails. A violated law is in the
/// document, see [`Document::law`].
pub fn measure(
    config: &Config,
    duration: Duration,
    commands: &Receiver<Command>,
    sender: SyncSender<Command>,
) -> Result<Document, Error> {
    host::check_kernel()?;
    let settings = config.settings();
    let plans = named::resolve(&settings.pod_edge, &settings.netns)?;
    let lane = lane(config.attach())?;
    let mut engine = Engine::private(config.sizes(host::cpus()), config.ledger(), lane)?;
    for plan in plans {
        engine.attach(plan)?;
    }
    let mut notes = Vec::new();
    if config.discovers() && !attach_found(config, &mut engine)? {
        notes.push("edges_refused");
    }
    let notices = NoticeThread::start(engine.tables().notices()?, sender)?;
    let mut course = Course { rows: Rows::new(LIMIT), epochs: 0, early: 0 };
    let ready = monotonic();
    let _file = ReadyFile::create(settings.ready_file.as_deref(), None, engine.edges().len())?;
    course.run(&mut engine, config, duration, commands)?;

    let stopped = monotonic();
    let closed: BTreeMap<EdgeId, Closed> = engine.detach_all(None)?.into_iter().collect();
    drop(notices);
    course.drain(&mut engine)?;
    let tick = engine.tables().clock()?.tick();
    let clock = WallClock::read();
    let mut document = Document {
        schema: SCHEMA,
        host: host_row(config, lane),
        window: Window {
            ready_at: rfc3339(clock.at(ready)),
            stopped_at: rfc3339(clock.at(stopped)),
            duration_ns: nanos(stopped.saturating_sub(ready)),
            epochs: course.epochs,
            tick_ns: nanos(tick),
        },
        hooks: hook_rows(&engine, &closed),
        flows: flow_rows(&course.rows, &closed, config, &clock),
        folded: folded_rows(&engine, &course.rows, &closed),
        totals: TotalsRow::default(),
        audit: Audit {
            flow_law_packets: 0,
            flow_law_bytes: 0,
            interface_law: "ok",
            early_drains: course.early,
            lost_events: engine.tables().events(Event::LostNotice)?,
            notes,
        },
    };
    document.conclude();
    Ok(document)
}

/// Hooks every edge there is now; false when one could not be had. Those that come later
/// are not part of this measurement.
fn attach_found(config: &Config, engine: &mut Engine) -> Result<bool, Error> {
    let settings = config.settings();
    let own =
        Namespace::own().map_err(|source| Error::Edge { edge: "own namespace".into(), source })?;
    let rule = Rule { exclude: settings.discover_exclude.clone(), hooks: settings.edge_hooks, own };
    let crossings = Survey::open(&settings.netns_dir)?.scan()?;
    // Nothing is waited for: a namespace without a file now is hooked on this side.
    let settled = Instant::now() + EARLY;
    let mut complete = true;
    for crossing in &crossings {
        let Verdict::Edge(mut plan) = rule.judge(crossing, settled) else { continue };
        if engine.edges().values().any(|edge| edge.plan.shares_device(&plan)) {
            continue;
        }
        if engine.edges().values().any(|edge| edge.plan.name == plan.name) {
            plan.name = format!("{}:{}", plan.name, plan.site(Direction::Rx).interface);
        }
        if let Err(error) = engine.attach_or_degrade(*plan) {
            complete = false;
            tracing::warn!(event = "edge.refused", reason = error.attach_reason(), %error, "An edge is not counted");
        }
    }
    Ok(complete)
}

fn host_row(config: &Config, lane: Lane) -> Host {
    Host {
        node: config.node_name(),
        kernel: host::kernel_text(),
        attach: lane.as_str(),
        cpus: host::cpus(),
    }
}

/// The measurement under way.
struct Course {
    rows: Rows,
    epochs: u64,
    early: u64,
}

/// No two early drains within this time.
const EARLY_SPACING: Duration = Duration::from_millis(200);

impl Course {
    fn run(
        &mut self,
        engine: &mut Engine,
        config: &Config,
        duration: Duration,
        commands: &Receiver<Command>,
    ) -> Result<(), Error> {
        let end = Instant::now() + duration;
        let mut last = Instant::now();
        loop {
            let due = last + config.interval();
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let wait = due.min(end).saturating_duration_since(now);
            match commands.recv_timeout(wait) {
                Ok(Command::Stop) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok(Command::Notice(_)) if last.elapsed() >= EARLY_SPACING => self.early += 1,
                Ok(_) => continue,
                Err(RecvTimeoutError::Timeout) if Instant::now() < due => continue,
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.drain(engine)?;
            last = Instant::now();
        }
    }

    fn drain(&mut self, engine: &mut Engine) -> Result<(), Error> {
        self.rows.set_clock(tick_clock(&engine.tables().clock()?));
        engine.drain(&mut self.rows)?;
        self.epochs += 1;
        Ok(())
    }
}

fn hook_rows(engine: &Engine, closed: &BTreeMap<EdgeId, Closed>) -> Vec<HookRow> {
    let snapshot = engine.ledger().snapshot();
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

fn folded_rows(engine: &Engine, rows: &Rows, closed: &BTreeMap<EdgeId, Closed>) -> Vec<FoldedRow> {
    let snapshot = engine.ledger().snapshot();
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
    fn conclude(&mut self) {
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
        if self.hooks.iter().any(|hook| {
            hook.drift_packets.is_some_and(|drift| drift > 0)
                || hook.drift_bytes.is_some_and(|drift| drift > 0)
        }) {
            self.audit.interface_law = "violated";
            self.audit.notes.push("interface_drift");
        }
        if self.hooks.iter().any(|hook| hook.counter.is_none()) {
            self.audit.notes.push("counters_unavailable");
        }
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
