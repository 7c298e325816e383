//! The directory on bpffs that holds what outlives the process, and its one writer.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use flow_model::{edge::EdgeId, flow::Direction};
use net_sys::{
    host::{Bpffs, HostError, bpffs},
    lock::{Lock, LockError, holder},
};

use crate::error::Error;

/// Pins of one instance.
#[derive(Debug, Clone)]
pub(crate) struct PinDir {
    path: PathBuf,
    netns_dirs: Vec<PathBuf>,
}

/// Where the usual tools keep namespace files.
const NETNS_DIRS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// How often a held lock is tried again.
const RETRY: Duration = Duration::from_millis(50);

impl PinDir {
    /// An existing directory, or none.
    pub(crate) fn find(path: &Path) -> Result<Option<Self>, Error> {
        match bpffs(path) {
            Ok(Bpffs::Absent) => Ok(None),
            Ok(Bpffs::NotBpffs) => Err(Error::NoBpffs(path.to_owned())),
            Ok(_) => Self::trusted(path).map(Some),
            Err(HostError::Read { path, source }) => Err(file(&path, source)),
            Err(other) => Err(other.into()),
        }
    }

    /// The directory with its parents, made where they are missing.
    pub(crate) fn make(path: &Path) -> Result<Self, Error> {
        // What is behind a folder that may not be entered is not absent.
        if let Err(source) = path.try_exists() {
            return Err(file(path, source));
        }
        let existing = path.ancestors().find(|ancestor| ancestor.exists());
        let on_bpffs =
            existing.is_some_and(|there| matches!(bpffs(there), Ok(Bpffs::Directory { .. })));
        if !on_bpffs {
            return Err(Error::NoBpffs(path.to_owned()));
        }
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| file(path, source))?;
        let pins = Self::trusted(path)?;
        pins.make_folder(&pins.links())?;
        Ok(pins)
    }

    /// Others must not have been able to put something here.
    fn trusted(path: &Path) -> Result<Self, Error> {
        let meta = fs::metadata(path).map_err(|source| file(path, source))?;
        if meta.uid() != rustix::process::geteuid().as_raw() || meta.mode() & 0o022 != 0 {
            return Err(Error::UntrustedPins(path.to_owned()));
        }
        let netns_dirs = NETNS_DIRS.map(PathBuf::from).into();
        Ok(Self { path: path.to_owned(), netns_dirs })
    }

    /// Looks for the namespaces of recorded hooks here instead of in the usual places.
    pub(crate) fn with_netns_dirs(self, netns_dirs: &[PathBuf]) -> Self {
        Self { netns_dirs: netns_dirs.to_owned(), ..self }
    }

    /// Where the namespaces of recorded hooks are looked for.
    pub(crate) fn netns_dirs(&self) -> &[PathBuf] {
        &self.netns_dirs
    }

    fn make_folder(&self, path: &Path) -> Result<(), Error> {
        match fs::DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(file(path, error)),
            _ => Ok(()),
        }
    }

    /// The directory itself.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Becomes the one writer, waiting for another to let go. `waiting` is told once.
    pub(crate) fn lock(
        &self,
        patience: Duration,
        waiting: impl FnOnce(Option<u32>),
    ) -> Result<Lock, Error> {
        let deadline = Instant::now() + patience;
        let mut waiting = Some(waiting);
        loop {
            match Lock::acquire(&self.path) {
                Ok(lock) => return Ok(lock),
                Err(error @ LockError::Held { .. }) if Instant::now() >= deadline => {
                    return Err(error.into());
                }
                Err(LockError::Held { holder, .. }) => {
                    if let Some(tell) = waiting.take() {
                        tell(holder);
                    }
                }
                Err(error) => return Err(error.into()),
            }
            thread::sleep(RETRY);
        }
    }

    /// Who the writer is, if somebody is.
    pub(crate) fn holder(&self) -> Option<u32> {
        holder(&self.path).ok().flatten()
    }

    /// Folder of pinned links.
    pub(crate) fn links(&self) -> PathBuf {
        self.path.join("links")
    }

    /// Folder of the maps that a move to other sizes is filling.
    pub(crate) fn next(&self) -> PathBuf {
        self.path.join("next")
    }

    /// Pin of one hook's link.
    pub(crate) fn link(&self, edge: EdgeId, direction: Direction) -> PathBuf {
        self.links().join(format!("{}_{}", edge.0, direction.as_str()))
    }

    /// Pins of links, by path; names that are not ours are left alone.
    pub(crate) fn pinned_links(&self) -> Vec<(PathBuf, EdgeId)> {
        let Ok(entries) = fs::read_dir(self.links()) else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| {
                let name = entry.file_name();
                let (id, direction) = name.to_str()?.split_once('_')?;
                let direction = direction.strip_suffix("_next").unwrap_or(direction);
                let known = Direction::ALL.iter().any(|known| known.as_str() == direction);
                Some((entry.path(), EdgeId(id.parse().ok().filter(|_| known)?)))
            })
            .collect()
    }

    /// Removes the directory, or answers it if something in it is not ours.
    pub(crate) fn remove_or_tell(&self) -> Result<Option<PathBuf>, Error> {
        match self.remove() {
            Err(Error::File { source, .. })
                if source.kind() == io::ErrorKind::DirectoryNotEmpty =>
            {
                Ok(Some(self.path.clone()))
            }
            other => other.map(|()| None),
        }
    }

    /// Removes the directory and every parent that is empty then, up to the mount.
    pub(crate) fn remove(&self) -> Result<(), Error> {
        let gone = |path: &Path| match fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(path, error)),
            _ => Ok(()),
        };
        gone(&self.next())?;
        gone(&self.links())?;
        gone(&self.path)?;
        // A parent that others use stays, and so does the mount.
        for parent in self.path.ancestors().skip(1) {
            if fs::remove_dir(parent).is_err() {
                break;
            }
        }
        Ok(())
    }
}

/// Removes a pin; it may be gone already.
pub(crate) fn unpin(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file(path, error)),
        _ => Ok(()),
    }
}

pub(crate) fn file(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests;
