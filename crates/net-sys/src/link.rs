//! Links, addresses, routes and namespace ids as rtnetlink tells them.
//!
//! Names come from whoever made the device, a pod included: they may hold control characters.
//! Another namespace is read through its id in ours, without entering it and without holding a
//! descriptor that would keep it alive. Ids are never assigned here: an id that does not exist is
//! `None`.

use std::collections::HashMap;
use std::hash::Hash;
use std::os::fd::{AsFd, AsRawFd};

mod address;
mod counters;
mod nsid;
mod record;
mod way;

pub use address::{Address, Scope};
pub use counters::Counters64;
pub use nsid::Nsid;
pub use record::Link;
pub use way::Way;

use crate::netlink::wire::{Message, Request};
use crate::netlink::{Connection, NetlinkError, Operation, ParseError};
use crate::netns::Netns;

/// A link by index or by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Selector<'a> {
    /// Interface index.
    Index(u32),
    /// Interface name; alternative names are not looked up.
    Name(&'a str),
}

impl From<u32> for Selector<'_> {
    fn from(index: u32) -> Self {
        Self::Index(index)
    }
}

impl<'a> From<&'a str> for Selector<'a> {
    fn from(name: &'a str) -> Self {
        Self::Name(name)
    }
}

/// A connection for queries about the namespace in which it was opened.
///
/// An open socket keeps its namespace alive; one opened inside a pod's namespace belongs into the
/// visit that opened it.
#[derive(Debug)]
pub struct Route {
    connection: Connection,
}

impl Route {
    /// Opens a connection in the current network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { connection: Connection::open()? })
    }

    /// Reads all links of this namespace, or of the one with id `target`.
    pub fn links(&mut self, target: Option<Nsid>) -> Result<Vec<Link>, NetlinkError> {
        let request = target_link(link_request(0), target);
        self.connection
            .dump(Operation::Links, &request, Link::from_reply)
            .map_err(|error| error.of_target(target))
    }

    /// Reads one link of this namespace, or of the one with id `target`.
    pub fn link<'a>(
        &mut self,
        which: impl Into<Selector<'a>>,
        target: Option<Nsid>,
    ) -> Result<Link, NetlinkError> {
        let request = match which.into() {
            Selector::Index(index) => link_request(index),
            Selector::Name(name) if name.len() < libc::IFNAMSIZ => {
                link_request(0).with_text(libc::IFLA_IFNAME, name)
            }
            Selector::Name(_) => {
                return Err(NetlinkError::NoDevice { operation: Operation::Links });
            }
        };
        let request = target_link(request, target);
        one(&mut self.connection, Operation::Links, request, Link::from_reply)
            .map_err(|error| error.of_target(target))
    }

    /// Reads the addresses of all links of this namespace, or of the one with id `target`.
    pub fn addresses(&mut self, target: Option<Nsid>) -> Result<Vec<Address>, NetlinkError> {
        let mut request = Request::new(libc::RTM_GETADDR, &[0; address::HEADER]);
        if let Some(target) = target {
            request = request.with(address::TARGET_NETNSID, &target.to_bytes());
        }
        self.connection
            .dump(Operation::Addresses, &request, Address::from_reply)
            .map_err(|error| error.of_target(target))
    }

    /// The id that this namespace has for `namespace`, if it has one.
    pub fn nsid(&mut self, namespace: &Netns) -> Result<Option<Nsid>, NetlinkError> {
        let descriptor = namespace.as_fd().as_raw_fd().to_ne_bytes();
        let request = nsid::request().with(nsid::FD, &descriptor);
        let mut found = None;
        self.connection.exchange(Operation::NamespaceIds, request, |message| {
            found = Nsid::from_message(message)?.or(found);
            Ok(())
        })?;
        Ok(found)
    }

    /// All ids that this namespace has for others.
    pub fn nsids(&mut self) -> Result<Vec<Nsid>, NetlinkError> {
        self.connection.dump(Operation::NamespaceIds, &nsid::request(), Nsid::from_message)
    }

    /// Tells which candidate each id means; candidates without id are left out.
    ///
    /// Each candidate is closed before the next is taken, so a lazy iterator over namespace files
    /// never holds more than one open.
    pub fn match_nsids<K: Eq + Hash>(
        &mut self,
        candidates: impl IntoIterator<Item = (K, Netns)>,
    ) -> Result<HashMap<Nsid, K>, NetlinkError> {
        let mut matched = HashMap::new();
        for (key, namespace) in candidates {
            if let Some(id) = self.nsid(&namespace)? {
                matched.insert(id, key);
            }
        }
        Ok(matched)
    }
}

/// Performs an exchange whose reply is exactly one record.
fn one<T>(
    connection: &mut Connection,
    operation: Operation,
    request: Request,
    parse: impl Fn(&Message<'_>) -> Result<Option<T>, ParseError>,
) -> Result<T, NetlinkError> {
    let mut found = None;
    connection.exchange(operation, request, |message| {
        found = parse(message)?.or_else(|| found.take());
        Ok(())
    })?;
    found.ok_or(NetlinkError::Malformed(ParseError::Missing { what: "the record asked for" }))
}

fn link_request(index: u32) -> Request {
    let mut header = [0; record::HEADER];
    header[record::INDEX].copy_from_slice(&index.to_ne_bytes());
    Request::new(libc::RTM_GETLINK, &header)
}

fn target_link(request: Request, target: Option<Nsid>) -> Request {
    match target {
        Some(id) => request.with(libc::IFLA_TARGET_NETNSID, &id.to_bytes()),
        None => request,
    }
}

#[cfg(test)]
mod tests;
