//! One question to a local daemon and the answer that belongs to it.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, recv, send};
use rustix::time::Timespec;

/// Why a daemon did not say what keeps the clock.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(super) enum Unheard {
    /// Settings say so.
    #[error("it is not asked; set auto, or where it listens")]
    Off,
    /// Nobody listens there.
    #[error("it can't be reached: {0}; start it, or say where it listens")]
    Unreachable(#[from] io::Error),
    /// No answer that belongs to the question.
    #[error("it did not answer in time; restart it, or say where it listens")]
    Silent,
    /// It answers, but not that.
    #[error("it refuses to answer, with code {code}; upgrade it, or permit the command")]
    Refused {
        /// The code of its own protocol.
        code: u16,
    },
    /// An answer that can't be one.
    #[error("its answer makes no sense; see whether that is a time daemon")]
    Malformed,
    /// It has no time to go by.
    #[error("it follows no clock yet; wait, or look at its sources")]
    Unsynchronised,
    /// Its last measurement may be of long ago.
    #[error("its master has not been heard yet; wait for its next word")]
    Unproven,
    /// What it follows has fallen silent.
    #[error("its master is silent; look at the way there")]
    Stale,
}

impl Unheard {
    /// The closed set of what logs tell apart.
    pub(super) const fn reason(&self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Unreachable(_) => "unreachable",
            Self::Silent => "silent",
            Self::Refused { .. } => "refused",
            Self::Malformed => "malformed",
            Self::Unsynchronised => "unsynchronised",
            Self::Unproven => "unproven",
            Self::Stale => "stale",
        }
    }
}

impl From<Errno> for Unheard {
    fn from(errno: Errno) -> Self {
        Self::Unreachable(errno.into())
    }
}

/// Sends `requests` over a connected socket and waits for what `accept` takes for the answer.
///
/// Whatever else arrives is passed over, but not without end.
pub(super) fn exchange<T>(
    socket: impl AsFd,
    requests: &[impl AsRef<[u8]>],
    until: Instant,
    mut accept: impl FnMut(&[u8]) -> Option<Result<T, Unheard>>,
) -> Result<T, Unheard> {
    for request in requests {
        send(&socket, request.as_ref(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    }
    let mut buffer = [0; LONGEST];
    for _ in 0..MOST_FOREIGN {
        wait(&socket, until)?;
        let (len, _) = match recv(&socket, buffer.as_mut_slice(), RecvFlags::DONTWAIT) {
            // Another one took it, or its checksum was wrong.
            Err(Errno::AGAIN | Errno::INTR) => continue,
            received => received?,
        };
        if let Some(answer) = buffer.get(..len).and_then(&mut accept) {
            return answer;
        }
    }
    Err(Unheard::Silent)
}

/// Waits until something can be received.
fn wait(socket: impl AsFd, until: Instant) -> Result<(), Unheard> {
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(|_| Unheard::Silent)?;
        match poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&timeout)) {
            Ok(0) => return Err(Unheard::Silent),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Takes some octets off the front of what is left of an answer.
pub(super) fn take<const N: usize>(left: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = left.split_first_chunk()?;
    *left = rest;
    Some(*head)
}

/// A number that whoever answers blindly can't guess.
pub(super) fn nonce() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// More than any answer that is asked for.
const LONGEST: usize = 1_500;

const MOST_FOREIGN: usize = 32;
