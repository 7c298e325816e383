//! What rings when a reply has come, or a request was answered.

use std::fmt;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::mpsc;

use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};
use stamp_proto::reflector::SessionKey;

use crate::error::{Error, Step};
use crate::layout::{
    AnsweredRecord, NOTICE_ANSWERED, NOTICE_REPLY, Record, ReplyRecord, session_key,
};

/// What the programs tell as it happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A reply to a session of ours has come.
    Reply(Bell),
    /// A request was answered; only with [`Knobs::watched`](crate::Knobs::watched).
    Answered(Answered),
}

/// A reply to a session of ours; its times are in its request's slot.
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

/// A request that the programs have answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Answered {
    /// Whose it was, remembered as a session or not.
    pub session: SessionKey,
    /// T2 − T1 as both clocks have it.
    pub near_end_ns: i64,
}

impl Notice {
    fn decode(octets: &[u8]) -> Option<Self> {
        match *octets.first()? {
            NOTICE_REPLY => Bell::decode(octets).map(Self::Reply),
            NOTICE_ANSWERED => Answered::decode(octets).map(Self::Answered),
            _ => None,
        }
    }
}

impl Bell {
    fn decode(octets: &[u8]) -> Option<Self> {
        let (head, area) = octets.split_at_checked(size_of::<ReplyRecord>())?;
        let head = ReplyRecord::from_octets(head)?;
        Some(Self {
            index: head.index,
            sequence: head.sequence,
            reflector_sequence: head.reflector_sequence,
            duplicate: head.duplicate != 0,
            extensions: area.get(..usize::from(head.len))?.to_vec(),
        })
    }
}

impl Answered {
    fn decode(octets: &[u8]) -> Option<Self> {
        let record = AnsweredRecord::from_octets(octets)?;
        Some(Self { session: session_key(&record.key), near_end_ns: record.near_end_ns })
    }
}

/// The reader of the ring. Its descriptor is readable while there are notices.
pub struct Doorbell {
    map: MapHandle,
    ring: RingBuffer<'static>,
    arrived: mpsc::Receiver<Notice>,
}

impl Doorbell {
    pub(crate) fn new(map: &MapHandle) -> Result<Self, Error> {
        let (sender, arrived) = mpsc::channel();
        let mut builder = RingBufferBuilder::new();
        let failed = || Error::libbpf(Step::Read, "doorbell");
        builder
            .add(map, move |octets| {
                Notice::decode(octets).map_or(0, |notice| i32::from(sender.send(notice).is_err()))
            })
            .map_err(failed())?;
        let map = MapHandle::try_from(map).map_err(failed())?;
        Ok(Self { map, ring: builder.build().map_err(failed())?, arrived })
    }

    /// Takes the notices that are there, in their order and without waiting. Those that
    /// more than fill a ring are left for the next time, however fast they come.
    ///
    /// # Errors
    ///
    /// When the ring can't be read.
    pub fn drain(&mut self) -> Result<Vec<Notice>, Error> {
        let taken = self.ring.consume_raw_n(MOST);
        if taken < 0 {
            let source = std::io::Error::from_raw_os_error(-taken);
            return Err(Error::new(Step::Read, "doorbell", source));
        }
        Ok(self.arrived.try_iter().collect())
    }
}

impl AsFd for Doorbell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.map.as_fd()
    }
}

impl fmt::Debug for Doorbell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Doorbell").finish_non_exhaustive()
    }
}

/// As many as a ring of 1 MiB holds of the shortest, each with the kernel's eight octets.
const MOST: usize = (1 << 20) / (8 + size_of::<ReplyRecord>());
