//! What a daemon costs beside the packets: processor, memory, and the time of its drains.

use std::time::{Duration, Instant};

use fathom_tests::daemon::{Daemon, Pins, Setup};
use fathom_tests::exposition::Exposition;
use fathom_tests::measure::Edge;
use testkit::proc::wait_until;

use crate::ground::Ground;
use crate::process::{self, HashMap};
use crate::report::Row;
use crate::spray::{Pattern, Spray};

pub(crate) fn run() -> Vec<Row> {
    let (ground, pins) = (Ground::with_pods(4), Pins::new());
    let edges = ground.pods.iter().map(|pod| Edge::host(pod.namespace.name(), &pod.outside));
    let edges: Vec<_> = edges.collect();
    let setup = Setup::new(ground.node.place(), &edges, &pins).flags(ROOM);
    let mut daemon = setup.variable("EBPF_COLLECTION_INTERVAL", "10s").start();
    let idle = window(&mut daemon, 2, |_| ());
    let spray = Spray::start(&ground, FLOWS);
    window(&mut daemon, 3, |_| ());
    let busy = window(&mut daemon, 6, |_| ());
    let scraped = window(&mut daemon, 6, scrape);
    let kernel = kernel_memory(&mut daemon);
    spray.end();
    let processor = |name: &str, window: &Window| {
        Row::new(format!("processor, 10 s interval, {name}"), window.share(), "% of a core")
            .at_most(1.0)
            .note(format!("process time over {:.0} drains", window.drains))
    };
    let mut rows = vec![
        Row::new("flows of an interval", busy.flows / busy.drains, "rows")
            .note("4 pods, 10 000 address pairs"),
        processor("not scraped", &busy),
        processor("scraped each interval, gzip", &scraped),
        Row::new("user memory, idle", idle.memory, "MB").at_most(15.0).note("RssAnon, highest"),
        Row::new("user memory, 100 000 flows", busy.memory.max(scraped.memory), "MB")
            .at_most(40.0)
            .note("RssAnon, highest"),
        Row::new("kernel to user, flip to cleared", busy.flows / busy.collecting / 1e6, "M rows/s")
            .note(format!(
                "{:.1} ms a drain, of which {:.1} ms wait for the grace period",
                busy.collecting / busy.drains * 1e3,
                busy.grace / busy.drains * 1e3
            )),
    ];
    rows.extend(kernel);
    rows
}

/// What happened in a stretch of time.
struct Window {
    elapsed: Duration,
    cpu: Duration,
    drains: f64,
    /// Rows drained.
    flows: f64,
    /// Seconds from flip to cleared, of all drains.
    collecting: f64,
    /// Seconds of grace periods.
    grace: f64,
    /// Megabytes, highest.
    memory: f64,
}

impl Window {
    /// Percent of a core.
    fn share(&self) -> f64 {
        self.cpu.as_secs_f64() / self.elapsed.as_secs_f64() * 100.0
    }
}

/// Watches the daemon for `intervals`, with `work` at the end of each.
fn window(daemon: &mut Daemon, intervals: u32, work: fn(&Daemon)) -> Window {
    let before = daemon.scrape();
    let (began, used) = (Instant::now(), process::cpu_time(daemon.process()));
    let mut memory = 0.0_f64;
    for number in 1..=intervals {
        wait_until("end of the interval", 2 * INTERVAL, || {
            memory = memory.max(process::rss_anon(daemon.process()));
            began.elapsed() >= INTERVAL * number
        })
        .unwrap();
        work(daemon);
    }
    let (elapsed, cpu) = (began.elapsed(), process::cpu_time(daemon.process()) - used);
    let after = daemon.scrape();
    memory = memory.max(process::rss_anon(daemon.process()));
    let grown = |name: &str| number(&after, name) - number(&before, name);
    Window {
        elapsed,
        cpu,
        drains: grown("kubeadapt_ebpf_collection_duration_seconds_count"),
        flows: grown("fathom_flows_drained_flows_total"),
        collecting: grown("kubeadapt_ebpf_collection_duration_seconds_sum"),
        grace: grown("fathom_flows_grace_seconds_sum"),
        memory,
    }
}

fn number(scrape: &Exposition, name: &str) -> f64 {
    scrape.matching(name, &[]).next().unwrap_or_else(|| panic!("there is {name}")).value
}

/// As Prometheus asks; HTTP takes the second line for a header of its own.
fn scrape(daemon: &Daemon) {
    let answer = daemon.get_as("/metrics", "text/plain;version=0.0.4\r\nAccept-Encoding: gzip");
    assert!(answer.headers.contains("content-encoding: gzip"), "{}", answer.headers);
}

/// Memory of the flow tables by slot, as their descriptors tell and as the daemon does.
fn kernel_memory(daemon: &mut Daemon) -> Vec<Row> {
    let scrape = daemon.scrape();
    let maps = process::hash_maps(daemon.process());
    let families =
        [("connection_flows", 16, "IPv4", 125.0), ("connection_flows6", 40, "IPv6", 150.0)];
    let rows = families.map(|(name, key_size, family, reach)| {
        let tables = || maps.iter().filter(|map| map.key_size == key_size);
        let sum = |of: fn(&HashMap) -> u64| tables().map(of).sum::<u64>();
        let bytes = sum(|map| map.bytes);
        let each = bytes as f64 / sum(|map| map.entries) as f64;
        let told = scrape.sum("fathom_flows_kernel_memory_bytes", &[("map", name)]).unwrap();
        Row::new(format!("kernel memory of a slot, {family}, one epoch"), each, "bytes")
            .at_most(reach)
            .note(format!(
                "both epochs {:.1}; {} tables, {bytes} bytes; the metric adds {} of the outer map",
                2.0 * each,
                tables().count(),
                told.saturating_sub(bytes),
            ))
    });
    rows.into()
}

const INTERVAL: Duration = Duration::from_secs(10);
const FLOWS: Pattern = Pattern { flows: 25_000, peers: 2500, pass: INTERVAL };
/// 100 000 of the 131 072 that are default would be drained ahead of time.
const ROOM: [&str; 4] = ["--flow-capacity", "262144", "--kube", "off"];
