//! Telling a thread that waits for packets to end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::write;

use crate::error::Error;

/// Ends a service; cheap to clone.
#[derive(Debug, Clone)]
pub struct Stop(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    told: AtomicBool,
    event: OwnedFd,
}

impl Stop {
    /// Nothing is to stop yet.
    ///
    /// # Errors
    ///
    /// When there is no descriptor left.
    pub fn new() -> Result<Self, Error> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)
            .map_err(|errno| Error::Socket { action: "making an event", source: errno.into() })?;
        Ok(Self(Arc::new(Inner { told: AtomicBool::new(false), event })))
    }

    /// Ends the service in good order, from any thread.
    pub fn stop(&self) {
        self.0.told.store(true, Ordering::Release);
        // The only failure is a full counter, and then the thread wakes up anyway.
        write(&self.0.event, &1_u64.to_ne_bytes()).ok();
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.told.load(Ordering::Acquire)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.event.as_fd()
    }
}
