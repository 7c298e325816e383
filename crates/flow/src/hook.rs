//! One program on one side of one device.

mod pinned;
mod room;

use std::{
    fs,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use flow_bpf::pin_program;
use flow_model::{
    edge::{Attachment, Hook as HookRecord},
    flow::Direction,
};
use net_sys::{
    bpf::{program_id, program_name},
    clsact::{Clsact, ClsactError, Ensured, Place as Filter},
    netlink::NetlinkError,
    tcx::{self, Hook as TcxHook, TcxLink},
};
pub(crate) use pinned::{announce, has_pin, home_of, is_attached, remove_link, remove_recorded};
use pinned::{next, pinned_filter, remove};
pub(crate) use room::{Room, room};

use crate::{error::SiteError, site::Site};

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
    /// Whether somebody else's program ran before it at the last look.
    overtaken: bool,
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
        note: impl FnMut(HookRecord, BorrowedFd<'_>) -> Result<(), SiteError>,
    ) -> Result<Self, SiteError> {
        if lane == Lane::Tcx {
            let link = site
                .namespace
                .within(|| Ok(TcxLink::attach(program, site.ifindex, site.hook, site.order())?))?;
            return Ok(Self { site: site.clone(), held: Held::Link(link), overtaken: false });
        }
        let qdisc = site.namespace.within(|| Ok(Clsact::open()?.ensure_qdisc(site.ifindex)?))?;
        let attached = Self::attach_filter(site, direction, program, qdisc, note);
        if attached.is_err() && qdisc == Ensured::Created {
            // The first error tells more.
            remove_qdisc(site).ok();
        }
        attached
    }

    /// Attaches a filter in the first preference that is free.
    fn attach_filter(
        site: &Site,
        direction: Direction,
        program: BorrowedFd<'_>,
        qdisc: Ensured,
        mut note: impl FnMut(HookRecord, BorrowedFd<'_>) -> Result<(), SiteError>,
    ) -> Result<Self, SiteError> {
        let mut taken = None;
        for preference in PREFERENCE..PREFERENCE + ATTEMPTS {
            let filter = Filter::new(site.ifindex, site.hook, preference, HANDLE);
            let held = Held::Filter { filter, program: own(program)?, qdisc };
            let hook = Self { site: site.clone(), held, overtaken: false };
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

    /// What its place is called by now.
    pub(crate) fn set_site(&mut self, site: Site) {
        self.site = site;
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

    /// How it is attached.
    pub(crate) const fn lane(&self) -> Lane {
        match self.held {
            Held::Link(_) => Lane::Tcx,
            Held::Filter { .. } => Lane::Clsact,
        }
    }

    /// Whether its device has a qdisc of ours that goes with it.
    pub(crate) const fn has_own_qdisc(&self) -> bool {
        matches!(self.held, Held::Filter { qdisc: Ensured::Created, .. })
    }

    /// Makes the qdisc go with this hook, because the one that made it went before.
    pub(crate) const fn inherit_qdisc(&mut self) {
        if let Held::Filter { qdisc, .. } = &mut self.held {
            *qdisc = Ensured::Created;
        }
    }

    /// Whether somebody else's filter may keep packets from it.
    pub(crate) fn is_behind(&self) -> bool {
        self.overtaken || self.is_behind_filter()
    }

    /// Whether it had to take a later place than the first.
    pub(crate) fn is_behind_filter(&self) -> bool {
        self.record().preference > PREFERENCE
    }

    /// Looks who runs before it. What cannot be asked stays as it was.
    ///
    /// Of what leaves, only what others let pass is counted; there it belongs behind them.
    pub(crate) fn look_at_chain(&mut self) {
        let Held::Link(link) = &self.held else { return };
        if self.site.hook == TcxHook::Egress {
            return;
        }
        if let (Ok(chain), Ok(own)) = (chain(&self.site), link.info()) {
            let mut before = chain.iter().take_while(|it| it.link_id != Some(own.link_id));
            self.overtaken = before.any(|it| !is_name_of_ours(it.program_id));
        }
    }

    /// Lets it outlive the process, in place of what an earlier hook left at the path.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), SiteError> {
        match &self.held {
            Held::Link(link) => {
                remove(path)?;
                Ok(link.pin(path)?)
            }
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
            _ => Held::Link(TcxLink::open_pinned(path)?),
        };
        let hook = Self { site: site.clone(), held, overtaken: false };
        if hook.is_in_place()? {
            Ok(hook)
        } else {
            Err(SiteError::NoInterface { interface: site.interface.clone() })
        }
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

    /// Whether it is still on the device that has its place. An error says that there is no
    /// way to that.
    pub(crate) fn is_in_place(&self) -> Result<bool, SiteError> {
        match &self.held {
            Held::Link(link) => {
                let own = Some(link.info()?.link_id);
                Ok(chain(&self.site)?.iter().any(|it| it.link_id == own))
            }
            Held::Filter { filter, program, .. } => {
                Ok(running(&self.site, *filter)? == Some(program_id(program.as_fd())?))
            }
        }
    }

    /// Removes it. Returns once no new run can begin.
    pub(crate) fn detach(self) -> Result<(), Undetached> {
        let Self { site, held, .. } = self;
        match held {
            Held::Link(link) => {
                // It refuses only when it is off its device already.
                link.detach().ok();
                Ok(())
            }
            Held::Filter { filter, program, qdisc } => {
                remove_filter(&site, filter, program.as_fd(), qdisc).map_err(|source| {
                    let held = Held::Filter { filter, program, qdisc };
                    let hook = Self { site, held, overtaken: false };
                    Undetached { hook: Box::new(hook), source }
                })
            }
        }
    }
}

/// A hook that could not be removed.
#[derive(Debug)]
pub(crate) struct Undetached {
    /// It goes on counting.
    pub(crate) hook: Box<Hook>,
    /// Why.
    pub(crate) source: SiteError,
}

impl From<Undetached> for SiteError {
    fn from(stuck: Undetached) -> Self {
        stuck.source
    }
}

fn remove_filter(
    site: &Site,
    filter: Filter,
    program: BorrowedFd<'_>,
    qdisc: Ensured,
) -> Result<(), SiteError> {
    let expected = program_id(program)?;
    site.namespace.within(|| match Clsact::open()?.detach(filter, expected) {
        // Somebody removed it, or put a filter of their own there.
        Err(ClsactError::NotOurs { .. } | ClsactError::Netlink(NetlinkError::NotFound { .. })) => {
            Ok(())
        }
        other => Ok(other?),
    })?;
    if qdisc == Ensured::Created
        && let Err(error) = remove_qdisc(site)
    {
        tracing::warn!(event = "qdisc.left", %error, interface = site.interface, "A qdisc without use is left");
    }
    Ok(())
}

/// Removes a qdisc of ours, unless somebody else moved in meanwhile.
fn remove_qdisc(site: &Site) -> Result<(), SiteError> {
    site.namespace.within(|| Ok(Clsact::open()?.remove_unused_qdisc(site.ifindex).map(drop)?))
}

/// Name of the program and its filter.
pub(crate) const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Tx => "tc_pod_tx",
        Direction::Rx => "tc_pod_rx",
    }
}

/// Whether a program bears the name of ours, which let everything pass: one measurement
/// beside a daemon is in nobody's way.
fn is_name_of_ours(program: u32) -> bool {
    program_name(program).is_ok_and(|found| Direction::ALL.map(name).contains(&found.as_str()))
}

/// The programs on a device, in the order in which they run.
fn chain(site: &Site) -> Result<Vec<tcx::Attached>, SiteError> {
    site.namespace.within(|| Ok(tcx::query(site.ifindex, site.hook)?))
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

fn own(program: BorrowedFd<'_>) -> Result<OwnedFd, SiteError> {
    program.try_clone_to_owned().map_err(|source| SiteError::Pin { source })
}
