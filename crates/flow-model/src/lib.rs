//! What the flows system knows without a kernel: keys, folding, the ledger and
//! its crash protocol, series, connections and the laws that tie them together.
//!
//! Nothing here reads a clock, a file, the environment or a socket. Time and
//! kernel access are arguments, so that every interleaving and every crash can
//! be played through in memory.
#![forbid(unsafe_code)]

pub mod audit;
pub mod connections;
pub mod edge;
pub mod flow;
pub mod kernel;
pub mod ledger;
pub mod page;
pub mod prefix;
pub mod redo;
pub mod series;
pub mod snapshot;
pub mod wire;
