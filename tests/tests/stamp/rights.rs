//! Which rights the commands need, and what becomes of them without.

use fathom_tests::binary::{self, SOON};
use fathom_tests::stamp::cable::{Cable, Host};
use fathom_tests::stamp::{BACKENDS, Running, measured, packets};
use testkit::proc::{Command, Finished};

/// The port that needs a right.
const LOW: &str = "862";
const HIGH: &str = "8620";

/// The program with these rights and no others.
fn with(host: &Host, rights: &[&str], words: &[&str]) -> Command {
    let set: Vec<String> = std::iter::once("-all".to_owned())
        .chain(rights.iter().map(|right| format!("+{right}")))
        .collect();
    let set = set.join(",");
    host.place()
        .command("setpriv")
        .args([format!("--bounding-set={set}"), "--inh-caps=-all".to_owned()])
        .arg(binary::path())
        .arg("stamp")
        .args(words)
}

fn run(command: Command) -> Finished {
    command.run(SOON).unwrap_or_else(|error| panic!("setpriv: {error}"))
}

/// Everything that the kernel's programs and a low port take.
const ALL: [&str; 3] = ["bpf", "net_admin", "net_bind_service"];

#[test]
#[ignore = "root: needs network namespaces"]
fn three_rights_are_enough_for_the_kernel_to_take_all_times() {
    let cable = Cable::new();
    let words = ["reflect", "eth0", "-o", "json", "--backend", "bpf"];
    let reflector = Running::of(with(&cable.far, &ALL, &words), cable.far.place());
    let to = cable.far.addresses.map(|address| address.to_string());
    let line = ["-c", "20", "-i", "1ms", "--backend", "bpf", "-o", "json"];
    let words = [&["send", "eth0", &to[0], &to[1]], &line[..]].concat();
    let told = run(with(&cable.near, &ALL, &words));
    let document: serde_json::Value = told.json().unwrap_or_else(|e| panic!("{e}: {told:?}"));
    assert_eq!(document["local"]["kernel_hook"], "tcx", "{document}");
    for target in [0, 1].map(|at| &document["targets"][at]) {
        assert_eq!(packets(target), [20, 20, 0], "{target}");
        assert_eq!(target["packets"]["unstamped"], 0, "{target}");
    }
    let told = reflector.summary();
    assert_eq!(told["paths"]["tcx"]["replies"], 40, "{told}");
}

#[test]
#[ignore = "root: needs network namespaces"]
fn without_rights_sockets_answer_and_say_so() {
    let cable = Cable::new();
    let words = ["reflect", "eth0", "-p", HIGH, "-o", "json"];
    let mut reflector = Running::of(with(&cable.far, &[], &words), cable.far.place());
    reflector.wait_for_log("\"stamp.fallback\"");
    let log = reflector.log();
    let line = log.lines().find(|line| line.contains("stamp.fallback")).unwrap_or_default();
    assert!(line.contains("\"WARN\"") && line.contains("CAP_BPF"), "{line}");
    for to in cable.far.addresses {
        let target = measured(cable.near.place(), to, &["-c", "20", "-i", "1ms"]);
        assert_eq!(packets(&target), [20, 20, 0], "{target}");
    }
    assert_eq!(reflector.summary()["paths"]["socket"]["replies"], 40);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_backend_that_is_demanded_and_not_permitted_ends_with_77() {
    let cable = Cable::new();
    let reflect = ["reflect", "eth0", "-p", HIGH, "--backend", "bpf"];
    let to = cable.far.addresses[0].to_string();
    let send = ["send", "eth0", &to, "-s", "0", "-c", "1", "--backend", "bpf"];
    for (rights, named) in
        [(&[][..], "CAP_BPF"), (&["net_admin"], "CAP_BPF"), (&["bpf"], "CAP_NET_ADMIN")]
    {
        for words in [&reflect[..], &send] {
            let refused = run(with(&cable.near, rights, words));
            assert_eq!(refused.status.code(), Some(77), "{rights:?} {refused:?}");
            assert!(refused.stderr.contains(named), "{rights:?} {refused:?}");
        }
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_port_that_needs_a_right_ends_with_77_and_one_that_is_taken_with_69() {
    let cable = Cable::new();
    let to = cable.far.addresses[0].to_string();
    for words in [&["send", "eth0", &to, "-c", "1"][..], &["reflect", "eth0", "-p", LOW]] {
        let refused = run(with(&cable.near, &["bpf", "net_admin"], words));
        assert_eq!(refused.status.code(), Some(77), "{refused:?}");
        assert!(refused.stderr.contains("CAP_NET_BIND_SERVICE"), "{refused:?}");
    }
    for backend in BACKENDS {
        let words = ["reflect", "eth0", "-o", "json", "--backend", backend];
        let holder = Running::start(cable.far.place(), &words);
        let id = format!("(process {})", holder.id());
        let again =
            binary::run_in(cable.far.place(), ["stamp", "reflect", "eth0", "--backend", backend]);
        assert_eq!(again.status.code(), Some(69), "{again:?}");
        assert!(again.stderr.contains(&id) && again.stderr.contains("862"), "{id} {again:?}");
        drop(holder.stop());
    }
}
