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
