//! Packets from a sender to a reflector and back, timed by the kernel on both sides.

use serde_json::{Value, json};
use stamp::settings::Host;

use crate::laboratory::{Cable, packets, until};

fn key() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, b"a key that both ends have").unwrap();
    let path = path.to_str().unwrap().to_owned();
    (folder, path)
}

const TLVS: &str = "--tlv timestamp-info,location,direct-measurement,follow-up,padding=5,access-report=1:0 --cos 46,2";

#[test]
#[ignore = "root: needs network namespaces"]
fn every_packet_is_timed_by_the_kernel_in_all_forms() {
    let (cable, (_folder, key)) = (Cable::new(), key());
    let key = format!("--key-file {key}");
    for form in ["", "--timestamp-format ptp", TLVS] {
        for lock in ["", &key] {
            let format = if form.starts_with("--timestamp") { form } else { "" };
            let reflector =
                cable.far.reflect(&format!("far0 --backend bpf {format} {lock} -o json"));
            let summary = cable.near.send(&format!(
                "near0 10.7.0.1 fd07::1 -c 50 -i 2ms -w 0.3 --backend bpf {form} {lock}"
            ));
            assert_eq!(packets(&summary), [[50, 50, 0]; 2], "{form} {lock} {summary}");
            for target in summary["targets"].as_array().unwrap() {
                assert_eq!(target["packets"]["unstamped"], 0, "{target}");
                assert_eq!(target["peer"]["ttl_forward"], 255, "{target}");
                assert_eq!(target["roundtrip"]["count"], 50, "{target}");
                let (offset, bound) = offset(target);
                assert!(offset.abs() <= bound, "one clock on both ends: {target}");
            }
            let told = reflector.stop();
            assert_eq!([&told["requests"], &told["replies"]], [&json!(100); 2], "{told}");
            for session in told["sessions"].as_array().unwrap() {
                assert_eq!(session["received"], 50, "{session}");
                assert_eq!(session["near_end"]["count"], 50, "{session}");
                assert!(session["near_end"]["min"].as_i64() >= Some(0), "one clock: {session}");
            }
        }
    }
}

fn offset(target: &Value) -> (i64, i64) {
    let of = |name| target["offset"][name].as_i64().unwrap_or_else(|| panic!("{target}"));
    (of("offset_ns"), of("bound_ns"))
}

#[test]
#[ignore = "root: needs network namespaces"]
fn two_hosts_measure_each_other_through_one_port() {
    let cable = Cable::new();
    let host = Host::default();
    let far = cable.far.begin(
        &["far0 --backend bpf"],
        &["far0 10.7.0.2 fd07::2 -c 200 -i 2ms --backend bpf"],
        &host,
    );
    let near = cable.near.begin(
        &["near0 --backend bpf"],
        &["near0 10.7.0.1 fd07::1 -c 200 -i 2ms --backend bpf"],
        &host,
    );
    // The one that began first found nobody at first.
    until("both are over", || [&near, &far].iter().all(|running| running.sent() >= 400));
    let (near, far) = (near.halt(), far.halt());
    assert_eq!(packets(&near.0), [[200, 200, 0]; 2]);
    for told in [&near.1, &far.1] {
        assert_eq!(told["dropped"]["loop_guard"], 0, "{told}");
    }
    assert_eq!(far.1["replies"], 400);
    let lost: u64 = packets(&far.0).iter().map(|[_, _, lost]| lost).sum();
    assert_eq!(near.1["replies"].as_u64().unwrap(), 400 - lost, "{}", far.0);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn what_leaves_and_comes_by_another_device_is_timed_by_the_socket() {
    let cable = Cable::new();
    let reflector = cable.far.reflect("far0 --backend bpf");
    // A second way to the same host, of which the programs do not know.
    let veth =
        testkit::Veth::join((cable.near.place(), "near1"), (cable.far.place(), "far1")).unwrap();
    veth.near.address("10.8.0.2/24".parse().unwrap()).unwrap();
    veth.far.address("10.8.0.1/24".parse().unwrap()).unwrap();
    let second = cable.far.reflect("far1 -p 863 --backend socket");
    let summary = cable.near.send("auto 10.8.0.1 -d 863 -s 0 -c 20 -i 2ms --backend socket");
    assert_eq!(packets(&summary), [[20, 20, 0]]);
    assert_eq!(summary["local"]["backend"], "socket");
    let told = second.stop();
    assert_eq!(told["replies"], 20, "{told}");
    assert_eq!(reflector.stop()["requests"], 0);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn keys_change_under_way_without_a_packet_lost() {
    let (cable, folder) = (Cable::new(), tempfile::tempdir().unwrap());
    let file = |name: &str, key: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, key).unwrap();
        path.display().to_string()
    };
    let (first, second) = ("the first of two keys", "the second of two keys");
    let (there, before, here) = (file("there", first), file("before", first), file("here", first));
    for backend in ["bpf", "socket"] {
        std::fs::write(&there, first).unwrap();
        std::fs::write(&here, first).unwrap();
        let far = cable.far.reflect(&format!(
            "far0 --backend {backend} --rate 0 --key-file {there} --prev-key-file {before}"
        ));
        let line = format!("near0 10.7.0.1 -i 2ms --backend {backend} --key-file {here}");
        let near = cable.near.begin(&[], &[&line], &Host::default());
        let sent = |more: u64| {
            let from = near.sent();
            until("packets go", || near.sent() >= from + more);
        };
        sent(20);
        std::fs::write(&there, second).unwrap();
        far.reload();
        until("the old key is the previous one", || {
            far.show("/reflector")["old_key"].as_u64() > Some(5)
        });
        std::fs::write(&here, second).unwrap();
        near.reload();
        let told = || far.show("/reflector")["old_key"].as_u64();
        until("the new one is in use", || {
            let before = told();
            sent(10);
            told() == before
        });
        std::fs::write(&here, "short").unwrap();
        near.reload();
        sent(10);
        let (near, far) = (near.halt().0, far.stop());
        let [[sent, received, lost]] = packets(&near)[..] else { panic!("{near}") };
        assert_eq!((received, lost), (sent, 0), "{near}");
        assert_eq!(far["dropped"]["hmac"], 0, "{far}");
    }
}
