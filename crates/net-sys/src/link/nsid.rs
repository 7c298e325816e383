//! Namespace ids.

use std::fmt;

use crate::netlink::ParseError;
use crate::netlink::wire::{Attributes, Message, Request};

/// The number by which one network namespace knows another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nsid(i32);

impl Nsid {
    /// Takes a number as the kernel writes it; negative ones mean "no id".
    pub const fn new(value: i32) -> Option<Self> {
        if value < 0 { None } else { Some(Self(value)) }
    }

    /// The number.
    pub const fn value(self) -> i32 {
        self.0
    }

    pub(super) const fn to_bytes(self) -> [u8; 4] {
        self.0.to_ne_bytes()
    }

    /// Reads the id out of an `RTM_NEWNSID` or `RTM_DELNSID` message.
    pub(crate) fn from_message(message: &Message<'_>) -> Result<Option<Self>, ParseError> {
        if message.kind != libc::RTM_NEWNSID && message.kind != libc::RTM_DELNSID {
            return Ok(None);
        }
        let (_, attributes) = Attributes::behind::<HEADER>(message.body, "namespace id message")?;
        for attribute in attributes {
            let attribute = attribute?;
            if attribute.kind == NSID {
                return Ok(Self::new(attribute.i32("namespace id")?));
            }
        }
        Err(ParseError::Missing { what: "namespace id" })
    }
}

impl fmt::Display for Nsid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Starts a request for namespace ids.
pub(super) fn request() -> Request {
    Request::new(libc::RTM_GETNSID, &[0; HEADER])
}

/// `struct rtgenmsg`.
const HEADER: usize = 1;

// `linux/net_namespace.h`; libc does not have them.
const NSID: u16 = 1;
/// `NETNSA_FD`.
pub(super) const FD: u16 = 3;
