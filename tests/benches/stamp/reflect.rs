//! What a reflector costs and what it loses: at a steady rate, at a high one, on one processor.
//!
//! Requests and replies are counted by the interface of the reflector's end. Replies are
//! dropped as soon as the sender's stack has them; where the cost of sending is taken off, it
//! was measured in the same round with requests that are dropped the same way at the other end.

use std::time::Duration;

use fathom_tests::binary::SOON;

use crate::cable::Cable;
use crate::cost::Meter;
use crate::instrument::Instrument;
use crate::report::{Row, spread};
use crate::stream::Stream;

/// How much is measured.
pub(crate) struct Plan {
    pub(crate) runs: usize,
    pub(crate) instruments: &'static [Instrument],
    /// Packets a second and how long, for the cost of one.
    pub(crate) steady: (u32, Duration),
    /// The same for losses.
    pub(crate) high: (u32, Duration),
    /// As many as one processor sends, answers and drops.
    pub(crate) most: Duration,
}

pub(crate) fn rows(plan: &Plan) -> Vec<Row> {
    let cable = Cable::lay(0);
    [steady(&cable, plan), high(&cable, plan), alone(&cable, plan)].concat()
}

/// What passed in one run, and what it cost.
#[derive(Clone, Copy)]
struct Passed {
    requests: f64,
    replies: f64,
    seconds: f64,
    /// Of the thread that sends, of the reflector, and of interrupts.
    processor: f64,
}

/// A run whose requests are answered beside one whose requests are dropped.
type Pair = (Passed, Passed);

/// What is sent, and the program that starts the reflector, if any.
#[derive(Clone, Copy)]
struct Course {
    stream: Stream,
    prefix: &'static [&'static str],
}

impl Course {
    const fn at((rate, duration): (u32, Duration)) -> Self {
        let stream = Stream { rate: Some(rate), duration, signed: false, pinned: None };
        Self { stream, prefix: &[] }
    }

    /// Everything on the first processor.
    const fn pinned(duration: Duration) -> Self {
        let stream = Stream { rate: None, duration, signed: false, pinned: Some(0) };
        Self { stream, prefix: &["taskset", "-c", "0"] }
    }

    fn answered(self, cable: &Cable, by: Instrument) -> Passed {
        let reflector = by.reflect(cable, self.prefix);
        let meter = Meter::process(reflector.process());
        Cable::sink(cable.near.place(), "sport");
        let passed = self.passed(cable, by.is_signed(), vec![meter]);
        Cable::unblock(cable.near.place());
        passed
    }

    fn dropped(self, cable: &Cable, signed: bool) -> Passed {
        Cable::sink(cable.far.place(), "dport");
        let passed = self.passed(cable, signed, Vec::new());
        Cable::unblock(cable.far.place());
        passed
    }

    fn passed(self, cable: &Cable, signed: bool, mut meters: Vec<Meter>) -> Passed {
        let far = &cable.veth.far;
        let before = far.counters().unwrap();
        meters.extend(Meter::interrupts());
        let sent = Stream { signed, ..self.stream }.run(cable);
        // Before the wait for what is still under way, which costs, too.
        let others: Duration = meters.iter().map(Meter::used).sum();
        far.quiet(CALM, SOON).unwrap();
        let grown = far.counters_since(before).unwrap();
        assert_eq!(grown.rx.amount.packets, sent.packets, "a veth loses nothing");
        Passed {
            requests: sent.packets as f64,
            replies: grown.tx.amount.packets as f64,
            seconds: sent.elapsed.as_secs_f64(),
            processor: (sent.processor + others).as_secs_f64(),
        }
    }

    /// By instrument, all of its runs; each round measures all of them.
    fn pairs(self, cable: &Cable, plan: &Plan) -> Vec<(Instrument, Vec<Pair>)> {
        let mut pairs: Vec<_> = plan.instruments.iter().map(|who| (*who, Vec::new())).collect();
        for _ in 0..plan.runs {
            let dropped = [false, true].map(|signed| self.dropped(cable, signed));
            for (who, runs) in &mut pairs {
                let answered = self.answered(cable, *who);
                runs.push((answered, dropped[usize::from(who.is_signed())]));
            }
        }
        pairs
    }
}

fn steady(cable: &Cable, plan: &Plan) -> Vec<Row> {
    let row = |(who, runs): (Instrument, Vec<Pair>)| {
        let cost = |(answered, dropped): &Pair| {
            let sending = dropped.processor / dropped.requests * answered.requests;
            (answered.processor - sending) / answered.replies * 1e6
        };
        let [best, median, worst] = spread(&runs.iter().map(cost).collect::<Vec<_>>());
        let row = Row::new(format!("{}: processor of a reply", who.name()), median, "µs");
        let row = row.note(format!("{best:.2} to {worst:.2}; {}", paced(&runs[0].0)));
        who.reach(row, |row| row.at_most(if who.is_signed() { 5.5 } else { 3.5 }))
    };
    Course::at(plan.steady).pairs(cable, plan).into_iter().map(row).collect()
}

fn high(cable: &Cable, plan: &Plan) -> Vec<Row> {
    let course = Course::at(plan.high);
    let mut all: Vec<_> = plan.instruments.iter().map(|who| (*who, Vec::new())).collect();
    for _ in 0..plan.runs {
        for (who, runs) in &mut all {
            runs.push(course.answered(cable, *who));
        }
    }
    let row = |(who, runs): (Instrument, Vec<Passed>)| {
        let lost = |run: &Passed| (run.requests - run.replies) / run.requests * 100.0;
        let [best, median, worst] = spread(&runs.iter().map(lost).collect::<Vec<_>>());
        let row = Row::new(format!("{}: requests without a reply", who.name()), median, "%");
        let row = row.note(format!("{best:.4} to {worst:.4}; {}", paced(&runs[0])));
        who.reach(row, |row| row.exactly(0.0))
    };
    all.into_iter().map(row).collect()
}

fn alone(cable: &Cable, plan: &Plan) -> Vec<Row> {
    let rows = |(who, runs): (Instrument, Vec<Pair>)| {
        let of = |of: fn(&Pair) -> f64| spread(&runs.iter().map(of).collect::<Vec<_>>());
        let [worst, median, best] = of(|(run, _)| run.replies / run.seconds);
        let [_, sending, _] = of(|(_, dropped)| dropped.requests / dropped.seconds);
        // Time of a request and its reply less that of a request which is dropped.
        let [_, less, _] = of(|(answered, dropped)| {
            let sending = dropped.seconds / dropped.requests * answered.requests;
            answered.replies / (answered.seconds - sending)
        });
        let name = who.name();
        let all = Row::new(format!("{name}: replies of a processor that also sends"), median, "/s")
            .note(format!("{worst:.0} to {best:.0}; {sending:.0} requests where they are dropped"));
        let less = Row::new(format!("{name}: the same less the time of sending"), less, "/s");
        let reach = if who.is_signed() { 220_000.0 } else { 500_000.0 };
        [all, who.reach(less, |row| row.at_least(reach))]
    };
    Course::pinned(plan.most).pairs(cable, plan).into_iter().flat_map(rows).collect()
}

fn paced(run: &Passed) -> String {
    format!("{:.0} requests a second for {:.1} s", run.requests / run.seconds, run.seconds)
}

/// What another reflector still has in its queue leaves within this.
const CALM: Duration = Duration::from_millis(200);
