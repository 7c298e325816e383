//! Removing what dead processes of ours left behind.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::{Owner, mounts};

/// What [`sweep`] removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Swept {
    /// Namespaces.
    pub namespaces: usize,
    /// Processes that were started in a laboratory.
    pub processes: usize,
    /// Scratch directories.
    pub directories: usize,
}

/// Removes the namespaces, processes and scratch directories of processes that are gone.
///
/// Only things whose name or environment carries the mark of this crate are looked at, and
/// nothing of a process that lives, or lives in another process id namespace, is touched.
pub fn sweep() -> io::Result<Swept> {
    let processes = entries(Path::new("/proc"))?.iter().filter(|pid| end_orphan(pid)).count();
    let namespaces = remove_all(mounts::directory(), mounts::remove)?;
    let directories = remove_all(&std::env::temp_dir(), |path| fs::remove_dir_all(path))?;
    Ok(Swept { namespaces, processes, directories })
}

fn remove_all(below: &Path, remove: impl Fn(&Path) -> io::Result<()>) -> io::Result<usize> {
    let mut removed = 0;
    for name in entries(below)? {
        if !is_orphan(Owner::of_name(&name)) {
            continue;
        }
        match remove(&below.join(name)) {
            Ok(()) => removed += 1,
            // Another process sweeps at the same time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

fn entries(directory: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

/// One whose owner cannot be asked for counts as living.
fn is_orphan(owner: Option<Owner>) -> bool {
    owner.is_some_and(|owner| owner.is_dead().unwrap_or(false))
}

fn end_orphan(pid: &str) -> bool {
    if !is_orphan(owner_of_process(pid)) {
        return false;
    }
    let Some(pid_number) = pid.parse().ok().and_then(Pid::from_raw) else {
        return false;
    };
    let Ok(handle) = pidfd_open(pid_number, PidfdFlags::empty()) else {
        return false;
    };
    // Asked again behind the handle: the id may have gone to another process meanwhile.
    is_orphan(owner_of_process(pid)) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
}

fn owner_of_process(pid: &str) -> Option<Owner> {
    pid.parse::<u32>().ok()?;
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mark = [Owner::VARIABLE.as_bytes(), b"="].concat();
    let value = environment.split(|byte| *byte == 0).find_map(|v| v.strip_prefix(&mark[..]))?;
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::proc::Command;

    #[test]
    fn children_carry_the_mark_of_their_owner() {
        let child = Command::new("sleep").arg("300").spawn().unwrap();
        let current = *Owner::current().unwrap();
        assert_eq!(owner_of_process(&child.id().to_string()), Some(current));
    }

    #[test]
    fn what_a_living_process_uses_stays() {
        let mut child = Command::new("sleep").arg("300").spawn().unwrap();
        let scratch = Owner::current().unwrap().scratch().unwrap();
        sweep().unwrap();
        assert!(child.status().unwrap().is_none());
        assert!(scratch.path().exists());
    }

    #[test]
    fn what_a_dead_process_left_goes() {
        let mut dead = Command::new("true").spawn().unwrap();
        dead.wait(Duration::from_secs(20)).unwrap();
        let left = Owner::current().unwrap().with_pid(dead.id()).scratch().unwrap().keep();
        assert!(left.exists());
        sweep().unwrap();
        assert!(!left.exists());
    }
}
