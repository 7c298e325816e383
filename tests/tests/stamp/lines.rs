//! Argument lines of the replaced tool, its files, and what is printed and shown.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use fathom_tests::binary::{self, SOON, command_in};
use fathom_tests::stamp::cable::Cable;
use fathom_tests::stamp::{BACKENDS, Running, packets};
use serde_json::Value;
use tempfile::TempDir;
use testkit::Place;
use testkit::proc::{Command, Finished};
use testkit::truth::promtool_complaints;

/// The program under both names that it had.
struct Names(TempDir);

impl Names {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("scratch: {error}"));
        for name in ["sender", "reflector"] {
            symlink(binary::path(), folder.path().join(name)).unwrap_or_else(|e| panic!("{e}"));
        }
        Self(folder)
    }

    fn command(&self, place: &Place, name: &str, line: &str) -> Command {
        place.command(self.path(name)).args(line.split_whitespace()).current_dir(self.0.path())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, place: &Place, line: &str) -> Finished {
        let ran = self.command(place, "sender", line).run(SOON);
        ran.unwrap_or_else(|error| panic!("sender {line}: {error}"))
    }
}

/// Counts of a histogram's file: each has a space behind it, then the line ends.
fn counts(path: &Path) -> Vec<u64> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let line = text.strip_suffix(" \n").unwrap_or_else(|| panic!("{text:?}"));
    let counts = line.split(' ').map(str::parse).collect::<Result<_, _>>();
    counts.unwrap_or_else(|error| panic!("{error}: {text:?}"))
}

#[test]
#[ignore = "root: needs network namespaces"]
fn lines_of_the_replaced_chart_do_what_they_did() {
    let (cable, names) = (Cable::new(), Names::new());
    let [x, y] = ["x", "y"].map(|name| names.path(name));
    let line = format!(
        "eth0 -p=1000 --debug --output --hist --bins=30 --floor=1 --ceiling=9 --histpath={}",
        y.display()
    );
    let reflector = names.command(cable.far.place(), "reflector", &line);
    let reflector = Running::of(reflector, cable.far.place());
    let line = format!(
        "eth0 10.7.0.1 -s=1001 -d=1000 -c=5 -i=0.005000 -w=2 --debug --hist --bins=30 \
         --floor=10 --ceiling=20 --histpath={}",
        x.display()
    );
    let told = names.run(cable.near.place(), &line);
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    for row in ["Near-end", "Far-end", "Roundtrip"] {
        assert!(told.text().contains(row), "{row}: {}", told.text());
    }
    assert!(told.stderr.contains("\"DEBUG\""), "--debug: {}", told.stderr);
    let sent = counts(&x);
    assert_eq!((sent.len(), sent.iter().sum::<u64>()), (30, 5), "{sent:?}");
    let told = reflector.stop();
    assert!(told.text().contains("10.7.0.2"), "--output tells of sessions: {}", told.text());
    let answered = counts(&y);
    assert_eq!((answered.len(), answered.iter().sum::<u64>()), (30, 5), "{answered:?}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn lines_of_the_replaced_command_do_what_they_did() {
    let (cable, names) = (Cable::new(), Names::new());
    let reflector =
        names.command(cable.far.place(), "reflector", "eth0 --hist 9 0 10 --histpath far");
    let reflector = Running::of(reflector, cable.far.place());
    for line in [
        "eth0 10.7.0.1 -c100 -i 0.001 --hist 28 100 200 --histpath near",
        "eth0 10.7.0.1 -c 100 -i=0.001 --hist 28 100 200 --histpath=near",
        "eth0 fd07::1 --count=100 --interval 1ms --hist --bins 28 --floor 100 --ceiling 200 --histpath near",
        "--hist 28 100 200 --histpath near eth0 10.7.0.1 -c100 -i 0.001",
    ] {
        let told = names.run(cable.near.place(), line);
        assert_eq!(told.status.code(), Some(0), "{line}: {told:?}");
        let near = counts(&names.path("near"));
        assert_eq!((near.len(), near[0]), (28, 100), "{line}: {near:?}");
        fs::remove_file(names.path("near")).unwrap_or_else(|error| panic!("{error}"));
    }
    let told = names.run(cable.near.place(), "eth0 10.7.0.1 -c 5 -i 0.001 --hist 28 100 200");
    assert_eq!(told.status.code(), Some(0), "{told:?}");
    assert_eq!(counts(&names.path("hist"))[0], 5, "where it was started");
    drop(reflector.stop());
    let far = counts(&names.path("far"));
    assert_eq!((far.len(), far.iter().sum::<u64>()), (9, 405), "{far:?}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn lines_that_cannot_be_right_are_answered_with_what_is_wrong() {
    let (cable, names) = (Cable::new(), Names::new());
    let mangled = "value mangled by a chart template";
    for (line, code, said) in [
        ("eth0 10.7.0.1 --hist --bins=%!d(float64=30) -c 1", 64, mangled),
        ("eth0 10.7.0.1 -i=%!f(string=0.5) -c 1", 64, mangled),
        ("eth0 10.7.0.1 --hist 28 100 -c 1", 64, "--hist"),
        ("eth0 10.7.0.1 --hist 2 100 200 -c 1", 64, "--hist"),
        ("eth0 10.7.0.1 --hist 28 200 100 -c 1", 64, "--hist"),
        ("eth0 10.7.0.1 -i 0.00005 -c 1", 64, "100us"),
        ("eth0", 64, "TARGET"),
        ("nosuch0 10.7.0.1 -c 1", 69, "nosuch0"),
        ("eth0 10.7.0.1 -s 0 -c 1 --enforce-ptp", 69, "clock"),
        ("eth0 10.7.0.1 -s 0 -c 1 -w 0.1", 69, "10.7.0.1"),
    ] {
        let told = names.run(cable.near.place(), line);
        assert_eq!(told.status.code(), Some(code), "{line}: {told:?}");
        assert!(told.stderr.contains(said), "{line}: {}", told.stderr);
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn samples_are_lines_and_the_summary_is_the_last() {
    let cable = Cable::new();
    for backend in BACKENDS {
        let words = ["reflect", "eth0", "-o", "json", "--backend", backend];
        let reflector = Running::start(cable.far.place(), &words);
        let line = "stamp send eth0 10.7.0.1 -s 0 -c 30 -i 1ms -o json --samples - --backend";
        let told = command_in(cable.near.place()).args(line.split(' ')).arg(backend).succeed(SOON);
        let told = told.unwrap_or_else(|error| panic!("{error}")).text();
        let parse = |line: &str| serde_json::from_str::<Value>(line);
        let lines: Vec<Value> = told.lines().take(30).filter_map(|line| parse(line).ok()).collect();
        assert_eq!(lines.len(), 30, "{told}");
        for (line, seq) in lines.iter().zip(0_u64..) {
            assert_eq!(line["schema"], "fathom.stamp.sample/1", "{line}");
            assert_eq!((&line["seq"], &line["outcome"]), (&seq.into(), &"ok".into()), "{line}");
            let clock = |name: &str| line[name].as_str().and_then(|text| text.parse::<u64>().ok());
            let times = ["t1", "t2", "t3", "t4"].map(clock);
            assert!(times.is_sorted() && times[0] > Some(1_600_000_000_000_000_000), "{line}");
        }
        let rest: Vec<&str> = told.lines().skip(30).collect();
        let summary = parse(&rest.concat()).unwrap_or_else(|error| panic!("{error}: {rest:?}"));
        assert_eq!(summary["schema"], "fathom.stamp.summary/1", "{summary}");
        assert_eq!(packets(&summary["targets"][0]), [30, 30, 0], "{summary}");
        drop(reflector.stop());
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn both_roles_on_both_sides_show_metrics_that_prometheus_takes() {
    let cable = Cable::new();
    for backend in BACKENDS {
        let role = |to: &str| {
            let send = format!("eth0 {to} -i 2ms --hist --histpath /dev/null --backend {backend}");
            (format!("eth0 --backend {backend}"), send)
        };
        let start = |place: &Place, to| {
            let (reflect, send) = role(to);
            Running::start(place, &["run", "--reflect", &reflect, "--send", &send, "--pin=false"])
        };
        let far = start(cable.far.place(), "10.7.0.2");
        let near = start(cable.near.place(), "fd07::1");
        for side in [&near, &far] {
            let received = |told: &Value| told[0]["packets"]["received"].as_u64() > Some(50);
            side.until("answers", "/targets", received);
            let page = side.page("/metrics");
            let complaints = promtool_complaints(page.clone());
            let complaints = complaints.unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(complaints, Vec::<String>::new(), "{backend}");
            let metrics = side.metrics_until(|page| {
                let told = |name| page.sum(name, &[]) > Some(50);
                told("fathom_stamp_reflector_replies_total")
                    && told("fathom_stamp_packets_received_total")
            });
            let command = command_in(side.place()).args(["stamp", "status"]);
            let status = command.succeed(SOON).unwrap_or_else(|error| panic!("{error}")).text();
            assert!(status.contains("10.7.0.2") || status.contains("fd07::1"), "{status}");
            let guarded = [("reason", "loop_guard")];
            assert_eq!(metrics.sum("fathom_stamp_reflector_dropped_total", &guarded), Some(0));
            let kind = [("backend", backend)];
            assert_eq!(metrics.sum("fathom_stamp_backend_info", &kind), Some(1), "{backend}");
        }
        drop((near.stop(), far.stop()));
    }
}
