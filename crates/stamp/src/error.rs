//! Why the stamp system stops, and with which exit code.

use std::io;
use std::path::PathBuf;

use net_sys::bpf::BpfError;
use net_sys::clsact::ClsactError;
use net_sys::host::HostError;
use net_sys::netlink::NetlinkError;
use stamp_proto::statistics::BinsError;

use crate::keys::KeyError;
use crate::settings::Mangled;

/// Which kind of end an error is; the numbers are those of sysexits.h.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Usage or configuration.
    Usage = 64,
    /// Something needed is not there.
    Unavailable = 69,
    /// A capability is missing.
    NotPermitted = 77,
}

/// Why the system stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Settings that contradict each other or are out of range: all of them.
    #[error("{}", told(.0))]
    Settings(Vec<Problem>),
    /// A chart spoiled a value.
    #[error(transparent)]
    Mangled(#[from] Mangled),
    /// A key could not be had.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The clocks of this host can't be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A name without an address.
    #[error("{name} has no address: {source}; check the name, or give an address")]
    Name {
        /// The name.
        name: String,
        /// What the resolver said.
        source: io::Error,
    },
    /// The device is not there.
    #[error("no device {device}; `ip link` lists those there are, auto takes the one of the route")]
    NoDevice {
        /// Its name.
        device: String,
    },
    /// The port belongs to somebody else.
    #[error(
        "UDP port {port} is in use{}; end it, choose another source port with -s (0 lets the kernel choose) or another port with -p",
        holder.as_ref().map(|holder| format!(" by {holder}")).unwrap_or_default()
    )]
    PortTaken {
        /// The port.
        port: u16,
        /// Name and id of the process, where /proc tells.
        holder: Option<String>,
    },
    /// The port needs a right.
    #[error(
        "UDP port {port} needs CAP_NET_BIND_SERVICE: give it with `setcap cap_net_bind_service+ep`, or send from a port that the kernel chooses with -s 0"
    )]
    PortNotPermitted {
        /// The port.
        port: u16,
    },
    /// A socket refused.
    #[error("{action}: {source}; check the address family, the device and the seccomp profile")]
    Socket {
        /// What was tried.
        action: &'static str,
        /// The error number.
        source: io::Error,
    },
    /// The clock is not as it must be.
    #[error("{0}")]
    Clock(#[from] ClockRefused),
    /// A file that can't be written.
    #[error("{} can't be written: {source}; choose another path", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// The error number.
        source: io::Error,
    },
    /// The metrics were refused.
    #[error(transparent)]
    Registry(#[from] telemetry::registry::RegistryError),
    /// Programs that the kernel does not take.
    #[error(transparent)]
    Kernel(#[from] stamp_bpf::Error),
    /// Programs that can't be attached.
    #[error(transparent)]
    Attach(#[from] BpfError),
    /// Programs that can't be attached as filters.
    #[error(transparent)]
    Filter(#[from] ClsactError),
    /// Devices that can't be seen.
    #[error(transparent)]
    Devices(#[from] NetlinkError),
    /// The namespace of the process can't be seen.
    #[error(transparent)]
    Namespace(#[from] net_sys::netns::NetnsError),
    /// Times of a card were asked for.
    #[error(
        "nothing proves that times of the network card of {device} arrive and follow the system's clock; use --timestamps kernel"
    )]
    NoHardware {
        /// The device.
        device: String,
    },
    /// No place for pins.
    #[error("{} is not on bpffs; mount it with `mount -t bpf bpf /sys/fs/bpf`, or start without --pin", path.display())]
    NoBpffs {
        /// Where pins were wanted.
        path: PathBuf,
    },
    /// Pins that can't be had.
    #[error("{}: {source}; the directory must be root's and writable by nobody else", path.display())]
    Pins {
        /// The directory.
        path: PathBuf,
        /// The error number.
        source: io::Error,
    },
    /// Targets that never answered.
    #[error("no valid reply from {}; check that a reflector runs there and that the way is free for its port", .0.join(", "))]
    Silent(Vec<String>),
}

/// Why a clock is not good enough for what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClockRefused {
    /// Nothing keeps it.
    #[error(
        "the kernel's clock is not synchronised; start chrony or another time daemon, or leave out --enforce-sync"
    )]
    Unsynchronised,
    /// Not by PTP.
    #[error("no PTP daemon keeps the clock; start ptp4l and phc2sys, or use --enforce-sync")]
    NoPtp,
    /// Not well enough.
    #[error(
        "the clock may be wrong by {error_ns} ns, --max-error allows {allowed_ns}; wait for the time daemon, or allow more"
    )]
    ErrorTooLarge {
        /// What the kernel says.
        error_ns: u64,
        /// What was asked for.
        allowed_ns: u64,
    },
}

/// One thing wrong with the settings.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// A histogram that can't be.
    #[error("--hist: {0}")]
    Histogram(#[from] BinsError),
    /// Too short an interval.
    #[error("--interval must be at least 100us")]
    Interval,
    /// No time for replies.
    #[error("--timeout must be longer than 0")]
    Timeout,
    /// All targets together.
    #[error(
        "{asked:.0} packets a second to all targets are more than --max-rate {allowed}; lengthen --interval or raise the limit"
    )]
    Rate {
        /// What the interval and the targets amount to.
        asked: f64,
        /// The limit.
        allowed: u32,
    },
    /// More requests under way than are remembered.
    #[error(
        "--interval and --timeout leave more requests open than can be remembered; shorten --timeout or lengthen --interval"
    )]
    Window,
    /// More requests under way in all than are remembered.
    #[error(
        "the requests of all targets that may be open take {octets} octets, {most} are allowed; shorten --timeout or lengthen --interval"
    )]
    Slots {
        /// What they take.
        octets: usize,
        /// What they may take.
        most: usize,
    },
    /// Buckets that can't be.
    #[error("histogram_buckets must be finite and rise")]
    Buckets,
    /// More than is taken.
    #[error("{have} {what} are too many, {most} are taken")]
    TooMany {
        /// Of what there are too many.
        what: &'static str,
        /// How many there are.
        have: usize,
        /// How many are taken.
        most: usize,
    },
    /// Two targets with one name.
    #[error("{0} is named twice; each target once")]
    Twice(String),
    /// Two targets that are one: their replies could not be told apart.
    #[error("{first} and {second} are one address, asked from one port; leave one out")]
    OneAddress {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// A payload that is too short or too long.
    #[error("--size must be {least} to {most} octets with these extensions")]
    Size {
        /// Without any padding.
        least: usize,
        /// What fits into a datagram.
        most: usize,
    },
    /// Two roles on one port that want different sockets.
    #[error(
        "two roles share UDP port {port} but not device and TTL; give them the same, or ports of their own"
    )]
    Shared {
        /// The port.
        port: u16,
    },
    /// Keys that nobody uses, or sessions without one.
    #[error("session {0} has no key; add one for all sessions, or for this one")]
    NoKey(u16),
}

fn told(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Error {
    pub(crate) const fn thread(source: io::Error) -> Self {
        Self::Socket { action: "starting a thread", source }
    }

    /// Whether it is about what was asked, and no other way of doing it helps.
    pub(crate) fn is_of_settings(&self) -> bool {
        matches!(self, Self::NoDevice { .. }) || self.exit() == Exit::Usage
    }

    /// What the process exits with.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Kernel(error) if error.is_permission() => Exit::NotPermitted,
            Self::Kernel(stamp_bpf::Error::TooMany { .. }) => Exit::Usage,
            Self::Attach(BpfError::NotPermitted { .. }) => Exit::NotPermitted,
            Self::Settings(_) | Self::Mangled(_) | Self::Key(_) => Exit::Usage,
            Self::PortNotPermitted { .. } => Exit::NotPermitted,
            _ => Exit::Unavailable,
        }
    }
}
