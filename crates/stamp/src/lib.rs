//! The stamp system: delay, loss and clock offset between nodes.
//!
//! [`settings`] is everything its commands can be told, [`System`] is what runs,
//! and the documents of [`Finished`] say what came of it. Packets, sessions and
//! statistics are in `stamp-proto`; here is what joins them to sockets, clocks, files and
//! names.
#![forbid(unsafe_code)]

mod api;
mod awaited;
mod catalogue;
mod clock;
pub mod config;
mod control;
pub mod decode;
mod error;
mod families;
mod histogram;
mod kernel;
pub mod keys;
mod marks;
mod outlet;
pub mod parse;
mod port;
mod ports;
mod resolver;
mod samples;
mod service;
pub mod settings;
mod socket;
pub mod status;
mod summary;
pub mod sync;
mod system;
mod table;
mod tally;
mod target;
mod timetable;

pub use catalogue::CATALOGUE;
pub use control::Controls;
pub use error::{ClockRefused, Error, Exit, Problem};
pub use kernel::{Detached, Lane, detach, outward};
pub use port::holder;
pub use summary::{ReflectorSummary, SenderSummary};
pub use system::{Finished, System};
