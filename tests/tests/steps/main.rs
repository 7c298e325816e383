//! Real steps of this machine's clock in the middle of a measurement.
//!
//! An executable of its own: cargo runs one at a time, so that nothing else of the project
//! measures while the clock is wrong.

use std::time::Duration;

use fathom_tests::exposition::{Exposition, Sample};
use fathom_tests::stamp::cable::Detour;
use fathom_tests::stamp::relay::{Relay, Rule};
use fathom_tests::stamp::step::Steps;
use fathom_tests::stamp::{BACKENDS, PORT, Reflector, Running, packets};
use serde_json::Value;

/// Where the clock stands, in seconds from where it belongs, one after the other.
const COURSE: [i64; 4] = [5, 0, -5, 0];

/// Packets are kept on both ways, so that some are under way whenever the clock steps.
const KEPT: Rule = Rule { delay: Duration::from_millis(20), ..Rule::NONE };

/// No packet takes as long as the clock steps.
const LONGEST_NS: i64 = 2_000_000_000;

fn sender(detour: &Detour, backend: &str, samples: &str) -> Running {
    let (to, port) = (detour.entrance[0].to_string(), PORT.to_string());
    let words = ["send", "eth0", &to, "-s", "0", "-d", &port, "-i", "2ms", "-w", "2"];
    let more = ["-o", "json", "--backend", backend, "--samples", samples];
    Running::start(detour.near.place(), &[&words[..], &more].concat())
}

fn received(told: &Value) -> u64 {
    told[0]["packets"]["received"].as_u64().unwrap_or(0)
}

/// Insists that no number of a document is beyond what a measurement of seconds can be.
fn hold_numbers(value: &Value, path: &str) {
    match value {
        Value::Number(number) => {
            let number = number.as_f64().unwrap_or(f64::NAN);
            assert!(number.abs() < 1e11, "{path} is {number}");
        }
        Value::Array(all) => all.iter().for_each(|each| hold_numbers(each, path)),
        Value::Object(all) => {
            all.iter().for_each(|(name, each)| hold_numbers(each, &format!("{path}.{name}")));
        }
        _ => {}
    }
}

/// Insists that a distribution of durations has none below 0 and none that no path has.
fn hold_durations(target: &Value, name: &str) {
    let [min, max] = ["min", "max"].map(|end| target[name][end].as_i64());
    let (min, max) = (min.unwrap_or(-1), max.unwrap_or(i64::MAX));
    assert!(min >= 0 && max < LONGEST_NS, "{name} from {min} to {max}: {target}");
}

fn hold_metrics(page: &Exposition) {
    let durations = ["roundtrip_seconds", "roundtrip_gross_seconds", "reflector_residence_seconds"];
    for name in durations.into_iter().chain(["one_way_delay_seconds", "delay_variation_seconds"]) {
        for sum in page.matching(&format!("fathom_stamp_{name}_sum"), &[]) {
            assert!((0.0..100.0).contains(&sum.value), "{sum:?}");
        }
    }
    let own = |sample: &&Sample| sample.name.starts_with("fathom_stamp_");
    for sample in page.samples.iter().filter(own) {
        assert!(sample.value.abs() < 1e11, "{sample:?}");
    }
}

#[test]
#[ignore = "root: needs network namespaces, sets the clock"]
fn steps_of_the_clock_change_no_round_trip_and_are_counted() {
    let detour = Detour::new();
    for backend in BACKENDS {
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("scratch: {error}"));
        let samples = folder.path().join("samples");
        let reflector = Reflector::on(detour.far.place(), "eth0", &["--backend", backend]);
        let relay = Relay::start(&detour, detour.entrance[0], [KEPT; 2]);
        let sender = sender(&detour, backend, &samples.display().to_string());
        let mut seen = 0;
        let mut go_on = || {
            let told = sender.until("answers", "/targets", |told| received(told) > seen + 100);
            seen = received(&told);
        };
        go_on();
        let mut steps = Steps::begin();
        for (seconds, count) in COURSE.into_iter().zip(1..) {
            steps.set(seconds);
            sender.until("the step", "/clock", |told| told["steps"].as_u64() >= Some(count));
            go_on();
        }
        drop(steps);
        let local = [("target", "local")];
        let counted = |page: &Exposition| page.sum("fathom_stamp_clock_steps_total", &local);
        let page = sender.metrics_until(|page| counted(page) >= Some(4));
        let told = sender.summary();
        relay.stop();
        let far = reflector.summary();
        let target = &told["targets"][0];
        let [sent, received, lost] = packets(target);
        assert_eq!((received, lost), (sent, 0), "{backend}: {target}");
        for name in ["roundtrip", "roundtrip_gross", "residence"] {
            hold_durations(target, name);
        }
        hold_numbers(&told, "");
        hold_numbers(&far, "");
        hold_metrics(&page);
        assert_eq!(told["local"]["clock"]["steps"], 4, "{backend}: {told}");
        assert_eq!(counted(&page), Some(4), "{backend}");
        let (offset, bound) = (&target["offset"]["offset_ns"], &target["offset"]["bound_ns"]);
        let (offset, bound) = (offset.as_i64(), bound.as_i64());
        assert!(offset.map(i64::abs) <= bound && bound < Some(LONGEST_NS), "{backend}: {target}");
        hold_samples(&std::fs::read_to_string(&samples).unwrap_or_default(), received);
    }
}

/// Insists that the round trip of each sample is one, whatever the clock did meanwhile.
fn hold_samples(text: &str, count: u64) {
    let mut found = 0;
    for line in text.lines() {
        let sample: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
        hold_numbers(&sample, "");
        let gross = sample["rtt_gross_ns"].as_i64().unwrap_or(-1);
        assert!((1..LONGEST_NS).contains(&gross), "{line}");
        // Absent where the step fell into the time inside the reflector.
        let net = sample["rtt_ns"].as_i64();
        assert!(net.is_none_or(|net| (0..=gross).contains(&net)), "{line}");
        for end in ["near_lower_ns", "far_lower_ns"] {
            assert!(sample[end].as_i64().is_none_or(|lower| lower >= 0), "{line}");
        }
        found += 1;
    }
    assert_eq!(found, count);
}
