//! The laboratory: network namespaces, real traffic and independent truth.
//!
//! Tests and `fathom demo` build nodes and pods out of network namespaces, send real packets
//! between them and read what the kernel's own counters, tcpdump and conntrack say about it.
//! Every resource is a guard: it disappears on drop, after a panic, and, through a small shell
//! that outlives the process for a moment, even after SIGKILL.
//!
//! No link of the namespace this process was started in is ever created, changed or removed.
//! Nothing here depends on the code under test.
#![forbid(unsafe_code)]

mod fake_root;
mod namespace;

pub mod cni;
pub mod lab;
pub mod proc;
pub mod topology;
pub mod traffic;
pub mod truth;

pub use fake_root::FakeRoot;
pub use lab::Lab;
pub use namespace::{EnterError, Namespace, NamespaceError, Place, Swept, sweep};
pub use topology::{Device, Segmentation, Veth};
