//! The replaced tool on the other side of a rollout.

use std::net::IpAddr;

use fathom_tests::exposition::Exposition;
use fathom_tests::stamp::cable::Cable;
use fathom_tests::stamp::{BACKENDS, Running, old, packets};
use serde_json::Value;
use testkit::Place;

use super::number;

#[test]
#[ignore = "root: needs network namespaces"]
fn an_old_sender_loses_nothing_with_our_reflector() {
    let cable = Cable::new();
    for backend in BACKENDS {
        let reflector = Running::start(
            cable.far.place(),
            &["reflect", "eth0", "-o", "json", "--backend", backend],
        );
        for family in [0, 1] {
            let (from, to) = (cable.near.addresses[family], cable.far.addresses[family]);
            let [sent, heard] = old::measured(cable.near.place(), from, to, 100);
            assert_eq!(sent, heard, "{backend}");
        }
        let told = reflector.summary();
        assert_eq!((number(&told["requests"]), number(&told["replies"])), (200, 200), "{told}");
        assert_eq!(told["sessions"], Value::Array(Vec::new()), "sessions without a number: {told}");
    }
}

/// Our sender, as a chart starts it, until it has been answered often enough.
fn measured(place: &Place, target: IpAddr, backend: &str) -> Value {
    let words =
        ["send", "eth0", &target.to_string(), "-i", "5ms", "--backend", backend, "-o", "json"];
    let sender = Running::start(place, &words);
    sender.until("answers", "/targets", |told| told[0]["packets"]["received"].as_u64() > Some(100));
    let is_flagged = |page: &Exposition| page.sum("fathom_stamp_timescale_suspect", &[]) == Some(1);
    let page = sender.metrics_until(is_flagged);
    for name in
        ["clock_offset_seconds", "clock_offset_bound_seconds", "one_way_delay_lower_seconds"]
    {
        let name = format!("fathom_stamp_{name}");
        assert_eq!(page.sum(&name, &[]), None, "{backend}: {name}");
    }
    sender.summary()["targets"][0].take()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn an_old_reflector_answers_everything_and_its_clock_is_flagged() {
    let cable = Cable::new();
    for backend in BACKENDS {
        for to in cable.far.addresses {
            let _reflector = old::Reflector::start(cable.far.place(), to);
            let target = measured(cable.near.place(), to, backend);
            let what = format!("{backend}: {target}");
            assert_eq!(packets(&target)[2], 0, "{what}");
            assert_eq!(target["peer"]["timescale"], "suspect", "{what}");
            assert_eq!(target["peer"]["error_valid"], false, "{what}");
            assert_eq!(target["offset"], Value::Null, "{what}");
            assert!(number(&target["roundtrip"]["min"]) > 0, "{what}");
            assert!(number(&target["roundtrip"]["max"]) < 10_000_000_000, "{what}");
            assert_eq!(target["near_end"]["usable"], 0, "{what}");
        }
    }
}
