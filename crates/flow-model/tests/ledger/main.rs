//! The ledger against a kernel that counts while everything else stops and starts.
#![expect(clippy::unwrap_used, reason = "a test that can't go on shall stop")]

mod control;
mod crash;
mod driver;
mod hostile;
mod life;
mod machine;
mod outcome;
mod pressure;
mod script;
mod transfer;
