//! Steps of this machine's clock, which are undone.

use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime, clock_settime};

/// The clock as it was; dropping it puts it back.
///
/// Whatever else goes by the clock sees it step, so a test with this has its executable to
/// itself: cargo runs one at a time.
#[derive(Debug)]
pub struct Steps {
    /// What the wall clock is ahead of the monotonic one, in nanoseconds.
    ahead: i128,
    is_wrong: bool,
}

impl Steps {
    /// Takes note of how the clock goes.
    pub fn begin() -> Self {
        Self { ahead: ahead(), is_wrong: false }
    }

    /// Sets the clock by so much from where it really belongs.
    ///
    /// # Panics
    ///
    /// If the clock can't be set.
    pub fn set(&mut self, seconds: i64) {
        let monotonic = nanoseconds(clock_gettime(ClockId::Monotonic));
        let wanted = monotonic + self.ahead + i128::from(seconds) * 1_000_000_000;
        let time = Duration::from_nanos(u64::try_from(wanted).unwrap_or_default());
        let time = Timespec::try_from(time).unwrap_or_else(|_| panic!("{wanted} is a time"));
        let set = clock_settime(ClockId::Realtime, time);
        set.unwrap_or_else(|error| panic!("the clock can't be set: {error}"));
        self.is_wrong = seconds != 0;
    }
}

impl Drop for Steps {
    fn drop(&mut self) {
        // Setting it to what it shows is a step too, of what that takes.
        if self.is_wrong {
            self.set(0);
        }
    }
}

fn ahead() -> i128 {
    let wall = nanoseconds(clock_gettime(ClockId::Realtime));
    wall - nanoseconds(clock_gettime(ClockId::Monotonic))
}

fn nanoseconds(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}
