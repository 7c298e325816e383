//! The kernel programs in the running kernel, against the pure reading of every packet.
//!
//! Everything here loads programs, so it takes root: `cargo test -- --include-ignored`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that can't go on stops, and tells its seed and its numbers"
)]

mod bare;
mod differential;
mod enter;
mod extensions;
mod frames;
mod journey;
mod laboratory;
mod loading;
mod pins;
mod reflector;
mod routes;
mod sender;
mod signed;
mod slow;
mod sums;
mod twin;
mod watched;
mod xdp;
mod xdp_cable;
