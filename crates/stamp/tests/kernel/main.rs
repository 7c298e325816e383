//! Both commands with their times taken by programs in the kernel, between two hosts that a
//! cable joins.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

mod devices;
mod journey;
mod laboratory;
mod left;
mod lifecycle;
mod offset;
mod reflector;
