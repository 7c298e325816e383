//! Notices that the program sends when a table fills.

use std::{fmt, sync::mpsc, time::Duration};

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use crate::error::{Error, Step};

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// A table passed the early-drain mark.
    Filling,
    /// A table turned a flow away.
    Overflow,
}

/// One notice. It carries no amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notice {
    /// What happened.
    pub kind: NoticeKind,
}

impl Notice {
    fn decode(octets: &[u8]) -> Option<Self> {
        let kind = match u32::from_ne_bytes(*octets.first_chunk()?) {
            1 => NoticeKind::Filling,
            2 => NoticeKind::Overflow,
            _ => return None,
        };
        Some(Self { kind })
    }
}

/// Reader of the event ring.
pub struct Notices {
    ring: RingBuffer<'static>,
    arrived: mpsc::Receiver<Notice>,
}

impl Notices {
    pub(crate) fn new(events: &MapHandle) -> Result<Self, Error> {
        let (sender, arrived) = mpsc::channel();
        let mut builder = RingBufferBuilder::new();
        let failed = || Error::libbpf(Step::Notices, "events");
        builder
            .add(events, move |octets| {
                if let Some(notice) = Notice::decode(octets) {
                    return i32::from(sender.send(notice).is_err());
                }
                0
            })
            .map_err(failed())?;
        Ok(Self { ring: builder.build().map_err(failed())?, arrived })
    }

    /// Waits up to `timeout` for notices and hands them out.
    ///
    /// # Errors
    ///
    /// When the ring can't be polled; a signal is not an error.
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<Notice>, Error> {
        self.ring
            .poll(timeout)
            .or_else(|error| match error.kind() {
                libbpf_rs::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            })
            .map_err(Error::libbpf(Step::Notices, "events"))?;
        Ok(self.arrived.try_iter().collect())
    }
}

impl fmt::Debug for Notices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notices").finish_non_exhaustive()
    }
}
