//! The programs, loaded onto given tables.

use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{OpenObject, ProgramMut};

use crate::error::{Error, Step};
use crate::knobs::Knobs;
use crate::skel::{OpenStampSkel, StampSkelBuilder};
use crate::tables::Tables;

/// How the frames of a device start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LinkLayer {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header: tun, WireGuard.
    None,
}

/// The loaded programs. Dropping them leaves attached hooks alone.
#[derive(Debug)]
pub struct Program {
    ingress: OwnedFd,
    ingress_l3: OwnedFd,
    egress: OwnedFd,
    egress_l3: OwnedFd,
}

impl Program {
    /// Loads the programs onto `tables`, which others may be loaded onto as well.
    ///
    /// # Errors
    ///
    /// When the kernel refuses them.
    pub fn load(tables: &Tables, knobs: &Knobs) -> Result<Self, Error> {
        let mut object = MaybeUninit::uninit();
        let mut open = open(&mut object, tables)?;
        if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
            rodata.cfg = knobs.config();
        }
        let skel = open.load().map_err(Error::libbpf(Step::Load, "stamp"))?;
        Ok(Self {
            ingress: own_fd(&skel.progs.stamp_ingress)?,
            ingress_l3: own_fd(&skel.progs.stamp_ingress_l3)?,
            egress: own_fd(&skel.progs.stamp_egress)?,
            egress_l3: own_fd(&skel.progs.stamp_egress_l3)?,
        })
    }

    /// What is attached to the ingress side of a device.
    pub fn ingress(&self, link: LinkLayer) -> BorrowedFd<'_> {
        match link {
            LinkLayer::Ethernet => self.ingress.as_fd(),
            LinkLayer::None => self.ingress_l3.as_fd(),
        }
    }

    /// What is attached to the egress side of a device.
    pub fn egress(&self, link: LinkLayer) -> BorrowedFd<'_> {
        match link {
            LinkLayer::Ethernet => self.egress.as_fd(),
            LinkLayer::None => self.egress_l3.as_fd(),
        }
    }
}

/// Opens the object with every map replaced by the given ones.
fn open<'obj>(
    object: &'obj mut MaybeUninit<OpenObject>,
    tables: &Tables,
) -> Result<OpenStampSkel<'obj>, Error> {
    let mut open =
        StampSkelBuilder::default().open(object).map_err(Error::libbpf(Step::Load, "stamp"))?;
    tables.maps.lend(&mut open.maps).map_err(Error::libbpf(Step::Load, "stamp"))?;
    Ok(open)
}

/// A descriptor of its own, so that the skeleton can go.
fn own_fd(program: &ProgramMut<'_>) -> Result<OwnedFd, Error> {
    program.as_fd().try_clone_to_owned().map_err(|source| Error::new(Step::Load, "stamp", source))
}
