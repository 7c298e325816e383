//! Programs that outlive the process by a pin: how a filter of ours is known again.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

use crate::error::{Error, Step};

/// Pins a program at a path on bpffs that does not exist yet.
///
/// # Errors
///
/// When the kernel refuses.
pub fn pin_program(program: BorrowedFd<'_>, path: &Path) -> Result<(), Error> {
    let path = c_path(path)?;
    // SAFETY: the descriptor is borrowed for the call and the path ends in NUL.
    let result = unsafe { libbpf_sys::bpf_obj_pin(program.as_raw_fd(), path.as_ptr()) };
    if result == 0 { Ok(()) } else { Err(Error::last(Step::Pin, "program")) }
}

/// Opens a program that was pinned.
///
/// # Errors
///
/// When there is nothing at the path, or the kernel refuses.
pub fn open_program(path: &Path) -> Result<OwnedFd, Error> {
    let path = c_path(path)?;
    // SAFETY: the path ends in NUL.
    let fd = unsafe { libbpf_sys::bpf_obj_get(path.as_ptr()) };
    if fd < 0 {
        return Err(Error::last(Step::Pin, "program"));
    }
    // SAFETY: the kernel has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn c_path(path: &Path) -> Result<CString, Error> {
    CString::new(path.as_os_str().as_bytes())
        .map_err(|_| Error::new(Step::Pin, "program", io::ErrorKind::InvalidInput.into()))
}
