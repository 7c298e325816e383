//! What tcx, XDP and clsact share: links, typed errors of the bpf system call, and program
//! identities.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

mod link;

pub(crate) use link::device;
pub use link::{Kind, Link};

/// Why a bpf call failed, by what the caller can do about it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BpfError {
    /// The caller lacks a capability.
    #[error("{action}: not permitted; the process needs CAP_BPF and CAP_NET_ADMIN")]
    NotPermitted {
        /// What was tried.
        action: &'static str,
    },
    /// The device does not exist in this namespace.
    #[error("{action}: the device does not exist; it may just have been removed, list again")]
    NoDevice {
        /// What was tried.
        action: &'static str,
    },
    /// The device behind the link was removed.
    #[error("{action}: the link is detached because its device is gone; attach again elsewhere")]
    Detached {
        /// What was tried.
        action: &'static str,
    },
    /// The hook has no room for another program.
    #[error("{action}: 64 programs are attached to this hook already; remove one")]
    Full {
        /// What was tried.
        action: &'static str,
    },
    /// The hook holds one program, and it is another's.
    #[error("{action}: another program is there already; remove it, or measure without XDP")]
    Occupied {
        /// What was tried.
        action: &'static str,
    },
    /// The driver does not run XDP programs, or not with the device as it is.
    #[error(
        "{action}: the driver refuses native XDP ({source}); use generic mode, or a smaller MTU \
         and as many transmit as receive queues if the driver has XDP"
    )]
    NoNativeXdp {
        /// What was tried.
        action: &'static str,
        /// The error number.
        source: io::Error,
    },
    /// The path cannot name a pin.
    #[error("{}: {source}; pins need a path on a bpffs that does not exist yet", path.display())]
    Pin {
        /// The path.
        path: PathBuf,
        /// The error number.
        source: io::Error,
    },
    /// What is pinned there is something else.
    #[error("{}: not a pinned {expected} link; another program owns this path", path.display())]
    OtherPin {
        /// The path.
        path: PathBuf,
        /// The kind of link that was looked for.
        expected: &'static str,
    },
    /// The kernel refused for another reason.
    #[error("{action}: {source}; the kernel may be too old or the program of the wrong type")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// The error number.
        source: io::Error,
    },
}

impl BpfError {
    /// Value of a `reason` label; the set is closed.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotPermitted { .. } => "not_permitted",
            Self::NoDevice { .. } => "no_device",
            Self::Detached { .. } => "detached",
            Self::Full { .. } => "full",
            Self::Occupied { .. } => "occupied",
            Self::NoNativeXdp { .. } => "no_native_xdp",
            Self::Pin { .. } => "pin",
            Self::OtherPin { .. } => "other_pin",
            Self::Refused { .. } => "refused",
        }
    }

    pub(crate) fn new(action: &'static str, errno: i32) -> Self {
        match errno {
            libc::EPERM | libc::EACCES => Self::NotPermitted { action },
            libc::ENODEV => Self::NoDevice { action },
            libc::ENOLINK => Self::Detached { action },
            libc::ERANGE => Self::Full { action },
            _ => Self::Refused { action, source: io::Error::from_raw_os_error(errno) },
        }
    }

    pub(crate) fn pin(path: &Path, errno: i32) -> Self {
        let path = path.to_owned();
        Self::Pin { path, source: io::Error::from_raw_os_error(errno) }
    }
}

/// Number that the kernel gave to the program behind a descriptor.
pub fn program_id(program: BorrowedFd<'_>) -> Result<u32, BpfError> {
    Ok(program_info(program)?.id)
}

/// Name of the program with a number, as whoever loaded it chose it; others have the same.
pub fn program_name(id: u32) -> Result<String, BpfError> {
    // SAFETY: a number is all that the call takes.
    let outcome = unsafe { libbpf_sys::bpf_prog_get_fd_by_id(id) };
    let program = descriptor(outcome)
        .map_err(|errno| BpfError::new("opening a program by its number", errno))?;
    let info = program_info(program.as_fd())?;
    let name = info.name.iter().map(|sign| sign.cast_unsigned()).take_while(|sign| *sign != 0);
    Ok(String::from_utf8_lossy(&name.collect::<Vec<u8>>()).into_owned())
}

fn program_info(program: BorrowedFd<'_>) -> Result<libbpf_sys::bpf_prog_info, BpfError> {
    const ACTION: &str = "reading what the kernel knows of a program";
    let mut info = libbpf_sys::bpf_prog_info::default();
    let mut length = size_of_val(&info) as u32;
    // SAFETY: both pointers are to live locals, and `length` tells the kernel how large `info` is;
    // a zeroed `info` has no pointer that the kernel would write through.
    let outcome = unsafe {
        libbpf_sys::bpf_prog_get_info_by_fd(program.as_raw_fd(), &raw mut info, &raw mut length)
    };
    check(ACTION, outcome)?;
    Ok(info)
}

/// Turns the result of a libbpf call that yields a descriptor into its owner or an error number.
pub(crate) fn descriptor(outcome: i32) -> Result<OwnedFd, i32> {
    if outcome < 0 {
        return Err(outcome.saturating_neg());
    }
    // SAFETY: the kernel has just made this descriptor for us, so nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(outcome) })
}

/// Turns the result of a libbpf call, which is a negated error number on failure, into ours.
pub(crate) fn check(action: &'static str, outcome: i32) -> Result<i32, BpfError> {
    if outcome >= 0 { Ok(outcome) } else { Err(BpfError::new(action, outcome.saturating_neg())) }
}

/// A path as libbpf takes it.
pub(crate) fn path_text(path: &Path) -> Result<CString, BpfError> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_nul| BpfError::pin(path, libc::EINVAL))
}
