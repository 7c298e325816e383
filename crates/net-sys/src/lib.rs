//! Safe, synchronous access to the kernel surfaces that the measuring systems stand on.
//!
//! Network namespaces, rtnetlink, hooks for programs (tcx and XDP links, clsact filters), facts
//! about the host, advisory locks and descriptor information. Every call blocks for a bounded time
//! and belongs on a named thread, never on an async worker. Nothing here decides: callers get facts
//! and typed errors, and policy (what to hook, what to retry, what to give up) stays with them.
//!
//! Interface indices, namespace ids and hooks always mean those of the network namespace in
//! which the calling thread (or the socket, for [`Route`] and [`Monitor`]) was when it was made.
//!
//! Netlink messages are built and read by this crate itself. The message crates pad statistics of
//! an older kernel with zeroes, which turns "not known" into "none", and the five tables read here
//! need only a few hundred lines.

pub mod bpf;
pub mod clsact;
pub mod fdinfo;
pub mod host;
pub mod link;
pub mod lock;
pub mod monitor;
pub mod netlink;
pub mod netns;
pub mod netns_dir;
pub mod survey;
pub mod tcx;
pub mod wake;
pub mod xdp;

pub use link::Route;
pub use monitor::Monitor;
pub use netns::Netns;
pub use survey::Survey;

#[cfg(test)]
mod testing;
