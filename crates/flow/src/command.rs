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

use flow_bpf::Notices;
use net_sys::survey::Change;
use tokio::sync::oneshot;

use crate::{config::Config, error::Error};

/// One thing to do.
#[derive(Debug)]
pub(crate) enum Command {
    /// End in good order.
    Stop,
    /// A table fills or is full.
    Notice,
    /// Drain now and answer.
    Fresh(oneshot::Sender<()>),
    /// Settings that can change while running have changed.
    Reload(Box<Config>),
    /// A device appeared or vanished.
    Device(Change),
    /// Devices of the node came, changed or went, whichever.
    Links,
}

/// Commands that may wait. The engine takes them between drains.
const WAITING: usize = 4096;

/// The engine's end and everybody else's.
pub(crate) fn channel() -> (SyncSender<Command>, Receiver<Command>) {
    sync_channel(WAITING)
}

/// A thread that turns notices of the kernel into commands; ends with its guard.
#[derive(Debug)]
pub(crate) struct NoticeThread {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// How long the end of the thread may take.
const PATIENCE: Duration = Duration::from_millis(100);

impl NoticeThread {
    /// Starts it.
    pub(crate) fn start(notices: Notices, commands: SyncSender<Command>) -> Result<Self, Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("flows-notices".into())
            .spawn(move || forward(notices, &commands, &stopped))
            .map_err(|_| Error::Thread("flows-notices"))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

fn forward(mut notices: Notices, commands: &SyncSender<Command>, stopped: &AtomicBool) {
    while !stopped.load(Ordering::Relaxed) {
        match notices.poll(PATIENCE) {
            Ok(arrived) => {
                for _ in arrived {
                    // A full queue holds a notice already; fill is polled as well.
                    let sent = commands.try_send(Command::Notice);
                    if matches!(sent, Err(TrySendError::Disconnected(_))) {
                        return;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(event = "notices.lost", %error, "Notices of the kernel are lost; fill is polled");
                return;
            }
        }
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
