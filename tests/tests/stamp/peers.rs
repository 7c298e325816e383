//! Both ways with another implementation: open and signed, both formats, both families.

use fathom_tests::stamp::cable::Cable;
use fathom_tests::stamp::{BACKENDS, Peer, Reflector, measured, measured_by_peer, packets};

use super::key;

const EXTENSIONS: [&[&str]; 10] = [
    &[],
    &["--cos", "--dscp", "46", "--ecn", "2"],
    &["--timestamp-info"],
    &["--direct-measurement"],
    &["--location"],
    &["--extra-padding", "33"],
    &["--follow-up-telemetry"],
    &["--return-path-cc", "1"],
    &["--malformed", "bad-flags"],
    &["--malformed", "bad-length"],
];

#[test]
#[ignore = "root: needs network namespaces"]
fn another_reflector_answers_every_packet_of_ours() {
    let (cable, (_folder, key)) = (Cable::new(), key());
    for (family, format) in [(0, "NTP"), (1, "PTP")] {
        for signed in [false, true] {
            let mut theirs = vec!["-K", format, "--stateful-reflector"];
            let format = format.to_lowercase();
            let mut ours = vec!["-c", "20", "-i", "2ms", "--timestamp-format", &format];
            ours.extend(["--reflector-mode", "stateful"]);
            if signed {
                theirs.extend(["-A", "A", "--hmac-key-file", &key]);
                ours.extend(["--key-file", &key]);
            }
            let address = cable.far.addresses[family];
            let _peer = Peer::reflect(cable.far.place(), address, &theirs);
            for backend in BACKENDS {
                ours.extend(["--backend", backend]);
                let target = measured(cable.near.place(), address, &ours);
                let what = format!("{format} signed {signed} {backend}: {target}");
                assert_eq!(packets(&target), [20, 20, 0], "{what}");
                assert_eq!(target["peer"]["ttl_forward"], 255, "{what}");
                assert_eq!(target["roundtrip"]["count"], 20, "{what}");
                assert_eq!(target["packets"]["unstamped"], 0, "{what}");
                ours.truncate(ours.len() - 2);
            }
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn our_reflector_answers_every_packet_of_another_sender() {
    let (cable, (_folder, key)) = (Cable::new(), key());
    for backend in BACKENDS {
        for signed in [false, true] {
            let mut flags = vec!["--backend", backend];
            if signed {
                flags.extend(["--key-file", &key]);
            }
            let reflector = Reflector::on(cable.far.place(), "eth0", &flags);
            let mut sent = 0;
            for (family, format) in [(0, "NTP"), (1, "PTP")] {
                let (from, to) = (cable.near.addresses[family], cable.far.addresses[family]);
                for extensions in EXTENSIONS {
                    let base = ["--count", "5", "--send-delay", "2", "-R", "--ssid", "77"];
                    let mut line = [&base, &["-K", format][..], extensions].concat();
                    if signed {
                        line.extend(["-A", "A", "--hmac-key-file", &key]);
                    }
                    let told = measured_by_peer(cable.near.place(), from, to, &line);
                    assert_eq!(told, (5, 5), "{backend} signed {signed} {line:?} to {to}");
                    sent += 5;
                }
            }
            let told = reflector.summary();
            let counts = (&told["requests"], &told["replies"]);
            assert_eq!(counts, (&sent.into(), &sent.into()), "{told}");
            let dropped = told["dropped"].as_object().unwrap_or_else(|| panic!("{told}"));
            assert!(dropped.values().all(|amount| *amount == 0), "{told}");
        }
    }
}
