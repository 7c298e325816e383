//! What several tests need: a node with a pod, tiny BPF programs, a place for pins.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use std::{fs, io, process, thread};

pub(crate) use testkit::{Device, Namespace};

use rustix::mount::{MountPropagationFlags, UnmountFlags, mount_change, unmount};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use testkit::Veth;
use testkit::proc::wait_for;

use crate::netns::Netns;

/// Runs `work` inside a namespace.
pub(crate) fn inside<T: Send>(namespace: &Namespace, work: impl FnOnce() -> T + Send) -> T {
    Netns::open(namespace.path()).unwrap().within(work).unwrap()
}

/// Two namespaces joined by a veth pair: `host0` in the first, `pod0` in the second.
pub(crate) fn node_and_pod() -> (Namespace, Namespace) {
    let (node, pod) = (Namespace::create("node").unwrap(), Namespace::create("pod").unwrap());
    let veth = Veth::join((node.place(), "host0"), (pod.place(), "pod0")).unwrap();
    veth.near.address("192.0.2.1/24".parse().unwrap()).unwrap();
    veth.far.address("192.0.2.2/24".parse().unwrap()).unwrap();
    veth.far.ready(PATIENCE).unwrap();
    (node, pod)
}

/// Waits until `condition` yields something.
pub(crate) fn eventually<T>(what: &'static str, condition: impl FnMut() -> Option<T>) -> T {
    wait_for(what, PATIENCE, condition).unwrap()
}

/// Runs `work` in a mount namespace of its own, so that no mount is seen by anybody else.
pub(crate) fn with_private_mounts(work: impl FnOnce() + Send) {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // SAFETY: only the mount namespace is left; the table of descriptors stays shared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", private).unwrap();
            let_go_of_namespaces();
            work();
        });
        worker.join().unwrap_or_else(|panic| resume_unwind(panic));
    });
}

/// A copy of a mount keeps a namespace alive, whose end another test may be waiting for.
fn let_go_of_namespaces() {
    for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
        unmount(entry.path(), UnmountFlags::DETACH).ok();
    }
    unmount("/run/netns", UnmountFlags::DETACH).ok();
}

/// How long a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

fn number() -> u32 {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    NUMBER.fetch_add(1, Ordering::Relaxed)
}

/// Loads `r0 = verdict; exit` as a TC classifier.
pub(crate) fn program(verdict: i32) -> OwnedFd {
    load(libbpf_sys::BPF_PROG_TYPE_SCHED_CLS, verdict)
}

/// Loads the same as an XDP program.
pub(crate) fn xdp_program(verdict: i32) -> OwnedFd {
    load(libbpf_sys::BPF_PROG_TYPE_XDP, verdict)
}

fn load(kind: libbpf_sys::bpf_prog_type, verdict: i32) -> OwnedFd {
    let instructions = [0xb7 | (u64::from(verdict.cast_unsigned()) << 32), 0x95];
    // SAFETY: the instructions and both strings outlive the call, and two instructions of eight
    // octets each is what the array holds.
    let raw = unsafe {
        libbpf_sys::bpf_prog_load(
            kind,
            c"verdict".as_ptr(),
            c"GPL".as_ptr(),
            instructions.as_ptr().cast(),
            2,
            std::ptr::null_mut(),
        )
    };
    owned(raw)
}

/// Makes a BPF map whose type has the same number as the tcx kind of link.
pub(crate) fn prefix_map() -> OwnedFd {
    map(libbpf_sys::BPF_MAP_TYPE_LPM_TRIE, 8, libbpf_sys::BPF_F_NO_PREALLOC)
}

/// Makes an array of 16 values of 8 octets.
pub(crate) fn array_map() -> OwnedFd {
    map(libbpf_sys::BPF_MAP_TYPE_ARRAY, 4, 0)
}

fn map(kind: libbpf_sys::bpf_map_type, key: u32, flags: u32) -> OwnedFd {
    let options = libbpf_sys::bpf_map_create_opts {
        sz: size_of::<libbpf_sys::bpf_map_create_opts>() as libbpf_sys::size_t,
        map_flags: flags,
        ..Default::default()
    };
    // SAFETY: the name and the options outlive the call.
    let raw = unsafe {
        libbpf_sys::bpf_map_create(kind, c"map".as_ptr(), key, 8, 16, &raw const options)
    };
    owned(raw)
}

fn owned(raw: i32) -> OwnedFd {
    assert!(raw >= 0, "bpf: {}", io::Error::from_raw_os_error(-raw));
    // SAFETY: the kernel has just made this descriptor for us.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// A directory on the host's bpffs that goes with its guard.
#[derive(Debug)]
pub(crate) struct PinDirectory {
    path: PathBuf,
}

impl PinDirectory {
    pub(crate) fn create() -> Self {
        let path = format!("/sys/fs/bpf/net-sys-{}-{}", process::id(), number());
        fs::create_dir(&path).unwrap();
        Self { path: path.into() }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Pins any BPF object, the way somebody else would.
    pub(crate) fn pin(&self, name: &str, object: &OwnedFd) -> PathBuf {
        let path = self.path.join(name);
        let text = crate::bpf::path_text(&path).unwrap();
        // SAFETY: the text outlives the call and the descriptor is borrowed.
        let outcome = unsafe { libbpf_sys::bpf_obj_pin(object.as_raw_fd(), text.as_ptr()) };
        assert_eq!(outcome, 0, "pinning {name}");
        path
    }
}

impl Drop for PinDirectory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.path).ok();
    }
}
