//! What the engine's thread is told while it runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use flow_bpf::{NoticeKind, Notices};

use crate::error::Error;

/// One thing to do.
#[derive(Debug)]
#[non_exhaustive]
pub enum Command {
    /// End in good order.
    Stop,
    /// A table fills or is full.
    Notice(NoticeKind),
}

/// Commands that may wait. The engine takes them between drains, and none is frequent.
const WAITING: usize = 1024;

/// The engine's end and everybody else's.
pub fn channel() -> (SyncSender<Command>, Receiver<Command>) {
    sync_channel(WAITING)
}

/// A thread that turns notices of the kernel into commands; ends with its guard.
#[derive(Debug)]
pub struct NoticeThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long the end of the thread may take.
const PATIENCE: Duration = Duration::from_millis(100);

impl NoticeThread {
    /// Starts it.
    pub fn start(mut notices: Notices, commands: SyncSender<Command>) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let forward = move || {
            while !stopped.load(Ordering::Relaxed) {
                match notices.poll(PATIENCE) {
                    Ok(arrived) => {
                        for notice in arrived {
                            // A full queue holds a notice already; fill is polled as well.
                            if let Err(TrySendError::Disconnected(_)) =
                                commands.try_send(Command::Notice(notice.kind))
                            {
                                return;
                            }
                        }
                    }
                    Err(error) => {
                        tracing::warn!(%error, "Notices of the kernel are lost; fill is polled");
                        return;
                    }
                }
            }
        };
        let thread = thread::Builder::new()
            .name("flows-notices".into())
            .spawn(forward)
            .map_err(|_| Error::Thread("flows-notices"))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for NoticeThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            drop(thread.join());
        }
    }
}
