//! What traffic loses while it is counted: with and without hooks, in turns.

use fathom_tests::daemon::{Daemon, Pins, Setup};
use testkit::traffic::{Iperf, IperfReport};

use crate::ground::Ground;
use crate::process;
use crate::report::{Row, spread};
use crate::run::asked;

pub(crate) fn run() -> Vec<Row> {
    let (ground, pins) = (Ground::with_pods(1), Pins::new());
    let setup = setup(&ground, &pins);
    let mut rounds = Vec::new();
    for number in 0..asked("FATHOM_BENCH_ROUNDS", 7) {
        let attached = || measured(&ground, Some(setup.start()));
        let detached = || measured(&ground, None);
        // The machine may get slower or faster: neither side is always the first.
        rounds.push(if number % 2 == 0 {
            let off = detached();
            [off, attached()]
        } else {
            let on = attached();
            [detached(), on]
        });
    }
    let side = |pick: fn(&Costs) -> f64| -> Vec<[f64; 2]> {
        rounds.iter().map(|round| round.each_ref().map(pick)).collect()
    };
    [
        rows("TCP, 8 streams, time", "µs/MB", &side(|costs| costs.tcp.time), 1.0),
        rows("TCP, 8 streams, processor", "µs/MB", &side(|costs| costs.tcp.processor), 1.0),
        rows("UDP, 64 octets, time", "µs/packet", &side(|costs| costs.udp.time), 3.0),
        rows("UDP, 64 octets, processor", "µs/packet", &side(|costs| costs.udp.processor), 3.0),
    ]
    .concat()
}

/// The product as it attaches by itself.
fn setup(ground: &Ground, pins: &Pins) -> Setup {
    let flags = ["--discover", "on", "--kube", "off", "--netns-dir", "/run/netns"];
    let setup = Setup::new(ground.node.place(), &[], pins).flags(flags);
    setup.flags(["--on-exit", "detach"]).variable("EBPF_COLLECTION_INTERVAL", "10s")
}

struct Costs {
    /// Of a megabyte of payload.
    tcp: Cost,
    /// Of a datagram.
    udp: Cost,
}

/// Microseconds.
struct Cost {
    /// That passed: the reverse of throughput.
    time: f64,
    /// Of processors, spent by iperf3 on both sides. Others that want them disturb it less.
    processor: f64,
}

fn measured(ground: &Ground, daemon: Option<Daemon>) -> Costs {
    if let Some(daemon) = &daemon {
        assert_eq!(daemon.ready()["edges"], 1, "the pod is hooked");
    }
    let pod = &ground.pods[0];
    let iperf = Iperf::new(pod.namespace.place(), ground.node.place(), pod.gateway);
    let iperf = iperf.seconds(asked("FATHOM_BENCH_SECONDS", 3));
    let tcp = cost(&iperf.clone().streams(8), |report| report.received.bytes as f64 / 1e6);
    let udp = cost(&iperf.udp(0).payload(64), |report| report.sent.packets.unwrap() as f64);
    daemon.map(Daemon::stop);
    Costs { tcp, udp }
}

fn cost(iperf: &Iperf, amount: fn(&IperfReport) -> f64) -> Cost {
    let before = process::ended_children();
    let report = iperf.run().unwrap();
    let processor = process::ended_children() - before;
    let micros = 1e6 / amount(&report);
    Cost { time: report.sent.seconds * micros, processor: processor.as_secs_f64() * micros }
}

/// `rounds` holds what a unit cost detached and attached.
fn rows(what: &str, unit: &'static str, rounds: &[[f64; 2]], reach: f64) -> Vec<Row> {
    let side = |at: usize| spread(&rounds.iter().map(|round| round[at]).collect::<Vec<_>>());
    let [off, on] = [side(0), side(1)];
    let more: Vec<_> = rounds.iter().map(|[off, on]| (on / off - 1.0) * 100.0).collect();
    let [least, median, most] = spread(&more);
    let each = |name: &str, [least, median, _]: [f64; 3]| {
        Row::new(format!("{what}, {name}"), median, unit)
            .note(format!("minimum {least:.3}; {:.0} in a second of it", 1e6 / median))
    };
    let cost = |name: &str, percent| {
        Row::new(format!("{what}, cost by {name}"), percent, "%").at_most(reach)
    };
    vec![
        each("detached", off),
        each("attached", on),
        cost("median of rounds", median).note(format!("{least:.1} to {most:.1}")),
        cost("minima", (on[0] / off[0] - 1.0) * 100.0),
    ]
}
