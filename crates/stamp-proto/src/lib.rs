//! STAMP without a socket: wire formats, sessions, statistics and clock offsets.
//!
//! RFC 8762 with the extensions of RFC 8972, 9503, 9534 and 10052, as pure functions
//! and state machines. Nothing here opens a socket, reads a clock or the environment:
//! packets and times are arguments, and what to send is a return value. The kernel
//! programs, the socket fallback and the tests all stand on this one reading of the
//! formats.
#![forbid(unsafe_code)]

pub mod auth;
pub mod clock;
pub mod estimate;
pub mod loss;
pub mod offset;
pub mod packet;
pub mod reflector;
pub mod sender;
pub mod statistics;
pub mod timestamp;
pub mod tlv;

/// The UDP port of Session-Reflectors. RFC 8762 §4.1.
pub const PORT: u16 = 862;
