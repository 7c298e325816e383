//! Link, address and namespace events of the current network namespace, as they happen.
//!
//! Events are hints: whoever receives [`Event::Overrun`] has missed some and must read the tables
//! again. Everything that was still queued at that moment is thrown away first, so an event that
//! is older than the tables read afterwards is never delivered behind them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::sockopt::{
    set_socket_recv_buffer_size, set_socket_recv_buffer_size_force, socket_recv_buffer_size,
};

use crate::link::{Address, Link, Nsid};
use crate::netlink::wire::{Attributes, Message, Messages};
use crate::netlink::{
    Datagram, NetlinkError, Operation, ParseError, open_socket, receive, receive_buffer,
};
use crate::wake::{Waker, readable, wait};

/// Something that changed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A link appeared or changed.
    LinkChanged(Box<Link>),
    /// A link was removed or moved to another namespace.
    LinkGone {
        /// Its interface index.
        ifindex: u32,
        /// The namespace it was moved to, as far as it has an id.
        moved_to: Option<Nsid>,
    },
    /// An address of a link came, went or changed; told by [`Monitor::open_with_addresses`] only.
    AddressesChanged {
        /// The link's interface index.
        ifindex: u32,
    },
    /// This namespace got an id for another one.
    NamespaceKnown {
        /// The id.
        nsid: Nsid,
    },
    /// The namespace with that id is gone; the id may be used again.
    NamespaceGone {
        /// The id.
        nsid: Nsid,
    },
    /// Events were lost; read everything again.
    Overrun,
    /// A [`Waker`] was used.
    Woken,
}

/// What the monitor could not use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Losses {
    /// How often the kernel had to throw events away.
    pub overruns: u64,
    /// Messages that could not be read; each is reported as an overrun too.
    pub malformed: u64,
    /// Datagrams that another process sent us; they are ignored.
    pub foreign: u64,
}

/// A subscription to link and namespace id events, and to address events if asked for.
#[derive(Debug)]
pub struct Monitor {
    socket: OwnedFd,
    buffer: Box<[u8]>,
    pending: VecDeque<Event>,
    waker: Waker,
    losses: Losses,
}

impl Monitor {
    /// Subscribes with a receive buffer for some ten thousand events.
    pub fn open() -> Result<Self, NetlinkError> {
        Self::with_buffer(BUFFER)
    }

    /// Subscribes like [`Monitor::open`], and to changes of addresses of both families.
    pub fn open_with_addresses() -> Result<Self, NetlinkError> {
        Self::subscribe(LINK_GROUP | NSID_GROUP | ADDRESS_GROUPS, BUFFER)
    }

    /// Subscribes with a receive buffer of this many bytes.
    ///
    /// Without CAP_NET_ADMIN the kernel caps it at `net.core.rmem_max`.
    pub fn with_buffer(bytes: usize) -> Result<Self, NetlinkError> {
        Self::subscribe(LINK_GROUP | NSID_GROUP, bytes)
    }

    fn subscribe(groups: u32, bytes: usize) -> Result<Self, NetlinkError> {
        let failed = |errno| NetlinkError::socket(Operation::Events, errno);
        let socket = open_socket(groups)?;
        set_socket_recv_buffer_size_force(&socket, bytes)
            .or_else(|_not_permitted| set_socket_recv_buffer_size(&socket, bytes))
            .map_err(failed)?;
        rustix::io::ioctl_fionbio(&socket, true).map_err(failed)?;
        Ok(Self {
            socket,
            buffer: receive_buffer(),
            pending: VecDeque::new(),
            waker: Waker::new().map_err(failed)?,
            losses: Losses::default(),
        })
    }

    /// Waits for the next event; `None` when there was none in time.
    pub fn poll(&mut self, timeout: Duration) -> Result<Option<Event>, NetlinkError> {
        let deadline = Instant::now().checked_add(timeout);
        loop {
            if self.waker.take() {
                return Ok(Some(Event::Woken));
            }
            if self.pending.is_empty() {
                self.fill()?;
            }
            if let Some(event) = self.pending.pop_front() {
                return Ok(Some(event));
            }
            let left = deadline.map_or(Duration::MAX, |at| at.duration_since(Instant::now()));
            if left.is_zero() {
                return Ok(None);
            }
            wait(&mut [readable(&self.socket), readable(&self.waker)], left)
                .map_err(|errno| NetlinkError::socket(Operation::Events, errno))?;
        }
    }

    /// Ends a [`Monitor::poll`] from another thread.
    pub fn waker(&self) -> Waker {
        self.waker.clone()
    }

    /// What could not be used so far.
    pub const fn losses(&self) -> Losses {
        self.losses
    }

    /// Size of the receive buffer that the kernel granted, which counts its own overhead.
    pub fn buffer_size(&self) -> Result<usize, NetlinkError> {
        socket_recv_buffer_size(&self.socket)
            .map_err(|errno| NetlinkError::socket(Operation::Events, errno))
    }

    /// Moves what has arrived into the queue, one datagram at most.
    fn fill(&mut self) -> Result<(), NetlinkError> {
        match receive(&self.socket, &mut self.buffer) {
            Ok(Datagram::Kernel(bytes)) => match events(bytes) {
                Ok(events) => {
                    self.pending.extend(events);
                    Ok(())
                }
                Err(_unreadable) => {
                    self.losses.malformed += 1;
                    self.start_over()
                }
            },
            Ok(Datagram::Foreign) => {
                self.losses.foreign += 1;
                Ok(())
            }
            Ok(Datagram::Truncated) | Err(Errno::NOBUFS) => {
                self.losses.overruns += 1;
                self.start_over()
            }
            Err(Errno::AGAIN) => Ok(()),
            Err(errno) => Err(NetlinkError::socket(Operation::Events, errno)),
        }
    }

    /// Throws away what is queued and asks the caller to read the tables.
    fn start_over(&mut self) -> Result<(), NetlinkError> {
        for _datagram in 0..MAX_DISCARDED {
            match receive(&self.socket, &mut self.buffer) {
                Ok(_discarded) => {}
                Err(Errno::NOBUFS) => self.losses.overruns += 1,
                Err(Errno::AGAIN) => break,
                Err(errno) => return Err(NetlinkError::socket(Operation::Events, errno)),
            }
        }
        self.pending.push_back(Event::Overrun);
        Ok(())
    }
}

impl AsFd for Monitor {
    /// The socket, for a caller with an event loop of its own: readable when events wait.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn events(datagram: &[u8]) -> Result<Vec<Event>, ParseError> {
    let events: Result<Vec<_>, _> = Messages::new(datagram)
        .map(|message| message.and_then(|message| event(&message)))
        .collect();
    events.map(|events| events.into_iter().flatten().collect())
}

fn event(message: &Message<'_>) -> Result<Option<Event>, ParseError> {
    Ok(match message.kind {
        libc::RTM_NEWLINK | libc::RTM_DELLINK if of_a_bridge(message.body) => None,
        libc::RTM_NEWLINK => Some(Event::LinkChanged(Box::new(Link::from_body(message.body)?))),
        libc::RTM_DELLINK => Some(Event::LinkGone {
            ifindex: Link::from_body(message.body)?.ifindex,
            moved_to: moved_to(message.body)?,
        }),
        libc::RTM_NEWADDR | libc::RTM_DELADDR => Address::from_body(message.body)?
            .map(|address| Event::AddressesChanged { ifindex: address.ifindex }),
        libc::RTM_NEWNSID => {
            Nsid::from_message(message)?.map(|nsid| Event::NamespaceKnown { nsid })
        }
        libc::RTM_DELNSID => Nsid::from_message(message)?.map(|nsid| Event::NamespaceGone { nsid }),
        _ => None,
    })
}

fn moved_to(body: &[u8]) -> Result<Option<Nsid>, ParseError> {
    let (_, attributes) = Attributes::behind::<LINK_HEADER>(body, "link message")?;
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.kind == libc::IFLA_NEW_NETNSID {
            return Ok(Nsid::new(attribute.i32("namespace moved to")?));
        }
    }
    Ok(None)
}

/// A bridge announces its ports with the same message types: there, "deleted" means that the
/// device left the bridge and lives on.
fn of_a_bridge(body: &[u8]) -> bool {
    body.first().is_some_and(|&family| i32::from(family) != libc::AF_UNSPEC)
}

/// Length of `struct ifinfomsg`.
const LINK_HEADER: usize = 16;

const LINK_GROUP: u32 = 1 << (libc::RTNLGRP_LINK - 1);
const NSID_GROUP: u32 = 1 << (libc::RTNLGRP_NSID - 1);
const ADDRESS_GROUPS: u32 =
    (1 << (libc::RTNLGRP_IPV4_IFADDR - 1)) | (1 << (libc::RTNLGRP_IPV6_IFADDR - 1));

/// The kernel doubles it and charges 2.25 KiB for a link event: room for 14 000 of them.
const BUFFER: usize = 16 * 1024 * 1024;

/// Ends the clearing of a queue that is filled as fast as it is emptied.
const MAX_DISCARDED: u32 = 65_536;

#[cfg(test)]
mod tests;
