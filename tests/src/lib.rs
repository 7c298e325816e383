//! Holds the `fathom` binary to its contract, from outside.
//!
//! Nothing here knows the program's source: expected values come from the kernel's interface
//! counters, from captures read back by tshark, from queueing disciplines and from frames whose
//! answer was worked out by hand. The binary is named by `FATHOM_BIN`, else it is the one beside
//! the test executable.
//!
//! This library belongs to tests: whatever goes wrong in it is a panic that says what was wanted.

#![forbid(unsafe_code)]

pub mod binary;
pub mod collector;
pub mod crafted;
pub mod daemon;
pub mod document;
pub mod exposition;
pub mod foreign;
pub mod kernel;
pub mod laws;
pub mod measure;
pub mod site;
pub mod stamp;
