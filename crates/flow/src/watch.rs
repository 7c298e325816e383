//! What a running agent takes from each epoch besides the ledger.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flow_model::{
    connections::{Active, Connections, TickClock},
    edge::EdgeId,
    flow::FlowEntry,
    ledger::{Observer, Phase},
    snapshot::Snapshot,
};

use crate::time::nanos;

/// Flows of one epoch, each with the edge that it crossed.
pub(crate) type Epoch = Vec<(EdgeId, FlowEntry)>;

/// Observer of a running agent's drains.
#[derive(Debug)]
pub(crate) struct Watch {
    connections: Option<Connections>,
    clock: Option<TickClock>,
    epoch: Epoch,
    flipped: Option<Instant>,
    graced: Option<Instant>,
    cleared: Option<Instant>,
}

/// Times of one drain.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Course {
    /// Flip to the end of the grace period.
    pub(crate) grace: Duration,
    /// Flip to empty maps.
    pub(crate) whole: Duration,
}

impl Watch {
    /// With a table for this many connections, or none.
    pub(crate) fn new(connections: Option<usize>) -> Self {
        Self {
            connections: connections.map(Connections::new),
            clock: None,
            epoch: Vec::new(),
            flipped: None,
            graced: None,
            cleared: None,
        }
    }

    /// Starts a drain whose ticks are told by `clock`.
    pub(crate) fn start(&mut self, clock: TickClock) {
        self.clock = Some(clock);
        (self.flipped, self.graced, self.cleared) = (None, None, None);
    }

    /// Takes the flows of the last committed epoch.
    pub(crate) fn take_epoch(&mut self) -> Epoch {
        std::mem::take(&mut self.epoch)
    }

    /// How long the last drain took, if it went from flip to cleared.
    pub(crate) fn course(&self) -> Option<Course> {
        let flipped = self.flipped?;
        Some(Course {
            grace: self.graced?.duration_since(flipped),
            whole: self.cleared?.duration_since(flipped),
        })
    }

    /// Active connections, if they are tracked.
    pub(crate) fn active(&mut self, now: Duration, idle: Duration) -> Option<Active> {
        let connections = self.connections.as_mut()?;
        Some(connections.sweep(nanos(now), nanos(idle)))
    }

    /// Connections that found no room.
    pub(crate) fn untracked(&self) -> u64 {
        self.connections.as_ref().map_or(0, Connections::untracked)
    }
}

impl Observer for Watch {
    fn begin(&mut self, _: u64) {
        self.epoch.clear();
    }

    fn flow(&mut self, edge: Option<EdgeId>, flow: &FlowEntry) {
        if let Some(edge) = edge {
            self.epoch.push((edge, *flow));
        }
    }

    fn phase(&mut self, phase: Phase) {
        let now = Some(Instant::now());
        match phase {
            Phase::Flipped => self.flipped = now,
            Phase::Graced => self.graced = now,
            Phase::Cleared => self.cleared = now,
            Phase::Read | Phase::Journalled | Phase::Committed => {}
        }
    }

    fn committed(&mut self, _: &Arc<Snapshot>) {
        let (Some(connections), Some(clock)) = (&mut self.connections, &self.clock) else {
            return;
        };
        for (_, flow) in &self.epoch {
            connections.observe(flow, clock);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{CLOCK, counts, flow, key, snapshot};

    /// One whole drain in which edge 1 saw a flow.
    fn drain(watch: &mut Watch) {
        watch.start(CLOCK);
        watch.begin(1);
        watch.phase(Phase::Flipped);
        watch.phase(Phase::Graced);
        watch.flow(Some(EdgeId(1)), &flow(key(), counts(1, 60), [990, 1000]));
        watch.flow(None, &flow(key(), counts(1, 60), [990, 1000]));
        watch.committed(&Arc::new(snapshot()));
        watch.phase(Phase::Cleared);
    }

    #[test]
    fn an_epoch_holds_the_flows_that_belong_to_an_edge() {
        let mut watch = Watch::new(None);
        drain(&mut watch);
        assert_eq!(watch.take_epoch().len(), 1);
        assert!(watch.take_epoch().is_empty(), "it is handed out once");
    }

    #[test]
    fn an_epoch_that_is_read_again_counts_once() {
        let mut watch = Watch::new(None);
        watch.start(CLOCK);
        watch.begin(1);
        watch.flow(Some(EdgeId(1)), &flow(key(), counts(5, 500), [0, 0]));
        drain(&mut watch);
        let flows: Vec<_> = watch.take_epoch().iter().map(|(_, flow)| flow.counts).collect();
        assert_eq!(flows, [counts(1, 60)]);
    }

    #[test]
    fn a_connection_is_active_until_it_has_been_silent_for_the_idle_time() {
        let mut watch = Watch::new(Some(10));
        drain(&mut watch);
        let (seen, idle) = (Duration::from_secs(100), Duration::from_secs(60));
        let active = watch.active(seen + idle - Duration::from_secs(1), idle);
        assert_eq!(active, Some(Active { tcp: 1, udp: 0 }));
        let later = watch.active(seen + idle + Duration::from_secs(1), idle);
        assert_eq!(later, Some(Active::default()));
    }

    #[test]
    fn without_a_table_active_connections_are_not_known() {
        let mut watch = Watch::new(None);
        drain(&mut watch);
        assert_eq!(watch.active(Duration::from_secs(100), Duration::from_secs(60)), None);
        assert_eq!(watch.untracked(), 0);
    }

    #[test]
    fn a_connection_without_room_is_counted() {
        let mut watch = Watch::new(Some(0));
        drain(&mut watch);
        assert_eq!(watch.untracked(), 1);
    }

    #[test]
    fn the_course_of_a_drain_that_was_cut_short_is_not_known() {
        let mut watch = Watch::new(None);
        drain(&mut watch);
        let course = watch.course().unwrap();
        assert!(course.grace <= course.whole);
        watch.start(CLOCK);
        watch.phase(Phase::Flipped);
        watch.phase(Phase::Graced);
        assert!(watch.course().is_none());
    }
}
