//! The benchmark of `fathom stamp` in short: that it can run, and what holds at any speed.
#![expect(clippy::unwrap_used, reason = "a part that can't go on shall stop")]

use std::time::Duration;

use instrument::Instrument;
use report::Row;
use serde_json::Value;

#[path = "accuracy.rs"]
mod accuracy;
#[path = "cable.rs"]
mod cable;
#[path = "cost.rs"]
mod cost;
#[path = "instrument.rs"]
mod instrument;
#[path = "reflect.rs"]
mod reflect;
#[path = "../parts/report.rs"]
mod report;
#[path = "send.rs"]
mod send;
#[path = "stream.rs"]
mod stream;
#[path = "wire.rs"]
mod wire;

/// Numbers by what they are called, as everybody reads them: in the line of JSON.
struct Told(Value);

impl Told {
    fn of(part: &str, rows: &[Row]) -> Self {
        let text = report::of(part, rows);
        Self(serde_json::from_str(text.trim_end().lines().last().unwrap()).unwrap())
    }

    fn value(&self, metric: &str) -> f64 {
        let rows = self.0["rows"].as_array().unwrap();
        let row = rows.iter().find(|row| row["metric"] == metric);
        row.unwrap_or_else(|| panic!("no `{metric}` in {}", self.0))["value"].as_f64().unwrap()
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn stamps_are_outside_of_what_they_measure_and_the_truth_inside_of_its_interval() {
    let plan =
        accuracy::Plan { packets: 100, interval: Duration::from_millis(3), runs: 1, busy: &[0] };
    let told = Told::of("accuracy", &accuracy::rows(&plan));
    for name in ["fathom", "fathom, signed"] {
        let value = |what: &str| told.value(&format!("{name}, idle: {what}"));
        assert_eq!(value("packets compared"), 100.0, "{}", told.0);
        assert_eq!(value("times in the wrong order"), 0.0, "{}", told.0);
        assert_eq!(value("no interval with the truth"), 0.0, "{}", told.0);
        assert!(value("error of the round trip, p50") < 1_000.0, "{}", told.0);
    }
    assert_eq!(told.value("stamp-suite, idle: packets compared"), 100.0, "{}", told.0);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_reflector_answers_each_request_of_a_stream() {
    let plan = reflect::Plan {
        runs: 1,
        instruments: &[Instrument::Fathom, Instrument::PeerSigned],
        steady: (2_000, Duration::from_millis(200)),
        high: (10_000, Duration::from_millis(200)),
        most: Duration::from_millis(200),
    };
    let told = Told::of("reflect", &reflect::rows(&plan));
    assert_eq!(told.value("fathom: requests without a reply"), 0.0, "{}", told.0);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_sender_of_many_targets_keeps_its_pace_and_loses_nothing() {
    let plan = send::Plan {
        targets: 50,
        interval: Duration::from_millis(100),
        window: Duration::from_secs(1),
    };
    let told = Told::of("send", &send::rows(&plan));
    assert_eq!(told.value("requests lost"), 0.0, "{}", told.0);
    assert!(told.value("error of the pace, p50") < 10_000.0, "{}", told.0);
}
