//! A synchronous rtnetlink connection: one request, its replies, one verdict.
//!
//! The kernel is the only peer that is believed: datagrams from any other port are counted and
//! dropped. Every exchange is bounded in time and in datagrams. Messages are taken apart by
//! `wire`, which the public record types of this crate ([`crate::link::Link`] and friends) use.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use rustix::io::{Errno, retry_on_intr};
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, ReturnFlags, SendFlags, SocketFlags, SocketType,
    bind, recvmsg, send, socket_with,
};

mod error;
pub(crate) mod wire;

pub use error::{NetlinkError, Operation};
pub use wire::ParseError;

use wire::{Message, Messages, Request, Verdict};

/// One rtnetlink socket, bound to the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Connection {
    socket: OwnedFd,
    sequence: u32,
    buffer: Box<[u8]>,
}

impl Connection {
    /// Opens a socket in the current network namespace.
    pub(crate) fn open() -> Result<Self, NetlinkError> {
        let socket = open_socket(0)?;
        set_option(&socket, libc::NETLINK_EXT_ACK)?;
        set_option(&socket, libc::NETLINK_CAP_ACK)?;
        // Without it the address dump ignores the target namespace and answers for ours.
        set_option(&socket, libc::NETLINK_GET_STRICT_CHK)?;
        set_socket_timeout(&socket, Timeout::Recv, Some(REPLY_TIMEOUT))
            .map_err(|errno| NetlinkError::socket(Operation::Open, errno))?;
        Ok(Self { socket, sequence: 0, buffer: receive_buffer() })
    }

    /// Sends a request that changes something or asks for one record, and awaits its verdict.
    pub(crate) fn exchange(
        &mut self,
        operation: Operation,
        request: Request,
        mut on_message: impl FnMut(&Message<'_>) -> Result<(), ParseError>,
    ) -> Result<(), NetlinkError> {
        self.send(operation, request.with_flags(libc::NLM_F_ACK as u16))?;
        self.collect(operation, &mut on_message).map(|_consistent| ())
    }

    /// Sends a dump request; starts over while the kernel reports a changing table.
    pub(crate) fn dump<T>(
        &mut self,
        operation: Operation,
        request: &Request,
        mut parse: impl FnMut(&Message<'_>) -> Result<Option<T>, ParseError>,
    ) -> Result<Vec<T>, NetlinkError> {
        for _attempt in 0..DUMP_ATTEMPTS {
            if let Some(found) = self.dump_once(operation, request, &mut parse)? {
                return Ok(found);
            }
        }
        Err(NetlinkError::Interrupted { operation, attempts: DUMP_ATTEMPTS })
    }

    /// Dumps a table; `None` when it changed meanwhile.
    pub(crate) fn dump_once<T>(
        &mut self,
        operation: Operation,
        request: &Request,
        parse: &mut impl FnMut(&Message<'_>) -> Result<Option<T>, ParseError>,
    ) -> Result<Option<Vec<T>>, NetlinkError> {
        let mut found = Vec::new();
        let request = request.clone().with_flags(libc::NLM_F_DUMP as u16);
        self.send(operation, request)?;
        let consistent = self.collect(operation, &mut |message| {
            found.extend(parse(message)?);
            Ok(())
        })?;
        Ok(consistent.then_some(found))
    }

    fn send(&mut self, operation: Operation, request: Request) -> Result<(), NetlinkError> {
        self.sequence = self.sequence.wrapping_add(1);
        let bytes = request.finish(self.sequence);
        retry_on_intr(|| send(&self.socket, &bytes, SendFlags::empty()))
            .map(|_sent| ())
            .map_err(|errno| NetlinkError::socket(operation, errno))
    }

    /// Reads until the verdict of the current request; false when the dump was interrupted.
    fn collect(
        &mut self,
        operation: Operation,
        on_message: &mut impl FnMut(&Message<'_>) -> Result<(), ParseError>,
    ) -> Result<bool, NetlinkError> {
        let mut consistent = true;
        for _datagram in 0..MAX_DATAGRAMS {
            let datagram = match receive(&self.socket, &mut self.buffer) {
                Ok(Datagram::Kernel(bytes)) => bytes,
                Ok(Datagram::Foreign) => continue,
                Ok(Datagram::Truncated) => return Err(NetlinkError::Truncated { operation }),
                Err(Errno::AGAIN) => return Err(NetlinkError::Timeout { operation }),
                Err(errno) => return Err(NetlinkError::socket(operation, errno)),
            };
            let progress = digest(datagram, self.sequence, on_message)?;
            consistent &= progress.consistent;
            match progress.verdict {
                Some(Verdict::Done) => return Ok(consistent),
                Some(Verdict::Refused { errno, detail }) => {
                    return Err(NetlinkError::refused(operation, errno, detail));
                }
                None => {}
            }
        }
        Err(NetlinkError::Timeout { operation })
    }
}

/// How far one datagram brought an exchange.
#[derive(Debug, PartialEq, Eq)]
struct Progress {
    consistent: bool,
    verdict: Option<Verdict>,
}

/// Hands the messages that answer request `sequence` on, up to the verdict.
fn digest(
    datagram: &[u8],
    sequence: u32,
    on_message: &mut impl FnMut(&Message<'_>) -> Result<(), ParseError>,
) -> Result<Progress, ParseError> {
    let mut progress = Progress { consistent: true, verdict: None };
    for message in Messages::new(datagram) {
        let message = message?;
        // Replies to a request that timed out earlier may still arrive.
        if message.sequence != sequence {
            continue;
        }
        progress.consistent &= !message.interrupted();
        progress.verdict = message.verdict()?;
        if progress.verdict.is_some() {
            break;
        }
        on_message(&message)?;
    }
    Ok(progress)
}

/// What one receive call brought.
pub(crate) enum Datagram<'a> {
    /// Complete messages from the kernel.
    Kernel(&'a [u8]),
    /// Another process wrote to our port.
    Foreign,
    /// The datagram was larger than the buffer.
    Truncated,
}

/// Opens an rtnetlink socket that is a member of the groups in the mask.
pub(crate) fn open_socket(groups: u32) -> Result<OwnedFd, NetlinkError> {
    let failed = |errno| NetlinkError::socket(Operation::Open, errno);
    let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)
        .map_err(failed)?;
    bind(&socket, &SocketAddrNetlink::new(0, groups)).map_err(failed)?;
    Ok(socket)
}

/// A buffer that holds any datagram rtnetlink sends for the requests made here.
pub(crate) fn receive_buffer() -> Box<[u8]> {
    vec![0; RECEIVE_BUFFER].into_boxed_slice()
}

/// Receives one datagram and checks who sent it.
pub(crate) fn receive<'a>(socket: impl AsFd, buffer: &'a mut [u8]) -> Result<Datagram<'a>, Errno> {
    let received = retry_on_intr(|| {
        let mut parts = [IoSliceMut::new(buffer)];
        let mut control = RecvAncillaryBuffer::default();
        recvmsg(socket.as_fd(), &mut parts, &mut control, RecvFlags::empty())
    })?;
    if !sent_by_kernel(received.address) {
        return Ok(Datagram::Foreign);
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Ok(Datagram::Truncated);
    }
    Ok(buffer.get(..received.bytes).map_or(Datagram::Truncated, Datagram::Kernel))
}

fn sent_by_kernel(address: Option<rustix::net::SocketAddrAny>) -> bool {
    address
        .and_then(|any| SocketAddrNetlink::try_from(any).ok())
        .is_some_and(|sender| sender.pid() == 0)
}

fn set_option(socket: &OwnedFd, option: libc::c_int) -> Result<(), NetlinkError> {
    let enabled: libc::c_int = 1;
    // SAFETY: the pointer and the length describe `enabled`, which outlives the call, and the
    // descriptor is open because `socket` owns it.
    let outcome = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_NETLINK,
            option,
            (&raw const enabled).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if outcome == 0 { Ok(()) } else { Err(NetlinkError::last_os_error(Operation::Open)) }
}

/// Dumps are cut into datagrams of at most 32 KiB; a single link may be larger than that.
const RECEIVE_BUFFER: usize = 128 * 1024;

/// The kernel answers within microseconds unless another task holds the rtnl lock.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// How often an interrupted dump is started again.
const DUMP_ATTEMPTS: u32 = 8;

/// Ends a reply that never ends; 32 KiB each makes it 2 GiB.
const MAX_DATAGRAMS: u32 = 65_536;

#[cfg(test)]
mod tests;
