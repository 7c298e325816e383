//! What rings when a reply has come.

use std::fmt;
use std::sync::mpsc;
use std::time::Duration;

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use crate::error::{Error, Step};
use crate::layout::{NoticeRecord, Record};

/// A reply to a session of ours has come; its times are in its request's slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bell {
    /// The session.
    pub index: u32,
    /// The request's number.
    pub sequence: u32,
    /// The reply's own.
    pub reflector_sequence: u32,
    /// Whether there had been a reply before, which is the one in the slot.
    pub duplicate: bool,
    /// The octets behind the base packet.
    pub extensions: Vec<u8>,
}

impl Bell {
    fn decode(octets: &[u8]) -> Option<Self> {
        let (head, area) = octets.split_at_checked(size_of::<NoticeRecord>())?;
        let head = NoticeRecord::from_octets(head)?;
        Some(Self {
            index: head.index,
            sequence: head.sequence,
            reflector_sequence: head.reflector_sequence,
            duplicate: head.duplicate != 0,
            extensions: area.get(..usize::from(head.len))?.to_vec(),
        })
    }
}

/// The reader of the ring.
pub struct Doorbell {
    ring: RingBuffer<'static>,
    arrived: mpsc::Receiver<Bell>,
}

impl Doorbell {
    pub(crate) fn new(map: &MapHandle) -> Result<Self, Error> {
        let (sender, arrived) = mpsc::channel();
        let mut builder = RingBufferBuilder::new();
        let failed = || Error::libbpf(Step::Read, "doorbell");
        builder
            .add(map, move |octets| {
                Bell::decode(octets).map_or(0, |bell| i32::from(sender.send(bell).is_err()))
            })
            .map_err(failed())?;
        Ok(Self { ring: builder.build().map_err(failed())?, arrived })
    }

    /// Waits up to `timeout` for bells and hands them out in the order of the replies.
    ///
    /// # Errors
    ///
    /// When the ring can't be polled; a signal is not an error.
    pub fn poll(&mut self, timeout: Duration) -> Result<Vec<Bell>, Error> {
        self.ring
            .poll(timeout)
            .or_else(|error| match error.kind() {
                libbpf_rs::ErrorKind::Interrupted => Ok(()),
                _ => Err(error),
            })
            .map_err(Error::libbpf(Step::Read, "doorbell"))?;
        Ok(self.arrived.try_iter().collect())
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").finish_non_exhaustive()
    }
}
