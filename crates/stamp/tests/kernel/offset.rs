//! Where the other clock stands, against what is known of it: the programs of the far host
//! have a clock that is wrong by design.

use serde_json::Value;
use stamp::settings::Host;
use stamp_bpf::Skew;
use stamp_proto::offset::Settings;

use crate::laboratory::{Cable, Running, until};

/// What two clocks can drift apart, as the sender is told: more than any skew here.
const RATE_PPB: u64 = 60_000;

fn monotonic() -> i64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// By how much a skewed clock is ahead.
fn truth(skew: Skew) -> i64 {
    skew.ahead_ns + (((monotonic() >> 10) * skew.rate) >> 20)
}

fn number(value: &Value) -> i64 {
    value.as_i64().unwrap_or_else(|| panic!("{value} is no number"))
}

/// The only offset that is told; none when it is not.
fn told(running: &Running) -> Option<(i64, i64)> {
    let offsets = running.show("/offsets");
    let offset = offsets.as_array().unwrap().first()?.clone();
    Some((number(&offset["offset_ns"]), number(&offset["bound_ns"])))
}

#[test]
#[ignore = "root: needs network namespaces"]
fn the_interval_holds_the_truth_at_every_moment_and_is_as_wide_as_the_shortest_way() {
    let cable = Cable::new();
    // 5 ms, -250 µs, and 50 parts in a million in either direction.
    for (ahead_ns, rate) in [(5_000_000, 0), (-250_000, 0), (0, 53_687), (1_000_000, -53_687)] {
        let skew = Skew { ahead_ns, rate, ..Skew::default() };
        let there = Host { skew, ..Host::default() };
        let far = cable.far.begin(&["far0 --backend bpf"], &[], &there);
        let offset = Settings { max_skew_unsynced: RATE_PPB, ..Settings::default() };
        let here = Host { offset, ..Host::default() };
        let began = monotonic();
        let near = cable.near.begin(&[], &["near0 10.7.0.1 -i 2ms --backend bpf"], &here);
        until("an offset is known", || told(&near).is_some());
        let mut seen = 0;
        while near.sent() < 400 {
            let before = truth(skew);
            let Some((middle, bound)) = told(&near) else { continue };
            let after = truth(skew);
            let (low, high) = (before.min(after), before.max(after));
            assert!(
                middle - bound <= high && low <= middle + bound,
                "{middle} ± {bound} is not {low} to {high}"
            );
            seen += 1;
        }
        assert!(seen > 10, "seen {seen} times");
        let target = &near.halt().0["targets"][0];
        let shortest =
            number(&target["near_end"]["raw"]["min"]) + number(&target["far_end"]["raw"]["min"]);
        let drifted = (monotonic() - began) / 1_000 * RATE_PPB as i64 / 1_000_000;
        let bound = number(&target["offset"]["bound_ns"]);
        assert!(bound <= shortest / 2 + drifted + 1_000, "{bound} for {shortest}, {drifted}");
        assert!(number(&target["roundtrip"]["min"]) > 0, "{target}");
        drop(far.stop());
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn clocks_that_are_apart_by_leap_seconds_are_suspect_and_tell_no_offset() {
    let cable = Cable::new();
    let skew = Skew { ahead_ns: 37_000_000_000, ..Skew::default() };
    let far = cable.far.begin(&["far0 --backend bpf"], &[], &Host { skew, ..Host::default() });
    let near =
        cable.near.begin(&[], &["near0 10.7.0.1 -c 50 -i 2ms --backend bpf"], &Host::default());
    let target = near.end()["targets"][0].clone();
    assert_eq!(target["peer"]["timescale"], "suspect", "{target}");
    assert_eq!(target["offset"], Value::Null, "{target}");
    assert_eq!(target["packets"]["received"], 50, "{target}");
    assert!(number(&target["roundtrip"]["max"]) < 1_000_000_000, "{target}");
    drop(far.stop());
}
