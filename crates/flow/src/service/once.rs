//! One measurement: attach, measure, detach, drain, tell.

use std::{
    collections::BTreeMap,
    sync::mpsc::Receiver,
    time::{Duration, Instant},
};

use flow_bpf::Event;
use flow_model::{edge::EdgeId, flow::Direction};
use net_sys::Survey;

use super::Service;
use crate::{
    command::Command,
    degradation::Degradation,
    discover::{EARLY, Rule, Verdict},
    document::{Document, Note},
    engine::{Closed, Edge},
    error::Error,
    measure::Measured,
    named,
    rows::{LIMIT, Rows},
    schedule::Due,
    tally::Cause,
    time::monotonic,
};

impl Service {
    /// Hooks every edge there is now. Those that come later are not part of the
    /// measurement, and hooks stay where they are: its document tells one place of each.
    pub(super) fn hook_present(&mut self) -> Result<(), Error> {
        let settings = self.config.settings();
        for plan in named::resolve(&settings.pod_edge, &settings.netns)? {
            self.hook_named(plan, false)?;
        }
        if !self.config.discovers() {
            return Ok(());
        }
        let settings = self.config.settings();
        let rule = Rule::of(settings)?;
        let crossings = Survey::open(&settings.netns_dir)?.scan()?;
        // Nothing is waited for: a namespace without a file now is hooked on this side.
        let settled = Instant::now() + EARLY;
        for crossing in crossings {
            let Verdict::Edge(mut plan) = rule.judge(&crossing, settled) else { continue };
            if self.is_named(&plan) {
                continue;
            }
            if self.names.values().any(|name| *name == plan.name) {
                plan.name = format!("{}:{}", plan.name, plan.site(Direction::Rx).interface);
            }
            let name = plan.name.clone();
            if let Err(error) = self.hook_found(*plan) {
                self.attach_failed(&name, &error);
                self.refused.insert(name, error.attach_reason());
            }
        }
        Ok(())
    }

    /// Measures until `duration` has passed or a command to stop arrives.
    pub(crate) fn measure(
        mut self,
        duration: Duration,
        commands: &Receiver<Command>,
    ) -> Result<Document, Error> {
        let end = Instant::now() + duration;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.turn(commands, left)? {
                break;
            }
        }
        let mut notes = self.notes();
        let xdp = self.engine.has_xdp();
        let stopped = monotonic();
        let closed: BTreeMap<EdgeId, Closed> = self.engine.detach_all()?.into_iter().collect();
        self.close_epoch(Due::Regular)?;
        if self.engine.tables().events(Event::GsoHeaders)? > 0 {
            notes.push(Note::GsoHeaders);
        }
        let rows = self.rows.take().unwrap_or_else(|| Rows::new(LIMIT));
        let tables = self.engine.tables();
        let measured = Measured {
            config: &self.config,
            attach: self.info.attach,
            ready: self.ready_at,
            stopped,
            tick: tables.clock()?.tick(),
            snapshot: &self.engine.ledger().snapshot(),
            rows: &rows,
            closed: &closed,
            early_drains: Cause::ALL.into_iter().map(|cause| self.tally.earlies(cause)).sum(),
            lost_events: tables.events(Event::LostNotice)?,
            notes,
            xdp,
        };
        Ok(measured.document())
    }

    /// What the hooks have to tell, while they are there.
    fn notes(&mut self) -> Vec<Note> {
        self.count_bypassed();
        self.tell_overtaken();
        let degraded: Vec<_> = self.engine.edges().values().filter_map(Edge::degradation).collect();
        let notes = [
            (Note::EdgesRefused, !self.refused.is_empty()),
            (Note::HostEgress, degraded.contains(&Degradation::HostEgress)),
            (Note::BehindForeignFilter, degraded.contains(&Degradation::BehindForeignFilter)),
            (Note::Bypassed, !self.tally.bypassed.is_zero()),
        ];
        notes.into_iter().filter(|(_, holds)| *holds).map(|(note, _)| note).collect()
    }
}
