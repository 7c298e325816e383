//! Devices that come and go, and the rights that are needed.

use serde_json::json;
use stamp::settings::Host;
use stamp::{Error, Exit};
use testkit::Veth;

use crate::laboratory::{Cable, PATIENCE, until};

#[test]
#[ignore = "root: needs network namespaces"]
fn a_device_that_returns_is_taken_up_again() {
    let cable = Cable::new();
    let far = cable.far.reflect("far0 --backend bpf");
    let near =
        cable.near.begin(&[], &["near0 10.7.0.1 -i 5ms -w 0.1 --backend bpf"], &Host::default());
    until("it answers", || near.show("/targets")[0]["up"] == true);
    cable.near.place().ip(["link", "delete", "near0"]).unwrap();
    until("it is down", || near.show("/targets")[0]["cause"] == "device_down");
    let veth = Veth::join((cable.near.place(), "near0"), (cable.far.place(), "far0")).unwrap();
    veth.near.address("10.7.0.2/24".parse().unwrap()).unwrap();
    veth.far.address("10.7.0.1/24".parse().unwrap()).unwrap();
    veth.near.ready(PATIENCE).unwrap();
    until("it answers again", || near.show("/targets")[0]["up"] == true);
    let (near, far) = (near.halt().0, far.stop());
    assert!(far["sessions"][0]["received"].as_u64() > Some(0), "the kernel answers: {far}");
    assert_eq!(near["local"]["kernel_hook"], "tcx");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn programs_that_somebody_detaches_are_put_back() {
    let cable = Cable::new();
    let far = cable.far.begin(&["far0 --backend bpf"], &[], &Host::default());
    let ifindex = cable.far.device.index().unwrap();
    let attached = || {
        let hooks = [net_sys::tcx::Hook::Ingress, net_sys::tcx::Hook::Egress];
        let on = |hook| net_sys::tcx::query(ifindex, hook).unwrap();
        cable.far.place().run(|| hooks.map(on).concat()).unwrap()
    };
    let before = attached();
    assert_eq!(before.len(), 2);
    cable.far.place().ip(["link", "set", "far0", "down"]).unwrap();
    cable.far.place().ip(["link", "set", "far0", "up"]).unwrap();
    assert_eq!(attached(), before, "a device that is switched off keeps its programs");
    drop(far.stop());
    assert_eq!(attached(), [], "nothing stays without pins");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_device_that_is_not_there_ends_the_start() {
    let cable = Cable::new();
    let error = cable.far.try_begin(&["nosuch0"], &[], &Host::default());
    let error = error.err().unwrap();
    assert!(matches!(&error, Error::NoDevice { device } if device == "nosuch0"), "{error}");
    assert_eq!(error.exit(), Exit::Unavailable);
    let both = cable.far.begin(&["far0 --backend socket"], &[], &Host::default());
    assert_eq!(both.stop()["requests"], json!(0));
}
