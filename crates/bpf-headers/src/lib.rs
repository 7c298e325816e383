//! C headers shared by every kernel program of the workspace.
//!
//! The crate holds no Rust beyond the place where the headers stand; it exists so
//! that build scripts find them without a path that climbs out of their crate.
#![forbid(unsafe_code)]

/// Directory to put on the include path of a kernel program.
pub const INCLUDE_DIR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/include");
