//! Facts about this host, each from the kernel interface that is its source.
//!
//! Files are read below a root that the caller names, so that a container can look at the host's
//! tree and tests at a tree of their own. Facts only: what follows from them is decided elsewhere.
//! The tick rate of the kernel is missing on purpose: only a BPF program can tell it, because what
//! user space is told is always 100.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use thiserror::Error;

mod bpffs;
mod capabilities;
mod cgroup;
mod clock;
mod cpus;
mod kernel;
mod limits;
mod memory;

pub use bpffs::{Bpffs, bpffs};
pub use capabilities::{Capabilities, drop_capabilities_except};
pub use cgroup::{CgroupHierarchy, cgroup_hierarchy};
pub use clock::{ClockState, ClockWatch, Leap, clock_state};
pub use cpus::{CpuList, online_cpus, possible_cpus};
pub use kernel::{
    KernelRelease, has_btf, hostname, in_initial_user_namespace, kernel_release, page_size,
};
pub use limits::{MemlockLimit, raise_memlock};
pub use memory::return_large_blocks;

/// Why a fact is not known.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// The file that tells it could not be read.
    #[error("{}: {source}; mount procfs and sysfs, and run with permission to read them", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error number.
        source: io::Error,
    },
    /// The file does not read as documented.
    #[error("{}: unexpected content; report it with the kernel release", path.display())]
    Content {
        /// The file.
        path: PathBuf,
    },
    /// A system call failed.
    #[error("{action}: {source}; check the capabilities and the seccomp profile")]
    Call {
        /// What was tried.
        action: &'static str,
        /// The error number.
        source: io::Error,
    },
    /// A capability is not known by that name.
    #[error("no capability has that name; names are as in capabilities(7), such as NET_ADMIN")]
    UnknownCapability,
}

impl HostError {
    fn call(action: &'static str, errno: rustix::io::Errno) -> Self {
        Self::Call { action, source: errno.into() }
    }
}

/// Reads a file below `root`, as far as facts are long.
fn read(root: &Path, relative: &str) -> Result<String, HostError> {
    let path = root.join(relative);
    let mut text = String::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_LENGTH).read_to_string(&mut text));
    read.map_err(|source| HostError::Read { path, source })?;
    Ok(text)
}

/// The mount table of a node with many pods has some thousand lines.
const MAX_LENGTH: u64 = 8 * 1024 * 1024;

#[cfg(test)]
mod tests;
