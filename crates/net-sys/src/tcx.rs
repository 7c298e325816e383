//! Programs on the tcx hooks of a device (kernel 6.6 and newer), held by BPF links.
//!
//! The hook is an argument of its own, so that one program can be attached at both; the attach
//! type that libbpf derives from the section name plays no part. Interface indices are those of the
//! calling thread's namespace. Links of others are never changed.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::{from_mut, from_ref};

use libbpf_sys as sys;

use crate::bpf::{BpfError, check, descriptor, path_text};
use crate::fdinfo;

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

/// A link that this process holds open; closing it detaches the program unless it is pinned.
#[derive(Debug)]
pub struct TcxLink {
    descriptor: OwnedFd,
}

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
        const ACTION: &str = "attaching a program to a tcx hook";
        let target = device(ACTION, ifindex)?;
        let options = sys::bpf_link_create_opts {
            sz: size_of::<sys::bpf_link_create_opts>() as sys::size_t,
            flags: order.flag(),
            ..Default::default()
        };
        // SAFETY: `options` is live, tells its own size, and has neither a relative program nor a
        // pointer in it; the program descriptor is borrowed and therefore open.
        let outcome = unsafe {
            sys::bpf_link_create(
                program.as_raw_fd(),
                target,
                hook.attach_type(),
                from_ref(&options),
            )
        };
        Ok(Self { descriptor: descriptor(ACTION, outcome)? })
    }

    /// Opens a link that was pinned.
    ///
    /// Whatever else is pinned there is left alone and refused.
    pub fn open_pinned(path: impl AsRef<Path>) -> Result<Self, BpfError> {
        let path = path.as_ref();
        let text = path_text(path)?;
        // SAFETY: `text` is a live, NUL-terminated string.
        let outcome = unsafe { sys::bpf_obj_get(text.as_ptr()) };
        if outcome < 0 {
            return Err(BpfError::pin(path, outcome.saturating_neg()));
        }
        let descriptor = descriptor("opening a pinned link", outcome)?;
        let not_ours = || BpfError::NotTcxLink { path: path.to_owned() };
        // A map or a program would answer the request for link information with its own.
        match fdinfo::link_type(descriptor.as_fd()) {
            Ok(Some(kind)) if kind == fdinfo::TCX => Ok(Self { descriptor }),
            _ => Err(not_ours()),
        }
    }

    /// Puts another program into the place of the current one; no packet goes unseen.
    pub fn update(&self, program: BorrowedFd<'_>) -> Result<(), BpfError> {
        let (link, program) = (self.descriptor.as_raw_fd(), program.as_raw_fd());
        // SAFETY: both descriptors are open and a null pointer means "no options".
        let outcome = unsafe { sys::bpf_link_update(link, program, std::ptr::null()) };
        check("updating the program of a tcx link", outcome).map(|_zero| ())
    }

    /// Gives the link a name on a bpffs, which keeps it attached without this process.
    pub fn pin(&self, path: impl AsRef<Path>) -> Result<(), BpfError> {
        let path = path.as_ref();
        let text = path_text(path)?;
        // SAFETY: `text` is a live, NUL-terminated string and the descriptor is owned.
        let outcome = unsafe { sys::bpf_obj_pin(self.descriptor.as_raw_fd(), text.as_ptr()) };
        if outcome < 0 { Err(BpfError::pin(path, outcome.saturating_neg())) } else { Ok(()) }
    }

    /// Takes the program off the device, even if the link is pinned; the pin stays, dead.
    pub fn detach(self) -> Result<(), BpfError> {
        // SAFETY: the descriptor is owned and therefore open.
        let outcome = unsafe { sys::bpf_link_detach(self.descriptor.as_raw_fd()) };
        check("detaching a tcx link", outcome).map(|_zero| ())
    }

    /// Asks the kernel what the link is attached to.
    pub fn info(&self) -> Result<LinkInfo, BpfError> {
        const ACTION: &str = "reading what the kernel knows of a tcx link";
        let mut info = sys::bpf_link_info::default();
        let mut length = size_of_val(&info) as u32;
        // SAFETY: both pointers are to live locals, and `length` tells the kernel how large `info`
        // is; a zeroed `info` has no pointer that the kernel would write through.
        let outcome = unsafe {
            sys::bpf_link_get_info_by_fd(
                self.descriptor.as_raw_fd(),
                from_mut(&mut info),
                from_mut(&mut length),
            )
        };
        check(ACTION, outcome)?;
        // SAFETY: every variant of the union is made of plain numbers, and `info` was zeroed, so
        // all its bytes are initialised; only tcx links get into this type.
        let tcx = unsafe { info.__bindgen_anon_1.tcx };
        Ok(LinkInfo {
            link_id: info.id,
            program_id: info.prog_id,
            ifindex: tcx.ifindex,
            hook: Hook::from_attach_type(tcx.attach_type).ok_or_else(|| unexpected(ACTION))?,
        })
    }
}

impl AsFd for TcxLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
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
    let target = device(ACTION, ifindex)?;
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

fn device(action: &'static str, ifindex: u32) -> Result<i32, BpfError> {
    i32::try_from(ifindex).ok().filter(|&index| index > 0).ok_or(BpfError::NoDevice { action })
}

fn unexpected(action: &'static str) -> BpfError {
    BpfError::Refused { action, source: std::io::ErrorKind::InvalidData.into() }
}

/// `BPF_MPROG_MAX`: a hook never has more.
const MAX_PROGRAMS: usize = 64;

#[cfg(test)]
mod tests;
