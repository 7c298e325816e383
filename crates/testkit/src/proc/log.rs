//! What a child process writes, in a file of bounded size.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::wait::wait_until;

/// One output stream of a child. A thread copies it, so that the child never blocks on a full pipe
/// and never writes more than the limit to the disk.
#[derive(Debug)]
pub(super) struct Log {
    path: PathBuf,
    discarded: Arc<AtomicU64>,
    pump: JoinHandle<()>,
}

impl Log {
    pub(super) fn start(
        path: PathBuf,
        from: impl Read + Send + 'static,
        limit: u64,
    ) -> io::Result<Self> {
        let to = File::create_new(&path)?;
        let discarded = Arc::new(AtomicU64::new(0));
        let count = Arc::clone(&discarded);
        let pump = thread::Builder::new()
            .name("log".into())
            .spawn(move || pump(from, to, limit, &count))?;
        Ok(Self { path, discarded, pump })
    }

    /// Waits until everything is written; a descendant that still holds the pipe is not waited for.
    pub(super) fn settle(&self) {
        wait_until("end of output", GRACE, || self.pump.is_finished()).ok();
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn bytes(&self) -> io::Result<Vec<u8>> {
        fs::read(&self.path)
    }

    pub(super) fn text(&self) -> String {
        self.bytes().map(|b| String::from_utf8_lossy(&b).into_owned()).unwrap_or_default()
    }

    /// Bytes beyond the limit.
    pub(super) fn discarded(&self) -> u64 {
        self.discarded.load(Ordering::Acquire)
    }
}

fn pump(mut from: impl Read, mut to: File, limit: u64, discarded: &AtomicU64) {
    let mut buffer = vec![0; 64 * 1024];
    let mut room = limit;
    while let Some(piece) = next(&mut from, &mut buffer) {
        let fits = usize::try_from(room).map_or(piece.len(), |room| room.min(piece.len()));
        let (kept, lost) = piece.split_at(fits);
        let written = to.write_all(kept).is_ok();
        room -= fits as u64;
        let lost = if written { lost.len() } else { piece.len() };
        discarded.fetch_add(lost as u64, Ordering::AcqRel);
    }
}

fn next<'a>(from: &mut impl Read, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    loop {
        match from.read(buffer) {
            Ok(0) => return None,
            Ok(n) => return buffer.get(..n),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}

const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_exceeds_the_limit_is_counted_and_not_written() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("out");
        let log = Log::start(path, io::repeat(b'x').take(200_000), 1000).unwrap();
        log.settle();
        assert_eq!(log.bytes().unwrap(), vec![b'x'; 1000]);
        assert_eq!(log.discarded(), 199_000);
    }

    #[test]
    fn a_stream_below_the_limit_is_whole() {
        let scratch = tempfile::tempdir().unwrap();
        let log = Log::start(scratch.path().join("out"), &b"all of it"[..], 9).unwrap();
        log.settle();
        assert_eq!((log.text().as_str(), log.discarded()), ("all of it", 0));
    }
}
