//! Time of processors, as the scheduler charges it.
//!
//! Where the kernel does not account for interrupts by themselves (no
//! `CONFIG_IRQ_TIME_ACCOUNTING`), a packet that is answered in a soft interrupt is charged to
//! whom it interrupts: on a veth, to who sent it.

use std::fs;
use std::time::Duration;

use testkit::proc::Process;

/// Time used by tasks since it was made.
pub(crate) struct Meter {
    tasks: String,
    before: Duration,
}

impl Meter {
    /// Of the calling thread.
    pub(crate) fn thread() -> Self {
        let task = fs::read_link("/proc/thread-self").unwrap();
        Self::of(format!("/proc/{}", task.display()))
    }

    /// Of all threads of `process`.
    pub(crate) fn process(process: &Process) -> Self {
        Self::of(format!("/proc/{}", process.id()))
    }

    /// Of the kernel's threads that answer interrupts when there are too many.
    pub(crate) fn interrupts() -> Vec<Self> {
        let entries = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path());
        let kernel = entries.filter(|path| {
            let name = fs::read_to_string(path.join("comm")).unwrap_or_default();
            name.starts_with("ksoftirqd/")
        });
        kernel.map(|path| Self::of(path.display().to_string())).collect()
    }

    fn of(tasks: String) -> Self {
        let before = used(&tasks);
        Self { tasks, before }
    }

    /// Time used since.
    pub(crate) fn used(&self) -> Duration {
        used(&self.tasks).saturating_sub(self.before)
    }
}

/// The first field of schedstat is nanoseconds on a processor.
fn used(task: &str) -> Duration {
    let threads = fs::read_dir(format!("{task}/task")).map_or_else(
        |_| vec![task.into()],
        |entries| entries.flatten().map(|entry| entry.path()).collect::<Vec<_>>(),
    );
    let ran = threads.iter().filter_map(|path| fs::read_to_string(path.join("schedstat")).ok());
    let ran = ran.filter_map(|text| text.split(' ').next()?.parse::<u64>().ok());
    Duration::from_nanos(ran.sum())
}
