//! Where something happens: a namespace by its file, without owning it.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::panic::resume_unwind;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::{COMMAND_DEADLINE, NamespaceError, mounts};
use crate::proc::{Command, Finished, ProcessError};

/// A namespace cannot be entered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnterError {
    /// There is none.
    #[error("no namespace at {path} ({source}); was it removed already?")]
    Missing {
        /// The namespace file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel refused.
    #[error("{path} cannot be entered ({source}); run as root or with CAP_SYS_ADMIN")]
    Refused {
        /// The namespace file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No thread could be started for it.
    #[error("no thread to enter a namespace with ({source}); raise the limit of processes")]
    Thread {
        /// What the kernel said.
        source: io::Error,
    },
}

/// A network namespace by its file: cheap to clone, and no reason for it to stay alive.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Place {
    path: Arc<Path>,
}

impl Place {
    /// The namespace that `path` leads to, for example one that a runtime or a CNI plugin made.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: Arc::from(path.into()) }
    }

    /// The namespace of that name under /run/netns.
    pub fn named(name: &str) -> Self {
        Self::at(mounts::directory().join(name))
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name, the last part of the path.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(OsStr::to_str).unwrap_or_default()
    }

    /// Its inode, by which the kernel and `lsns` name it.
    pub fn inode(&self) -> Result<u64, EnterError> {
        let found = fs::metadata(&self.path);
        found.map(|m| m.ino()).map_err(|source| self.missing(source))
    }

    /// Executes `work` inside, on a thread of its own, and hands its panic on.
    ///
    /// Sockets opened there stay in the namespace wherever they are used afterwards.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T, EnterError> {
        let door = self.open()?;
        thread::scope(|scope| {
            let inside = thread::Builder::new().name("netns".into()).spawn_scoped(scope, || {
                self.enter(door)?;
                Ok(work())
            });
            let inside = inside.map_err(|source| EnterError::Thread { source })?;
            inside.join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// The same for work that goes on: the namespace lives at least as long as the thread.
    pub fn thread<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<JoinHandle<Result<T, EnterError>>, EnterError> {
        let door = self.open()?;
        let place = self.clone();
        let inside = thread::Builder::new().name(name.into()).spawn(move || {
            place.enter(door)?;
            Ok(work())
        });
        inside.map_err(|source| EnterError::Thread { source })
    }

    /// A command that will run inside.
    ///
    /// Unlike `ip netns exec` it keeps the mounts of this process: the child sees the host's
    /// /sys, hence its bpffs, and this namespace's /proc/net and /proc/sys/net.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        Command::inside(self, program)
    }

    /// Runs `ip` inside.
    pub fn ip<'a>(
        &self,
        args: impl IntoIterator<Item = &'a str>,
    ) -> Result<Finished, ProcessError> {
        self.command("ip").args(args).succeed(COMMAND_DEADLINE)
    }

    /// Sets a kernel setting of the namespace; `name` is a path below /proc/sys such as
    /// `net/ipv4/ip_forward`.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<(), NamespaceError> {
        let path = Path::new("/proc/sys").join(name);
        let written = if stays_below(name) {
            self.run(|| fs::write(&path, value))?
        } else {
            Err(io::ErrorKind::InvalidInput.into())
        };
        written.map_err(|source| NamespaceError::Setting { path, source })
    }

    fn open(&self) -> Result<File, EnterError> {
        File::open(&self.path).map_err(|source| self.missing(source))
    }

    /// Moves the calling thread; only ever called on threads that end afterwards.
    fn enter(&self, door: File) -> Result<(), EnterError> {
        move_into_link_name_space(door.as_fd(), Some(LinkNameSpaceType::Network))
            .map_err(|e| EnterError::Refused { path: self.path.to_path_buf(), source: e.into() })
    }

    fn missing(&self, source: io::Error) -> EnterError {
        EnterError::Missing { path: self.path.to_path_buf(), source }
    }
}

/// Only `net/…` belongs to a network namespace; everything else would change the host.
fn stays_below(name: &str) -> bool {
    let mut parts = Path::new(name).components();
    parts.next() == Some(Component::Normal(OsStr::new("net")))
        && parts.all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_without_a_file_says_so() {
        let nowhere = Place::named("fathom-lab-never-made");
        let error = nowhere.run(|| ()).unwrap_err();
        assert!(error.to_string().contains("/run/netns/fathom-lab-never-made"), "{error}");
        assert!(nowhere.inode().is_err());
    }

    #[test]
    fn a_file_that_is_no_namespace_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let refused = Place::at(file.path()).run(|| ());
        assert!(matches!(refused, Err(EnterError::Refused { .. })), "{refused:?}");
    }

    #[test]
    fn settings_of_the_host_cannot_be_named() {
        for name in ["kernel/panic", "net/../kernel/panic", "/proc/sys/net/core/somaxconn", ""] {
            assert!(!stays_below(name), "{name}");
        }
        assert!(stays_below("net/ipv4/ip_forward"));
    }
}
