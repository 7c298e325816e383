//! The kernel and the process's place in it.

use std::fmt;
use std::fs;
use std::path::Path;

use super::{HostError, read};

/// A kernel release such as `6.1.0-18-amd64`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelRelease {
    /// First number.
    pub major: u32,
    /// Second number.
    pub minor: u32,
    /// The whole text.
    pub text: String,
}

impl KernelRelease {
    /// Whether this is at least the release with these two numbers.
    pub const fn at_least(&self, major: u32, minor: u32) -> bool {
        self.major > major || self.major == major && self.minor >= minor
    }

    fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let mut numbers = text.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = numbers.next()?.parse().ok()?;
        Some(Self { major, minor, text: text.to_owned() })
    }
}

impl fmt::Display for KernelRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Release of the running kernel.
pub fn kernel_release(root: &Path) -> Result<KernelRelease, HostError> {
    let text = read(root, RELEASE)?;
    KernelRelease::parse(&text).ok_or_else(|| HostError::Content { path: root.join(RELEASE) })
}

/// Whether the kernel describes its own types, which relocatable BPF programs need.
pub fn has_btf(root: &Path) -> bool {
    root.join("sys/kernel/btf/vmlinux").is_file()
}

/// Whether the process is in the user namespace that the machine booted with.
///
/// In any other one capabilities are not what they seem: BPF and traffic control refuse.
pub fn in_initial_user_namespace(root: &Path) -> Result<bool, HostError> {
    let path = root.join("proc/self/ns/user");
    match fs::read_link(&path) {
        Ok(target) => Ok(target.as_os_str() == INITIAL_USER_NAMESPACE),
        Err(source) => Err(HostError::Read { path, source }),
    }
}

/// Name of this host.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Size of a memory page in bytes.
pub fn page_size() -> usize {
    rustix::param::page_size()
}

const RELEASE: &str = "proc/sys/kernel/osrelease";

/// The kernel gives this namespace a fixed inode number (`PROC_USER_INIT_INO`).
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";
