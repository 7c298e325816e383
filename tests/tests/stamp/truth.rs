//! What is told of delay and offset against what must be so between two hosts of one clock.

use fathom_tests::stamp::cable::Cable;
use fathom_tests::stamp::{BACKENDS, Reflector, measured, packets};

use super::number;

#[test]
#[ignore = "root: needs network namespaces"]
fn one_clock_on_both_ends_is_inside_of_its_own_bounds() {
    let cable = Cable::new();
    for backend in BACKENDS {
        let reflector = Reflector::on(cable.far.place(), "eth0", &["--backend", backend]);
        for address in cable.far.addresses {
            let line = ["-c", "200", "-i", "1ms", "--backend", backend];
            let target = measured(cable.near.place(), address, &line);
            let what = format!("{backend}: {target}");
            let offset = &target["offset"];
            let (middle, bound) = (number(&offset["offset_ns"]), number(&offset["bound_ns"]));
            assert!(middle.abs() <= bound && bound < 1_000_000, "{what}");
            let least = |way: &str| number(&target[way]["raw"]["min"]);
            let (near, far) = (least("near_end"), least("far_end"));
            assert!(near >= 0 && far >= 0, "no packet arrives before it left: {what}");
            let [gross, net] = ["roundtrip_gross", "roundtrip"].map(|name| &target[name]["min"]);
            assert!(number(net) <= number(gross) && number(gross) < 1_000_000, "{what}");
            assert_eq!(target["packets"]["unstamped"], 0, "{what}");
        }
        drop(reflector.summary());
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn ten_thousand_packets_a_second_leave_a_sample_each() {
    let cable = Cable::new();
    let flags = ["--backend", "bpf", "--rate", "0"];
    let reflector = Reflector::on(cable.far.place(), "eth0", &flags);
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("scratch: {error}"));
    let path = folder.path().join("samples").display().to_string();
    let line = ["-c", "8000", "-i", "100us", "--backend", "bpf", "--samples", &path];
    let target = measured(cable.near.place(), cable.far.addresses[0], &line);
    assert_eq!(packets(&target), [8000, 8000, 0], "{target}");
    assert_eq!(target["roundtrip"]["count"], 8000, "{target}");
    assert_eq!(target["packets"]["unstamped"], 0, "{target}");
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written.lines().count(), 8000);
    let told = reflector.summary();
    assert_eq!(told["sessions"][0]["transmitted"], 8000, "{told}");
}
