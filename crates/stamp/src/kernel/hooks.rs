//! The programs on one device.

mod filter;

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use net_sys::Route;
use net_sys::bpf::BpfError;
use net_sys::tcx::{self, Hook, Order, TcxLink};
use net_sys::xdp::{Mode, XdpLink};
use stamp_bpf::Program;

use super::devices::Device;
use crate::error::Error;
use filter::Placed;

/// Both directions of one device. Dropped, they are detached unless they are pinned.
#[derive(Debug)]
pub(crate) struct Hooks {
    device: Device,
    sides: [Side; 2],
    /// In front of the ingress side, where that is asked for.
    xdp: Option<XdpLink>,
}

/// How programs are attached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// By links, since kernel 6.6.
    Tcx,
    /// As filters.
    Clsact,
}

impl Lane {
    /// The best there is on this host.
    pub(crate) fn best() -> Result<Self, BpfError> {
        Ok(if tcx::supported()? { Self::Tcx } else { Self::Clsact })
    }

    /// Name in labels and documents.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Tcx => "tcx",
            Self::Clsact => "clsact",
        }
    }
}

/// Where and how programs are attached.
#[derive(Debug, Clone)]
pub(crate) struct Way<'a> {
    pub(crate) lane: Lane,
    pub(crate) order: Order,
    /// Where links stay.
    pub(crate) pins: Option<&'a Path>,
    /// What filters are known by.
    pub(crate) port: u16,
}

#[derive(Debug)]
enum Side {
    Link(TcxLink),
    Filter(Placed),
}

impl Side {
    fn is_in_place(&self, ifindex: u32) -> bool {
        match self {
            Self::Link(link) => link.info().is_ok_and(|info| info.ifindex == ifindex),
            Self::Filter(placed) => placed.is_in_place(),
        }
    }

    fn detach(self) {
        match self {
            // It refuses only when it is off its device already.
            Self::Link(link) => drop(link.detach()),
            Self::Filter(placed) => {
                if let Err(error) = placed.detach() {
                    tracing::warn!(event = "stamp.filter", %error, "A filter stays; it answers nothing once its lease is over");
                }
            }
        }
    }
}

impl Hooks {
    /// Attaches the programs, or puts them in the place of what an earlier process pinned.
    pub(crate) fn attach(device: &Device, program: &Program, way: &Way<'_>) -> Result<Self, Error> {
        // What leaves is stamped before what arrives is taken for an answer to it.
        let egress = attach(device, program, Hook::Egress, way)?;
        let sides = [attach(device, program, Hook::Ingress, way)?, egress];
        let xdp = program.xdp().map(|program| {
            let pin = way.pins.map(|dir| xdp_pin(dir, device.ifindex));
            attach_xdp(device, program, pin.as_deref())
        });
        let xdp = xdp.transpose()?;
        tracing::info!(
            event = "stamp.attached",
            device = device.name,
            hook = if xdp.is_some() { "xdp" } else { way.lane.as_str() },
            position = if way.order == Order::First { "first" } else { "last" },
            "Programs take times at a device"
        );
        Ok(Self { device: device.clone(), sides, xdp })
    }

    /// Where they are.
    pub(crate) const fn device(&self) -> &Device {
        &self.device
    }

    /// Whether they are still there: whoever administers the host may have removed them,
    /// and they go with their device.
    pub(crate) fn are_in_place(&self) -> bool {
        let ifindex = self.device.ifindex;
        let has_xdp = |link: &XdpLink| link.info().is_ok_and(|info| info.ifindex == ifindex);
        self.sides.iter().all(|side| side.is_in_place(ifindex))
            && self.xdp.as_ref().is_none_or(has_xdp)
    }

    /// Removes them, pinned or not.
    pub(crate) fn detach(self, pins: Option<&Path>) {
        if let Some(link) = self.xdp {
            link.detach().ok();
            pins.map(|dir| fs::remove_file(xdp_pin(dir, self.device.ifindex)));
        }
        for (side, hook) in self.sides.into_iter().zip([Hook::Ingress, Hook::Egress]) {
            side.detach();
            pins.map(|dir| fs::remove_file(pin(dir, self.device.ifindex, hook)));
        }
    }
}

fn attach(device: &Device, program: &Program, hook: Hook, way: &Way<'_>) -> Result<Side, Error> {
    let program = match hook {
        Hook::Ingress => program.ingress(device.layer()),
        Hook::Egress => program.egress(device.layer()),
    };
    if way.lane == Lane::Clsact {
        let placed = Placed::attach(device.ifindex, (hook, way.order), program, way.port)?;
        return Ok(Side::Filter(placed));
    }
    let pin = way.pins.map(|dir| pin(dir, device.ifindex, hook));
    if let Some(left) = pin.as_deref().and_then(|pin| adopt(pin, device.ifindex)) {
        left.update(program)?;
        return Ok(Side::Link(left));
    }
    let link = TcxLink::attach(program, device.ifindex, hook, way.order)?;
    if let Some(pin) = pin {
        remove(&pin).map_err(|source| BpfError::Pin { path: pin.clone(), source })?;
        link.pin(&pin)?;
    }
    Ok(Side::Link(link))
}

/// Removes the filters that any process left, from all devices or from one. Answers how
/// many there were.
pub(crate) fn remove_filters(device: Option<&str>) -> Result<usize, Error> {
    let links = Route::open()?.links(None)?;
    let mut wanted = links.iter().filter(|link| device.is_none_or(|device| link.name == device));
    wanted.try_fold(0, |sum, link| Ok(sum + filter::remove_all(link.ifindex)?))
}

/// Only in the driver: the generic mode is slower than tc.
fn attach_xdp(
    device: &Device,
    program: BorrowedFd<'_>,
    pin: Option<&Path>,
) -> Result<XdpLink, BpfError> {
    let left = pin.and_then(|pin| XdpLink::open_pinned(pin).ok());
    if let Some(link) = left
        && link.info().is_ok_and(|info| info.ifindex == device.ifindex)
    {
        link.update(program)?;
        return Ok(link);
    }
    let link = XdpLink::attach(program, device.ifindex, Mode::Native)?;
    if let Some(pin) = pin {
        remove(pin).map_err(|source| BpfError::Pin { path: pin.to_owned(), source })?;
        link.pin(pin)?;
    }
    Ok(link)
}

/// What an earlier process left on the device, if it is there still.
fn adopt(pin: &Path, ifindex: u32) -> Option<TcxLink> {
    let link = TcxLink::open_pinned(pin).ok()?;
    link.info().ok().filter(|info| info.ifindex == ifindex)?;
    Some(link)
}

/// Detaches and removes everything that is pinned in a directory of links, but for the
/// given devices. Answers how many links were attached.
pub(crate) fn detach_others(dir: &Path, keep: &[u32]) -> io::Result<usize> {
    let mut detached = 0;
    for path in pinned(dir)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let ifindex = name.split('_').next().and_then(|index| index.parse().ok());
        if ifindex.is_some_and(|ifindex| keep.contains(&ifindex)) {
            continue;
        }
        if let Ok(link) = TcxLink::open_pinned(&path) {
            let is_attached = link.info().is_ok_and(|info| info.ifindex != 0);
            detached += usize::from(is_attached && link.detach().is_ok());
        } else if let Ok(link) = XdpLink::open_pinned(&path) {
            let is_attached = link.info().is_ok_and(|info| info.ifindex != 0);
            detached += usize::from(is_attached && link.detach().is_ok());
        }
        remove(&path)?;
    }
    Ok(detached)
}

fn pinned(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

fn remove(pin: &Path) -> io::Result<()> {
    match fs::remove_file(pin) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn xdp_pin(dir: &Path, ifindex: u32) -> PathBuf {
    dir.join(format!("{ifindex}_xdp"))
}

fn pin(dir: &Path, ifindex: u32, hook: Hook) -> PathBuf {
    let side = match hook {
        Hook::Ingress => "ingress",
        Hook::Egress => "egress",
    };
    dir.join(format!("{ifindex}_{side}"))
}
