//! The last will: what is still done when this process dies without dropping its guards.
//!
//! A shell waits for the end of a pipe that only this process holds. The kernel closes it at any
//! kind of death; the shell then ends the children, deletes the namespaces and goes.

use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use super::{Owner, mounts};
use crate::proc::package_of;

/// Makes sure that the will is written; does nothing the second time.
pub(super) fn write(owner: &Owner) -> io::Result<()> {
    let mut executor = EXECUTOR.lock().unwrap_or_else(PoisonError::into_inner);
    if executor.is_none() {
        *executor = Some(start(owner)?);
    }
    Ok(())
}

fn start(owner: &Owner) -> io::Result<Child> {
    let prefix = owner.prefix();
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, "fathom-lab-will"]);
    command.arg(format!("{}={owner}", Owner::VARIABLE));
    command.arg(mounts::directory().join(&prefix)).arg(std::env::temp_dir().join(&prefix));
    command.arg(if mounts::directory_is_ours() { mounts::directory() } else { Path::new("") });
    // In a group of its own, else a terminal's Ctrl-C would reach it before its time.
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.current_dir("/").spawn().map_err(explain)
}

fn explain(error: io::Error) -> io::Error {
    if error.kind() == io::ErrorKind::NotFound {
        let text = format!("no sh on this machine; install the package {}", package_of("sh"));
        return io::Error::new(error.kind(), text);
    }
    error
}

/// Holds the writing end of the pipe until the process ends: statics are never dropped.
static EXECUTOR: Mutex<Option<Child>> = Mutex::new(None);

/// Arguments: mark of the children, prefix of the namespaces, prefix of the scratch directories,
/// the directory to remove when empty. `grep` matches whole NUL-separated variables. A temporary
/// directory is only ever reached by its prefix, and `rm` does not follow links.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
while read -r line; do :; done
for environ in $(grep -lszxF "$1" /proc/[0-9]*/environ); do
    pid=${environ#/proc/}
    kill -KILL "${pid%/environ}"
done
for name in "$2"*; do
    if [ -e "$name" ]; then ip netns delete "${name##*/}"; fi
done
rm -rf "$3"*
if [ -n "$4" ]; then umount "$4"; rmdir "$4"; fi
"#;
