//! Epochs: closed on time, handed to whoever wants them, told.

use std::{sync::Arc, time::Instant};

use flow_bpf::Event;
use flow_model::{
    connections::TickClock,
    ledger::{DrainError, KernelStep},
};

use super::Service;
use crate::{
    dump::Closed, error::Error, overflow::Turn, schedule::Due, tally::Fault, time::tick_clock,
};

impl Service {
    /// One epoch. A step that the kernel refuses is counted and tried again at the next.
    pub(super) fn drain(&mut self, due: Due) -> Result<(), Error> {
        let closed = self.close_epoch(due);
        self.handle.beat();
        let (fault, step) = match &closed {
            Err(Error::Drain(DrainError::Kernel { step, .. })) => (fault_of(*step), step.as_str()),
            Err(Error::Program(_)) => (Fault::Read, "facts"),
            _ => return closed,
        };
        self.tally.fault(fault);
        if let (Err(error), Some(suppressed)) =
            (closed, self.limit.admit("drain.failed", step, Instant::now()))
        {
            tracing::warn!(event = "drain.failed", %error, step, suppressed, "A drain could not be finished; it is tried again");
        }
        Ok(())
    }

    /// Moves the open epoch into the ledger and shows what it brought.
    pub(super) fn close_epoch(&mut self, due: Due) -> Result<(), Error> {
        let now = Instant::now();
        let late = self.schedule.is_late(self.config.interval(), now);
        self.schedule.begin(now);
        let fill = self.engine.reader().fill(self.open_parity());
        self.fill = [fill.v4, fill.v6];
        let clock = tick_clock(&self.engine.tables().clock()?);
        self.watch.start(clock);
        let mut drained = self.engine.drain(&mut self.watch)?;
        self.take_epoch(drained.epoch, clock);
        if drained.resumed.is_some() {
            drained = self.engine.drain(&mut self.watch)?;
            self.take_epoch(drained.epoch, clock);
        }
        self.note_drain(due, late);
        self.note_overflow();
        self.publish(&drained.snapshot)?;
        self.handle.condition("commit", true, "committed");
        for reader in self.fresh.drain(..) {
            // A reader that went away needs no answer.
            reader.send(()).ok();
        }
        Ok(())
    }

    /// Hands the flows of a committed epoch to whoever wants them, once.
    fn take_epoch(&mut self, number: u64, clock: TickClock) {
        self.epoch = Arc::new(self.watch.take_epoch());
        if let Some(rows) = &mut self.rows {
            rows.add_epoch(&self.epoch, &clock);
        }
        if let Some(dumper) = &self.dumper {
            let (flows, names) = (Arc::clone(&self.epoch), Arc::new(self.names.clone()));
            dumper.offer(Closed { number, flows, names, clock });
        }
    }

    fn note_drain(&mut self, due: Due, late: bool) {
        if let Due::Early(cause) = due {
            self.tally.early(cause);
            tracing::debug!(event = "drain.early", cause = cause.as_str(), "Drained ahead of time");
        }
        let Some(course) = self.watch.course() else {
            return;
        };
        self.tally.grace.observe(course.grace.as_secs_f64());
        self.tally.collection.observe(course.whole.as_secs_f64());
        self.handle.took(course.whole);
        if late || course.whole > self.config.interval() {
            self.tally.overruns += 1;
            if let Some(suppressed) = self.limit.admit("drain.overrun", "", Instant::now()) {
                tracing::warn!(event = "drain.overrun", took = ?course.whole, suppressed, "A drain took longer than the interval");
            }
        }
    }

    /// Tells when flows begin to find no room, and when all find room again.
    fn note_overflow(&mut self) {
        let Ok(count) = self.engine.tables().events(Event::Overflow) else {
            return;
        };
        match self.overflow.observe(count) {
            Some(Turn::Begin) => {
                tracing::warn!(
                    event = "overflow.begin",
                    "New flows find no room: their amounts are folded; raise --flow-capacity"
                );
            }
            Some(Turn::End(insertions)) => {
                tracing::info!(event = "overflow.end", insertions, "All flows find room again");
            }
            None => {}
        }
    }
}

const fn fault_of(step: KernelStep) -> Fault {
    match step {
        KernelStep::Grace => Fault::Flip,
        KernelStep::Clear => Fault::Clear,
        KernelStep::Read | KernelStep::Totals | KernelStep::Folded => Fault::Read,
    }
}
