use std::fs;
use std::os::unix::fs::symlink;
use std::thread;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::*;
use crate::testing::PinDirectory;

const HOST: &str = "/";

fn fake(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    root
}

#[test]
fn releases_of_distributions_are_read() {
    for (text, expected) in [
        ("6.18.44-fc\n", (6, 18)),
        ("5.10.0-28-amd64\n", (5, 10)),
        ("6.1+", (6, 1)),
        ("4.18.0-513.el8.x86_64", (4, 18)),
    ] {
        let root = fake(&[("proc/sys/kernel/osrelease", text)]);
        let release = kernel_release(root.path()).unwrap();
        assert_eq!((release.major, release.minor), expected);
        assert_eq!(release.to_string(), text.trim());
    }
}

#[test]
fn a_release_that_is_none_is_refused() {
    for text in ["", "linux", "6", "6.", "99999999999.1"] {
        let root = fake(&[("proc/sys/kernel/osrelease", text)]);
        let outcome = kernel_release(root.path());
        assert!(matches!(outcome, Err(HostError::Content { .. })), "{text:?}: {outcome:?}");
    }
    let nothing = fake(&[]);
    assert!(matches!(kernel_release(nothing.path()), Err(HostError::Read { .. })));
}

#[test]
fn releases_compare_by_both_numbers() {
    let root = fake(&[("proc/sys/kernel/osrelease", "6.6.1")]);
    let release = kernel_release(root.path()).unwrap();
    assert!(release.at_least(6, 6) && release.at_least(5, 19));
    assert!(!release.at_least(6, 7) && !release.at_least(7, 0));
}

#[test]
fn this_host_tells_what_uname_tells() {
    let release = kernel_release(Path::new(HOST)).unwrap();
    let uname = rustix::system::uname();
    assert_eq!(uname.release().to_str(), Ok(release.text.as_str()));
    assert!(page_size().is_power_of_two());
    assert!(!hostname().is_empty());
}

#[test]
fn btf_is_a_file() {
    assert!(has_btf(fake(&[("sys/kernel/btf/vmlinux", "")]).path()));
    assert!(!has_btf(fake(&[]).path()));
}

#[test]
fn the_initial_user_namespace_has_a_fixed_number() {
    for (target, initial) in [("user:[4026531837]", true), ("user:[4026532840]", false)] {
        let root = fake(&[("proc/self/ns/other", "")]);
        symlink(target, root.path().join("proc/self/ns/user")).unwrap();
        assert_eq!(in_initial_user_namespace(root.path()).unwrap(), initial);
    }
}

#[test]
fn an_ordinary_directory_is_no_bpffs() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    fs::write(at("file"), "").unwrap();
    symlink("/sys/fs/bpf", at("link")).unwrap();
    assert_eq!(bpffs(place.path()).unwrap(), Bpffs::NotBpffs);
    assert_eq!(bpffs(&at("file")).unwrap(), Bpffs::NotBpffs);
    assert_eq!(bpffs(&at("link")).unwrap(), Bpffs::NotBpffs);
    assert_eq!(bpffs(&at("missing")).unwrap(), Bpffs::Absent);
}

#[test]
#[ignore = "root: makes a directory on the bpffs"]
fn a_pin_directory_tells_who_may_change_it() {
    use std::os::unix::fs::PermissionsExt;
    let pins = PinDirectory::create();
    for (mode, private) in [(0o700, true), (0o755, true), (0o770, false), (0o702, false)] {
        fs::set_permissions(pins.path(), fs::Permissions::from_mode(mode)).unwrap();
        let found = bpffs(pins.path()).unwrap();
        assert_eq!(found, Bpffs::Directory { uid: 0, gid: 0, mode });
        assert_eq!(found.is_private_to(0), private, "{mode:o}");
        assert!(!found.is_private_to(1000));
    }
}

#[test]
fn processors_of_this_host_agree_with_the_scheduler() {
    let online = online_cpus(Path::new(HOST)).unwrap();
    let possible = possible_cpus(Path::new(HOST)).unwrap();
    assert!(possible.count() >= online.count());
    assert!(online.count() >= thread::available_parallelism().unwrap().get());
}

#[test]
fn a_processor_file_that_is_none_is_refused() {
    let root = fake(&[("sys/devices/system/cpu/online", "none\n")]);
    assert!(matches!(online_cpus(root.path()), Err(HostError::Content { .. })));
}

#[test]
fn the_mount_table_of_this_host_is_read() {
    let root = fake(&[("proc/self/mountinfo", "1 2 0:1 / / rw - tmpfs tmpfs rw\n")]);
    assert_eq!(cgroup_hierarchy(root.path()).unwrap(), CgroupHierarchy::Absent);
    let host = cgroup_hierarchy(Path::new(HOST)).unwrap();
    let unified = Path::new("/sys/fs/cgroup/cgroup.controllers").exists();
    assert_eq!(unified, matches!(host, CgroupHierarchy::Unified { .. }), "{host:?}");
}

#[test]
fn capabilities_have_the_names_of_the_manual() {
    let set = Capabilities::from_names(["CAP_BPF", "net_admin", "CHOWN"]).unwrap();
    assert_eq!(set.to_string(), "CHOWN,NET_ADMIN,BPF");
    assert!(matches!("CAP_FLY".parse::<Capabilities>(), Err(HostError::UnknownCapability)));
    assert!(set.contains(Capabilities::from_names(["BPF"]).unwrap()));
    assert!(!set.contains(Capabilities::from_names(["BPF", "KILL"]).unwrap()));
    assert!(set.difference(set).is_empty());
}

#[test]
#[ignore = "root: gives up capabilities on a thread"]
fn only_the_kept_capabilities_are_left_and_children_inherit_that() {
    let keep = Capabilities::from_names(["NET_ADMIN", "BPF"]).unwrap();
    let before = Capabilities::effective().unwrap();
    let (left, inherited) = thread::spawn(move || {
        let left = drop_capabilities_except(keep).unwrap();
        (left, thread::spawn(|| Capabilities::effective().unwrap()).join().unwrap())
    })
    .join()
    .unwrap();
    assert_eq!(left, keep.intersection(before));
    assert_eq!(inherited, left);
    assert_eq!(Capabilities::effective().unwrap(), before, "another thread lost something");
}

#[test]
fn the_limit_on_locked_memory_is_raised_as_far_as_permitted() {
    let before = getrlimit(Resource::Memlock);
    setrlimit(Resource::Memlock, Rlimit { current: Some(4096), ..before }).unwrap();
    let limit = raise_memlock().unwrap();
    assert_eq!(limit.before, Some(4096));
    let unlimited = Capabilities::from_names(["SYS_RESOURCE"]).unwrap();
    let permitted = Capabilities::effective().unwrap().contains(unlimited);
    assert_eq!(limit.after, if permitted { None } else { before.maximum });
    assert_eq!(getrlimit(Resource::Memlock).current, limit.after);
}
