//! Why a netlink exchange failed, by what the caller can do about it.

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

use rustix::io::Errno;
use thiserror::Error;

use super::{REPLY_TIMEOUT, wire::ParseError};
use crate::link::Nsid;

/// What was being asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Operation {
    /// Opening or configuring the socket.
    Open,
    /// Reading one link or all links.
    Links,
    /// Reading interface addresses.
    Addresses,
    /// Looking up a route.
    Routes,
    /// Reading namespace ids.
    NamespaceIds,
    /// Waiting for change events.
    Events,
    /// Reading queueing disciplines.
    Qdiscs,
    /// Creating or deleting a queueing discipline.
    ChangeQdisc,
    /// Reading filters.
    Filters,
    /// Creating, replacing or deleting a filter.
    ChangeFilter,
}

impl Operation {
    const fn text(self) -> &'static str {
        match self {
            Self::Open => "opening an rtnetlink socket",
            Self::Links => "reading links",
            Self::Addresses => "reading interface addresses",
            Self::Routes => "looking up a route",
            Self::NamespaceIds => "reading namespace ids",
            Self::Events => "waiting for link events",
            Self::Qdiscs => "reading queueing disciplines",
            Self::ChangeQdisc => "changing a queueing discipline",
            Self::Filters => "reading traffic filters",
            Self::ChangeFilter => "changing a traffic filter",
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// A netlink exchange that did not succeed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum NetlinkError {
    /// The kernel knows no such device (any more).
    #[error("{operation}: the device does not exist; it may just have been removed, list again")]
    NoDevice {
        /// What was asked.
        operation: Operation,
    },
    /// This namespace has no such id for another one (any more).
    #[error("{operation}: no namespace has id {nsid}; the pod may just have ended, list again")]
    NoNamespace {
        /// What was asked.
        operation: Operation,
        /// The id.
        nsid: Nsid,
    },
    /// No route leads there, one forbids it, or the source cannot be used for it.
    #[error(
        "no route to {destination}: {source}; check the routing table, the source address and, \
         for a link-local address, the device"
    )]
    NoRoute {
        /// Where to.
        destination: IpAddr,
        /// The error number.
        source: io::Error,
    },
    /// The caller lacks a capability.
    #[error("{operation}: not permitted; the process needs CAP_NET_ADMIN in that namespace")]
    NotPermitted {
        /// What was asked.
        operation: Operation,
    },
    /// The object to create is already there.
    #[error("{operation}: something is already in that place; read it before changing it")]
    Exists {
        /// What was asked.
        operation: Operation,
    },
    /// The object to change or delete is not there.
    #[error("{operation}: nothing is in that place; it may just have been removed, list again")]
    NotFound {
        /// What was asked.
        operation: Operation,
    },
    /// The kernel refused the request for another reason.
    #[error("{operation}: the kernel refused: {source}{}", hint(detail.as_deref()))]
    Refused {
        /// What was asked.
        operation: Operation,
        /// The kernel's own explanation, printable characters only.
        detail: Option<Box<str>>,
        /// The error number.
        source: io::Error,
    },
    /// No reply arrived in time.
    #[error("{operation}: no reply within {REPLY_TIMEOUT:?}; the network stack is busy, try again")]
    Timeout {
        /// What was asked.
        operation: Operation,
    },
    /// The table changed during each attempt to read it.
    #[error("{operation}: the table changed during all {attempts} attempts to read it, try again")]
    Interrupted {
        /// What was asked.
        operation: Operation,
        /// How often it was tried.
        attempts: u32,
    },
    /// A reply did not fit the receive buffer.
    #[error("{operation}: a reply was cut short by the receive buffer; this is a bug in fathom")]
    Truncated {
        /// What was asked.
        operation: Operation,
    },
    /// A reply could not be read.
    #[error(
        "the kernel sent a message that cannot be read: {0}; report it with the kernel release"
    )]
    Malformed(#[from] ParseError),
    /// A socket call failed.
    #[error("{operation}: the socket failed: {source}")]
    Socket {
        /// What was asked.
        operation: Operation,
        /// The error number.
        source: io::Error,
    },
}

impl NetlinkError {
    /// Time that a request waits for each datagram of its reply.
    pub const REPLY_TIMEOUT: Duration = REPLY_TIMEOUT;

    /// Value of a `reason` label; the set is closed.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NoDevice { .. } => "no_device",
            Self::NoNamespace { .. } => "no_namespace",
            Self::NoRoute { .. } => "no_route",
            Self::NotPermitted { .. } => "not_permitted",
            Self::Exists { .. } => "exists",
            Self::NotFound { .. } => "not_found",
            Self::Refused { .. } => "refused",
            Self::Timeout { .. } => "timeout",
            Self::Interrupted { .. } => "interrupted",
            Self::Truncated { .. } => "truncated",
            Self::Malformed(_) => "malformed",
            Self::Socket { .. } => "socket",
        }
    }

    pub(crate) fn socket(operation: Operation, errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS => Self::NotPermitted { operation },
            _ => Self::Socket { operation, source: errno.into() },
        }
    }

    /// The requests made here are valid, so with a target it is the target that is not.
    pub(crate) fn of_target(self, target: Option<Nsid>) -> Self {
        match (self, target) {
            (Self::Refused { operation, source, .. }, Some(nsid))
                if source.raw_os_error() == Some(libc::EINVAL) =>
            {
                Self::NoNamespace { operation, nsid }
            }
            (error, _) => error,
        }
    }

    /// Asking for a route needs no capability and the requests made here are valid, so these are
    /// answers of the routing table.
    pub(crate) fn of_destination(self, destination: IpAddr) -> Self {
        match self {
            Self::NotPermitted { .. } => Self::no_route(destination, libc::EACCES),
            Self::Refused { source, .. } if forbids_route(&source) => {
                Self::NoRoute { destination, source }
            }
            error => error,
        }
    }

    pub(crate) fn no_route(destination: IpAddr, errno: i32) -> Self {
        Self::NoRoute { destination, source: io::Error::from_raw_os_error(errno) }
    }

    pub(crate) fn last_os_error(operation: Operation) -> Self {
        Self::Socket { operation, source: io::Error::last_os_error() }
    }

    pub(crate) fn refused(operation: Operation, errno: i32, detail: Option<Box<str>>) -> Self {
        match errno {
            libc::ENODEV => Self::NoDevice { operation },
            libc::EPERM | libc::EACCES => Self::NotPermitted { operation },
            libc::EEXIST => Self::Exists { operation },
            libc::ENOENT => Self::NotFound { operation },
            _ => Self::Refused { operation, detail, source: io::Error::from_raw_os_error(errno) },
        }
    }
}

/// The last is the answer of a kernel without IPv6.
fn forbids_route(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL | libc::EOPNOTSUPP)
    )
}

fn hint(detail: Option<&str>) -> String {
    detail.map_or_else(String::new, |text| format!(" ({text})"))
}
