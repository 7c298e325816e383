//! Programs on the tcx hooks of a device (kernel 6.6 and newer), held by BPF links.
//!
//! The hook is an argument of its own, so that one program can be attached at both; the attach
//! type that libbpf derives from the section name plays no part. Interface indices are those of the
//! calling thread's namespace. Links of others are never changed.

use std::os::fd::BorrowedFd;
use std::ptr::from_mut;

use libbpf_sys as sys;

use crate::bpf::{self, BpfError, check, device};

/// The side of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// What the device hands to the stack.
    Ingress,
    /// What the stack hands to the device.
    Egress,
}

impl Hook {
    const fn attach_type(self) -> sys::bpf_attach_type {
        match self {
            Self::Ingress => sys::BPF_TCX_INGRESS,
            Self::Egress => sys::BPF_TCX_EGRESS,
        }
    }

    const fn from_attach_type(value: u32) -> Option<Self> {
        match value {
            sys::BPF_TCX_INGRESS => Some(Self::Ingress),
            sys::BPF_TCX_EGRESS => Some(Self::Egress),
            _ => None,
        }
    }
}

/// Place among the programs of a hook at the time of attaching.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Order {
    /// Before all others.
    First,
    /// Behind all others.
    Last,
}

impl Order {
    const fn flag(self) -> u32 {
        match self {
            Self::First => sys::BPF_F_BEFORE,
            Self::Last => sys::BPF_F_AFTER,
        }
    }
}

/// The kind of link that tcx hooks have.
#[derive(Debug)]
pub enum Tcx {}

impl bpf::Kind for Tcx {
    const NAME: &'static str = "tcx";
}

/// A link to a tcx hook of a device.
pub type TcxLink = bpf::Link<Tcx>;

/// What the kernel knows of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// Number of the link.
    pub link_id: u32,
    /// Number of the program that it runs.
    pub program_id: u32,
    /// Interface index in the device's namespace; 0 once the device is gone.
    pub ifindex: u32,
    /// The hook.
    pub hook: Hook,
}

/// One program on a hook, in the order in which they run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attached {
    /// Number of the program.
    pub program_id: u32,
    /// Number of the link that holds it; none if it was attached without.
    pub link_id: Option<u32>,
}

impl TcxLink {
    /// Attaches a program to a device of the current namespace.
    pub fn attach(
        program: BorrowedFd<'_>,
        ifindex: u32,
        hook: Hook,
        order: Order,
    ) -> Result<Self, BpfError> {
        Self::create(program, ifindex, hook.attach_type(), order.flag())
            .map_err(|errno| BpfError::new("attaching a program to a tcx hook", errno))
    }

    /// Asks the kernel what the link is attached to.
    pub fn info(&self) -> Result<LinkInfo, BpfError> {
        let info = self.read()?;
        // SAFETY: every variant of the union is made of plain numbers, and it was zeroed before the
        // kernel wrote to it; only tcx links get into this type.
        let tcx = unsafe { info.__bindgen_anon_1.tcx };
        Ok(LinkInfo {
            link_id: info.id,
            program_id: info.prog_id,
            ifindex: tcx.ifindex,
            hook: Hook::from_attach_type(tcx.attach_type).ok_or_else(unexpected)?,
        })
    }
}

/// Whether this kernel has tcx hooks.
///
/// An old kernel does not know the attach type; a new one gets as far as looking at the device,
/// and the loopback device has index 1 in every namespace.
pub fn supported() -> Result<bool, BpfError> {
    match query(1, Hook::Ingress) {
        Ok(_) | Err(BpfError::NoDevice { .. }) => Ok(true),
        Err(BpfError::Refused { source, .. }) if source.raw_os_error() == Some(libc::EINVAL) => {
            Ok(false)
        }
        Err(other) => Err(other),
    }
}

/// The programs on a hook, in the order in which they run.
pub fn query(ifindex: u32, hook: Hook) -> Result<Vec<Attached>, BpfError> {
    const ACTION: &str = "reading the programs of a tcx hook";
    let target = device(ifindex).map_err(|errno| BpfError::new(ACTION, errno))?;
    let mut programs = [0_u32; MAX_PROGRAMS];
    let mut links = [0_u32; MAX_PROGRAMS];
    let mut options = sys::bpf_prog_query_opts {
        sz: size_of::<sys::bpf_prog_query_opts>() as sys::size_t,
        prog_ids: programs.as_mut_ptr(),
        link_ids: links.as_mut_ptr(),
        ..Default::default()
    };
    options.__bindgen_anon_1.count = MAX_PROGRAMS as u32;
    // SAFETY: `options` is live, tells its own size, and its two pointers are to arrays of `count`
    // numbers that outlive the call.
    let outcome =
        unsafe { sys::bpf_prog_query_opts(target, hook.attach_type(), from_mut(&mut options)) };
    check(ACTION, outcome)?;
    // SAFETY: both variants of the union are the same plain number, which was set above.
    let count = unsafe { options.__bindgen_anon_1.count } as usize;
    let attached = programs.iter().zip(&links).take(count);
    Ok(attached
        .map(|(&program_id, &link)| Attached { program_id, link_id: (link != 0).then_some(link) })
        .collect())
}

fn unexpected() -> BpfError {
    let source = std::io::ErrorKind::InvalidData.into();
    BpfError::Refused { action: TcxLink::READING, source }
}

/// `BPF_MPROG_MAX`: a hook never has more.
const MAX_PROGRAMS: usize = 64;

#[cfg(test)]
mod tests;
