//! Why the flows system stops, and with which exit code.

use std::{
    io::{self, ErrorKind},
    path::PathBuf,
};

use net_sys::{
    bpf::BpfError, clsact::ClsactError, host::KernelRelease, lock::LockError,
    netlink::NetlinkError, netns::NetnsError,
};

/// What a process exit code says (sysexits.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Usage or configuration.
    Usage = 64,
    /// Something needed is not there.
    Unavailable = 69,
    /// A law was violated, or another bug.
    Bug = 70,
    /// A capability is missing.
    NotPermitted = 77,
}

/// Why a device could not be found or hooked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SiteError {
    /// The namespace.
    #[error(transparent)]
    Netns(#[from] NetnsError),
    /// The device.
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    /// The link.
    #[error(transparent)]
    Bpf(#[from] BpfError),
    /// The filter.
    #[error(transparent)]
    Clsact(#[from] ClsactError),
    /// The program or its maps.
    #[error(transparent)]
    Program(#[from] flow_bpf::Error),
    /// The interface is not there.
    #[error("no interface {interface}; `ip link` lists those there are")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// The interface leads nowhere.
    #[error(
        "{interface} leads to no pod: each packet would count as sent and as received; name another interface"
    )]
    Loopback {
        /// Its name.
        interface: String,
    },
    /// No rule picks an interface.
    #[error("which interface is meant? add :IFACE with one of {}", candidates.join(", "))]
    Ambiguous {
        /// All that are not loopback.
        candidates: Vec<String>,
    },
    /// The namespace has nothing to hook.
    #[error("the namespace has no interface but loopback")]
    Empty,
    /// The file now leads to another namespace.
    #[error("{} leads to another namespace than before; the pod was replaced", path.display())]
    Replaced {
        /// The file.
        path: PathBuf,
    },
    /// The pod's namespace is known by its number alone.
    #[error(
        "no file in --netns-dir and no process leads to the network namespace with inode {inode}; run the command inside it, by nsenter --net=FILE"
    )]
    Unreachable {
        /// The namespace.
        inode: u64,
    },
    /// The pin of a program.
    #[error("the pin of a program: {source}")]
    Pin {
        /// Why.
        source: io::Error,
    },
    /// The kernel does not say what passed the device.
    #[error("the kernel keeps no counters for the interface")]
    NoCounters,
}

impl SiteError {
    const fn exit(&self) -> Exit {
        match self {
            Self::Netns(NetnsError::NotPermitted { .. } | NetnsError::EnterNotPermitted)
            | Self::Netlink(NetlinkError::NotPermitted { .. })
            | Self::Bpf(BpfError::NotPermitted { .. })
            | Self::Clsact(ClsactError::Netlink(NetlinkError::NotPermitted { .. })) => {
                Exit::NotPermitted
            }
            Self::Loopback { .. } => Exit::Usage,
            _ => Exit::Unavailable,
        }
    }

    /// Value of the `reason` label of a failed attach.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Program(error) if error.is_permission() => "no_capability",
            Self::Netns(NetnsError::EnterNotPermitted | NetnsError::NotPermitted { .. })
            | Self::Netlink(NetlinkError::NotPermitted { .. })
            | Self::Clsact(ClsactError::Netlink(NetlinkError::NotPermitted { .. }))
            | Self::Bpf(BpfError::NotPermitted { .. }) => "no_capability",
            Self::Netns(_) | Self::Replaced { .. } | Self::Unreachable { .. } | Self::Empty => {
                "no_netns"
            }
            Self::NoInterface { .. }
            | Self::Netlink(NetlinkError::NoDevice { .. })
            | Self::Clsact(ClsactError::Netlink(NetlinkError::NoDevice { .. }))
            | Self::Bpf(BpfError::NoDevice { .. } | BpfError::Detached { .. }) => "device_gone",
            Self::Clsact(ClsactError::PreferenceTaken { .. } | ClsactError::IngressQdisc) => {
                "foreign_filter"
            }
            _ => "kernel",
        }
    }
}

/// Why the system stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings that contradict each other.
    #[error("{}", .0.join("\n"))]
    Settings(Vec<String>),
    /// One edge given twice.
    #[error("{first} and {second} are the same edge: {why}; name it once")]
    Twice {
        /// As given first.
        first: String,
        /// As given again.
        second: String,
        /// How they are the same.
        why: &'static str,
    },
    /// Two edges under one name.
    #[error("{first} and {second} have one name; give one of them another by =NAME")]
    NameTaken {
        /// As given first.
        first: String,
        /// As given again.
        second: String,
        /// The name.
        name: String,
    },
    /// An edge that was named can't be had.
    #[error("{edge}: {source}")]
    Edge {
        /// As given.
        edge: String,
        /// Why.
        source: SiteError,
    },
    /// The kernel is too old.
    #[error("kernel {} is too old: 5.10 or newer is needed", .0.text)]
    Kernel(KernelRelease),
    /// The kernel side failed.
    #[error(transparent)]
    Program(#[from] flow_bpf::Error),
    /// The ledger could not be made.
    #[error(transparent)]
    Ledger(#[from] flow_model::ledger::CreateError),
    /// The ledger could not be continued.
    #[error(transparent)]
    Open(#[from] flow_model::ledger::OpenError<flow_bpf::Error>),
    /// A drain failed.
    #[error(transparent)]
    Drain(#[from] flow_model::ledger::DrainError<flow_bpf::Error>),
    /// An edge found no slot.
    #[error(transparent)]
    Slot(#[from] flow_model::ledger::AddEdgeError<flow_bpf::Error>),
    /// The pin directory.
    #[error("{}: not a directory on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf`, or choose --no-pin", .0.display())]
    NoBpffs(PathBuf),
    /// The pin directory is open to others.
    #[error("{}: owned by another user or writable by others; pins there can't be trusted", .0.display())]
    UntrustedPins(PathBuf),
    /// Another process is the writer.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// A file or folder of ours could not be read or written.
    #[error("{}: {source}{}", path.display(), remedy(source))]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Pins without a ledger that could be read.
    #[error("{}: {removed} hooks are removed, the rest is left: {why}; remove it by `rm -r` once nothing there is wanted", path.display())]
    DamagedPins {
        /// The directory.
        path: PathBuf,
        /// Hooks that could be recognised.
        removed: usize,
        /// What is wrong with the rest.
        why: Box<Self>,
    },
    /// Something else is in the place of the ready file.
    #[error("{}: exists and is no regular file; choose another --ready-file", .0.display())]
    ReadyFile(PathBuf),
    /// The pins are not ours.
    #[error("{}: {why}; choose another --bpf-pin-dir or remove it", path.display())]
    ForeignPins {
        /// The directory.
        path: PathBuf,
        /// What they are.
        why: String,
    },
    /// Devices could not be listed or watched.
    #[error(transparent)]
    Survey(net_sys::survey::SurveyError),
    /// A fact about the host could not be read.
    #[error(transparent)]
    Host(#[from] net_sys::host::HostError),
    /// The collector could not be registered.
    #[error(transparent)]
    Registry(#[from] telemetry::registry::RegistryError),
    /// A law of the audit does not hold.
    #[error(
        "{packets} packets and {bytes} bytes are unaccounted for ({law} law); please report this"
    )]
    Law {
        /// Which.
        law: &'static str,
        /// By how many packets.
        packets: u64,
        /// By how many bytes.
        bytes: u64,
    },
    /// A thread could not be started or died.
    #[error("the {0} thread could not be started or died; see the log")]
    Thread(&'static str),
}

impl Error {
    /// Value of the `reason` label of a collector that is down.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Settings(_)
            | Self::Twice { .. }
            | Self::NameTaken { .. }
            | Self::ReadyFile(_) => "configuration",
            Self::Edge { .. } | Self::Slot(_) | Self::Survey(_) => "edge",
            Self::Kernel(_) => "kernel_too_old",
            Self::NoBpffs(_) => "no_bpffs",
            Self::UntrustedPins(_) | Self::ForeignPins { .. } | Self::DamagedPins { .. } => "pins",
            Self::Lock(_) => "locked",
            Self::Program(_) => "program",
            _ => "failed",
        }
    }

    /// Value of the `reason` label of an edge that could not be hooked.
    pub fn attach_reason(&self) -> &'static str {
        match self {
            Self::Edge { source, .. } => source.reason(),
            Self::Slot(_) => "edge_limit",
            _ => "kernel",
        }
    }

    /// Whether hooks can't be had inside a namespace: there is no way in, or what stands
    /// there leaves no room.
    pub(crate) fn is_inside_shut(&self) -> bool {
        matches!(self.attach_reason(), "no_netns" | "no_capability" | "foreign_filter")
    }

    /// The code to exit with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Settings(_)
            | Self::Twice { .. }
            | Self::NameTaken { .. }
            | Self::ReadyFile(_) => Exit::Usage,
            Self::Edge { source: SiteError::Program(error), .. } | Self::Program(error)
                if error.is_permission() =>
            {
                Exit::NotPermitted
            }
            Self::Edge { source, .. } => source.exit(),
            Self::File { source, .. } if source.kind() == ErrorKind::PermissionDenied => {
                Exit::NotPermitted
            }
            Self::Lock(LockError::NotPermitted { .. }) => Exit::NotPermitted,
            Self::Law { .. } | Self::Thread(_) => Exit::Bug,
            _ => Exit::Unavailable,
        }
    }
}

/// What to do about a file.
fn remedy(source: &io::Error) -> &'static str {
    match source.kind() {
        ErrorKind::PermissionDenied => "; run as root, or as the owner of the path",
        ErrorKind::ReadOnlyFilesystem => {
            "; remount the file system writable, or choose another path (--no-pin for pins)"
        }
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room there",
        _ => "; check the path",
    }
}

#[cfg(test)]
mod tests;
