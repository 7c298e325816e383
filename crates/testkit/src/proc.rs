//! Child processes behind guards, waiting with deadlines, free ports.
//!
//! A [`Command`] runs here or inside a namespace; the [`Process`] it becomes is killed with
//! everything it started when dropped. Nothing in this crate sleeps for a fixed time: every wait
//! names its condition and its deadline.

mod command;
mod log;
mod port;
mod process;
mod wait;

pub use rustix::process::Signal;

pub use command::Command;
pub use port::{PortError, free_tcp_port, free_udp_port};
pub use process::{Finished, Process, ProcessError};
pub use wait::{Late, try_wait_for, wait_for, wait_until};

pub(crate) use command::package_of;
