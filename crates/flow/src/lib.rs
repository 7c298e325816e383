//! The flows system: every byte and packet of every pod, counted exactly once.
//!
//! [`Settings`] is everything it can be told, [`Config`] what of it holds together.
//! [`measure`] is one measurement from attach to document. The kernel side is
//! `flow-bpf`, what survives a crash is `flow-model`; here is what joins them to
//! namespaces, devices, files and time.
#![forbid(unsafe_code)]

mod audit;
mod command;
mod config;
pub mod document;
mod engine;
mod error;
mod hook;
mod host;
mod measure;
mod named;
pub mod parse;
mod rows;
pub mod settings;
mod site;
mod time;

pub use command::{Command, channel};
pub use config::Config;
pub use error::{Error, Exit, SiteError};
pub use measure::measure;
pub use settings::{Output, PinSettings, Settings};
