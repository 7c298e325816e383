//! The counting program in the running kernel, against what it should have counted.
//!
//! Everything here loads programs, so it takes root: `cargo test -- --include-ignored`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that can't go on stops, and tells its seed and its numbers"
)]

mod damage;
mod device;
mod frames;
mod lab;
mod law;
mod loading;
mod parser;
mod pins;
mod race;
mod reference;
mod tables;
