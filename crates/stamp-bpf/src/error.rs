//! What can go wrong between us and the kernel.

use std::io;
use std::path::PathBuf;

/// What was being asked of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Step {
    /// Making a map.
    CreateMap,
    /// Loading the programs.
    Load,
    /// Reading a map.
    Read,
    /// Writing to a map.
    Write,
    /// Running a program by hand.
    TestRun,
    /// Pinning, or opening what is pinned.
    Pin,
}

impl Step {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CreateMap => "create",
            Self::Load => "load",
            Self::Read => "read",
            Self::Write => "write to",
            Self::TestRun => "run",
            Self::Pin => "pin or open",
        }
    }
}

/// Why the kernel side did not do as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A system call failed.
    #[error("could not {} {what}: {source}{}", step.as_str(), remedy(source))]
    Kernel {
        /// What was asked.
        step: Step,
        /// The map or program.
        what: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
    /// A pinned object is not what its name promises.
    #[error("{} holds no maps of this version; remove it or choose another pin directory", path.display())]
    Foreign {
        /// The pin.
        path: PathBuf,
    },
    /// More entries than a map has room for.
    #[error("{have} {what} are too many, the kernel programs hold {most}; configure fewer")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many fit.
        most: usize,
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

fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            "; the process needs CAP_BPF and CAP_NET_ADMIN, before kernel 6.18 CAP_PERFMON as well"
        }
        io::ErrorKind::OutOfMemory => "; raise the memory limit",
        _ => "",
    }
}
