//! The thread that tells when devices of the node come, change or go.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use net_sys::{
    monitor::{Event, Monitor},
    survey::SurveyError,
    wake::Waker,
};

use crate::{command::Command, error::Error};

/// The listening thread; ends with its guard.
#[derive(Debug)]
pub(crate) struct LinkThread {
    stop: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// Between two looks when nothing happens; every change wakes the thread.
const IDLE: Duration = Duration::from_secs(60);
/// The least time between two notices: each has the named edges looked at.
const PERIOD: Duration = Duration::from_millis(100);
/// Room for some hundred events. Lost ones are no loss: a notice does not tell what happened.
const BUFFER: usize = 256 * 1024;

impl LinkThread {
    /// Starts it in the namespace of the caller.
    pub(crate) fn start(commands: SyncSender<Command>) -> Result<Self, Error> {
        let monitor = Monitor::with_buffer(BUFFER).map_err(SurveyError::from)?;
        let (stop, waker) = (Arc::new(AtomicBool::new(false)), monitor.waker());
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("flows-links".into())
            .spawn(move || forward(monitor, &commands, &stopped))
            .map_err(|_| Error::Thread("flows-links"))?;
        Ok(Self { stop, waker, thread: Some(thread) })
    }
}

/// The first of many changes is told at once, the rest together.
fn forward(mut monitor: Monitor, commands: &SyncSender<Command>, stopped: &AtomicBool) {
    let (mut is_news, mut earliest) = (false, Instant::now());
    while !stopped.load(Ordering::Relaxed) {
        let wait = earliest.saturating_duration_since(Instant::now());
        if is_news && wait.is_zero() {
            // Whoever has a queue full of other work looks at everything at the next resync.
            if let Err(TrySendError::Disconnected(_)) = commands.try_send(Command::Links) {
                return;
            }
            (is_news, earliest) = (false, Instant::now() + PERIOD);
        }
        match monitor.poll(if is_news { wait } else { IDLE }) {
            Ok(event) => is_news |= event.is_some_and(|event| is_about_a_device(&event)),
            Err(error) => {
                tracing::warn!(event = "netlink.lost", %error, "Devices that come and go are seen at resyncs alone");
                return;
            }
        }
    }
}

const fn is_about_a_device(event: &Event) -> bool {
    matches!(event, Event::LinkChanged(_) | Event::LinkGone { .. } | Event::Overrun)
}

impl Drop for LinkThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            drop(thread.join());
        }
    }
}
