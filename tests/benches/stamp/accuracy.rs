//! What each implementation says of delay against when the packets really passed.
//!
//! The truth is taken at both ends of the link, behind the queue on the way out and in front of
//! the stack on the way in. What is measured holds what lies between that and the stamps; so
//! the capture itself, a few microseconds at each of four places, is part of the error.

use std::time::Duration;

use testkit::proc::{Command, Process};

use crate::cable::Cable;
use crate::instrument::{Account, Instrument};
use crate::report::{Row, spread};
use crate::wire::{Passage, Tap, passages};

/// How much is measured.
pub(crate) struct Plan {
    /// Packets of a run.
    pub(crate) packets: u32,
    /// Between two of them.
    pub(crate) interval: Duration,
    pub(crate) runs: usize,
    /// Processes that want a processor all the time, one after the other.
    pub(crate) busy: &'static [usize],
}

pub(crate) fn rows(plan: &Plan) -> Vec<Row> {
    let cable = Cable::lay(0);
    let mut rows = Vec::new();
    for busy in plan.busy {
        let mut courses = Instrument::ALL.map(|course| (course, Vec::new()));
        for _ in 0..plan.runs {
            let _load: Vec<_> = (0..*busy).map(|_| spin()).collect();
            for (course, runs) in &mut courses {
                runs.push(run(&cable, *course, plan));
            }
        }
        let load = if *busy == 0 { "idle".into() } else { format!("{busy} busy processes") };
        for (course, runs) in courses {
            rows.extend(told(&format!("{}, {load}", course.name()), course, &runs));
        }
    }
    rows
}

/// Errors of one run, in nanoseconds.
#[derive(Default)]
struct Run {
    roundtrip: Vec<i64>,
    forward: Vec<i64>,
    reverse: Vec<i64>,
    /// T1 before leaving, T2 behind arriving, T3 before leaving, T4 behind arriving.
    lags: [Vec<i64>; 4],
    /// Packets of which both say everything.
    packets: usize,
    /// Whose times on the way out or in are in the wrong order, or not those of the packet.
    disordered: usize,
    /// Without a certain interval that holds the truth.
    uncertain: usize,
    /// Of the offset, as told.
    bound: Vec<i64>,
    /// The same as the packets prove it.
    provable: Vec<i64>,
}

fn run(cable: &Cable, course: Instrument, plan: &Plan) -> Run {
    let reflector = course.reflect(cable, &[]);
    let both = 2 * u64::from(plan.packets);
    let taps = cable.veth.ends().map(|end| Tap::start(end, both));
    let account = course.send(cable, &reflector, plan.packets, plan.interval);
    let [sender, far] = taps.map(Tap::end);
    let passages = passages(&sender, &far);
    let mut run = Run::default();
    for (number, passage) in &passages {
        run.take(passage, &account, *number);
    }
    if let Some((bound, age)) = account.bound {
        run.bound.push(bound);
        run.provable.extend(provable(&account, age));
    }
    run
}

impl Run {
    fn take(&mut self, passage: &Passage, account: &Account, number: u32) {
        let Some(said) = account.packets.get(&number) else { return };
        let ([t1w, t2w, t3w, t4w], [t1, t2, t3]) = (passage.wire, passage.told);
        // Where T4 is not told, its distance from T1 is.
        let t4 = said.t4.unwrap_or(t1 + said.gross);
        self.packets += 1;
        self.roundtrip.push(said.net - ((t4w - t1w) - (t3w - t2w)));
        self.forward.push((t2 - t1) - (t2w - t1w));
        self.reverse.push((t4 - t3) - (t4w - t3w));
        let lags = [t1w - t1, t2 - t2w, t3w - t3, t4 - t4w];
        for (all, lag) in self.lags.iter_mut().zip(lags) {
            all.push(lag);
        }
        let same = said.times.is_none_or(|times| {
            times.iter().zip(passage.told).all(|(said, told)| said.abs_diff(told) <= 1)
        });
        self.disordered += usize::from(!same || lags.iter().any(|lag| *lag < -CLOCKS_APART));
        self.uncertain += usize::from(said.certain != Some(true));
    }
}

fn told(name: &str, course: Instrument, runs: &[Run]) -> Vec<Row> {
    let all: usize = runs.iter().map(|run| run.packets).sum();
    let sum = |of: fn(&Run) -> usize| runs.iter().map(of).sum::<usize>() as f64;
    let row = |what: &str, share: f64, of: fn(&Run) -> &Vec<i64>, reach: Option<f64>| {
        let each: Vec<_> = runs.iter().map(|run| quantile(of(run), share) / 1e3).collect();
        let [best, median, worst] = spread(&each);
        let percent = share * 100.0;
        let row = Row::new(format!("{name}: {what}, p{percent:.0}"), median, "µs")
            .note(format!("{best:.1} to {worst:.1} in {} runs", runs.len()));
        reach.map_or_else(|| row.clone(), |reach| row.clone().at_most(reach))
    };
    let reach = |reach: f64| course.is_ours().then_some(reach);
    let mut rows = vec![
        Row::new(format!("{name}: packets compared"), all as f64, ""),
        row("error of the round trip", 0.5, |run| &run.roundtrip, reach(15.0)),
        row("error of the round trip", 0.99, |run| &run.roundtrip, reach(50.0)),
        row("error forward", 0.5, |run| &run.forward, reach(12.0)),
        row("error forward", 0.99, |run| &run.forward, reach(50.0)),
        row("error reverse", 0.5, |run| &run.reverse, reach(6.0)),
        row("error reverse", 0.99, |run| &run.reverse, reach(50.0)),
        row("T1 early", 0.5, |run| &run.lags[0], None),
        row("T2 late", 0.5, |run| &run.lags[1], reach(8.0)),
        row("T3 early", 0.5, |run| &run.lags[2], reach(if course.is_signed() { 3.0 } else { 1.5 })),
        row("T4 late", 0.5, |run| &run.lags[3], None),
    ];
    if course.is_ours() {
        let excess = |run: &Run| (run.bound[0] - run.provable[0]) as f64 / 1e3;
        let [least, median, most] = spread(&runs.iter().map(excess).collect::<Vec<_>>());
        rows.extend([
            Row::new(format!("{name}: times in the wrong order"), sum(|run| run.disordered), "")
                .exactly(0.0)
                .note("T1 ≤ left ≤ arrived ≤ T2 ≤ T3 ≤ left ≤ arrived ≤ T4, and as in the packet"),
            Row::new(format!("{name}: no interval with the truth"), sum(|run| run.uncertain), "")
                .exactly(0.0)
                .note("one clock on both ends"),
            row("bound of the offset", 0.5, |run| &run.bound, None),
            Row::new(format!("{name}: bound above what the packets prove"), median, "µs")
                .at_most(5.0)
                .note(format!("{least:.1} to {most:.1} in {} runs", runs.len())),
        ]);
    }
    rows
}

/// Half the width of what all packets leave of the offset, `age` after the last: no packet
/// arrives before it left, and both clocks may have drifted apart since.
fn provable(account: &Account, age: i64) -> Option<i64> {
    let proofs = account.packets.values().filter_map(|said| {
        let [t1, t2, t3] = said.times?;
        Some((t1, t3 - said.t4?, t2 - t1))
    });
    let proofs: Vec<_> = proofs.collect();
    let now = proofs.iter().map(|(at, ..)| at).max()? + age;
    let drift = |at: i64| (now - at) * DRIFT.0 / DRIFT.1;
    let low = proofs.iter().map(|(at, low, _)| low - drift(*at)).max()?;
    let high = proofs.iter().map(|(at, _, high)| high + drift(*at)).min()?;
    Some((high - low) / 2)
}

/// The size that a `share` of all do not exceed, whatever their sign.
fn quantile(values: &[i64], share: f64) -> f64 {
    let mut sizes: Vec<_> = values.iter().map(|value| value.unsigned_abs()).collect();
    sizes.sort_unstable();
    let rank = ((share * sizes.len() as f64).ceil() as usize).max(1);
    *sizes.get(rank - 1).expect("a packet was answered") as f64
}

/// Wants a processor all the time, and ends by itself should nobody end it.
fn spin() -> Process {
    Command::new("timeout").args(["600", "sh", "-c", "while :; do :; done"]).spawn().unwrap()
}

/// 200 in a million: what clocks that nothing disciplines are held to.
const DRIFT: (i64, i64) = (200, 1_000_000);
/// The kernel reads its clock by two ways, which may differ by this.
const CLOCKS_APART: i64 = 1_000;
