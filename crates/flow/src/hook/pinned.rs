//! Hooks that an earlier process left, known by their pins.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use flow_bpf::{open_program, pin_program};
use flow_model::{
    edge::{Attachment, EdgeRecord, Hook as HookRecord, Place},
    flow::Direction,
};
use net_sys::{bpf::program_id, clsact::Place as Filter, tcx::TcxLink};

use super::{Hook, running};
use crate::{
    error::{Error, SiteError},
    pins::{PinDir, unpin},
    site::{Namespace, Site},
};

/// Removes the hooks of a recorded edge as far as they are still there, and their pins.
/// Answers how many were there.
///
/// # Errors
///
/// When there is no way to a hook. Nothing of the edge is touched then.
pub(crate) fn remove_recorded(
    edge: &EdgeRecord,
    pins: &PinDir,
    home: u64,
) -> Result<usize, SiteError> {
    let sites =
        [recorded(edge, Direction::Tx, pins, home)?, recorded(edge, Direction::Rx, pins, home)?];
    let mut removed = 0;
    let owns = |place: Place| {
        let own = |hook: &HookRecord| hook.attachment == Attachment::ClsactOwn;
        edge.hooks.iter().any(|hook| hook.place == place && own(hook))
    };
    // Last first, so that the hook that is left finds the qdisc unused.
    for (direction, site) in Direction::ALL.into_iter().zip(sites).rev() {
        let record = edge.hooks[direction as usize];
        let pin = pins.link(edge.id, direction);
        if record.attachment == Attachment::Tcx {
            removed += detach_link(&pin);
        } else if let Some(Ok(mut hook)) = site.map(|site| Hook::adopt(&site, record, &pin)) {
            if owns(record.place) {
                hook.inherit_qdisc();
            }
            hook.detach()?;
            removed += 1;
        }
        remove(&pin)?;
        remove(&next(&pin))?;
    }
    Ok(removed)
}

/// Removes a link that no book tells of, and its pin. Answers how many were attached.
pub(crate) fn remove_link(pin: &Path) -> Result<usize, Error> {
    let removed = detach_link(pin);
    unpin(pin)?;
    Ok(removed)
}

/// A link whose device is gone has nothing to detach.
fn detach_link(pin: &Path) -> usize {
    let attached = |link: &TcxLink| link.info().is_ok_and(|info| info.ifindex != 0);
    let link = TcxLink::open_pinned(pin).ok().filter(attached);
    usize::from(link.is_some_and(|link| link.detach().is_ok()))
}

/// Where a filter is looked for; nowhere if its device went and took it along.
fn recorded(
    edge: &EdgeRecord,
    direction: Direction,
    pins: &PinDir,
    home: u64,
) -> Result<Option<Site>, SiteError> {
    if edge.hooks[direction as usize].attachment == Attachment::Tcx {
        return Ok(None);
    }
    let home = home_of(home, pins)?;
    match Site::recorded(edge, direction, pins.netns_dirs(), &home) {
        Ok(site) => Ok(Some(site)),
        Err(error) if error.reason() == "device_gone" => Ok(None),
        Err(error) => Err(error),
    }
}

/// The namespace of the node's devices, as the ledger knows it.
pub(crate) fn home_of(inode: u64, pins: &PinDir) -> Result<Namespace, SiteError> {
    if inode == 0 { Namespace::own() } else { Namespace::find(inode, pins.netns_dirs()) }
}

/// Whether what is pinned at a path still sees packets. Changes nothing.
pub(crate) fn is_attached(
    pin: &Path,
    record: Option<&EdgeRecord>,
    pins: &PinDir,
    home: u64,
) -> bool {
    if let Ok(link) = TcxLink::open_pinned(pin) {
        return link.info().is_ok_and(|info| info.ifindex != 0);
    }
    let Some(record) = record else { return false };
    let at = Direction::ALL.into_iter().find(|at| pins.link(record.id, *at) == pin);
    at.is_some_and(|at| {
        let hook = record.hooks[at as usize];
        let found = home_of(home, pins).and_then(|home| {
            let site = Site::recorded(record, at, pins.netns_dirs(), &home)?;
            let filter = Filter::new(site.ifindex, site.hook, hook.preference, hook.handle);
            Ok(running(&site, filter)? == Some(program_id(open_program(pin)?.as_fd())?))
        });
        found.unwrap_or(false)
    })
}

/// Pins the program of a filter that is about to be there.
pub(crate) fn announce(program: BorrowedFd<'_>, pin: &Path) -> Result<(), SiteError> {
    remove(pin)?;
    Ok(pin_program(program, pin)?)
}

/// The program that a filter of ours runs, if it is one that we pinned. Ends a replacement
/// that a crash cut short: its program has one pin then, in the usual place.
pub(super) fn pinned_filter(site: &Site, filter: Filter, pin: &Path) -> Result<OwnedFd, SiteError> {
    let running = running(site, filter)?;
    let next = next(pin);
    for path in [pin, &next] {
        let Ok(program) = open_program(path) else { continue };
        if running != Some(program_id(program.as_fd())?) {
            continue;
        }
        if path == next {
            remove(pin)?;
            fs::rename(&next, pin).map_err(|source| SiteError::Pin { source })?;
        }
        return Ok(program);
    }
    Err(SiteError::NoInterface { interface: site.interface.clone() })
}

/// Whether a hook left anything by which it would be known again.
pub(crate) fn has_pin(pin: &Path) -> bool {
    pin.exists() || next(pin).exists()
}

/// Where the next program is pinned until it is in place.
pub(super) fn next(pin: &Path) -> PathBuf {
    let mut path = pin.as_os_str().to_owned();
    path.push("_next");
    path.into()
}

pub(super) fn remove(pin: &Path) -> Result<(), SiteError> {
    match fs::remove_file(pin) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SiteError::Pin { source }),
        _ => Ok(()),
    }
}
