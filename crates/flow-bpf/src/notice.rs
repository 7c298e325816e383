//! Notices that the program sends: a table fills, a server answers.

use std::{fmt, sync::mpsc, time::Duration};

use flow_model::flow::Protocol;
use libbpf_rs::{MapHandle, RingBuffer, RingBufferBuilder};

use crate::{
    error::{Error, Step},
    service_ports,
};

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

/// Where a record of the ring has the port; its kind comes first.
const PORT: usize = 6;

/// What a record of the ring says.
enum Told {
    Notice(Notice),
    /// This TCP port has answered.
    Server(u16),
}

impl Told {
    fn decode(octets: &[u8]) -> Option<Self> {
        let notice = |kind| Self::Notice(Notice { kind });
        Some(match u32::from_ne_bytes(*octets.first_chunk()?) {
            1 => notice(NoticeKind::Filling),
            2 => notice(NoticeKind::Overflow),
            3 => Self::Server(u16::from_ne_bytes(*octets.get(PORT..)?.first_chunk()?)),
            _ => return None,
        })
    }
}

/// Reader of the event ring. Servers that it hears of are written down for the program.
pub struct Notices {
    ring: RingBuffer<'static>,
    arrived: mpsc::Receiver<Notice>,
}

impl Notices {
    pub(crate) fn new(events: &MapHandle, ports: &MapHandle) -> Result<Self, Error> {
        let (sender, arrived) = mpsc::channel();
        let mut builder = RingBufferBuilder::new();
        let failed = || Error::libbpf(Step::Notices, "events");
        let ports = MapHandle::try_from(ports).map_err(failed())?;
        builder
            .add(events, move |octets| match Told::decode(octets) {
                Some(Told::Notice(notice)) => i32::from(sender.send(notice).is_err()),
                Some(Told::Server(port)) => {
                    // The program tells it again, and by then it may work.
                    service_ports::add(&ports, Protocol::Tcp, port).ok();
                    0
                }
                None => 0,
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
