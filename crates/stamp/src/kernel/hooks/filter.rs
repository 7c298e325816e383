//! A program as a filter, where the kernel has no links for it.
//!
//! A filter stays when its process is gone. Its handle says which port it is for, and
//! whoever has that port is the only one to replace it; the lease keeps it from answering
//! meanwhile.

use std::os::fd::BorrowedFd;

use net_sys::bpf::{program_id, program_name};
use net_sys::clsact::{Clsact, ClsactError, Ensured, Filter, Place};
use net_sys::netlink::NetlinkError;
use net_sys::tcx::{Hook, Order};

use crate::error::Error;

/// A filter of ours.
#[derive(Debug)]
pub(super) struct Placed {
    place: Place,
    program: u32,
}

impl Placed {
    /// Puts a program in the place of what an earlier process left, or in the first that
    /// is free.
    pub(super) fn attach(
        ifindex: u32,
        (hook, order): (Hook, Order),
        program: BorrowedFd<'_>,
        port: u16,
    ) -> Result<Self, Error> {
        let mut clsact = Clsact::open()?;
        let qdisc = clsact.ensure_qdisc(ifindex)?;
        let own = program_id(program)?;
        let filters = clsact.filters(ifindex, hook)?;
        let left = filters.iter().find(|found| is_ours(found, port));
        if let Some((left, expected)) = left.and_then(|left| Some((left, left.program_id()?))) {
            let place = Place::new(ifindex, hook, left.preference, left.handle);
            clsact.replace(place, expected, program, name(hook))?;
            return Ok(Self { place, program: own });
        }
        let mark = if qdisc == Ensured::Created { OWN_QDISC } else { 0 };
        let first = if order == Order::First { FIRST } else { LAST };
        for preference in first..first + ATTEMPTS {
            let place = Place::new(ifindex, hook, preference, handle(port) | mark);
            match clsact.attach(place, program, name(hook)) {
                Ok(()) => return Ok(Self { place, program: own }),
                Err(ClsactError::PreferenceTaken { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(ClsactError::PreferenceTaken { preference: first }.into())
    }

    /// Whether it is still there.
    pub(super) fn is_in_place(&self) -> bool {
        let filters = Clsact::open()
            .and_then(|mut clsact| clsact.filters(self.place.ifindex, self.place.hook));
        let is_it = |found: &Filter| {
            found.preference == self.place.preference
                && found.handle == self.place.handle
                && found.program_id() == Some(self.program)
        };
        filters.is_ok_and(|filters| filters.iter().any(is_it))
    }

    /// Removes it, and the qdisc that was made for it where nobody else uses that.
    pub(super) fn detach(self) -> Result<(), Error> {
        remove(self.place, self.program)
    }
}

/// Removes the filters of all ports from a device. Answers how many there were.
pub(super) fn remove_all(ifindex: u32) -> Result<usize, Error> {
    let mut removed = 0;
    for hook in [Hook::Ingress, Hook::Egress] {
        for found in Clsact::open()?.filters(ifindex, hook)? {
            if let Some(program) = found.program_id().filter(|_| is_any_of_ours(&found)) {
                remove(Place::new(ifindex, hook, found.preference, found.handle), program)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

fn remove(place: Place, program: u32) -> Result<(), Error> {
    let mut clsact = Clsact::open()?;
    match clsact.detach(place, program) {
        // Somebody removed it, or put a filter of their own there.
        Ok(())
        | Err(ClsactError::NotOurs { .. })
        | Err(ClsactError::Netlink(NetlinkError::NotFound { .. })) => {}
        Err(error) => return Err(error.into()),
    }
    if place.handle & OWN_QDISC != 0 {
        clsact.remove_unused_qdisc(place.ifindex)?;
    }
    Ok(())
}

fn is_ours(found: &Filter, port: u16) -> bool {
    found.handle & !OWN_QDISC == handle(port) && is_any_of_ours(found)
}

/// Others may have chosen the same number; they have not chosen the name as well.
fn is_any_of_ours(found: &Filter) -> bool {
    let has_number = found.handle & !OWN_QDISC & !0xffff == HANDLE;
    let named = found.program_id().and_then(|id| program_name(id).ok());
    has_number && named.is_some_and(|name| name.starts_with("stamp_"))
}

const fn handle(port: u16) -> u32 {
    HANDLE | port as u32
}

/// Name of the program and its filter.
const fn name(hook: Hook) -> &'static str {
    match hook {
        Hook::Ingress => "stamp_ingress",
        Hook::Egress => "stamp_egress",
    }
}

/// What the handles of all our filters have in common; the port is behind it.
const HANDLE: u32 = 0x57a_0000;

/// The qdisc was made for the filter.
const OWN_QDISC: u32 = 0x8000_0000;

/// Preferences that are tried, before those that others usually take and behind them.
const FIRST: u16 = 1;
const LAST: u16 = 0xff00;
const ATTEMPTS: u16 = 16;
