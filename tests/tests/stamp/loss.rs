//! Loss, duplication, reordering and delay of each direction against a host between the two
//! that does all of them by rule and knows it.

use std::time::Duration;

use fathom_tests::stamp::cable::Detour;
use fathom_tests::stamp::relay::{Fate, Relay, Rule};
use fathom_tests::stamp::{BACKENDS, Reflector, measured, packets};
use serde_json::{Value, json};

use super::{key, number};

/// What happens to ten packets in turn: never the same amount in both directions, and never
/// to one packet in both.
const THERE: Rule = Rule {
    fate: |sequence| match sequence % 10 {
        1 | 8 => Fate::Lost,
        3 => Fate::Doubled,
        5 => Fate::Overtaken,
        _ => Fate::Passes,
    },
    ..Rule::NONE
};

const BACK: Rule = Rule {
    fate: |sequence| match sequence % 10 {
        4 => Fate::Lost,
        2 | 9 => Fate::Doubled,
        0 | 7 => Fate::Overtaken,
        _ => Fate::Passes,
    },
    ..Rule::NONE
};

/// Tens of packets in a measurement.
const TENS: u64 = 15;

/// One measurement through the relay; the target and what the reflector says.
fn through(detour: &Detour, family: usize, flags: [&[&str]; 2]) -> (Value, Value) {
    let [sender, reflector] = flags;
    let entrance = detour.entrance[family];
    let reflector = Reflector::on(detour.far.place(), "eth0", reflector);
    let relay = Relay::start(detour, entrance, [THERE, BACK]);
    let line = ["-c", "150", "-i", "1ms", "-w", "0.3"];
    let target = measured(detour.near.place(), entrance, &[&line, sender].concat());
    relay.stop();
    (target, reflector.summary())
}

fn amounts<const N: usize>(target: &Value, names: [&str; N]) -> [Value; N] {
    names.map(|name| target["packets"][name].clone())
}

/// So many of each ten.
fn times<const N: usize>(of_ten: [u64; N]) -> [Value; N] {
    of_ten.map(|amount| json!(amount * TENS))
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_happens_to_packets_is_counted_in_its_direction_to_the_packet() {
    let (detour, (_folder, key)) = (Detour::new(), key());
    for (family, backend) in BACKENDS.into_iter().enumerate() {
        for signed in [false, true] {
            let mut flags = vec!["--backend", backend];
            if signed {
                flags.extend(["--key-file", &key]);
            }
            let sender = [&flags[..], &["--reflector-mode", "stateful"]].concat();
            let (target, told) = through(&detour, family, [&sender, &flags]);
            let what = format!("{backend} signed {signed}: {target} {told}");
            assert_eq!(packets(&target), [10 * TENS, 7 * TENS, 3 * TENS], "{what}");
            let lost = ["lost_forward", "lost_reverse", "lost_unknown", "pending"];
            assert_eq!(amounts(&target, lost), times([2, 1, 0, 0]), "{what}");
            let order = ["reordered_forward", "reordered_reverse", "late"];
            assert_eq!(amounts(&target, order), times([1, 2, 0]), "{what}");
            // A signed request is answered once, so that its copies do not show.
            let [there, back] = amounts(&target, ["duplicate_forward", "duplicate_reverse"]);
            assert_eq!(there, if signed { Value::Null } else { json!(TENS) }, "{what}");
            assert_eq!(back, 2 * TENS, "{what}");
            let replays = u64::from(signed);
            assert_eq!(told["dropped"]["replay"], replays * TENS, "{what}");
            assert_eq!(told["replies"], (9 - replays) * TENS, "{what}");
            let session = &told["sessions"][0];
            assert_eq!(session["transmitted"], (9 - replays) * TENS, "{what}");
            // A request that comes twice hides one that is lost, from the reflector.
            assert_eq!(session["lost_forward"], (1 + replays) * TENS, "{what}");
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_reflector_that_counts_nothing_leaves_the_direction_unknown() {
    let detour = Detour::new();
    for (family, backend) in BACKENDS.into_iter().enumerate() {
        let sender = ["--backend", backend, "--reflector-mode", "stateless"];
        let reflector = ["--backend", backend, "--mode", "stateless"];
        let (target, told) = through(&detour, family, [&sender, &reflector]);
        let what = format!("{backend}: {target} {told}");
        assert_eq!(packets(&target), [10 * TENS, 7 * TENS, 3 * TENS], "{what}");
        let unknown = ["lost_unknown", "duplicate_unknown", "reordered_unknown"];
        assert_eq!(amounts(&target, unknown), times([3, 3, 3]), "{what}");
        let directed = amounts(
            &target,
            [
                "lost_forward",
                "lost_reverse",
                "duplicate_forward",
                "duplicate_reverse",
                "reordered_forward",
                "reordered_reverse",
            ],
        );
        assert_eq!(directed, [const { Value::Null }; 6], "{what}");
        assert_eq!(told["sessions"], json!([]), "{what}");
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn no_packet_takes_less_time_than_it_was_kept_on_the_way() {
    let detour = Detour::new();
    let kept = |ms| Rule { delay: Duration::from_millis(ms), ..Rule::NONE };
    for (family, backend) in BACKENDS.into_iter().enumerate() {
        let entrance = detour.entrance[family];
        let reflector = Reflector::on(detour.far.place(), "eth0", &["--backend", backend]);
        let relay = Relay::start(&detour, entrance, [kept(20), kept(5)]);
        let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("scratch: {error}"));
        let path = folder.path().join("samples").display().to_string();
        let line = ["-c", "60", "-i", "2ms", "--backend", backend, "--samples", &path];
        let target = measured(detour.near.place(), entrance, &line);
        let kept = relay.stop();
        assert_eq!(packets(&target), [60, 60, 0], "{backend}: {target}");
        let written = std::fs::read_to_string(&path).unwrap_or_default();
        let samples: Vec<Value> =
            written.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
        assert_eq!(samples.len(), 60, "{backend}: {written}");
        for (kept, [raw, lower, upper]) in kept.iter().zip([NEAR, FAR]) {
            let mut shortest = i64::MAX;
            for sample in &samples {
                let sequence = u32::try_from(number(&sample["seq"])).unwrap_or(u32::MAX);
                let dwell = i64::try_from(kept[&sequence].as_nanos()).unwrap_or(i64::MAX);
                assert!(number(&sample[raw]) >= dwell, "{backend} {dwell}: {sample}");
                assert!(number(&sample[lower]) <= number(&sample[raw]), "{backend}: {sample}");
                assert!(number(&sample[upper]) >= dwell, "{backend} {dwell}: {sample}");
                shortest = shortest.min(number(&sample[raw]) - dwell);
            }
            // The rest is two cables, and what the machine takes to wake the thread between.
            assert!(shortest < 1_000_000, "{backend} {raw}: {shortest}");
        }
        drop(reflector.summary());
    }
}

const NEAR: [&str; 3] = ["near_raw_ns", "near_lower_ns", "near_upper_ns"];
const FAR: [&str; 3] = ["far_raw_ns", "far_lower_ns", "far_upper_ns"];
