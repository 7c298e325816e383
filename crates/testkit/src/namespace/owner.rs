//! Who made something: the part of a name that tells the living from the dead.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::str::FromStr;
use std::sync::OnceLock;

use tempfile::TempDir;

/// A process, told apart from any other that has or had the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    /// Inode of its process id namespace: ids of another one mean other processes.
    pid_namespace: u64,
    pid: u32,
    /// Clock ticks from boot to its start.
    started: u64,
}

impl Owner {
    /// Set in every child, inherited by what it starts: `sweep` and the last will go by it.
    pub(crate) const VARIABLE: &'static str = "FATHOM_LAB_OWNER";

    /// Start of every name this crate gives to something that could outlive its process.
    pub(crate) const MARK: &'static str = "fathom-lab-";

    /// This process.
    pub(crate) fn current() -> io::Result<&'static Self> {
        static CURRENT: OnceLock<Owner> = OnceLock::new();
        if let Some(owner) = CURRENT.get() {
            return Ok(owner);
        }
        let pid = std::process::id();
        let started = start_of(pid)?.ok_or(io::ErrorKind::NotFound)?;
        let pid_namespace = fs::metadata("/proc/self/ns/pid")?.ino();
        Ok(CURRENT.get_or_init(|| Self { pid_namespace, pid, started }))
    }

    /// The owner that a name made by this crate carries.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(Self::MARK)?.splitn(4, '-');
        let owner = Self::from_parts(&mut parts)?;
        parts.next().map(|_| owner)
    }

    /// Start of every name this owner gives.
    pub(crate) fn prefix(&self) -> String {
        format!("{}{self}-", Self::MARK)
    }

    /// A temporary directory that carries the owner's name.
    pub(crate) fn scratch(&self) -> io::Result<TempDir> {
        tempfile::Builder::new().prefix(&self.prefix()).tempdir()
    }

    /// Whether the process is gone for certain: one of another process id namespace never is.
    pub(crate) fn is_dead(&self) -> io::Result<bool> {
        if self.pid_namespace != Self::current()?.pid_namespace {
            return Ok(false);
        }
        Ok(start_of(self.pid)? != Some(self.started))
    }

    fn from_parts<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<Self> {
        let pid_namespace = parts.next()?.parse().ok()?;
        let pid = parts.next()?.parse().ok()?;
        let started = parts.next()?.parse().ok()?;
        Some(Self { pid_namespace, pid, started })
    }
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.pid_namespace, self.pid, self.started)
    }
}

impl FromStr for Owner {
    type Err = NoOwner;

    fn from_str(text: &str) -> Result<Self, NoOwner> {
        let mut parts = text.split('-');
        let owner = Self::from_parts(&mut parts).ok_or(NoOwner)?;
        if parts.next().is_some() { Err(NoOwner) } else { Ok(owner) }
    }
}

/// The text names no owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct NoOwner;

/// When process `pid` started, nothing if there is none.
fn start_of(pid: u32) -> io::Result<Option<u64>> {
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => start_in(&stat).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
        Err(error) if is_gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// ESRCH: it ended between the open and the read.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn start_in(stat: &str) -> Option<u64> {
    // A process may call itself anything, also ") S 1"; the last bracket ends its name.
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().nth(START_AFTER_NAME)?.parse().ok()
}

/// Field 22 of proc_pid_stat(5), counted from the field behind the name.
const START_AFTER_NAME: usize = 19;

#[cfg(test)]
impl Owner {
    /// As if process `pid` had made it, started when this one was.
    pub(super) const fn with_pid(self, pid: u32) -> Self {
        Self { pid, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_back_its_owner() {
        let owner = *Owner::current().unwrap();
        assert_eq!(Owner::of_name(&format!("{}7-pod-a", owner.prefix())), Some(owner));
        assert_eq!(owner.to_string().parse(), Ok(owner));
    }

    #[test]
    fn foreign_names_have_no_owner() {
        for name in ["", "cni-1234", "fathom-lab-", "fathom-lab-1-2-x-3", "fathom-lab-1-2-3"] {
            assert_eq!(Owner::of_name(name), None, "{name}");
        }
        assert_eq!("1-2-3-4".parse::<Owner>(), Err(NoOwner));
    }

    #[test]
    fn this_process_is_not_dead() {
        assert!(!Owner::current().unwrap().is_dead().unwrap());
    }

    #[test]
    fn another_process_with_our_id_is_dead() {
        let owner = Owner::current().unwrap();
        assert!(Owner { started: owner.started + 1, ..*owner }.is_dead().unwrap());
    }

    #[test]
    fn a_process_of_another_pid_namespace_is_left_alone() {
        let owner = Owner::current().unwrap();
        let elsewhere = Owner { pid_namespace: 1, started: 0, ..*owner };
        assert!(!elsewhere.is_dead().unwrap());
    }

    #[test]
    fn a_name_with_brackets_does_not_move_the_fields() {
        let stat = "7 (a) R 1) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20";
        assert_eq!(start_in(stat), Some(4711));
        assert_eq!(start_in("7 (short) S 1"), None);
    }
}
