//! What the process may do (capabilities(7)).

use std::fmt;
use std::str::FromStr;

use rustix::io::Errno;
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
    clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
};

use super::HostError;

/// A set of capabilities.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Capabilities(u64);

impl Capabilities {
    /// No capability.
    pub const EMPTY: Self = Self(0);

    /// What the calling thread may do now.
    pub fn effective() -> Result<Self, HostError> {
        let sets = capabilities(None)
            .map_err(|errno| HostError::call("reading the capabilities", errno))?;
        Ok(Self(sets.effective.bits()))
    }

    /// Collects capabilities by name, with or without `CAP_`.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, HostError> {
        names.into_iter().try_fold(Self::EMPTY, |set, name| Ok(set.union(name.parse()?)))
    }

    /// Whether all of `others` are in it.
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// What is in either.
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one and not in the other.
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Names without `CAP_`, in the kernel's order; newer ones than we know are left out.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        NAMES.iter().enumerate().filter(move |(bit, _)| self.has(*bit)).map(|(_, name)| *name)
    }

    const fn has(self, bit: usize) -> bool {
        self.0 >> bit & 1 == 1
    }
}

impl FromStr for Capabilities {
    type Err = HostError;

    /// Reads one name, with or without `CAP_`.
    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let upper = name.to_ascii_uppercase();
        let plain = upper.strip_prefix("CAP_").unwrap_or(&upper);
        let bit = NAMES.iter().position(|known| *known == plain);
        bit.map(|bit| Self(1 << bit)).ok_or(HostError::UnknownCapability)
    }
}

impl fmt::Display for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, name) in self.names().enumerate() {
            let separator = if position == 0 { "" } else { "," };
            write!(f, "{separator}{name}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Capabilities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Capabilities({self})")
    }
}

/// Gives up all capabilities of the calling thread except these, for good.
///
/// They belong to threads: threads that run already keep theirs, threads that this one starts
/// later inherit. The bounding set is reduced too where that is permitted, so that no program
/// started later gains one. Returns what is left.
pub fn drop_capabilities_except(keep: Capabilities) -> Result<Capabilities, HostError> {
    let failed = |errno| HostError::call("dropping capabilities", errno);
    shrink_bounding_set(keep).map_err(failed)?;
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(failed(errno)),
    }
    let now = capabilities(None).map_err(failed)?;
    let keep = CapabilitySet::from_bits_retain(keep.0);
    let reduced = CapabilitySets {
        effective: now.effective & keep,
        permitted: now.permitted & keep,
        inheritable: CapabilitySet::empty(),
    };
    set_capabilities(None, reduced).map_err(failed)?;
    Capabilities::effective()
}

/// Comes first, because it needs CAP_SETPCAP, which may be among those that go.
fn shrink_bounding_set(keep: Capabilities) -> Result<(), Errno> {
    for bit in (0..64).filter(|bit| !keep.has(*bit)) {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) => {}
            Ok(false) => continue,
            // The kernel knows no capability with this or a higher number.
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
        match remove_capability_from_bounding_set(capability) {
            Ok(()) | Err(Errno::PERM) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// By number (`linux/capability.h`).
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
