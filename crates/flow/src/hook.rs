//! One program on one side of one device.

use std::{
    fs, io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use flow_bpf::{open_program, pin_program};
use flow_model::{
    edge::{Attachment, EdgeRecord, Hook as HookRecord},
    flow::Direction,
};
use net_sys::{
    bpf::program_id,
    clsact::{Clsact, ClsactError, Ensured, Place as Filter, Removal},
    netlink::NetlinkError,
    tcx::TcxLink,
};

use crate::{error::SiteError, pins::PinDir, site::Site};

/// How programs are attached on this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// By links (kernel 6.6).
    Tcx,
    /// By filters.
    Clsact,
}

impl Lane {
    /// Name in documents and labels.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Our preference where nobody else has it.
pub(crate) const PREFERENCE: u16 = 1;
/// Our handle: filters of ours carry it, and the edge book says which.
pub(crate) const HANDLE: u32 = 0xfa7;
/// Preferences tried behind a foreign filter.
const ATTEMPTS: u16 = 16;

/// An attached hook.
#[derive(Debug)]
pub(crate) struct Hook {
    site: Site,
    held: Held,
}

#[derive(Debug)]
enum Held {
    Link(TcxLink),
    Filter { filter: Filter, program: OwnedFd, qdisc: Ensured },
}

impl Hook {
    /// Attaches a program after `note` was told what the edge book is to say of it. A link
    /// dies with the process that has not pinned it, a filter does not: it has to be known
    /// before it is there.
    pub(crate) fn attach_noted(
        site: &Site,
        direction: Direction,
        lane: Lane,
        program: BorrowedFd<'_>,
        mut note: impl FnMut(HookRecord, BorrowedFd<'_>) -> Result<(), SiteError>,
    ) -> Result<Self, SiteError> {
        if lane == Lane::Tcx {
            let link = site
                .namespace
                .within(|| Ok(TcxLink::attach(program, site.ifindex, site.hook, site.order())?))?;
            return Ok(Self { site: site.clone(), held: Held::Link(link) });
        }
        let qdisc = site.namespace.within(|| Ok(Clsact::open()?.ensure_qdisc(site.ifindex)?))?;
        let mut taken = None;
        for preference in PREFERENCE..PREFERENCE + ATTEMPTS {
            let filter = Filter::new(site.ifindex, site.hook, preference, HANDLE);
            let held = Held::Filter { filter, program: own(program)?, qdisc };
            let hook = Self { site: site.clone(), held };
            note(hook.record(), program)?;
            match hook.put_filter(filter, direction, program) {
                Ok(()) => return Ok(hook),
                Err(SiteError::Clsact(error @ ClsactError::PreferenceTaken { .. })) => {
                    taken = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Err(taken.map_or(SiteError::NoCounters, Into::into))
    }

    fn put_filter(
        &self,
        filter: Filter,
        direction: Direction,
        program: BorrowedFd<'_>,
    ) -> Result<(), SiteError> {
        self.site
            .namespace
            .within(|| Ok(Clsact::open()?.attach(filter, program, name(direction))?))
    }

    /// Where it is.
    pub(crate) const fn site(&self) -> &Site {
        &self.site
    }

    /// What the edge book says about it.
    pub(crate) fn record(&self) -> HookRecord {
        let (attachment, preference, handle) = match &self.held {
            Held::Link(_) => (Attachment::Tcx, 0, 0),
            Held::Filter { filter, qdisc, .. } => {
                let attachment = match qdisc {
                    Ensured::Created => Attachment::ClsactOwn,
                    Ensured::Existed => Attachment::Clsact,
                };
                (attachment, filter.preference, filter.handle)
            }
        };
        HookRecord { place: self.site.place, attachment, preference, handle }
    }

    /// Lets it outlive the process.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), SiteError> {
        match &self.held {
            Held::Link(link) => Ok(link.pin(path)?),
            // A filter belongs to its qdisc and stays by itself; its program's pin is how
            // it is known again, and was made before it.
            Held::Filter { .. } if path.exists() => Ok(()),
            Held::Filter { program, .. } => Ok(pin_program(program.as_fd(), path)?),
        }
    }

    /// Takes up what an earlier process attached and pinned, if it is still in place.
    pub(crate) fn adopt(site: &Site, record: HookRecord, path: &Path) -> Result<Self, SiteError> {
        let held = match record.attachment {
            Attachment::Clsact | Attachment::ClsactOwn => {
                let filter = Filter::new(site.ifindex, site.hook, record.preference, record.handle);
                let program = pinned_filter(site, filter, path)?;
                let qdisc = match record.attachment {
                    Attachment::ClsactOwn => Ensured::Created,
                    _ => Ensured::Existed,
                };
                Held::Filter { filter, program, qdisc }
            }
            _ => Held::Link(live_link(site, path)?),
        };
        Ok(Self { site: site.clone(), held })
    }

    /// Puts another program in its place; no packet is missed.
    pub(crate) fn update(
        &mut self,
        direction: Direction,
        program: BorrowedFd<'_>,
        pin: &Path,
    ) -> Result<(), SiteError> {
        match &mut self.held {
            Held::Link(link) => Ok(link.update(program)?),
            Held::Filter { filter, program: held, .. } => {
                let (place, expected) = (*filter, program_id(held.as_fd())?);
                // Both programs are pinned while one takes the other's place, so that a
                // crash at any point leaves a filter that is known as ours.
                let next = next(pin);
                remove(&next)?;
                pin_program(program, &next)?;
                self.site.namespace.within(|| {
                    Ok(Clsact::open()?.replace(place, expected, program, name(direction))?)
                })?;
                *held = own(program)?;
                remove(pin)?;
                fs::rename(&next, pin).map_err(|source| SiteError::Pin { source })
            }
        }
    }

    /// Whether it is still there. A link can't be taken away by somebody else.
    pub(crate) fn is_in_place(&self) -> Result<bool, SiteError> {
        let Held::Filter { filter, program, .. } = &self.held else {
            return Ok(true);
        };
        Ok(running(&self.site, *filter)? == Some(program_id(program.as_fd())?))
    }

    /// Removes it. Returns once no new run can begin.
    pub(crate) fn detach(self) -> Result<(), SiteError> {
        match self.held {
            Held::Link(link) => Ok(link.detach()?),
            Held::Filter { filter, program, qdisc } => self.site.namespace.within(|| {
                let mut clsact = Clsact::open()?;
                match clsact.detach(filter, program_id(program.as_fd())?) {
                    // Somebody removed it, or put a filter of their own there.
                    Err(
                        ClsactError::NotOurs { .. }
                        | ClsactError::Netlink(NetlinkError::NotFound { .. }),
                    ) => {}
                    other => other?,
                }
                if qdisc == Ensured::Created {
                    // Ours, so it goes unless somebody else moved in meanwhile.
                    let _: Removal = clsact.remove_unused_qdisc(self.site.ifindex)?;
                }
                Ok(())
            }),
        }
    }
}

/// Removes the hooks of a recorded edge as far as they are still there, and their pins.
pub(crate) fn remove_recorded(edge: &EdgeRecord, pins: &PinDir) -> Result<(), SiteError> {
    // Last first: the hook that made a qdisc finds it unused.
    for direction in Direction::ALL.into_iter().rev() {
        let record = edge.hooks[direction as usize];
        let pin = pins.link(edge.id, direction);
        if record.attachment == Attachment::Tcx {
            if let Ok(link) = TcxLink::open_pinned(&pin) {
                // A link whose device is gone has nothing to detach.
                link.detach().ok();
            }
        } else if let Ok(hook) = Site::recorded(edge, direction, pins.netns_dirs())
            .and_then(|site| Hook::adopt(&site, record, &pin))
        {
            hook.detach()?;
        }
        remove(&pin)?;
        remove(&next(&pin))?;
    }
    Ok(())
}

/// Pins the program of a filter that is about to be there.
pub(crate) fn announce(program: BorrowedFd<'_>, pin: &Path) -> Result<(), SiteError> {
    remove(pin)?;
    Ok(pin_program(program, pin)?)
}

/// Name of the program and its filter.
pub(crate) const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Tx => "tc_pod_tx",
        Direction::Rx => "tc_pod_rx",
    }
}

/// The program that a filter of ours runs, if it is one that we pinned. Ends a replacement
/// that a crash cut short: its program has one pin then, in the usual place.
fn pinned_filter(site: &Site, filter: Filter, pin: &Path) -> Result<OwnedFd, SiteError> {
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

/// The program that runs in the place of a filter.
fn running(site: &Site, filter: Filter) -> Result<Option<u32>, SiteError> {
    let filters =
        site.namespace.within(|| Ok(Clsact::open()?.filters(site.ifindex, site.hook)?))?;
    let there = filters
        .iter()
        .find(|found| found.preference == filter.preference && found.handle == filter.handle);
    Ok(there.and_then(net_sys::clsact::Filter::program_id))
}

/// Where the next program is pinned until it is in place.
fn next(pin: &Path) -> PathBuf {
    let mut path = pin.as_os_str().to_owned();
    path.push("_next");
    path.into()
}

fn remove(pin: &Path) -> Result<(), SiteError> {
    match fs::remove_file(pin) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(SiteError::Pin { source }),
        _ => Ok(()),
    }
}

fn live_link(site: &Site, path: &Path) -> Result<TcxLink, SiteError> {
    let link = TcxLink::open_pinned(path)?;
    if link.info()?.ifindex == 0 {
        return Err(SiteError::NoInterface { interface: site.interface.clone() });
    }
    Ok(link)
}

fn own(program: BorrowedFd<'_>) -> Result<OwnedFd, SiteError> {
    program.try_clone_to_owned().map_err(|source| SiteError::Pin { source })
}
