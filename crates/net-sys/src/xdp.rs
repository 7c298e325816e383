//! A program on the XDP hook of a device (kernel 5.9 and newer), held by a BPF link.
//!
//! A device has room for one such program, so another's is never replaced: attaching fails.
//! Interface indices are those of the calling thread's namespace.

use std::io;
use std::os::fd::BorrowedFd;

use libbpf_sys as sys;
use rustix::io::Errno;
use rustix::net::netdevice::index_to_name;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

use crate::bpf::{self, BpfError};

/// The kind of link that XDP hooks have.
#[derive(Debug)]
pub enum Xdp {}

impl bpf::Kind for Xdp {
    const NAME: &'static str = "xdp";
}

/// A link to the XDP hook of a device.
pub type XdpLink = bpf::Link<Xdp>;

/// Who runs the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The driver, before it makes a socket buffer; not every driver can.
    Native,
    /// The stack, for any device, after the driver has made a socket buffer.
    Generic,
}

impl Mode {
    const fn flag(self) -> u32 {
        match self {
            Self::Native => sys::XDP_FLAGS_DRV_MODE,
            Self::Generic => sys::XDP_FLAGS_SKB_MODE,
        }
    }

    /// Which error a number means, on an index that has a device or has none.
    ///
    /// A driver without XDP says that it is not supported; one that has it refuses frames, queues
    /// or a peer that do not fit by the other numbers (veth is such a driver).
    fn refused(self, errno: i32, ifindex: u32) -> BpfError {
        match (self, errno) {
            // The kernel says the same of a program of another type.
            (_, libc::EINVAL) if !exists(ifindex) => BpfError::new(ACTION, libc::ENODEV),
            (_, libc::EBUSY | libc::EEXIST) => BpfError::Occupied { action: ACTION },
            (Self::Native, libc::EOPNOTSUPP | libc::ERANGE | libc::ENOSPC | libc::ENOTCONN) => {
                let source = io::Error::from_raw_os_error(errno);
                BpfError::NoNativeXdp { action: ACTION, source }
            }
            _ => BpfError::new(ACTION, errno),
        }
    }
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
}

impl XdpLink {
    /// Attaches a program to a device of the current namespace.
    pub fn attach(program: BorrowedFd<'_>, ifindex: u32, mode: Mode) -> Result<Self, BpfError> {
        Self::create(program, ifindex, sys::BPF_XDP, mode.flag())
            .map_err(|errno| mode.refused(errno, ifindex))
    }

    /// Asks the kernel what the link is attached to.
    pub fn info(&self) -> Result<LinkInfo, BpfError> {
        let info = self.read()?;
        // SAFETY: every variant of the union is made of plain numbers, and it was zeroed before the
        // kernel wrote to it; only XDP links get into this type.
        let ifindex = unsafe { info.__bindgen_anon_1.xdp.ifindex };
        Ok(LinkInfo { link_id: info.id, program_id: info.prog_id, ifindex })
    }
}

/// Whether a device of the current namespace has this index, as far as can be found out.
fn exists(ifindex: u32) -> bool {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::DGRAM, flags, None);
    let name = socket.and_then(|socket| index_to_name(socket, ifindex));
    !matches!(name, Err(Errno::NODEV | Errno::NXIO))
}

const ACTION: &str = "attaching a program to an XDP hook";

#[cfg(test)]
mod tests;
