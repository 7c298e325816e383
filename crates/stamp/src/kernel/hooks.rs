//! The programs on one device.

use std::fs;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use net_sys::bpf::BpfError;
use net_sys::tcx::{Hook, Order, TcxLink};
use net_sys::xdp::{Mode, XdpLink};
use stamp_bpf::Program;

use super::devices::Device;

/// Both directions of one device. Dropped, they are detached unless they are pinned.
#[derive(Debug)]
pub(crate) struct Hooks {
    device: Device,
    links: [TcxLink; 2],
    /// In front of the ingress side, where that is asked for.
    xdp: Option<XdpLink>,
}

impl Hooks {
    /// Attaches the programs, or puts them in the place of what an earlier process pinned.
    pub(crate) fn attach(
        device: &Device,
        program: &Program,
        order: Order,
        pins: Option<&Path>,
    ) -> Result<Self, BpfError> {
        let link = |hook| {
            let pin = pins.map(|dir| pin(dir, device.ifindex, hook));
            attach(device, program, (hook, order), pin.as_deref())
        };
        // What leaves is stamped before what arrives is taken for an answer to it.
        let egress = link(Hook::Egress)?;
        let links = [link(Hook::Ingress)?, egress];
        let xdp = program.xdp().map(|program| {
            attach_xdp(device, program, pins.map(|dir| xdp_pin(dir, device.ifindex)).as_deref())
        });
        let xdp = xdp.transpose()?;
        tracing::info!(
            event = "stamp.attached",
            device = device.name,
            hook = if xdp.is_some() { "xdp" } else { "tcx" },
            position = if order == Order::First { "first" } else { "last" },
            "Programs take times at a device"
        );
        Ok(Self { device: device.clone(), links, xdp })
    }

    /// Where they are.
    pub(crate) const fn device(&self) -> &Device {
        &self.device
    }

    /// Whether they are still there: whoever administers the host may have removed them,
    /// and they go with their device.
    pub(crate) fn are_in_place(&self) -> bool {
        let is_in_place =
            |link: &TcxLink| link.info().is_ok_and(|info| info.ifindex == self.device.ifindex);
        let has_xdp =
            |link: &XdpLink| link.info().is_ok_and(|info| info.ifindex == self.device.ifindex);
        self.links.iter().all(is_in_place) && self.xdp.as_ref().is_none_or(has_xdp)
    }

    /// Removes them, pinned or not.
    pub(crate) fn detach(self, pins: Option<&Path>) {
        if let Some(link) = self.xdp {
            link.detach().ok();
            pins.map(|dir| fs::remove_file(xdp_pin(dir, self.device.ifindex)));
        }
        for (link, hook) in self.links.into_iter().zip([Hook::Ingress, Hook::Egress]) {
            // It refuses only when it is off its device already.
            link.detach().ok();
            pins.map(|dir| fs::remove_file(pin(dir, self.device.ifindex, hook)));
        }
    }
}

fn attach(
    device: &Device,
    program: &Program,
    (hook, order): (Hook, Order),
    pin: Option<&Path>,
) -> Result<TcxLink, BpfError> {
    let program = match hook {
        Hook::Ingress => program.ingress(device.layer()),
        Hook::Egress => program.egress(device.layer()),
    };
    if let Some(left) = pin.and_then(|pin| adopt(pin, device.ifindex)) {
        left.update(program)?;
        return Ok(left);
    }
    let link = TcxLink::attach(program, device.ifindex, hook, order)?;
    if let Some(pin) = pin {
        remove(pin).map_err(|source| BpfError::Pin { path: pin.to_owned(), source })?;
        link.pin(pin)?;
    }
    Ok(link)
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
