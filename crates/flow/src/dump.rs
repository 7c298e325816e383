//! Closed epochs as JSON lines, written by a thread of their own.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use flow_model::{connections::TickClock, page::FlowKeyMode};
use telemetry::logs::EventLimit;

use crate::{
    document::FlowRow, error::Error, published::EdgeNames, rows::Row, time::WallClock, watch::Epoch,
};

/// One closed epoch.
#[derive(Debug)]
pub(crate) struct Closed {
    /// Its number.
    pub(crate) number: u64,
    /// Its flows.
    pub(crate) flows: Arc<Epoch>,
    /// Names of the edges.
    pub(crate) names: Arc<EdgeNames>,
    /// Its ticks.
    pub(crate) clock: TickClock,
}

/// Where dumps go and how many are kept.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    /// The directory.
    pub(crate) folder: PathBuf,
    /// The newest that are kept.
    pub(crate) keep: usize,
    /// Octets that all together may have.
    pub(crate) max_bytes: u64,
    /// Which ports mean something.
    pub(crate) mode: FlowKeyMode,
}

/// The writer's end held by the drain. A dump that would make it wait is not written.
#[derive(Debug)]
pub(crate) struct Dumper {
    queue: Option<SyncSender<Closed>>,
    results: Arc<Results>,
    /// Hears of the end of the writer.
    ended: Receiver<()>,
}

/// How long the end waits for the last dump: a disk that hangs must not keep a process.
const LAST: Duration = Duration::from_secs(2);

/// What became of dumps.
#[derive(Debug, Default)]
pub(crate) struct Results {
    /// Written.
    pub(crate) written: AtomicU64,
    /// Not written, for whatever reason.
    pub(crate) failed: AtomicU64,
}

impl Dumper {
    /// Starts the writer.
    pub(crate) fn start(place: Place) -> Result<Self, Error> {
        let (queue, closed) = sync_channel(1);
        let (ending, ended) = sync_channel(1);
        let results = Arc::new(Results::default());
        let told = Arc::clone(&results);
        thread::Builder::new()
            .name("flows-dump".into())
            .spawn(move || {
                write_all(&place, &closed, &told);
                // Nobody may wait any more.
                ending.send(()).ok();
            })
            .map_err(|_| Error::Thread("flows-dump"))?;
        Ok(Self { queue: Some(queue), results, ended })
    }

    /// Hands an epoch over.
    pub(crate) fn offer(&self, closed: Closed) {
        if self.queue.as_ref().is_none_or(|queue| queue.try_send(closed).is_err()) {
            self.results.failed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What became of dumps since the last call: written, and not.
    pub(crate) fn take_results(&self) -> [u64; 2] {
        let take = |cell: &AtomicU64| cell.swap(0, Ordering::Relaxed);
        [take(&self.results.written), take(&self.results.failed)]
    }
}

/// The last dump is written out before its process ends.
impl Drop for Dumper {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Err(RecvTimeoutError::Timeout) = self.ended.recv_timeout(LAST) {
            tracing::warn!(event = "dump.failed", "The last dump takes too long");
        }
    }
}

fn write_all(place: &Place, queue: &Receiver<Closed>, results: &Results) {
    let limit = EventLimit::default();
    for closed in queue {
        let number = closed.number;
        let written = write(place, &closed).and_then(|()| prune(place));
        let cell = match written {
            Ok(()) => &results.written,
            Err(error) => {
                if let Some(suppressed) = limit.admit("dump.failed", "", Instant::now()) {
                    tracing::warn!(event = "dump.failed", %error, epoch = number, suppressed, "An epoch was not dumped");
                }
                &results.failed
            }
        };
        cell.fetch_add(1, Ordering::Relaxed);
    }
}

const PREFIX: &str = "fathom-flows-";
const SUFFIX: &str = ".jsonl";

/// Writes beside and moves, so that a reader never sees half a dump. What would exceed
/// the limit by itself is refused.
fn write(place: &Place, closed: &Closed) -> io::Result<()> {
    // The process number keeps an earlier process's epochs apart.
    let name = format!("{PREFIX}{}-{:012}", std::process::id(), closed.number);
    let path = place.folder.join(format!("{name}{SUFFIX}"));
    let beside = place.folder.join(format!("{name}.partial"));
    let result = write_lines(&beside, place, closed);
    match result {
        Ok(()) => fs::rename(&beside, &path),
        Err(error) => {
            // The partial file is of no use; that it can't be removed changes nothing.
            drop(fs::remove_file(&beside));
            Err(error)
        }
    }
}

fn write_lines(path: &Path, place: &Place, closed: &Closed) -> io::Result<()> {
    // Never through a link that somebody left in a shared directory.
    let file = File::options().write(true).create_new(true).open(path)?;
    let mut out = BufWriter::new(file);
    let wall = WallClock::read();
    let mut left = place.max_bytes;
    for (edge, flow) in closed.flows.iter() {
        let row = Row::new(flow, &closed.clock);
        let name = closed.names.get(edge).map_or("", |name| name);
        let mut line = serde_json::to_vec(&FlowRow::new(name, &flow.key, &row, place.mode, &wall))?;
        line.push(b'\n');
        left = left
            .checked_sub(line.len() as u64)
            .ok_or_else(|| io::Error::other("the epoch is larger than --dump-max-bytes"))?;
        out.write_all(&line)?;
    }
    out.flush()
}

/// Removes the oldest of our dumps until both limits hold.
fn prune(place: &Place) -> io::Result<()> {
    let mut dumps = Vec::new();
    for entry in fs::read_dir(&place.folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let ours =
            name.to_str().is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(SUFFIX));
        if let (true, Ok(meta)) = (ours, entry.metadata()) {
            dumps.push((meta.modified()?, meta.len(), entry.path()));
        }
    }
    dumps.sort_unstable_by(|one, other| other.cmp(one));
    let mut total = 0;
    for (rank, (_, size, path)) in dumps.iter().enumerate() {
        total += size;
        if rank >= place.keep || total > place.max_bytes {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
