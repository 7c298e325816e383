//! Direct-action BPF filters on a clsact qdisc, for kernels without tcx.
//!
//! What was not made here is never changed: a filter is created only in a preference that is
//! free, and replaced or deleted only after it was read back as the program that the caller
//! expects. The kernel offers no transaction over "look, then change"; the handle is the caller's
//! own, so the remaining race needs a second writer that uses the same handle.

use std::os::fd::{AsRawFd, BorrowedFd};

use thiserror::Error;

mod filter;
mod qdisc;

pub use filter::{BpfFilter, Filter};
pub use qdisc::Qdisc;

use crate::netlink::wire::{Nested, Request};
use crate::netlink::{Connection, NetlinkError, Operation};
use crate::tcx::Hook;

/// A place for one filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Place {
    /// Interface index in the namespace of the connection.
    pub ifindex: u32,
    /// The side of the device.
    pub hook: Hook,
    /// Filters run in ascending order of this number; 0 is not a preference.
    pub preference: u16,
    /// The caller's own number within the preference; 0 is not a handle.
    pub handle: u32,
}

impl Place {
    /// Names a place.
    pub const fn new(ifindex: u32, hook: Hook, preference: u16, handle: u32) -> Self {
        Self { ifindex, hook, preference, handle }
    }
}

/// Whether a qdisc had to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ensured {
    /// There was none; it is ours.
    Created,
    /// Somebody else made it, or we did earlier.
    Existed,
}

/// What became of a request to remove a qdisc.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Removal {
    /// It is gone.
    Removed,
    /// There was none.
    Absent,
    /// It stays, because this many filters are left.
    InUse {
        /// Filters on both hooks.
        filters: usize,
    },
}

/// Why a filter or qdisc was not changed.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ClsactError {
    /// The exchange with the kernel failed.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The device has an ingress qdisc of the older kind, which stands in the same place.
    #[error("the device has an ingress qdisc, which excludes clsact; hook inside the namespace")]
    IngressQdisc,
    /// The preference belongs to somebody else.
    #[error("preference {preference} is used by a foreign filter; take another preference")]
    PreferenceTaken {
        /// The preference.
        preference: u16,
    },
    /// Our handle holds another filter than expected.
    #[error("the filter is not the expected program {expected}; it was left alone, list again")]
    NotOurs {
        /// Number of the program that was expected there.
        expected: u32,
    },
    /// A preference or handle of zero lets the kernel choose, which would make it unfindable.
    #[error("preference and handle of a filter must not be zero; this is a bug in fathom")]
    Unplaced,
}

impl ClsactError {
    /// Value of a `reason` label; the set is closed.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Netlink(error) => error.reason(),
            Self::IngressQdisc => "ingress_qdisc",
            Self::PreferenceTaken { .. } => "preference_taken",
            Self::NotOurs { .. } => "not_ours",
            Self::Unplaced => "unplaced",
        }
    }
}

/// A connection that changes traffic control in the namespace in which it was opened.
#[derive(Debug)]
pub struct Clsact {
    connection: Connection,
}

impl Clsact {
    /// Opens a connection in the current network namespace.
    pub fn open() -> Result<Self, NetlinkError> {
        Ok(Self { connection: Connection::open()? })
    }

    /// What stands in the place of the clsact qdisc.
    pub fn qdisc(&mut self, ifindex: u32) -> Result<Option<Qdisc>, NetlinkError> {
        let request = Request::new(libc::RTM_GETQDISC, &header(ifindex, 0, 0, 0));
        let found = self
            .connection
            .dump(Operation::Qdiscs, &request, |message| Qdisc::from_reply(message, ifindex))?;
        Ok(found.first().copied())
    }

    /// Makes a clsact qdisc if the device has none.
    pub fn ensure_qdisc(&mut self, ifindex: u32) -> Result<Ensured, ClsactError> {
        let request = qdisc_request(libc::RTM_NEWQDISC, ifindex)
            .with_flags((libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16);
        match self.change(Operation::ChangeQdisc, request) {
            Ok(()) => Ok(Ensured::Created),
            // Only now, because the kernel lists the qdiscs of all devices at once.
            Err(NetlinkError::Exists { .. }) => match self.qdisc(ifindex)? {
                Some(Qdisc::Ingress) => Err(ClsactError::IngressQdisc),
                _ => Ok(Ensured::Existed),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// Removes the clsact qdisc if no filter is left on it.
    ///
    /// Call it only for a qdisc that [`Clsact::ensure_qdisc`] has created.
    pub fn remove_unused_qdisc(&mut self, ifindex: u32) -> Result<Removal, ClsactError> {
        match self.qdisc(ifindex)? {
            Some(Qdisc::Clsact) => {}
            Some(Qdisc::Ingress) => return Err(ClsactError::IngressQdisc),
            None => return Ok(Removal::Absent),
        }
        let ingress = self.filters(ifindex, Hook::Ingress)?.len();
        let filters = ingress + self.filters(ifindex, Hook::Egress)?.len();
        if filters > 0 {
            return Ok(Removal::InUse { filters });
        }
        self.change(Operation::ChangeQdisc, qdisc_request(libc::RTM_DELQDISC, ifindex))?;
        Ok(Removal::Removed)
    }

    /// The filters of one hook, in the order in which they run.
    pub fn filters(&mut self, ifindex: u32, hook: Hook) -> Result<Vec<Filter>, NetlinkError> {
        let header = header(ifindex, 0, parent(hook), 0);
        let request = Request::new(libc::RTM_GETTFILTER, &header);
        self.connection.dump(Operation::Filters, &request, Filter::from_reply)
    }

    /// Attaches a program in a preference that nobody uses.
    pub fn attach(
        &mut self,
        place: Place,
        program: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), ClsactError> {
        let Place { preference, .. } = placed(place)?;
        let taken = || ClsactError::PreferenceTaken { preference };
        if self.in_preference(place)?.next().is_some() {
            return Err(taken());
        }
        let request = filter_request(libc::RTM_NEWTFILTER, place)
            .with_nested(libc::TCA_OPTIONS, direct_action(program, name))
            .with_flags((libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16);
        match self.change(Operation::ChangeFilter, request) {
            Err(NetlinkError::Exists { .. }) => Err(taken()),
            other => Ok(other?),
        }
    }

    /// Puts another program into the place of program `expected`; no packet goes unseen.
    pub fn replace(
        &mut self,
        place: Place,
        expected: u32,
        program: BorrowedFd<'_>,
        name: &str,
    ) -> Result<(), ClsactError> {
        self.verify(place, expected)?;
        // Without NLM_F_CREATE: a filter that vanished meanwhile is not made anew.
        let request = filter_request(libc::RTM_NEWTFILTER, place)
            .with_nested(libc::TCA_OPTIONS, direct_action(program, name));
        Ok(self.change(Operation::ChangeFilter, request)?)
    }

    /// Deletes the filter, if it is still program `expected`.
    pub fn detach(&mut self, place: Place, expected: u32) -> Result<(), ClsactError> {
        self.verify(place, expected)?;
        let request = filter_request(libc::RTM_DELTFILTER, place);
        Ok(self.change(Operation::ChangeFilter, request)?)
    }

    fn verify(&mut self, place: Place, expected: u32) -> Result<(), ClsactError> {
        let place = placed(place)?;
        let found = self.in_preference(place)?.find(|filter| filter.handle == place.handle);
        let filter = found.ok_or(NetlinkError::NotFound { operation: Operation::ChangeFilter })?;
        if filter.program_id() == Some(expected) {
            Ok(())
        } else {
            Err(ClsactError::NotOurs { expected })
        }
    }

    fn in_preference(
        &mut self,
        place: Place,
    ) -> Result<impl Iterator<Item = Filter> + use<>, NetlinkError> {
        let filters = self.filters(place.ifindex, place.hook)?;
        Ok(filters.into_iter().filter(move |filter| filter.stands_in(place.preference)))
    }

    fn change(&mut self, operation: Operation, request: Request) -> Result<(), NetlinkError> {
        self.connection.exchange(operation, request, |_echo| Ok(()))
    }
}

const fn placed(place: Place) -> Result<Place, ClsactError> {
    if place.preference == 0 || place.handle == 0 {
        return Err(ClsactError::Unplaced);
    }
    Ok(place)
}

fn qdisc_request(kind: u16, ifindex: u32) -> Request {
    let header = header(ifindex, qdisc::HANDLE, qdisc::PARENT, 0);
    Request::new(kind, &header).with_text(libc::TCA_KIND, qdisc::CLSACT)
}

fn filter_request(kind: u16, place: Place) -> Request {
    let info = filter::info(place.preference);
    let header = header(place.ifindex, place.handle, parent(place.hook), info);
    Request::new(kind, &header).with_text(libc::TCA_KIND, filter::BPF)
}

fn direct_action(program: BorrowedFd<'_>, name: &str) -> Nested {
    Nested::new()
        .with(filter::PROGRAM_FD, &program.as_raw_fd().to_ne_bytes())
        .with_text(filter::PROGRAM_NAME, name)
        .with(filter::FLAGS, &filter::DIRECT_ACTION.to_ne_bytes())
}

/// `struct tcmsg`.
fn header(ifindex: u32, handle: u32, parent: u32, info: u32) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    let words = header.chunks_exact_mut(4).skip(1).zip([ifindex, handle, parent, info]);
    words.for_each(|(place, word)| place.copy_from_slice(&word.to_ne_bytes()));
    header
}

/// `TC_H_MIN_INGRESS` and `TC_H_MIN_EGRESS` below the qdisc.
const fn parent(hook: Hook) -> u32 {
    match hook {
        Hook::Ingress => qdisc::HANDLE | 0xfff2,
        Hook::Egress => qdisc::HANDLE | 0xfff3,
    }
}

const HEADER: usize = 20;

#[cfg(test)]
mod tests;
