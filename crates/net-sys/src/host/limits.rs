//! Resource limits.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::HostError;

/// Limits on locked memory in bytes; `None` is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MemlockLimit {
    /// Before.
    pub before: Option<u64>,
    /// After.
    pub after: Option<u64>,
}

/// Lifts the limit on locked memory, which bounds BPF maps on kernels before 5.11.
///
/// Without CAP_SYS_RESOURCE it is raised to the hard limit.
pub fn raise_memlock() -> Result<MemlockLimit, HostError> {
    let before = getrlimit(Resource::Memlock);
    let unlimited = Rlimit { current: None, maximum: None };
    let allowed = Rlimit { current: before.maximum, maximum: before.maximum };
    setrlimit(Resource::Memlock, unlimited)
        .or_else(|_not_permitted| setrlimit(Resource::Memlock, allowed))
        .map_err(|errno| HostError::call("raising the limit on locked memory", errno))?;
    let after = getrlimit(Resource::Memlock);
    Ok(MemlockLimit { before: before.current, after: after.current })
}
