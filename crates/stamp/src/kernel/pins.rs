//! What outlives the process: a directory on bpffs for each reflector.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use net_sys::Netns;
use net_sys::host::{Bpffs, bpffs};
use stamp_bpf::Tables;

use super::hooks::{detach_others, remove_filters};
use crate::error::Error;

/// The pins of one reflector. Whoever has its port is their only writer.
#[derive(Debug, Clone)]
pub(crate) struct Pins {
    dir: PathBuf,
}

impl Pins {
    /// The directory of the reflector on a port, of a device or of all, made where it is
    /// missing.
    pub(crate) fn make(base: &Path, port: u16, device: Option<&str>) -> Result<Self, Error> {
        let namespace = Netns::current()?.inode();
        let dir = base.join(name(port, namespace, device));
        let failed = |source| Error::Pins { path: dir.clone(), source };
        let existing = base.ancestors().find(|ancestor| ancestor.exists());
        if !existing.is_some_and(|there| matches!(bpffs(there), Ok(Bpffs::Directory { .. }))) {
            return Err(Error::NoBpffs { path: base.to_owned() });
        }
        let links = dir.join(LINKS);
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&links).map_err(failed)?;
        let meta = fs::metadata(&dir).map_err(failed)?;
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            return Err(failed(io::ErrorKind::PermissionDenied.into()));
        }
        Ok(Self { dir })
    }

    /// Where the maps are.
    pub(crate) fn maps(&self) -> &Path {
        &self.dir
    }

    /// Where the links are.
    pub(crate) fn links(&self) -> PathBuf {
        self.dir.join(LINKS)
    }
}

/// What was removed from a host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Detached {
    /// Programs taken off their devices.
    pub links: usize,
    /// Reflectors whose maps were removed.
    pub reflectors: usize,
}

impl std::fmt::Display for Detached {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { links, reflectors } = self;
        writeln!(f, "{links} programs detached, the maps of {reflectors} reflectors removed")
    }
}

/// Removes what processes that ended left on this host: all of it, or that of reflectors
/// that were bound to one device.
///
/// # Errors
///
/// When a pin can't be removed.
pub fn detach(base: &Path, device: Option<&str>) -> Result<Detached, Error> {
    let failed = |source| Error::Pins { path: base.to_owned(), source };
    let mut gone = Detached::default();
    gone.links += remove_filters(device)?;
    let entries = match fs::read_dir(base) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(gone),
        other => other.map_err(failed)?,
    };
    let of_device = device.map(|device| format!("_{}", escaped(device)));
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if of_device.as_ref().is_some_and(|suffix| !name.ends_with(suffix)) {
            continue;
        }
        gone.links += detach_others(&entry.path().join(LINKS), &[]).map_err(failed)?;
        Tables::unpin(&entry.path())?;
        fs::remove_dir_all(entry.path()).map_err(failed)?;
        gone.reflectors += 1;
    }
    Ok(gone)
}

/// Each network namespace has ports of its own, and all may see one bpffs.
fn name(port: u16, namespace: u64, device: Option<&str>) -> String {
    format!("{port}_{namespace}_{}", device.map_or_else(|| "auto".to_owned(), escaped))
}

/// No name on bpffs has a dot.
fn escaped(device: &str) -> String {
    device.replace('-', "--").replace('.', "-d")
}

const LINKS: &str = "links";
