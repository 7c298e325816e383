//! What can go wrong between us and the kernel.

use std::{io, path::PathBuf};

/// What was being asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Making a map.
    CreateMap,
    /// Loading the program.
    Load,
    /// Mapping a map's memory.
    Map,
    /// Waiting for running programs.
    Grace,
    /// Reading a map.
    Read,
    /// Writing to a map.
    Write,
    /// Removing what was read.
    Clear,
    /// Running a program by hand.
    TestRun,
    /// Pinning, or opening what is pinned.
    Pin,
    /// Reading notices.
    Notices,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CreateMap => "create",
            Self::Load => "load",
            Self::Map => "map the memory of",
            Self::Grace => "wait for running programs with",
            Self::Read => "read",
            Self::Write => "write",
            Self::Clear => "clear",
            Self::TestRun => "run",
            Self::Pin => "pin or open",
            Self::Notices => "read notices from",
        }
    }
}

/// Why the kernel side did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("could not {} {what}{}", step.as_str(), remedy(source))]
    Kernel {
        /// What was asked.
        step: Step,
        /// The map or program.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pinned object is not what its name promises.
    #[error("{} is not a map of this program; choose another pin directory", path.display())]
    Foreign {
        /// The pin.
        path: PathBuf,
    },
}

impl Error {
    pub(crate) const fn new(step: Step, what: &'static str, source: io::Error) -> Self {
        Self::Kernel { step, what, source }
    }

    /// Wraps the calling thread's `errno`.
    pub(crate) fn last(step: Step, what: &'static str) -> Self {
        Self::new(step, what, io::Error::last_os_error())
    }

    pub(crate) fn libbpf(step: Step, what: &'static str) -> impl FnOnce(libbpf_rs::Error) -> Self {
        move |error| Self::new(step, what, io::Error::new(kind_of(&error), error))
    }

    /// Whether the kernel refused for want of a capability.
    pub fn is_permission(&self) -> bool {
        matches!(self, Self::Kernel { source, .. } if source.kind() == io::ErrorKind::PermissionDenied)
    }

    /// Whether the kernel had no memory for a map: smaller tables may fit.
    pub fn is_memory(&self) -> bool {
        matches!(self, Self::Kernel { source, .. } if source.kind() == io::ErrorKind::OutOfMemory)
    }
}

fn kind_of(error: &libbpf_rs::Error) -> io::ErrorKind {
    match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
        libbpf_rs::ErrorKind::NotFound => io::ErrorKind::NotFound,
        libbpf_rs::ErrorKind::OutOfMemory => io::ErrorKind::OutOfMemory,
        libbpf_rs::ErrorKind::AlreadyExists => io::ErrorKind::AlreadyExists,
        _ => io::ErrorKind::Other,
    }
}

const fn remedy_for(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::PermissionDenied => {
            "; the process needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN (CAP_SYS_ADMIN before kernel 5.8)"
        }
        io::ErrorKind::OutOfMemory => "; lower --flow-capacity or raise the memory limit",
        _ => "",
    }
}

fn remedy(source: &io::Error) -> &'static str {
    remedy_for(source.kind())
}
