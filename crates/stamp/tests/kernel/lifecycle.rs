//! What outlives the process, and what does not.

use std::time::Duration;

use stamp::settings::{Host, Pinning};

use crate::laboratory::{Cable, packets, until};

/// A directory of its own on bpffs.
struct Pins(Host);

impl Pins {
    fn new(cable: &Cable, lease: Duration) -> Self {
        let name = cable.far.namespace.place().name().replace(['.', '-'], "_");
        let bpf_pin_dir = format!("/sys/fs/bpf/fathom_test_{name}").into();
        let pinning = Pinning { pin: true, lease, bpf_pin_dir };
        Self(Host { pinning, ..Host::default() })
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        stamp::detach(&self.0.pinning.bpf_pin_dir, None).ok();
        std::fs::remove_dir_all(&self.0.pinning.bpf_pin_dir).ok();
    }
}

const SEND: &str = "near0 10.7.0.1 -c 10 -i 2ms -w 0.2 --backend bpf --reflector-mode stateful";

#[test]
#[ignore = "root: needs network namespaces"]
fn a_pinned_reflector_answers_on_is_adopted_and_goes_when_it_is_told() {
    let cable = Cable::new();
    let pins = Pins::new(&cable, Duration::from_secs(60));
    let reflector = cable.far.begin(&["far0 --backend bpf"], &[], &pins.0);
    let flow =
        cable.near.begin(&[], &["near0 10.7.0.1 -c 1500 -i 1ms --backend bpf"], &Host::default());
    until("packets go", || flow.sent() > 100);
    drop(reflector.stop());
    assert_eq!(packets(&cable.near.send(&format!("{SEND} -s 0"))), [[10, 10, 0]]);
    let second = cable.far.begin(&["far0 --backend bpf"], &[], &pins.0);
    let told = flow.end();
    assert_eq!(packets(&told), [[1500, 1500, 0]], "no packet is missed: {told}");
    let received = second.stop()["sessions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["received"].as_u64().unwrap())
        .max();
    assert_eq!(received, Some(1500), "sessions go on");
    let gone = stamp::detach(&pins.0.pinning.bpf_pin_dir, None).unwrap();
    assert_eq!((gone.links, gone.reflectors), (2, 1));
    assert_eq!(packets(&cable.near.send(&format!("{SEND} -s 0"))), [[10, 0, 10]]);
    assert_eq!(
        stamp::detach(&pins.0.pinning.bpf_pin_dir, None).unwrap(),
        stamp::Detached::default()
    );
}

#[test]
#[ignore = "root: needs network namespaces"]
fn without_us_a_pinned_reflector_goes_quiet_when_its_lease_is_over() {
    let cable = Cable::new();
    let pins = Pins::new(&cable, Duration::from_millis(1500));
    let reflector = cable.far.begin(&["far0 --backend bpf"], &[], &pins.0);
    until("the lease is renewed", || {
        packets(&cable.near.send(&format!("{SEND} -s 0"))) == [[10, 10, 0]]
    });
    drop(reflector.stop());
    until("nobody answers", || packets(&cable.near.send(&format!("{SEND} -s 0"))) == [[10, 0, 10]]);
}

/// Filters on both sides of the far device.
fn filters(cable: &Cable) -> usize {
    let ifindex = cable.far.device.index().unwrap();
    let count = || {
        let mut clsact = net_sys::clsact::Clsact::open().unwrap();
        let sides = [net_sys::tcx::Hook::Ingress, net_sys::tcx::Hook::Egress];
        sides.map(|hook| clsact.filters(ifindex, hook).map_or(0, |found| found.len())).iter().sum()
    };
    cable.far.place().run(count).unwrap()
}

#[test]
#[ignore = "root: needs network namespaces"]
fn without_links_filters_do_the_same_and_are_known_again() {
    let cable = Cable::new();
    let mut pins = Pins::new(&cable, Duration::from_secs(60));
    pins.0.lane = Some(stamp::Lane::Clsact);
    let own = Host { lane: pins.0.lane, ..Host::default() };
    let reflector = cable.far.begin(&["far0 --backend bpf"], &[], &own);
    assert_eq!(packets(&cable.near.send(&format!("{SEND} -s 0"))), [[10, 10, 0]]);
    assert_eq!(filters(&cable), 2);
    let told = reflector.stop();
    assert_eq!(told["paths"]["clsact"]["replies"], 10, "{told}");
    assert_eq!(filters(&cable), 0, "nothing stays without pins");
    drop(cable.far.begin(&["far0 --backend bpf"], &[], &pins.0).stop());
    assert_eq!(packets(&cable.near.send(&format!("{SEND} -s 0"))), [[10, 10, 0]]);
    let second = cable.far.begin(&["far0 --backend bpf"], &[], &pins.0);
    assert_eq!(filters(&cable), 2, "they take the place of those that were left");
    assert_eq!(packets(&cable.near.send(&format!("{SEND} -s 0"))), [[10, 10, 0]]);
    assert_eq!(second.stop()["replies"], 20, "counts go on");
    let near = cable.near.begin(&[], &["near0 10.7.0.1 -c 10 -i 2ms --backend bpf -s 0"], &own);
    assert_eq!(packets(&near.end()), [[10, 10, 0]]);
    let directory = pins.0.pinning.bpf_pin_dir.clone();
    let gone = cable.far.place().run(|| stamp::detach(&directory, None).unwrap()).unwrap();
    assert_eq!((gone.links, gone.reflectors, filters(&cable)), (2, 1, 0));
}

#[test]
#[ignore = "root: needs network namespaces"]
fn where_nothing_can_be_pinned_the_kernel_answers_for_as_long_as_the_process_lives() {
    let cable = Cable::new();
    let elsewhere = tempfile::tempdir().unwrap();
    let pinning =
        Pinning { pin: true, bpf_pin_dir: elsewhere.path().join("pins"), ..Pinning::default() };
    let own = Host { pinning, ..Host::default() };
    let reflector = cable.far.begin(&["far0 --backend bpf"], &[], &own);
    assert_eq!(packets(&cable.near.send(&format!("{SEND} -s 0"))), [[10, 10, 0]]);
    assert_eq!(reflector.stop()["paths"]["tcx"]["replies"], 10);
    assert_eq!(packets(&cable.near.send(&format!("{SEND} -s 0"))), [[10, 0, 10]]);
}
