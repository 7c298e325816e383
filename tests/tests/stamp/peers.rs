//! Both ways with another implementation: open and signed, both formats, both families.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;

use fathom_tests::stamp::{Peer, Reflector, measured, measured_by_peer};

use super::{ends, nodes};

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

/// A key for both ends, in hexadecimal digits.
fn key() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap_or_else(|error| panic!("scratch: {error}"));
    let path = folder.path().join("key");
    std::fs::write(&path, "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f")
        .unwrap_or_else(|error| panic!("key: {error}"));
    // The other one takes no key that others can read.
    std::fs::set_permissions(&path, Permissions::from_mode(0o600))
        .unwrap_or_else(|error| panic!("key: {error}"));
    let path = path.display().to_string();
    (folder, path)
}

#[test]
#[ignore = "root: needs network namespaces"]
fn another_reflector_answers_every_packet_of_ours() {
    let (lab, (_folder, key)) = (nodes(), key());
    let [(here, _), (there, addresses)] = ends(&lab);
    for (format, is_ptp) in [("NTP", false), ("PTP", true)] {
        for signed in [false, true] {
            let mut theirs = vec!["-K", format, "--stateful-reflector"];
            let mut ours = vec!["-c", "20", "-i", "5ms", "--reflector-mode", "stateful"];
            if signed {
                theirs.extend(["-A", "A", "--hmac-key-file", &key]);
                ours.extend(["--key-file", &key]);
            }
            if is_ptp {
                ours.extend(["--timestamp-format", "ptp"]);
            }
            for address in addresses {
                let peer = Peer::reflect(there, address, &theirs);
                let target = measured(here, address, &ours);
                let packets = &target["packets"];
                let told = (&packets["sent"], &packets["received"], &packets["lost"]);
                assert_eq!(
                    told,
                    (&20.into(), &20.into(), &0.into()),
                    "{format} signed {signed} {address}: {target}"
                );
                assert_eq!(target["peer"]["ttl_forward"], 255);
                assert_eq!(target["roundtrip"]["count"], 20);
                drop(peer);
            }
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn our_reflector_answers_every_packet_of_another_sender() {
    let (lab, (_folder, key)) = (nodes(), key());
    let [(here, own), (there, addresses)] = ends(&lab);
    for signed in [false, true] {
        let flags: &[&str] = if signed { &["--key-file", &key] } else { &[] };
        let reflector = Reflector::start(there, flags);
        let mut sent = 0;
        for (from, address) in own.into_iter().zip(addresses) {
            for format in ["NTP", "PTP"] {
                for extensions in EXTENSIONS {
                    let mut line = vec![
                        "--count",
                        "5",
                        "--send-delay",
                        "2",
                        "-R",
                        "--ssid",
                        "77",
                        "-K",
                        format,
                    ];
                    line.extend(extensions);
                    if signed {
                        line.extend(["-A", "A", "--hmac-key-file", &key]);
                    }
                    let told = measured_by_peer(here, from, address, &line);
                    assert_eq!(told, (5, 5), "signed {signed} {line:?} to {address}");
                    sent += 5;
                }
            }
        }
        let told = reflector.summary();
        assert_eq!((&told["requests"], &told["replies"]), (&sent.into(), &sent.into()), "{told}");
        let dropped = told["dropped"].as_object().unwrap_or_else(|| panic!("{told}"));
        assert!(dropped.values().all(|amount| *amount == 0), "{told}");
    }
}
