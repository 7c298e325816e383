//! Interrupting a thread that waits for events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::{Errno, read, write};

/// Ends the current or the next wait of the object it came from.
#[derive(Clone, Debug)]
pub struct Waker {
    event: Arc<OwnedFd>,
}

impl Waker {
    pub(crate) fn new() -> Result<Self, Errno> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { event: Arc::new(event) })
    }

    /// Wakes the waiting thread; several calls before it looks are one wake-up.
    pub fn wake(&self) {
        // The only failure is a full counter, and then the wake-up is pending anyway.
        write(&self.event, &1_u64.to_ne_bytes()).ok();
    }

    /// Takes a pending wake-up.
    pub(crate) fn take(&self) -> bool {
        let mut count = [0; 8];
        read(&self.event, &mut count).is_ok()
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// Waits until one of the descriptors has what was asked of it; false when time ran out.
pub(crate) fn wait(waits: &mut [PollFd<'_>], timeout: Duration) -> Result<bool, Errno> {
    let timeout = Timespec::try_from(timeout).unwrap_or(FOREVER);
    match poll(waits, Some(&timeout)) {
        Ok(ready) => Ok(ready > 0),
        // A signal is as good as a time-out: the caller's loop looks at the clock again.
        Err(Errno::INTR) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// A wait for incoming data.
pub(crate) fn readable<F: AsFd>(source: &F) -> PollFd<'_> {
    PollFd::new(source, PollFlags::IN)
}

/// Longer than any process lives, for durations that the kernel cannot express.
const FOREVER: Timespec = Timespec { tv_sec: i32::MAX as i64, tv_nsec: 0 };
