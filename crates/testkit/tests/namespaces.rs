//! Guards leave nothing behind, whatever ends them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use testkit::proc::{Command, Signal, wait_until};
use testkit::{Device, Namespace, Place, sweep};

const SOON: Duration = Duration::from_secs(20);

#[test]
#[ignore = "root: needs network namespaces"]
fn a_namespace_is_a_different_one_and_goes_on_drop() {
    let here = fs::metadata("/proc/self/ns/net").unwrap().ino();
    let namespace = Namespace::create("guard").unwrap();
    let path = namespace.path().to_owned();
    assert_ne!(namespace.inode().unwrap(), here);
    let inside = namespace.run(|| fs::metadata("/proc/thread-self/ns/net").unwrap().ino()).unwrap();
    assert_eq!(inside, namespace.inode().unwrap());
    drop(namespace);
    assert_is_gone(&path);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_namespace_goes_after_a_panic() {
    let mut path = PathBuf::new();
    let caught = catch_unwind(AssertUnwindSafe(|| {
        let namespace = Namespace::create("panic").unwrap();
        namespace.path().clone_into(&mut path);
        panic!("a failing test");
    }));
    assert!(caught.is_err());
    assert!(!path.as_os_str().is_empty());
    assert_is_gone(&path);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_panic_inside_reaches_the_caller_and_leaves_its_thread_nowhere() {
    let namespace = Namespace::create("inside").unwrap();
    let caught = catch_unwind(AssertUnwindSafe(|| namespace.run(|| panic!("inside"))));
    assert_eq!(caught.unwrap_err().downcast_ref(), Some(&"inside"));
    assert_eq!(threads_inside(&namespace), 0);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn removing_tells_that_it_worked() {
    let namespace = Namespace::create("remove").unwrap();
    let path = namespace.path().to_owned();
    namespace.remove().unwrap();
    assert_is_gone(&path);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn parallel_tests_do_not_meet() {
    let names: BTreeSet<String> = std::thread::scope(|scope| {
        let made: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| Namespace::create("same").unwrap().name().to_owned()))
            .collect();
        made.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(names.len(), 8);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn loopback_works_inside_and_is_not_the_hosts() {
    let namespace = Namespace::create("loopback").unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // The same port is free inside, and what is bound there stays there.
    let (socket, sent) = namespace
        .run(|| {
            let inside = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
            let socket = UdpSocket::bind("[::1]:0").unwrap();
            let sent = socket.send_to(b"x", socket.local_addr().unwrap()).unwrap();
            (drop(inside), (socket, sent)).1
        })
        .unwrap();
    assert_eq!(sent, 1);
    assert_eq!(socket.recv(&mut [0; 8]).unwrap(), 1);
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_command_runs_inside_without_a_process_in_between() {
    let namespace = Namespace::create("command").unwrap();
    let child = namespace.command("sleep").arg("300").spawn().unwrap();
    let entered = fs::metadata(format!("/proc/{}/ns/net", child.id())).unwrap().ino();
    assert_eq!(entered, namespace.inode().unwrap());
    let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    let parent = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(1).unwrap();
    assert_eq!(parent, std::process::id().to_string());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_setting_of_the_namespace_is_not_the_hosts() {
    let name = "net/ipv4/ip_default_ttl";
    let host = fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap();
    let namespace = Namespace::create("setting").unwrap();
    namespace.set_sysctl(name, "33").unwrap();
    let inside = namespace.run(|| fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl")).unwrap();
    assert_eq!(inside.unwrap(), "33\n");
    assert_eq!(fs::read_to_string("/proc/sys/net/ipv4/ip_default_ttl").unwrap(), host);
    assert!(namespace.set_sysctl("kernel/panic", "1").is_err());
}

#[test]
#[ignore = "root: needs network namespaces"]
fn links_go_with_their_namespace() {
    let node = Namespace::create("node").unwrap();
    let pod = Namespace::create("pod").unwrap();
    testkit::Veth::join((node.place(), "host0"), (pod.place(), "eth0")).unwrap();
    let host_side = Device::named(node.place(), "host0");
    assert!(host_side.exists().unwrap());
    drop(pod);
    host_side.gone(SOON).unwrap();
}

/// This test runs itself a second time as a process that is killed in the middle of its work.
#[test]
#[ignore = "root: needs network namespaces"]
fn a_killed_process_leaves_nothing_behind() {
    if let Some(ready) = std::env::var_os(VICTIM) {
        be_killed(Path::new(&ready));
    }
    for signal in [Signal::KILL, Signal::INT, Signal::TERM] {
        let scratch = tempfile::tempdir().unwrap();
        let ready = scratch.path().join("ready");
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_killed_process_leaves_nothing_behind", "--include-ignored"])
            .env(VICTIM, &ready)
            .spawn()
            .unwrap();
        victim.wait_for_file(&ready, SOON).unwrap();
        let report = fs::read_to_string(&ready).unwrap();
        let (path, child) = report.split_once('\n').unwrap();
        assert!(Path::new(path).exists());
        assert!(is_running(child));
        victim.signal(signal).unwrap();
        victim.wait(SOON).unwrap();
        let prefix = path.rsplit_once('/').unwrap().1.split_once("0-victim").unwrap().0;
        wait_until("end of everything", SOON, || {
            !Path::new(path).exists() && !is_running(child) && scratch_of(prefix) == 0
        })
        .unwrap_or_else(|late| panic!("{late}: after {signal:?} of {path}"));
    }
}

#[test]
#[ignore = "root: needs network namespaces"]
fn a_sweep_takes_what_dead_processes_left_and_nothing_else() {
    let living = Namespace::create("living").unwrap();
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait(SOON).unwrap();
    let [_, _, pid_namespace, pid, started, ..] = living.name().split('-').collect::<Vec<_>>()[..]
    else {
        panic!("{}", living.name());
    };
    assert_eq!(pid, std::process::id().to_string());
    let owner = format!("{pid_namespace}-{}-{started}", dead.id());
    let orphan = Place::named(&format!("fathom-lab-{owner}-0-orphan"));
    Command::new("ip").args(["netns", "add", orphan.name()]).succeed(SOON).unwrap();
    let mut child = Command::new("env")
        .arg(format!("FATHOM_LAB_OWNER={owner}"))
        .args(["sleep", "300"])
        .spawn()
        .unwrap();
    wait_until("start of sleep", SOON, || command_line(child.id()).starts_with("sleep")).unwrap();

    sweep().unwrap();
    assert_is_gone(orphan.path());
    assert!(!child.wait(SOON).unwrap().success());
    assert!(living.path().exists());
}

const VICTIM: &str = "TESTKIT_VICTIM";

fn be_killed(ready: &Path) -> ! {
    let namespace = Namespace::create("victim").unwrap();
    let child = namespace.command("sleep").arg("300").spawn().unwrap();
    let written = ready.with_extension("part");
    fs::write(&written, format!("{}\n{}", namespace.path().display(), child.id())).unwrap();
    fs::rename(written, ready).unwrap();
    // Bounded, should nobody come.
    wait_until("death", Duration::from_secs(60), || false).unwrap();
    unreachable!("the wait above panics");
}

fn assert_is_gone(path: &Path) {
    assert!(!path.exists(), "{} is left", path.display());
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!mounts.contains(path.to_str().unwrap()), "{} is still mounted", path.display());
}

fn threads_inside(place: &Place) -> usize {
    let wanted = place.inode().unwrap();
    let tasks = fs::read_dir("/proc/self/task").unwrap().flatten();
    tasks.filter(|t| fs::metadata(t.path().join("ns/net")).is_ok_and(|m| m.ino() == wanted)).count()
}

fn is_running(pid: &str) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

fn command_line(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default()
}

fn scratch_of(prefix: &str) -> usize {
    let entries = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    entries.filter(|e| e.file_name().to_string_lossy().starts_with(prefix)).count()
}
