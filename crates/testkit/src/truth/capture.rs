//! Frames on a device as tcpdump records them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Frames, TruthError, frames};
use crate::namespace::Owner;
use crate::proc::{Process, ProcessError, Signal, wait_until};
use crate::topology::Device;

/// How to capture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureOptions {
    /// Which directions, as the device sees them.
    pub heard: Heard,
    /// Bytes kept of each frame; the sums always use the whole length.
    pub snap_bytes: u32,
    /// Room in the kernel for frames that tcpdump has not read yet.
    pub buffer_kib: u32,
    /// What to capture, in the language of pcap-filter(7).
    pub filter: Option<String>,
}

impl Default for CaptureOptions {
    fn default() -> Self {
        Self { heard: Heard::Both, snap_bytes: 192, buffer_kib: 32 * 1024, filter: None }
    }
}

/// Which directions of a device are captured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Heard {
    /// What the device receives.
    In,
    /// What the device sends. Nothing on loopback: libpcap only keeps what arrives there.
    Out,
    /// Both.
    #[default]
    Both,
}

impl Heard {
    /// For tcpdump's -Q. The words `inbound` and `outbound` of a filter would lose the first
    /// frame: libpcap tests it once more outside the kernel, where its direction is unknown.
    const fn word(self) -> &'static str {
        match self {
            Self::In => "in",
            Self::Out => "out",
            Self::Both => "inout",
        }
    }
}

/// A running capture; dropping it ends tcpdump and removes the file.
#[derive(Debug)]
pub struct Capture {
    tcpdump: Process,
    file: PathBuf,
    scratch: TempDir,
    /// Whether the kernel's count is of the frames that are wanted.
    compares: bool,
}

impl Capture {
    /// Captures everything on `device`.
    pub fn start(device: &Device) -> Result<Self, TruthError> {
        Self::start_with(device, &CaptureOptions::default())
    }

    /// Captures on `device` and returns once the kernel really records.
    pub fn start_with(device: &Device, options: &CaptureOptions) -> Result<Self, TruthError> {
        let scratch = scratch()?;
        let file = scratch.path().join("capture.pcap");
        let (snap, buffer) = (options.snap_bytes.to_string(), options.buffer_kib.to_string());
        // Immediate mode and an unbuffered file: no frame waits in a block for the next one.
        // -Z root: Debian's tcpdump otherwise becomes a user who cannot write here.
        let tcpdump = device
            .place()
            .command("tcpdump")
            .args(["-i", device.name(), "-n", "-p", "-U", "--immediate-mode", "-Z", "root"])
            .args(["-Q", options.heard.word(), "-s", &snap, "-B", &buffer, "-w"])
            .arg(&file)
            .args(options.filter.iter());
        let mut tcpdump = tcpdump.spawn()?;
        // Written after the socket is bound and filtered.
        tcpdump.wait_for_stderr("listening on", READY)?;
        // The kernel counts both directions, and on loopback each frame twice.
        let compares = options.heard == Heard::Both && device.name() != "lo";
        Ok(Self { tcpdump, file, scratch, compares })
    }

    /// Waits until everything that passed so far is in the file, then ends the capture.
    ///
    /// An error if a single frame was lost.
    pub fn stop(self) -> Result<Recording, TruthError> {
        self.drain()?;
        let Self { tcpdump, file, scratch, compares } = self;
        let finished = tcpdump.stop_by(Signal::INT, STOP)?.success()?;
        let tally = Tally::read(&finished.stderr).ok_or_else(|| form(&finished.stderr))?;
        match tally.lost(compares) {
            0 => Ok(Recording { file, frames: tally.captured, _scratch: scratch }),
            lost => Err(TruthError::Incomplete { lost }),
        }
    }

    /// The file so far.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// An interrupt would discard what waits in the kernel's ring. tcpdump only ever sleeps when
    /// that ring is empty: a frame in it wakes it up at once, in immediate mode.
    fn drain(&self) -> Result<(), TruthError> {
        Ok(wait_until("end of the backlog", STOP, || self.tcpdump.is_asleep())?)
    }
}

/// A finished, complete capture; dropping it removes the file.
#[derive(Debug)]
pub struct Recording {
    file: PathBuf,
    frames: u64,
    _scratch: TempDir,
}

impl Recording {
    /// Frames recorded, as tcpdump counted them.
    pub const fn count(&self) -> u64 {
        self.frames
    }

    /// The pcap file.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the file back with tshark, which shares no code with what is tested.
    pub fn frames(&self) -> Result<Frames, TruthError> {
        let frames = frames::read(&self.file)?;
        let read = frames.total().packets;
        if read != self.frames {
            return Err(TruthError::Incomplete { lost: self.frames.abs_diff(read) });
        }
        Ok(frames)
    }
}

/// What tcpdump says at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Tally {
    captured: u64,
    received: u64,
    dropped: u64,
    dropped_by_interface: u64,
}

impl Tally {
    fn read(stderr: &str) -> Option<Self> {
        let count = |what: &str| {
            let count = stderr.lines().find_map(|line| line.trim().strip_suffix(what));
            let count =
                count?.strip_suffix(" packets ").or_else(|| count?.strip_suffix(" packet "));
            count?.parse().ok()
        };
        Some(Self {
            captured: count("captured")?,
            received: count("received by filter")?,
            dropped: count("dropped by kernel")?,
            // Only mentioned when there are any.
            dropped_by_interface: count("dropped by interface").unwrap_or(0),
        })
    }

    /// Frames that are not in the file; those that nobody reported are only known if the kernel
    /// counted the same frames.
    const fn lost(self, compares: bool) -> u64 {
        let unread = self.received.saturating_sub(self.captured + self.dropped);
        self.dropped + self.dropped_by_interface + if compares { unread } else { 0 }
    }
}

fn form(stderr: &str) -> TruthError {
    TruthError::Form { program: "tcpdump", line: stderr.trim().to_owned() }
}

fn scratch() -> Result<TempDir, ProcessError> {
    Owner::current().and_then(Owner::scratch).map_err(|source| ProcessError::Scratch { source })
}

const READY: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::namespace::Namespace;
    use crate::truth::Amount;

    /// A capture of loopback whose tcpdump does not run while `datagrams` pass.
    fn stalled(datagrams: usize, buffer_kib: u32) -> Result<Recording, TruthError> {
        let place = Namespace::create("stalled").unwrap();
        let options = CaptureOptions { heard: Heard::In, buffer_kib, ..Default::default() };
        let capture = Capture::start_with(&Device::named(&place, "lo"), &options).unwrap();
        capture.tcpdump.signal(Signal::STOP).unwrap();
        let socket = place.run(|| UdpSocket::bind("127.0.0.1:0")).unwrap().unwrap();
        let target = socket.local_addr().unwrap();
        for _ in 0..datagrams {
            socket.send_to(&[0; 100], target).unwrap();
        }
        capture.tcpdump.signal(Signal::CONT).unwrap();
        capture.stop()
    }

    #[test]
    #[ignore = "root: needs network namespaces"]
    fn a_backlog_is_written_before_the_capture_ends() {
        let recording = stalled(5000, 32 * 1024).unwrap();
        assert_eq!(recording.count(), 5000);
        assert_eq!(recording.frames().unwrap().total(), Amount::new(5000, 5000 * 142));
    }

    #[test]
    #[ignore = "root: needs network namespaces"]
    fn a_capture_that_lost_a_frame_has_no_sums() {
        let error = stalled(5000, 64).unwrap_err();
        assert!(matches!(error, TruthError::Incomplete { lost } if lost > 0), "{error}");
    }

    const END: &str = "tcpdump: listening on eth0, link-type EN10MB (Ethernet), snapshot length 192 \
        bytes\n12 packets captured\n15 packets received by filter\n2 packets dropped by kernel\n";

    #[test]
    fn the_last_words_are_read() {
        let tally = Tally { captured: 12, received: 15, dropped: 2, dropped_by_interface: 0 };
        assert_eq!(Tally::read(END), Some(tally));
        let more = format!("{END}1 packet dropped by interface\n");
        assert_eq!(Tally::read(&more), Some(Tally { dropped_by_interface: 1, ..tally }));
    }

    #[test]
    fn words_that_are_cut_off_are_no_tally() {
        assert_eq!(Tally::read("12 packets captured\n14 packets received by fil"), None);
        assert_eq!(Tally::read(""), None);
    }

    #[test]
    fn every_frame_that_is_not_in_the_file_is_lost() {
        let tally = Tally { captured: 12, received: 15, dropped: 2, dropped_by_interface: 1 };
        assert_eq!(tally.lost(true), 4);
        assert_eq!(tally.lost(false), 3, "the rest went the other way");
        let whole = Tally { captured: 3, received: 3, ..Tally::default() };
        assert_eq!(whole.lost(true), 0);
    }
}
