//! The stamp system: delay, loss and clock offset between nodes.
//!
//! [`settings`] is everything its commands can be told, [`Measurement`] and [`Reflection`]
//! are what they do, and the documents they give back say what came of it. Packets, sessions and
//! statistics are in `stamp-proto`; here is what joins them to sockets, clocks, files and
//! names.
#![forbid(unsafe_code)]

mod clock;
pub mod decode;
mod error;
mod histogram;
pub mod keys;
pub mod parse;
mod port;
mod run;
mod samples;
mod service;
pub mod settings;
mod socket;
mod stop;
mod summary;
mod table;
mod tally;
mod target;
mod timetable;

pub use error::{ClockRefused, Error, Exit, Problem};
pub use run::{Measurement, Reflection};
pub use stop::Stop;
pub use summary::{ReflectorSummary, SenderSummary};
