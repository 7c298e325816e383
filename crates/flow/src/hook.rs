//! One program on one side of one device.

use std::{
    os::fd::{AsFd, BorrowedFd},
    path::Path,
};

use flow_model::{
    edge::{Attachment, Hook as HookRecord},
    flow::Direction,
};
use net_sys::{
    bpf::program_id,
    clsact::{Clsact, ClsactError, Ensured, Place as Filter, Removal},
    tcx::TcxLink,
};

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
}

#[derive(Debug)]
enum Held {
    Link(TcxLink),
    Filter {
        filter: Filter,
        program: u32,
        qdisc: Ensured,
    },
}

impl Hook {
    /// Attaches a program at its site.
    pub(crate) fn attach(
        site: &Site,
        direction: Direction,
        lane: Lane,
        program: BorrowedFd<'_>,
    ) -> Result<Self, SiteError> {
        let held = site.namespace.within(|| match lane {
            Lane::Tcx => Ok(Held::Link(TcxLink::attach(
                program,
                site.ifindex,
                site.hook,
                site.order(),
            )?)),
            Lane::Clsact => attach_filter(site, direction, program),
        })?;
        Ok(Self {
            site: site.clone(),
            held,
        })
    }

    /// Where it is.
    pub(crate) const fn site(&self) -> &Site {
        &self.site
    }

    /// What the edge book says about it.
    pub(crate) fn record(&self) -> HookRecord {
        let (attachment, preference, handle) = match &self.held {
            Held::Link(_) => (Attachment::Tcx, 0, 0),
            Held::Filter { filter, .. } => (Attachment::Clsact, filter.preference, filter.handle),
        };
        HookRecord {
            place: self.site.place,
            attachment,
            preference,
            handle,
        }
    }

    /// Lets it outlive the process.
    pub(crate) fn pin(&self, path: &Path) -> Result<(), SiteError> {
        match &self.held {
            Held::Link(link) => Ok(link.pin(path)?),
            // A filter belongs to its qdisc and stays by itself.
            Held::Filter { .. } => Ok(()),
        }
    }

    /// Takes up a link that an earlier process pinned, if its device still exists.
    pub(crate) fn adopt_link(site: &Site, path: &Path) -> Result<Self, SiteError> {
        let link = TcxLink::open_pinned(path)?;
        if link.info()?.ifindex == 0 {
            return Err(SiteError::NoInterface {
                interface: site.interface.clone(),
            });
        }
        Ok(Self {
            site: site.clone(),
            held: Held::Link(link),
        })
    }

    /// Puts another program in its place; no packet is missed.
    pub(crate) fn update(
        &mut self,
        direction: Direction,
        program: BorrowedFd<'_>,
    ) -> Result<(), SiteError> {
        match &mut self.held {
            Held::Link(link) => Ok(link.update(program)?),
            Held::Filter {
                filter,
                program: old,
                ..
            } => {
                let (place, expected) = (*filter, *old);
                self.site.namespace.within(|| {
                    Ok(Clsact::open()?.replace(place, expected, program, name(direction))?)
                })?;
                *old = program_id(program.as_fd())?;
                Ok(())
            }
        }
    }

    /// Removes it. Returns once no new run can begin.
    pub(crate) fn detach(self) -> Result<(), SiteError> {
        match self.held {
            Held::Link(link) => Ok(link.detach()?),
            Held::Filter {
                filter,
                program,
                qdisc,
            } => self.site.namespace.within(|| {
                let mut clsact = Clsact::open()?;
                clsact.detach(filter, program)?;
                if qdisc == Ensured::Created {
                    // Ours, so it goes unless somebody else moved in meanwhile.
                    let _: Removal = clsact.remove_unused_qdisc(self.site.ifindex)?;
                }
                Ok(())
            }),
        }
    }
}

/// Name of the program and its filter.
pub(crate) const fn name(direction: Direction) -> &'static str {
    match direction {
        Direction::Tx => "tc_pod_tx",
        Direction::Rx => "tc_pod_rx",
    }
}

fn attach_filter(
    site: &Site,
    direction: Direction,
    program: BorrowedFd<'_>,
) -> Result<Held, SiteError> {
    let mut clsact = Clsact::open()?;
    let qdisc = clsact.ensure_qdisc(site.ifindex)?;
    let id = program_id(program)?;
    let mut taken = None;
    for preference in PREFERENCE..PREFERENCE + ATTEMPTS {
        let filter = Filter::new(site.ifindex, site.hook, preference, HANDLE);
        match clsact.attach(filter, program, name(direction)) {
            Ok(()) => {
                return Ok(Held::Filter {
                    filter,
                    program: id,
                    qdisc,
                });
            }
            Err(error @ ClsactError::PreferenceTaken { .. }) => taken = Some(error),
            Err(error) => return Err(error.into()),
        }
    }
    Err(taken.map_or(SiteError::NoCounters, Into::into))
}
