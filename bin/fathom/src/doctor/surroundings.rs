//! Files, sockets and services around the process.

use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;

use net_sys::host::{self, Bpffs, CgroupHierarchy};
use rustix::fs::{StatVfsMountFlags, statvfs};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

use super::finding::Finding;

/// Whether pins can be kept where they are meant to be.
pub(super) fn pins(directory: &Path) -> Finding {
    let mut at = directory;
    loop {
        match host::bpffs(at) {
            Ok(Bpffs::Absent) => match at.parent() {
                Some(parent) => at = parent,
                None => return judge_pins(directory, at, Bpffs::Absent),
            },
            Ok(there) => return judge_pins(directory, at, there),
            Err(error) => return Finding::missing(PINS, error.to_string(), MOUNT),
        }
    }
}

/// `at` is the directory itself, or the closest one above it that exists.
fn judge_pins(directory: &Path, at: &Path, there: Bpffs) -> Finding {
    let (wanted, place) = (directory.display(), at.display());
    let user = rustix::process::geteuid().as_raw();
    match there {
        Bpffs::Directory { .. } if is_read_only(at) => {
            let remedy = "remount it by `mount -o remount,rw`, or use --no-pin and lose counts at each restart";
            Finding::missing(PINS, format!("the BPF file system at {place} is read-only"), remedy)
        }
        Bpffs::Directory { .. } if at != directory => {
            Finding::ok(PINS, format!("{wanted} will be made on the BPF file system at {place}"))
        }
        Bpffs::Directory { .. } if there.is_private_to(user) => {
            Finding::ok(PINS, wanted.to_string())
        }
        Bpffs::Directory { uid, mode, .. } => {
            let found = format!("{wanted} belongs to user {uid} with mode {mode:o}");
            Finding::missing(
                PINS,
                found,
                "remove it, or choose another --bpf-pin-dir: pins there can't be trusted",
            )
        }
        _ => Finding::missing(PINS, format!("{wanted} is not on a BPF file system"), MOUNT),
    }
}

/// A file system that can't tell is found out when something is written to it.
fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|told| told.f_flag.contains(StatVfsMountFlags::RDONLY))
}

/// Whether the clock follows others.
pub(super) fn clock() -> Finding {
    const CHECK: &str = "clock";
    let lost =
        "times of this node can't be compared with those of others; amounts are not affected";
    let remedy = "run chrony, ptp4l or systemd-timesyncd";
    match host::clock_state() {
        Ok(state) if state.synchronised => {
            Finding::ok(CHECK, format!("synchronised, off by at most {:?}", state.max_error))
        }
        Ok(_) => Finding::degraded(CHECK, "not synchronised", lost).with_remedy(remedy),
        Err(error) => Finding::degraded(CHECK, error.to_string(), lost).with_remedy(remedy),
    }
}

/// Which cgroups there are.
pub(super) fn cgroups(root: &Path) -> Finding {
    const CHECK: &str = "cgroup";
    let degraded = |found: String| {
        let lost = "traffic of the host itself can't be counted by cgroup";
        Finding::degraded(CHECK, found, lost)
            .with_remedy("mount cgroup2, for example at /sys/fs/cgroup")
    };
    match host::cgroup_hierarchy(root) {
        Ok(CgroupHierarchy::Unified { unified }) => {
            Finding::ok(CHECK, format!("version 2 at {}", unified.display()))
        }
        Ok(CgroupHierarchy::Hybrid { unified }) => {
            Finding::ok(CHECK, format!("version 2 at {}, beside version 1", unified.display()))
        }
        Ok(CgroupHierarchy::Legacy) => degraded("version 1 only".into()),
        Ok(_) => degraded("not mounted".into()),
        Err(error) => degraded(error.to_string()),
    }
}

/// Whether namespaces of pods can be seen.
pub(super) fn namespaces(root: &Path) -> Finding {
    const CHECK: &str = "netns";
    let count = |directory: &str| {
        Some((directory.to_owned(), fs::read_dir(root.join(directory)).ok()?.count()))
    };
    let found: Vec<_> = NETNS.iter().filter_map(|directory| count(directory)).collect();
    if found.is_empty() {
        let lost =
            "pods can't be hooked inside; what they receive is counted on the host side only";
        return Finding::degraded(CHECK, "no /run/netns", lost)
            .with_remedy("mount the host's /run/netns, with HostToContainer propagation");
    }
    let told: Vec<_> =
        found.iter().map(|(directory, count)| format!("{count} in /{directory}")).collect();
    Finding::ok(CHECK, told.join(", "))
}

/// Whether containerd answers.
pub(super) fn containerd(root: &Path, path: &Path) -> Finding {
    const CHECK: &str = "containerd";
    let path = root.join(path.strip_prefix("/").unwrap_or(path));
    let shown = path.display();
    let lost = "sandboxes are not found by their runtime";
    match reach(&path) {
        Ok(()) => Finding::ok(CHECK, format!("{shown} answers")),
        Err(Errno::NOENT) => Finding::degraded(CHECK, format!("no {shown}"), lost)
            .with_remedy("mount the socket, or name it with --containerd"),
        Err(errno) => Finding::degraded(CHECK, format!("{shown}: {errno}"), lost)
            .with_remedy("start containerd, or run as a user that may connect"),
    }
}

/// Connects without waiting: a full queue of an overloaded server answers at once, too.
fn reach(path: &Path) -> Result<(), Errno> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)
}

/// Whether the listener can be bound.
pub(super) fn listener(address: SocketAddr) -> Finding {
    const CHECK: &str = "listener";
    match TcpListener::bind(address) {
        Ok(_) => Finding::ok(CHECK, format!("{address} is free")),
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            let remedy =
                "choose another port with --listen, unless it is fathom that listens there";
            Finding::missing(CHECK, format!("{address} is taken"), remedy)
        }
        Err(error) => {
            let remedy = "choose an address of this host and a port above 1023 with --listen";
            Finding::missing(CHECK, format!("{address}: {error}"), remedy)
        }
    }
}

const PINS: &str = "bpffs";
const MOUNT: &str =
    "run `mount -t bpf bpf /sys/fs/bpf`, or use --no-pin and lose counts at each restart";
const NETNS: [&str; 2] = ["run/netns", "run/docker/netns"];
