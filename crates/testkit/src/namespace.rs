//! Named network namespaces that disappear with their guard.
//!
//! Names carry the process that made them, so that what a killed process left can be told from
//! what a running one uses. See [`sweep`] for the first, the last will for the moment of death.

mod mounts;
mod owner;
mod place;
mod sweep;
mod will;

use std::io;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) use owner::Owner;
pub use place::{EnterError, Place};
pub use sweep::{Swept, sweep};

use crate::proc::{Command, ProcessError};

/// Why a namespace could not be made or removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NamespaceError {
    /// The label would not make a file name.
    #[error("`{label}` is no label; use 1 to 32 lower-case letters, digits and hyphens")]
    Label {
        /// The label asked for.
        label: String,
    },
    /// This process cannot tell who it is.
    #[error("/proc/self cannot be read ({source}); mount /proc")]
    Owner {
        /// What the kernel said.
        source: io::Error,
    },
    /// The shell that tidies up after a killed process cannot be started.
    #[error("the last will cannot be written: {source}")]
    Will {
        /// Why.
        source: io::Error,
    },
    /// A command failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// A kernel setting cannot be changed.
    #[error("{path} cannot be set ({source}); mount /proc/sys writable")]
    Setting {
        /// The file under /proc/sys.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// It cannot be removed.
    #[error("{path} cannot be removed ({source}); try `ip netns delete`")]
    Remove {
        /// The namespace file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// A network namespace under /run/netns that is removed on drop.
///
/// It is a [`Place`]: commands run, closures execute and links are built inside. Its loopback is
/// up. IPv6 addresses are usable at once (no duplicate address detection) and no router is
/// solicited, so that an idle laboratory is quiet.
#[derive(Debug)]
pub struct Namespace {
    place: Place,
}

impl Namespace {
    /// Makes an empty namespace; `label` is the readable part of its name.
    pub fn create(label: &str) -> Result<Self, NamespaceError> {
        if !is_label(label) {
            return Err(NamespaceError::Label { label: label.to_owned() });
        }
        let owner = Owner::current().map_err(|source| NamespaceError::Owner { source })?;
        will::write(owner).map_err(|source| NamespaceError::Will { source })?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{number}-{label}", owner.prefix());
        add(&name)?;
        // From here on the guard removes it, also when the rest fails.
        let made = Self { place: Place::named(&name) };
        made.prepare()?;
        Ok(made)
    }

    /// Removes it now and tells whether that worked.
    ///
    /// The kernel frees it, and with it the links inside, as soon as the last process and socket
    /// in it is gone, which may be a moment later.
    pub fn remove(self) -> Result<(), NamespaceError> {
        let path = self.path().to_owned();
        mounts::remove(&path).map_err(|source| NamespaceError::Remove { path, source })
    }

    /// The place it is, for whatever needs to outlive a borrow of the guard.
    pub const fn place(&self) -> &Place {
        &self.place
    }

    fn prepare(&self) -> Result<(), NamespaceError> {
        for (name, value) in QUIET {
            // A kernel without IPv6 has nothing to calm down.
            if let Err(error) = self.set_sysctl(name, value)
                && !is_absent(&error)
            {
                return Err(error);
            }
        }
        self.ip(["link", "set", "lo", "up"])?;
        Ok(())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nobody can be told here; what stays is found by `sweep`, and the tests assert nothing does.
        mounts::remove(self.place.path()).ok();
    }
}

impl Deref for Namespace {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

fn add(name: &str) -> Result<(), NamespaceError> {
    let mut attempts = ATTEMPTS;
    loop {
        let added = Command::new("ip").args(["netns", "add", name]).succeed(COMMAND_DEADLINE);
        attempts -= 1;
        match added {
            Ok(_) => return Ok(()),
            // The directory goes with the last namespace of whoever made it: perhaps just now.
            Err(ProcessError::Failed { .. }) if attempts > 0 && !mounts::directory().exists() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn is_label(label: &str) -> bool {
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=32).contains(&label.len()) && label.chars().all(allowed)
}

fn is_absent(error: &NamespaceError) -> bool {
    matches!(error, NamespaceError::Setting { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Longest time a command that only configures may take.
pub(crate) const COMMAND_DEADLINE: Duration = Duration::from_secs(20);

const ATTEMPTS: usize = 3;

static NUMBER: AtomicU64 = AtomicU64::new(0);

const QUIET: [(&str, &str); 4] = [
    ("net/ipv6/conf/all/accept_dad", "0"),
    ("net/ipv6/conf/default/accept_dad", "0"),
    ("net/ipv6/conf/default/router_solicitations", "0"),
    ("net/ipv6/conf/default/accept_ra", "0"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_that_could_leave_the_directory_is_refused() {
        for label in ["", "../etc", "a/b", "Pod", "a b", &"x".repeat(33)] {
            assert!(!is_label(label), "{label} must not be a label");
            assert!(matches!(Namespace::create(label), Err(NamespaceError::Label { .. })));
        }
        assert!(is_label("pod-a1"));
    }
}
