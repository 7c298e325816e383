use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use testkit::FakeRoot;

use super::finding::{Finding, State};
use super::{kernel, kubernetes, surroundings, write};

fn root(files: &[(&str, &str)]) -> FakeRoot {
    let fresh = FakeRoot::new().unwrap();
    files.iter().fold(fresh, |root, (path, text)| root.file(path, text).unwrap())
}

#[test]
fn a_kernel_before_5_10_is_missing() {
    let release = "proc/sys/kernel/osrelease";
    let state = |text| kernel::release(root(&[(release, text)]).path()).state;
    assert_eq!(state("5.9.16"), State::Missing);
    assert_eq!(state("5.10.0-32-amd64"), State::Ok);
    assert_eq!(state("6.18.1"), State::Ok);
    assert_eq!(kernel::release(root(&[]).path()).state, State::Missing);
}

#[test]
fn types_are_looked_up_below_the_root() {
    assert_eq!(kernel::types(root(&[]).path()).state, State::Degraded);
    assert_eq!(kernel::types(root(&[("sys/kernel/btf/vmlinux", "x")]).path()).state, State::Ok);
}

#[test]
fn another_user_namespace_is_missing() {
    let with = |target| FakeRoot::new().unwrap().link("proc/self/ns/user", target).unwrap();
    assert_eq!(kernel::user_namespace(with("user:[4026531837]").path()).state, State::Ok);
    assert_eq!(kernel::user_namespace(with("user:[4026532000]").path()).state, State::Missing);
}

#[test]
fn processors_are_counted_below_the_root() {
    let cpus = root(&[
        ("sys/devices/system/cpu/online", "0-2\n"),
        ("sys/devices/system/cpu/possible", "0-7\n"),
    ]);
    assert_eq!(kernel::processors(cpus.path()).found, "3 online, 8 possible");
    assert_eq!(kernel::processors(root(&[]).path()).state, State::Degraded);
}

#[test]
fn old_cgroups_lose_the_host_and_say_so() {
    let mounts = |line| root(&[("proc/self/mountinfo", line)]);
    let v2 = mounts("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
    let v1 = mounts("30 23 0:26 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw\n");
    assert_eq!(surroundings::cgroups(v2.path()).state, State::Ok);
    let finding = surroundings::cgroups(v1.path());
    assert_eq!((finding.state, finding.found.as_str()), (State::Degraded, "version 1 only"));
    assert!(finding.lost.is_some() && finding.remedy.is_some());
}

#[test]
fn namespace_files_are_counted() {
    let finding =
        surroundings::namespaces(root(&[("run/netns/a", ""), ("run/netns/b", "")]).path());
    assert_eq!((finding.state, finding.found.as_str()), (State::Ok, "2 in /run/netns"));
    assert_eq!(surroundings::namespaces(root(&[]).path()).state, State::Degraded);
}

#[test]
fn a_socket_counts_only_if_somebody_answers() {
    let tree = FakeRoot::new().unwrap().directory("run/containerd").unwrap();
    let path = Path::new("/run/containerd/containerd.sock");
    assert!(surroundings::containerd(tree.path(), path).found.starts_with("no "));
    let listener = UnixListener::bind(tree.path().join("run/containerd/containerd.sock")).unwrap();
    assert_eq!(surroundings::containerd(tree.path(), path).state, State::Ok);
    drop(listener);
    assert_eq!(surroundings::containerd(tree.path(), path).state, State::Degraded);
}

#[test]
fn a_service_account_is_found_below_the_root() {
    let token = "var/run/secrets/kubernetes.io/serviceaccount/token";
    assert_eq!(kubernetes::credentials(root(&[(token, "x")]).path(), None).state, State::Ok);
    assert_eq!(kubernetes::credentials(root(&[]).path(), None).state, State::Degraded);
    let nowhere = Path::new("/nowhere/kubeconfig");
    let finding = kubernetes::credentials(root(&[(token, "x")]).path(), Some(nowhere));
    assert!(finding.found.contains("/nowhere/kubeconfig"), "{finding:?}");
}

#[test]
fn a_taken_port_is_missing_and_named() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let finding = surroundings::listener(address);
    assert_eq!(finding.state, State::Missing);
    assert!(finding.found.contains(&address.to_string()), "{finding:?}");
}

#[test]
fn a_pin_directory_off_bpffs_is_missing() {
    let tree = FakeRoot::new().unwrap();
    for directory in [tree.path().to_owned(), tree.path().join("not/there")] {
        assert_eq!(surroundings::pins(&directory).state, State::Missing, "{directory:?}");
    }
}

/// A BPF file system of its own, for as long as a test runs.
struct Mount(tempfile::TempDir);

impl Mount {
    fn read_only() -> Self {
        let folder = tempfile::tempdir().unwrap();
        mount("bpf", folder.path(), "bpf", MountFlags::RDONLY, c"mode=0700").unwrap();
        Self(folder)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        unmount(self.0.path(), UnmountFlags::DETACH).unwrap();
    }
}

#[test]
#[ignore = "root: mounts a bpffs"]
fn a_bpffs_that_is_mounted_read_only_is_missing_and_has_its_remedy() {
    let mount = Mount::read_only();
    let finding = surroundings::pins(&mount.0.path().join("fathom/flows"));
    assert_eq!(finding.state, State::Missing, "{finding:?}");
    assert!(finding.found.contains("read-only"), "{finding:?}");
    assert!(finding.remedy.unwrap().contains("remount"), "{finding:?}");
}

#[test]
fn every_finding_that_is_not_ok_says_what_is_lost_or_what_to_do() {
    let nothing = root(&[]);
    let at = nothing.path();
    for finding in [
        kernel::release(at),
        kernel::types(at),
        kernel::user_namespace(at),
        kernel::processors(at),
        surroundings::cgroups(at),
        surroundings::namespaces(at),
        surroundings::containerd(at, Path::new("/x")),
        kubernetes::credentials(at, None),
    ] {
        assert_ne!(finding.state, State::Ok, "{finding:?}");
        match finding.state {
            State::Degraded => assert!(finding.lost.is_some(), "{finding:?}"),
            _ => assert!(finding.remedy.is_some(), "{finding:?}"),
        }
    }
}

#[test]
fn colours_are_only_there_when_wanted() {
    let findings = [Finding::missing("btf", "none", "mount /sys")];
    let written = |colours| {
        let mut out = Vec::new();
        write(&findings, colours, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    assert_eq!(written(false), "missing  btf  none\n              remedy: mount /sys\n");
    assert!(written(true).starts_with("\x1b[31mmissing"));
}
