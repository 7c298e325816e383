//! As many small datagrams as the machine can send, to nobody.
//!
//! All senders share all flows, so that two CPUs meet on every key. Nobody receives: a frame's
//! way ends behind the far side of the link, and so does its cost.

use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

use super::generator::TrafficError;
use super::pace::{Course, POLL};
use crate::namespace::{EnterError, Place};

/// Senders at work; dropping it ends them.
#[derive(Debug)]
pub struct Flood {
    target: SocketAddr,
    course: Arc<Course>,
    senders: Vec<JoinHandle<Result<io::Result<()>, EnterError>>>,
}

impl Flood {
    /// Sends from `place` to `flows` ports from that of `target` on, by as many threads as
    /// `senders`, for `lifetime` at most.
    pub fn start(
        place: &Place,
        target: SocketAddrV4,
        flows: u16,
        senders: usize,
        lifetime: Duration,
    ) -> Result<Self, TrafficError> {
        let sockets = place.run(|| sockets(target, flows))?;
        let target = target.into();
        let failed = |source| TrafficError::Broken { side: "client", target, source };
        let sockets = sockets.map_err(failed)?;
        let (sockets, course) = (Arc::new(sockets), Arc::new(Course::new(lifetime)));
        let mut flood = Self { target, course, senders: Vec::new() };
        for _ in 0..senders {
            let (sockets, course) = (Arc::clone(&sockets), Arc::clone(&flood.course));
            flood.senders.push(place.thread("flood", move || send(&sockets, &course))?);
        }
        Ok(flood)
    }

    /// Datagrams that the kernel took so far.
    pub fn sent(&self) -> u64 {
        self.course.client.read().sent_messages
    }

    /// Ends it and tells how many datagrams the kernel took.
    pub fn stop(mut self) -> Result<u64, TrafficError> {
        self.end()?;
        Ok(self.sent())
    }

    fn end(&mut self) -> Result<(), TrafficError> {
        self.course.stop();
        let (side, target) = ("client", self.target);
        let ended: Vec<_> = self.senders.drain(..).map(JoinHandle::join).collect();
        for sender in ended {
            sender
                .map_err(|_panic| TrafficError::Panicked { side, target })??
                .map_err(|source| TrafficError::Broken { side, target, source })?;
        }
        Ok(())
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        // An error has nobody to go to: whoever wants to know ends it by `stop`.
        self.end().ok();
    }
}

fn sockets(target: SocketAddrV4, flows: u16) -> io::Result<Vec<UdpSocket>> {
    let ports = (target.port()..).take(flows.into());
    ports
        .map(|port| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.connect((*target.ip(), port))?;
            socket.set_write_timeout(Some(POLL))?;
            Ok(socket)
        })
        .collect()
}

fn send(sockets: &[UdpSocket], course: &Course) -> io::Result<()> {
    let payload = [IoSlice::new(&[0x5a; PAYLOAD])];
    let mut control: [_; BATCH] = std::array::from_fn(|_| SendAncillaryBuffer::default());
    let mut batch: Vec<_> = control.iter_mut().map(|none| MMsgHdr::new(&payload, none)).collect();
    for socket in sockets.iter().cycle() {
        if course.is_over() {
            break;
        }
        match sendmmsg(socket, &mut batch, SendFlags::empty()) {
            Ok(count) => course.client.sent_batch(count, PAYLOAD),
            Err(error) if is_pause(error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_pause(error: Errno) -> bool {
    error == Errno::NOBUFS
        || matches!(io::Error::from(error).kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted)
}

/// A frame of 60 octets, the shortest that Ethernet has.
const PAYLOAD: usize = 18;
/// Enough to make the system call itself cheap, few enough to change flows often.
const BATCH: usize = 64;
