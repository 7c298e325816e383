//! Finding pod edges: the thread that surveys devices, and the rule that makes plans.

mod rule;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use net_sys::{
    Survey,
    survey::{Change, Crossing, Key, SurveyError},
    wake::Waker,
};
#[cfg(test)]
pub(crate) use rule::tests::crossing_of;
pub(crate) use rule::{EARLY, Rule, Verdict};

use crate::{command::Command, error::Error};

/// The surveying thread; ends with its guard.
#[derive(Debug)]
pub(crate) struct SurveyThread {
    stop: Arc<AtomicBool>,
    again: Arc<AtomicBool>,
    waker: Waker,
    thread: Option<JoinHandle<()>>,
}

/// Between two looks when nothing happens; every change wakes the thread.
const IDLE: Duration = Duration::from_secs(60);
/// Before a queue that is full is tried again.
const FULL: Duration = Duration::from_millis(10);
/// After a failure, before the next attempt.
const PAUSE: Duration = Duration::from_secs(1);

impl SurveyThread {
    /// Starts it and answers what there is now.
    pub(crate) fn start(
        dirs: Vec<PathBuf>,
        commands: SyncSender<Command>,
    ) -> Result<(Self, Vec<Crossing>), Error> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let again = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&again);
        let (ready, opened) = sync_channel(1);
        let thread = thread::Builder::new()
            .name("flows-survey".into())
            .spawn(move || {
                let first = Survey::open(&dirs).and_then(|mut survey| {
                    let crossings = survey.scan()?;
                    Ok((survey, crossings))
                });
                match first {
                    Ok((survey, crossings)) => {
                        let told = ready.send(Ok((survey.waker(), crossings.clone())));
                        if told.is_ok() {
                            Reporter::new(survey, crossings, commands, [stopped, asked]).run();
                        }
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
            })
            .map_err(|_| Error::Thread("flows-survey"))?;
        let (waker, crossings) = opened.recv().map_err(|_| Error::Thread("flows-survey"))??;
        Ok((Self { stop, again, waker, thread: Some(thread) }, crossings))
    }

    /// Has everything listed again: what became of the other end of a pair, no event tells.
    /// Answers come as changes.
    pub(crate) fn look_again(&self) {
        self.again.store(true, Ordering::Relaxed);
        self.waker.wake();
    }
}

impl Drop for SurveyThread {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.waker.wake();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the panic hook.
            drop(thread.join());
        }
    }
}

/// Turns what the survey tells into changes that never need a resync.
struct Reporter {
    survey: Survey,
    known: BTreeMap<Key, Crossing>,
    commands: SyncSender<Command>,
    stopped: Arc<AtomicBool>,
    again: Arc<AtomicBool>,
}

impl Reporter {
    fn new(
        survey: Survey,
        crossings: Vec<Crossing>,
        commands: SyncSender<Command>,
        [stopped, again]: [Arc<AtomicBool>; 2],
    ) -> Self {
        let known = crossings.into_iter().map(|crossing| (crossing.key, crossing)).collect();
        Self { survey, known, commands, stopped, again }
    }

    fn run(mut self) {
        while !self.stopped.load(Ordering::Relaxed) {
            match self.survey.wait(IDLE) {
                Ok(changes) => {
                    for change in changes {
                        if !self.report(change) {
                            return;
                        }
                    }
                    if self.again.swap(false, Ordering::Relaxed) && !self.resync() {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(event = "netlink.resync", %error, "Devices could not be watched; they are listed again");
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// False when nobody listens any more.
    fn report(&mut self, change: Change) -> bool {
        match &change {
            Change::Appeared(crossing) | Change::Changed(crossing) => {
                self.known.insert(crossing.key, (**crossing).clone());
            }
            Change::Vanished(key) => {
                self.known.remove(key);
            }
            _ => return self.resync(),
        }
        self.tell(change)
    }

    /// Waits until there is room, but not until after the end: whoever ends this thread
    /// waits for it and takes no commands meanwhile.
    fn tell(&self, change: Change) -> bool {
        let mut command = Command::Device(change);
        while !self.stopped.load(Ordering::Relaxed) {
            match self.commands.try_send(command) {
                Ok(()) => return true,
                Err(TrySendError::Disconnected(_)) => return false,
                Err(TrySendError::Full(waiting)) => command = waiting,
            }
            thread::sleep(FULL);
        }
        false
    }

    fn resync(&mut self) -> bool {
        let listed = match self.survey.scan() {
            Ok(listed) => listed,
            Err(error) => {
                tracing::warn!(event = "netlink.resync", %error, "Devices could not be listed");
                return true;
            }
        };
        let now: BTreeMap<Key, Crossing> =
            listed.into_iter().map(|crossing| (crossing.key, crossing)).collect();
        let gone: Vec<Key> =
            self.known.keys().filter(|key| !now.contains_key(key)).copied().collect();
        let news = now.iter().filter(|(key, crossing)| self.known.get(key) != Some(*crossing));
        let news = news.map(|(_, crossing)| Change::Changed(Box::new(crossing.clone())));
        let changes = gone.into_iter().map(Change::Vanished).chain(news);
        for change in changes {
            if !self.tell(change) {
                return false;
            }
        }
        self.known = now;
        true
    }
}

impl From<SurveyError> for Error {
    fn from(source: SurveyError) -> Self {
        Self::Survey(source)
    }
}

#[cfg(test)]
mod tests;
