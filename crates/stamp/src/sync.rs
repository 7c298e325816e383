//! Who keeps this host's clock right, and how well: what its time daemons tell.
//!
//! chronyd is asked over its command protocol, ptp4l over its management socket. Both
//! answer with what they measured, so neither log nor process table is read, and what
//! they say is hostile until checked. What the kernel knows is read elsewhere.

mod chrony;
mod exchange;
mod ptp;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use stamp_proto::clock::MonoTime;
use stamp_proto::tlv::SyncSource;

use self::exchange::Unheard;
use self::ptp::Ptp;
use crate::clock::monotonic;

/// Which daemons are asked, and where.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Settings {
    /// chronyd, on its UDP port for commands.
    pub chrony: Choice<SocketAddr>,
    /// ptp4l, on its management socket.
    pub ptp: Choice<PathBuf>,
}

/// Where a daemon is asked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Choice<T> {
    /// Where it listens unless told otherwise.
    #[default]
    Auto,
    /// Nowhere.
    Off,
    /// Here.
    At(T),
}

/// What keeps the clock, as far as the daemons know.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Discipline {
    /// Where the time comes from.
    pub source: Source,
    /// How wrong the clock may be; absent when the source can't tell.
    pub error_ns: Option<u64>,
    /// Whether PTP is alive here, be it the source or not.
    pub ptp: bool,
    /// When the daemon said so.
    pub at: MonoTime,
}

/// Where a daemon gets the time from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Source {
    /// Servers, by NTP.
    Ntp,
    /// A master, by PTP, or a card whose clock is kept by PTP.
    Ptp,
    /// Satellites.
    Gnss,
    /// A clock of this machine that follows nothing.
    Local,
}

/// A thread that asks the daemons every second; dropping it ends the thread.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl<T: FromStr> FromStr for Choice<T> {
    type Err = T::Err;

    fn from_str(text: &str) -> Result<Self, T::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "off" => Ok(Self::Off),
            place => place.parse().map(Self::At),
        }
    }
}

impl Source {
    /// Value of the `source` label and of documents.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ntp => "ntp",
            Self::Ptp => "ptp",
            Self::Gnss => "gnss",
            Self::Local => "local",
        }
    }
}

impl From<Source> for SyncSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Ntp => Self::Ntp,
            Source::Ptp => Self::Ptp,
            Source::Gnss => Self::Gnss,
            Source::Local => Self::Local,
        }
    }
}

/// Asks the daemons once, at the start of a process.
///
/// Returns at once unless ptp4l follows a master: that its time is fresh shows only when the
/// master speaks again, which is waited for up to three seconds.
pub fn look(settings: &Settings) -> io::Result<Option<Discipline>> {
    let watch = Watch::start(settings.clone())?;
    let unsettled = |state: &mut State| !state.settled;
    let waited = watch.shared.changed.wait_timeout_while(watch.shared.lock(), SETTLE, unsettled);
    let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
    Ok(state.latest)
}

impl Watch {
    /// Starts asking.
    pub fn start(settings: Settings) -> io::Result<Self> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let mut daemons = Daemons { settings, ptp: Ptp::default(), silence: [None; 2] };
        let thread =
            thread::Builder::new().name(THREAD.into()).spawn(move || daemons.watch(&theirs))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What was told last; nothing when that is more than five seconds old.
    pub fn latest(&self) -> Option<Discipline> {
        let now = monotonic();
        self.shared.lock().latest.filter(|told| now.since(told.at) <= STALE_NS)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // A panic there has been told already, and nobody waits for its result.
            thread.join().ok();
        }
    }
}

/// Between the thread and whoever owns it.
#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Discipline>,
    /// All daemons have said what they can.
    settled: bool,
    stopped: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Shows what was found and waits for the next time; tells whether there is one.
    fn publish(&self, latest: Option<Discipline>, settled: bool) -> bool {
        let mut state = self.lock();
        state.latest = latest;
        state.settled |= settled;
        self.changed.notify_all();
        let pause = if settled { PERIOD } else { HURRY };
        let waited = self.changed.wait_timeout_while(state, pause, |state| !state.stopped);
        !waited.unwrap_or_else(PoisonError::into_inner).0.stopped
    }
}

/// What the thread remembers from one time to the next.
#[derive(Debug)]
struct Daemons {
    settings: Settings,
    ptp: Ptp,
    /// Why nothing was heard of chronyd and of ptp4l the last time.
    silence: [Option<&'static str>; 2],
}

impl Daemons {
    fn watch(&mut self, shared: &Shared) {
        loop {
            let by_chrony = chrony::ask(&self.settings.chrony, Instant::now() + PATIENCE);
            let by_ptp = self.ptp.ask(&self.settings.ptp, Instant::now() + PATIENCE);
            let is_settled = !matches!(by_ptp, Err(Unheard::Unproven));
            let [silent_chrony, silent_ptp] = &mut self.silence;
            let told =
                [heard("chronyd", by_chrony, silent_chrony), heard("ptp4l", by_ptp, silent_ptp)];
            if !shared.publish(best(told), is_settled) {
                return;
            }
        }
    }
}

/// What was told, if anything; logs why not, once for each new reason.
fn heard(
    daemon: &'static str,
    told: Result<Discipline, Unheard>,
    silence: &mut Option<&'static str>,
) -> Option<Discipline> {
    let reason = told.as_ref().err().map(Unheard::reason);
    if let Err(error) = &told
        && *silence != reason
    {
        tracing::debug!(daemon, %error, "Time daemon not heard");
    }
    *silence = reason;
    told.ok()
}

/// The one whose error is smaller; one that does not know its error is better than none.
fn best(told: [Option<Discipline>; 2]) -> Option<Discipline> {
    let told = told.iter().flatten();
    let ptp = told.clone().any(|discipline| discipline.ptp);
    let surest = told.min_by_key(|discipline| discipline.error_ns.unwrap_or(u64::MAX))?;
    Some(Discipline { ptp, ..*surest })
}

/// Fifteen octets at most, or the kernel cuts it.
const THREAD: &str = "stamp-sync";

const PERIOD: Duration = Duration::from_secs(1);

/// While the next word of a PTP master is waited for.
const HURRY: Duration = Duration::from_millis(100);

/// For all answers of one daemon together.
const PATIENCE: Duration = Duration::from_millis(200);

/// Three of the slowest intervals at which masters usually speak.
const SETTLE: Duration = Duration::from_secs(3);

const STALE_NS: i64 = 5_000_000_000;

#[cfg(test)]
mod tests;
