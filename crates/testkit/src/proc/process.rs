//! A running child and what is left of it.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};
use serde::de::DeserializeOwned;
use tempfile::TempDir;

use super::Signal;
use super::log::Log;
use super::wait::{Late, try_wait_for, wait_until};
use crate::namespace::EnterError;

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProcessError {
    /// The program is not on this machine.
    #[error("{program} is not installed; install the package {package}")]
    NotInstalled {
        /// The program asked for.
        program: String,
        /// The Debian package with it.
        package: &'static str,
    },
    /// The kernel refused to start it.
    #[error("{program} cannot be started ({source}); check its permissions")]
    Spawn {
        /// The program asked for.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its namespace cannot be entered.
    #[error(transparent)]
    Enter(#[from] EnterError),
    /// There is no room for its output.
    #[error("no scratch directory ({source}); check TMPDIR and the free space there")]
    Scratch {
        /// What the kernel said.
        source: io::Error,
    },
    /// It ended without success.
    #[error("`{command}` ended with {status}: {stderr}{}", hint(stderr))]
    Failed {
        /// The whole command line.
        command: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        stderr: String,
    },
    /// It ended before it was ready.
    #[error("`{command}` ended with {status} before there was {what}: {stderr}{}", hint(stderr))]
    Early {
        /// The whole command line.
        command: String,
        /// What was waited for.
        what: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The end of what it said.
        stderr: String,
    },
    /// It did not end, or did not become ready, in time.
    #[error("`{command}`: {late}; it said: {stderr}")]
    Deadline {
        /// The whole command line.
        command: String,
        /// What was waited for.
        late: Late,
        /// The end of what it said.
        stderr: String,
    },
    /// It wrote more than is kept.
    #[error("`{command}` wrote {excess} bytes too many; raise its output limit")]
    TooMuchOutput {
        /// The whole command line.
        command: String,
        /// Bytes that were discarded.
        excess: u64,
    },
    /// It answered something else than expected.
    #[error("the answer of `{command}` is not understood ({source}); is its version supported?")]
    Answer {
        /// The whole command line.
        command: String,
        /// What is wrong with it.
        source: serde_json::Error,
    },
    /// The kernel lost it.
    #[error("`{command}` cannot be waited for or signalled ({source}); was it ended elsewhere?")]
    Lost {
        /// The whole command line.
        command: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// Something else did not happen in time.
    #[error(transparent)]
    Late(#[from] Late),
}

/// A child process; dropping it kills it and what it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    reaped: Option<ExitStatus>,
    command: String,
    stdout: Log,
    stderr: Log,
    /// Holds the logs; goes last.
    _scratch: TempDir,
}

impl Process {
    pub(super) fn adopt(
        mut child: Child,
        command: String,
        scratch: TempDir,
        limit: u64,
    ) -> Result<Self, ProcessError> {
        let streams = (child.stdout.take(), child.stderr.take());
        let (Some(stdout), Some(stderr)) = streams else {
            unreachable!("both streams were piped when the child was started");
        };
        let log = |name: &str| scratch.path().join(name);
        let logs = Log::start(log("stdout"), stdout, limit)
            .and_then(|out| Ok((out, Log::start(log("stderr"), stderr, limit)?)));
        match logs {
            Ok((stdout, stderr)) => {
                Ok(Self { child, reaped: None, command, stdout, stderr, _scratch: scratch })
            }
            Err(source) => {
                end(&mut child);
                Err(ProcessError::Scratch { source })
            }
        }
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The command line it was started with.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// What it wrote to standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it wrote to standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// The file that its standard output goes to.
    pub fn stdout_path(&self) -> &Path {
        self.stdout.path()
    }

    /// Sends `signal` to it alone.
    pub fn signal(&self, signal: Signal) -> Result<(), ProcessError> {
        if self.reaped.is_some() {
            return Err(self.lost(io::ErrorKind::NotFound.into()));
        }
        kill_process(Pid::from_child(&self.child), signal).map_err(|e| self.lost(e.into()))
    }

    /// How it ended, if it did.
    pub fn status(&mut self) -> Result<Option<ExitStatus>, ProcessError> {
        if self.reaped.is_none() && self.has_ended()? {
            self.reaped = Some(self.reap()?);
        }
        Ok(self.reaped)
    }

    /// Whether it sleeps at this moment, waiting for something to happen.
    pub fn is_asleep(&self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).unwrap_or_default();
        // Its name, in brackets, may contain anything.
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('S'))
    }

    /// Waits for its end; one that is late goes on running.
    pub fn wait(&mut self, within: Duration) -> Result<ExitStatus, ProcessError> {
        let ended: Result<_, ProcessError> = try_wait_for("end", within, || self.status());
        ended.map_err(|e| self.deadline(e))
    }

    /// Waits for `path` to exist, which is how programs tell that they are ready.
    pub fn wait_for_file(&mut self, path: &Path, within: Duration) -> Result<(), ProcessError> {
        self.wait_ready("ready file", within, |_| path.exists())
    }

    /// Waits for `needle` on standard output.
    pub fn wait_for_stdout(&mut self, needle: &str, within: Duration) -> Result<(), ProcessError> {
        self.wait_ready("expected output", within, |p| p.stdout().contains(needle))
    }

    /// Waits for `needle` on standard error.
    pub fn wait_for_stderr(&mut self, needle: &str, within: Duration) -> Result<(), ProcessError> {
        self.wait_ready("expected message", within, |p| p.stderr().contains(needle))
    }

    /// Waits for `ready`, and no longer than the process lives.
    pub fn wait_ready(
        &mut self,
        what: &'static str,
        within: Duration,
        mut ready: impl FnMut(&Self) -> bool,
    ) -> Result<(), ProcessError> {
        let done: Result<(), ProcessError> = try_wait_for(what, within, || {
            // Asked first: what it wrote just before its end still counts.
            let status = self.status()?;
            if status.is_some() {
                self.stderr.settle();
                self.stdout.settle();
            }
            match (ready(self), status) {
                (true, _) => Ok(Some(())),
                (false, None) => Ok(None),
                (false, Some(status)) => Err(self.early(what, status)),
            }
        });
        done.map_err(|e| self.deadline(e))
    }

    /// Waits for its end and collects everything; one that is late is killed.
    pub fn finish(mut self, within: Duration) -> Result<Finished, ProcessError> {
        let status = self.wait(within)?;
        self.collect(status)
    }

    /// Asks it to end with SIGTERM, kills it when that takes longer than `within`.
    pub fn stop(self, within: Duration) -> Result<Finished, ProcessError> {
        self.stop_by(Signal::TERM, within)
    }

    /// Asks it to end with `signal`, kills it when that takes longer than `within`.
    pub fn stop_by(mut self, signal: Signal, within: Duration) -> Result<Finished, ProcessError> {
        if self.status()?.is_none() {
            self.signal(signal)?;
        }
        let status = self.wait(within)?;
        self.collect(status)
    }

    /// Waits for its successful end; the file with all of its standard output, for answers too
    /// large for memory.
    pub fn output_file(&mut self, within: Duration) -> Result<&Path, ProcessError> {
        let status = self.wait(within)?;
        self.settle()?;
        if status.success() {
            return Ok(self.stdout.path());
        }
        let stderr = tail(&self.stderr.text());
        Err(ProcessError::Failed { command: self.command.clone(), status, stderr })
    }

    fn collect(&self, status: ExitStatus) -> Result<Finished, ProcessError> {
        self.settle()?;
        let stdout = self.stdout.bytes().map_err(|source| ProcessError::Scratch { source })?;
        Ok(Finished { command: self.command.clone(), status, stdout, stderr: self.stderr.text() })
    }

    /// Waits for the logs of an ended child and makes sure that its answer is whole.
    fn settle(&self) -> Result<(), ProcessError> {
        self.stdout.settle();
        self.stderr.settle();
        match self.stdout.discarded() {
            0 => Ok(()),
            excess => Err(ProcessError::TooMuchOutput { command: self.command.clone(), excess }),
        }
    }

    /// Looks without reaping: as long as the leader is a zombie its group id cannot be given to
    /// anybody else, so the group can still be signalled safely.
    fn has_ended(&self) -> Result<bool, ProcessError> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let ended = waitid(WaitId::Pid(Pid::from_child(&self.child)), options);
        ended.map(|status| status.is_some()).map_err(|e| self.lost(e.into()))
    }

    fn reap(&mut self) -> Result<ExitStatus, ProcessError> {
        end_group(&self.child);
        self.child.wait().map_err(|e| self.lost(e))
    }

    fn early(&self, what: &'static str, status: ExitStatus) -> ProcessError {
        let stderr = tail(&self.stderr.text());
        ProcessError::Early { command: self.command.clone(), what, status, stderr }
    }

    fn lost(&self, source: io::Error) -> ProcessError {
        ProcessError::Lost { command: self.command.clone(), source }
    }

    fn deadline(&self, error: ProcessError) -> ProcessError {
        let ProcessError::Late(late) = error else {
            return error;
        };
        let stderr = tail(&self.stderr.text());
        ProcessError::Deadline { command: self.command.clone(), late, stderr }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.reaped.is_none() {
            end(&mut self.child);
        }
    }
}

/// A process that ended.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Finished {
    /// The whole command line.
    pub command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error, up to the output limit.
    pub stderr: String,
}

impl Finished {
    /// Itself if the exit code is 0.
    pub fn success(self) -> Result<Self, ProcessError> {
        if self.status.success() {
            return Ok(self);
        }
        let stderr = tail(&self.stderr);
        Err(ProcessError::Failed { command: self.command, status: self.status, stderr })
    }

    /// Standard output as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard output as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ProcessError> {
        serde_json::from_slice(&self.stdout)
            .map_err(|source| ProcessError::Answer { command: self.command.clone(), source })
    }
}

/// Nobody can be told in a drop, and a process stuck in the kernel must not hold it for ever.
fn end(child: &mut Child) {
    end_group(child);
    child.kill().ok();
    wait_until("end", REAP, || !matches!(child.try_wait(), Ok(None))).ok();
}

fn end_group(child: &Child) {
    // ESRCH only says that the group is empty already.
    kill_process_group(Pid::from_child(child), Signal::KILL).ok();
}

fn tail(text: &str) -> String {
    let text = text.trim_end();
    let skip = text.chars().count().saturating_sub(TAIL);
    text.chars().skip(skip).collect()
}

fn hint(stderr: &str) -> &'static str {
    if stderr.contains("Operation not permitted") || stderr.contains("Permission denied") {
        "; run as root or with CAP_NET_ADMIN and CAP_SYS_ADMIN"
    } else if stderr.contains("Unknown device type") || stderr.contains("not supported") {
        "; this kernel lacks the feature, load its module"
    } else {
        ""
    }
}

const TAIL: usize = 2000;
const REAP: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
