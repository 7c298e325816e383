//! What loading costs, and what it takes.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::Instant;

use libbpf_rs::query::ProgInfoIter;
use net_sys::host::{Capabilities, drop_capabilities_except, kernel_release};
use stamp_bpf::{Knobs, LinkLayer, Program, Sizes, Tables};
use stamp_proto::auth::Key;
use stamp_proto::clock::MonoTime;
use stamp_proto::reflector::{Entered, KeyPair, Keys, Policy, SessionKey};
use stamp_proto::timestamp::{Format, Timestamp};

/// Twice what the verifier walks today, and a tenth of a second of loading.
const BUDGET: u32 = 40_000;

fn signed() -> Policy {
    let default = Some(KeyPair { current: Key::new(b"some sixteen octets"), previous: None });
    Policy { keys: Keys { default, ..Keys::default() }, ..Policy::default() }
}

#[test]
#[ignore = "root: loads programs"]
fn the_verifier_walks_no_more_instructions_than_the_budget() {
    let tables = Tables::create(Sizes::default()).unwrap();
    for (mode, policy) in [("open", Policy::default()), ("signed", signed())] {
        let at = Instant::now();
        let knobs = Knobs::new(&policy, Format::Ntp).watched(true).xdp(true);
        let program = Program::load(&tables, &knobs).unwrap();
        println!("{mode}: loaded in {:?}", at.elapsed());
        for link in [LinkLayer::Ethernet, LinkLayer::None] {
            check(&format!("{mode} ingress {link:?}"), program.ingress(link));
            check(&format!("{mode} egress {link:?}"), program.egress(link));
        }
        check(&format!("{mode} in front of tc"), program.xdp().unwrap());
    }
}

#[test]
#[ignore = "root: loads programs"]
fn two_capabilities_are_enough_and_three_on_older_kernels() {
    let load = || {
        // Older verifiers lose themselves in what a processor may guess wrong: 6.12 does.
        let old = !kernel_release(Path::new("/")).unwrap().at_least(6, 18);
        let keep = ["BPF", "NET_ADMIN"].into_iter().chain(old.then_some("PERFMON"));
        let keep = Capabilities::from_names(keep).unwrap();
        drop_capabilities_except(keep).unwrap();
        let tables = Tables::create(Sizes::default())?;
        let load = |policy: &Policy, format| {
            let knobs = Knobs::new(policy, format).watched(true).xdp(true);
            Program::load(&tables, &knobs)
        };
        load(&Policy::default(), Format::Ntp)?;
        let program = load(&signed(), Format::Ptp)?;
        let (source, destination) = (([10, 0, 0, 2], 7).into(), ([10, 0, 0, 1], 862).into());
        let key = SessionKey { source, destination, ssid: 42, micro: 0 };
        program.enter(&key, 1, Timestamp::from_bits(1), MonoTime::from_ns(1), true)
    };
    // A thread loses them for good, and only itself.
    let entered: Result<Entered, stamp_bpf::Error> = std::thread::spawn(load).join().unwrap();
    assert!(matches!(entered.unwrap(), Entered::Numbered(_)));
}

fn check(what: &str, program: BorrowedFd<'_>) {
    let text =
        std::fs::read_to_string(format!("/proc/self/fdinfo/{}", program.as_raw_fd())).unwrap();
    let id = text.lines().find_map(|line| line.strip_prefix("prog_id:")).unwrap();
    let id: u32 = id.trim().parse().unwrap();
    let info = ProgInfoIter::default().find(|info| info.id == id).unwrap();
    println!("{what}: {} instructions walked", info.verified_insns);
    let tells = kernel_release(Path::new("/")).unwrap().at_least(5, 16);
    assert_eq!(info.verified_insns != 0, tells, "the kernel tells since 5.16");
    assert!(info.verified_insns < BUDGET, "{what}: {} walked", info.verified_insns);
}
