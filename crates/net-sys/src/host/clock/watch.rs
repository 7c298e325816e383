//! Being told when the wall clock is set.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::{Errno, read, retry_on_intr};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};

/// Tells when the wall clock was set: stepped, that is, not merely made to run faster or slower.
///
/// A leap second and waking up from suspension are told too.
#[derive(Debug)]
pub struct ClockWatch {
    timer: OwnedFd,
}

impl ClockWatch {
    /// Begins to watch.
    pub fn start() -> io::Result<Self> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        let timer = timerfd_create(TimerfdClockId::Realtime, flags)?;
        arm(&timer)?;
        Ok(Self { timer })
    }

    /// Whether the clock was set since the last call, however often; watches on.
    pub fn was_set(&mut self) -> io::Result<bool> {
        match retry_on_intr(|| read(&self.timer, &mut [0; 8])) {
            Err(Errno::AGAIN) => Ok(false),
            // The timer stays on the kernel's list of those to be cancelled, so to arm it again
            // would only open a gap.
            Err(Errno::CANCELED) => Ok(true),
            // Nothing but a clock set beyond the year 2200 makes it expire.
            Ok(_expired) => arm(&self.timer).map(|()| true),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for ClockWatch {
    /// Readable once the clock was set, until [`ClockWatch::was_set`] has told it.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.timer.as_fd()
    }
}

/// Sets an alarm that never rings but is cancelled when the clock is set.
fn arm(timer: &OwnedFd) -> io::Result<()> {
    let flags = TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET;
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let never = Timespec { tv_sec: i64::MAX, tv_nsec: 0 };
    let alarm = Itimerspec { it_interval: zero, it_value: never };
    match timerfd_settime(timer, flags, &alarm) {
        // Set between our two calls, before anybody could rely on being told; it is armed.
        Ok(_) | Err(Errno::CANCELED) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
