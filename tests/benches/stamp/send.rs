//! What a sender with many targets costs, and how well it keeps its pace.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use fathom_tests::binary::{SOON, command_in};
use fathom_tests::stamp::PORT;
use serde_json::Value;
use testkit::Place;
use testkit::proc::{Command, Process, wait_until};

use crate::cable::{Cable, one_of};
use crate::cost::Meter;
use crate::instrument::FREE;
use crate::report::Row;
use crate::wire::{Content, Packet, Tap};

/// How much is measured.
pub(crate) struct Plan {
    pub(crate) targets: u16,
    /// Between two packets to one of them.
    pub(crate) interval: Duration,
    /// Of the window in which processor time is taken, and of the one that is captured.
    pub(crate) window: Duration,
}

pub(crate) fn rows(plan: &Plan) -> Vec<Row> {
    let cable = Cable::lay(plan.targets);
    let reflector = started(reflector(&cable));
    let sender = started(sender(&cable, plan));
    pass(plan.window / 4);
    let (meter, answering) = (Meter::process(&sender), Meter::process(&reflector));
    let elapsed = pass(plan.window);
    let share = |meter: &Meter| meter.used().as_secs_f64() / elapsed.as_secs_f64() * 100.0;
    let (used, answering) = (share(&meter), share(&answering));
    let memory = resident(&sender);
    let packets = captured(&cable, plan);
    let pace = errors(&packets, plan.interval);
    let summary = sender.stop(SOON).unwrap().success().unwrap().json().unwrap();
    let each = format!("{} targets, {:?} apart each", plan.targets, plan.interval);
    let note = format!("{each}; beside a reflector on sockets, which takes {answering:.0} %");
    let seen = format!("{} requests at the link", pace.len());
    vec![
        Row::new("processor of the sender", used, "% of a core").at_most(8.0).note(note),
        Row::new("memory of the sender", memory, "MiB").at_most(80.0).note("RSS"),
        Row::new("error of the pace, p50", quantile(&pace, 0.5), "µs").note(seen),
        Row::new("error of the pace, p99", quantile(&pace, 0.99), "µs").at_most(150.0),
        lost(&summary, overrun(cable.far.place())),
    ]
}

/// On sockets: it answers on more addresses than the kernel's programs know, and its work is
/// not charged to who sends.
fn reflector(cable: &Cable) -> Command {
    let line = ["stamp", "reflect", "eth0", "-p", &PORT.to_string(), "--backend", "socket"];
    command_in(cable.far.place()).args(line).args(FREE)
}

fn started(command: Command) -> Process {
    let mut process = command.spawn().unwrap();
    process.wait_for_stderr("\"stamp.start\"", SOON).unwrap();
    process
}

fn sender(cable: &Cable, plan: &Plan) -> Command {
    let (port, gap) = (PORT.to_string(), format!("{}us", plan.interval.as_micros()));
    command_in(cable.near.place())
        .args(["stamp", "send", "eth0"])
        .args((0..plan.targets).map(|number| one_of(number).to_string()))
        .args(["-s", "0", "-d", &port, "-i", &gap, "-o", "json", "--listen", "127.0.0.1:0"])
}

/// What passes in a window: each request is answered.
fn captured(cable: &Cable, plan: &Plan) -> Vec<Packet> {
    let each = plan.window.as_secs_f64() / plan.interval.as_secs_f64();
    Tap::start(&cable.veth.near, 2 * (each * f64::from(plan.targets)) as u64)
        .end_within(plan.window)
}

fn pass(window: Duration) -> Duration {
    let began = Instant::now();
    wait_until("end of the window", 2 * window + SOON, || began.elapsed() >= window).unwrap();
    began.elapsed()
}

/// How far each T1 is from the slots of its target, in nanoseconds. Which slots those are is
/// not told: they are where the middle one of all T1 would have them.
fn errors(packets: &[Packet], interval: Duration) -> Vec<u64> {
    let mut targets = BTreeMap::<_, Vec<i64>>::new();
    for packet in packets {
        if let Content::Request { t1, .. } = packet.content {
            targets.entry(packet.reflector).or_default().push(t1);
        }
    }
    let interval = interval.as_nanos() as i64;
    targets.values().flat_map(|times| apart(times, interval)).collect()
}

fn apart(times: &[i64], interval: i64) -> Vec<u64> {
    let first = times[0];
    // From -interval/2 on, so that no slot is torn apart.
    let wrapped = |ns: i64| (ns + interval / 2).rem_euclid(interval) - interval / 2;
    let mut from: Vec<_> = times.iter().map(|time| wrapped(time - first)).collect();
    from.sort_unstable();
    let middle = from[from.len() / 2];
    from.iter().map(|ns| wrapped(ns - middle).unsigned_abs()).collect()
}

/// Microseconds that a `share` of all do not exceed.
fn quantile(errors: &[u64], share: f64) -> f64 {
    let mut sorted = errors.to_vec();
    sorted.sort_unstable();
    let rank = ((share * sorted.len() as f64).ceil() as usize).max(1);
    *sorted.get(rank - 1).expect("requests passed") as f64 / 1e3
}

fn resident(process: &Process) -> f64 {
    let status = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    kib / 1024.0
}

/// Requests that the reflector did not take from its socket in time, says the kernel.
fn overrun(place: &Place) -> u64 {
    let table = place.run(|| fs::read_to_string("/proc/thread-self/net/snmp")).unwrap().unwrap();
    let mut lines = table.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (names, values) = lines.next().zip(lines.next()).unwrap();
    let at = names.split(' ').position(|name| name == "RcvbufErrors").unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}

fn lost(summary: &Value, overrun: u64) -> Row {
    let sum = |name: &str| {
        let targets = summary["targets"].as_array().unwrap().iter();
        targets.map(|target| target["packets"][name].as_u64().unwrap()).sum::<u64>()
    };
    let (sent, lost, late) = (sum("sent"), sum("lost"), sum("late"));
    let note = format!(
        "of {sent}, without {overrun} that overran the reflector's socket; {late} of them late"
    );
    Row::new("requests lost", lost as f64 - overrun as f64, "").exactly(0.0).note(note)
}
