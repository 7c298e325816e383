//! A program on a hook, held by a BPF link, of whatever kind.

use std::fmt::Debug;
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::ptr::{from_mut, from_ref, null};

use libbpf_sys as sys;

use super::{BpfError, check, descriptor, path_text};
use crate::fdinfo;

/// What sets one kind of link apart from the others.
pub trait Kind: Debug {
    /// What the kernel calls it.
    const NAME: &'static str;
}

/// A link that this process holds open; closing it detaches the program unless it is pinned.
///
/// How one is attached, and what the kernel tells of it, depends on its kind: see
/// [`crate::tcx::TcxLink`] and [`crate::xdp::XdpLink`].
#[derive(Debug)]
pub struct Link<K> {
    descriptor: OwnedFd,
    kind: PhantomData<K>,
}

impl<K: Kind> Link<K> {
    /// Attaches a program to a device of the current namespace, or tells the error number.
    pub(crate) fn create(
        program: BorrowedFd<'_>,
        ifindex: u32,
        hook: sys::bpf_attach_type,
        flags: u32,
    ) -> Result<Self, i32> {
        let target = device(ifindex)?;
        let options = sys::bpf_link_create_opts {
            sz: size_of::<sys::bpf_link_create_opts>() as sys::size_t,
            flags,
            ..Default::default()
        };
        // SAFETY: `options` is live, tells its own size, and has neither a relative program nor a
        // pointer in it; the program descriptor is borrowed and therefore open.
        let outcome =
            unsafe { sys::bpf_link_create(program.as_raw_fd(), target, hook, from_ref(&options)) };
        descriptor(outcome).map(Self::of)
    }

    /// Opens a link that was pinned.
    ///
    /// Whatever else is pinned there is left alone and refused.
    pub fn open_pinned(path: impl AsRef<Path>) -> Result<Self, BpfError> {
        let path = path.as_ref();
        let text = path_text(path)?;
        // SAFETY: `text` is a live, NUL-terminated string.
        let outcome = unsafe { sys::bpf_obj_get(text.as_ptr()) };
        let object = descriptor(outcome).map_err(|errno| BpfError::pin(path, errno))?;
        // A map or a program would answer the request for link information with its own.
        match fdinfo::link_type(object.as_fd()) {
            Ok(Some(kind)) if kind == K::NAME => Ok(Self::of(object)),
            _ => Err(BpfError::OtherPin { path: path.to_owned(), expected: K::NAME }),
        }
    }

    /// Puts another program into the place of the current one; no packet goes unseen.
    pub fn update(&self, program: BorrowedFd<'_>) -> Result<(), BpfError> {
        let (link, program) = (self.descriptor.as_raw_fd(), program.as_raw_fd());
        // SAFETY: both descriptors are open and a null pointer means "no options".
        let outcome = unsafe { sys::bpf_link_update(link, program, null()) };
        check("updating the program of a link", outcome).map(|_zero| ())
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
        check("detaching a link", outcome).map(|_zero| ())
    }

    /// Asks the kernel what it knows of the link; the part that depends on the kind is `K`'s.
    pub(crate) fn read(&self) -> Result<sys::bpf_link_info, BpfError> {
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
        check(Self::READING, outcome).map(|_zero| info)
    }

    pub(crate) const READING: &'static str = "reading what the kernel knows of a link";

    const fn of(descriptor: OwnedFd) -> Self {
        Self { descriptor, kind: PhantomData }
    }
}

impl<K> AsFd for Link<K> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// An interface index as the bpf system call takes it; others are no device's.
pub(crate) fn device(ifindex: u32) -> Result<i32, i32> {
    i32::try_from(ifindex).ok().filter(|&index| index > 0).ok_or(libc::ENODEV)
}
