//! The flows system: every byte and packet of every pod, counted exactly once.
//!
//! [`Settings`] is everything it can be told, [`Config`] what of it holds together,
//! [`System`] what runs until it is told to stop, or measures once. The kernel side is
//! `flow-bpf`, what survives a crash is `flow-model`; here is what joins them to
//! namespaces, devices, files and time.
#![forbid(unsafe_code)]

mod account;
mod api;
mod audit;
mod catalogue;
mod command;
mod config;
mod degradation;
mod discover;
pub mod document;
mod dump;
mod engine;
mod error;
mod families;
mod fitting;
mod fixed;
mod home;
mod hook;
mod host;
mod links;
mod measure;
mod moving;
mod named;
mod overflow;
pub mod parse;
mod pins;
mod plan;
mod published;
mod ready;
mod rows;
mod salvage;
mod schedule;
mod service;
pub mod settings;
mod site;
mod start;
pub mod status;
mod system;
mod tally;
#[cfg(test)]
mod testing;
mod time;
mod watch;

pub use catalogue::CATALOGUE;
pub use config::Config;
pub use error::{Error, Exit, SiteError};
pub use settings::{Output, PinSettings, Settings};
pub use status::{Detached, Status, detach, status};
pub use system::{Controls, System};
