//! Where BPF objects can be pinned.

use std::path::Path;

use rustix::fs::{Mode, OFlags, fstat, fstatfs, open};
use rustix::io::Errno;

use super::HostError;

/// A directory as a place for pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Bpffs {
    /// Nothing is there.
    Absent,
    /// Something is there that is no directory on a bpffs.
    NotBpffs,
    /// A directory on a bpffs.
    Directory {
        /// User id of its owner.
        uid: u32,
        /// Group id of its owner.
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
}

impl Bpffs {
    /// Whether nobody but this user can change what is pinned there.
    pub const fn is_private_to(self, user: u32) -> bool {
        match self {
            Self::Directory { uid, mode, .. } => uid == user && mode & OTHERS_WRITE == 0,
            _ => false,
        }
    }
}

/// Looks at a directory without following a link in its last component.
pub fn bpffs(path: &Path) -> Result<Bpffs, HostError> {
    let failed = |errno: Errno| HostError::Read { path: path.to_owned(), source: errno.into() };
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match open(path, flags | OFlags::DIRECTORY, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(Bpffs::Absent),
        Err(Errno::NOTDIR | Errno::LOOP) => return Ok(Bpffs::NotBpffs),
        Err(errno) => return Err(failed(errno)),
    };
    if fstatfs(&directory).map_err(failed)?.f_type as u32 != libc::BPF_FS_MAGIC as u32 {
        return Ok(Bpffs::NotBpffs);
    }
    let status = fstat(&directory).map_err(failed)?;
    let mode = status.st_mode & PERMISSIONS;
    Ok(Bpffs::Directory { uid: status.st_uid, gid: status.st_gid, mode })
}

const PERMISSIONS: u32 = 0o7777;
const OTHERS_WRITE: u32 = 0o022;
