//! The bounded way from any thread to stderr.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use tracing_subscriber::fmt::MakeWriter;

/// Hands lines to the thread that writes them.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    sender: SyncSender<Item>,
    counts: Arc<Counts>,
}

/// What became of lines.
#[derive(Debug, Default)]
pub(super) struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Ordering::Relaxed)
    }
}

enum Item {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

impl Queue {
    pub(super) fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(CAPACITY);
        let counts = Arc::<Counts>::default();
        let noted = Arc::clone(&counts);
        let work = move || write_all(sink, &receiver, &noted);
        thread::Builder::new().name("fathom-log".to_owned()).spawn(work)?;
        Ok(Self { sender, counts })
    }

    pub(super) fn writers(&self) -> Writers {
        Writers(self.clone())
    }

    pub(super) fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Waits for all lines queued so far; false when `deadline` passed first.
    pub(super) fn flush(&self, deadline: Duration) -> bool {
        let (done, reached) = sync_channel(1);
        let end = Instant::now() + deadline;
        let mut item = Item::Flush(done);
        // A full queue has no room for the marker either: offer it until one is free.
        while let Err(TrySendError::Full(back)) = self.sender.try_send(item) {
            item = back;
            if Instant::now() >= end {
                return false;
            }
            thread::sleep(FLUSH_PAUSE);
        }
        let left = end.saturating_duration_since(Instant::now());
        !matches!(reached.recv_timeout(left), Err(RecvTimeoutError::Timeout))
    }

    fn offer(&self, mut line: Vec<u8>) {
        keep_on_one_line(&mut line);
        if self.sender.try_send(Item::Line(line)).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Makes one buffer for each event.
#[derive(Debug)]
pub(super) struct Writers(Queue);

impl MakeWriter<'_> for Writers {
    type Writer = Line;

    fn make_writer(&self) -> Line {
        Line { queue: self.0.clone(), octets: Vec::with_capacity(256) }
    }
}

/// One line; queued when it is dropped, because the formatter may write it in pieces.
#[derive(Debug)]
pub(super) struct Line {
    queue: Queue,
    octets: Vec<u8>,
}

impl Write for Line {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        let room = LINE_LIMIT.saturating_sub(self.octets.len());
        self.octets.extend(octets.iter().take(room));
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.octets.len() == LINE_LIMIT {
            // Half an event is of no use to a reader that expects whole objects.
            self.queue.counts.dropped.fetch_add(1, Ordering::Relaxed);
        } else if !self.octets.is_empty() {
            self.queue.offer(std::mem::take(&mut self.octets));
        }
    }
}

/// A text from outside with a line break in it must not look like an event of its own.
fn keep_on_one_line(line: &mut Vec<u8>) {
    let end = line.len().saturating_sub(1);
    let breaks = |octet: &u8| matches!(octet, b'\n' | b'\r');
    if !line.iter().take(end).any(breaks) {
        return;
    }
    let whole = std::mem::take(line);
    for (position, octet) in whole.into_iter().enumerate() {
        match octet {
            b'\n' if position < end => line.extend(b"\\n"),
            b'\r' if position < end => line.extend(b"\\r"),
            octet => line.push(octet),
        }
    }
}

fn write_all(mut sink: impl Write, lines: &Receiver<Item>, counts: &Counts) {
    for item in lines {
        match item {
            Item::Line(line) => {
                let outcome = sink.write_all(&line);
                let counter = if outcome.is_ok() { &counts.written } else { &counts.failed };
                counter.fetch_add(1, Ordering::Relaxed);
            }
            // Whoever waits may have given up; then there is nobody to tell.
            Item::Flush(done) => drop((sink.flush(), done)),
        }
    }
}

/// A second of debug lines of a busy node; about 1 MB.
const CAPACITY: usize = 4096;

/// Far above any event of ours.
const LINE_LIMIT: usize = 64 << 10;

const FLUSH_PAUSE: Duration = Duration::from_millis(2);
