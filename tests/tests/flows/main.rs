//! `fathom flows --duration … -o json` against the kernel's own account of the same traffic.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking, also in its helpers")]

mod attach;
mod counters;
mod crafted;
mod devices;
mod ending;
mod form;
mod keys;
mod neighbours;
mod paths;
mod pressure;
mod refusals;
mod rows;
mod segmentation;
