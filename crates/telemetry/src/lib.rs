//! Metrics, logs and the HTTP listener that every fathom system shares.
//!
//! A system declares its metrics in a [`catalogue::Catalogue`], registers it with a
//! [`registry::Registry`] and publishes whole snapshots; this crate renders them
//! ([`expose`]), pushes them ([`otlp`]), serves them ([`admin`]) and keeps what is said
//! about the process itself ([`registry`], [`logs`], [`profiling`]). Faults of configuration
//! files are told by [`yaml`].
//! It knows no system, reads no environment variable and never decides what is measured.
#![forbid(unsafe_code)]

pub mod admin;
pub mod catalogue;
pub mod duration;
pub mod expose;
pub mod logs;
pub mod metric;
pub mod otlp;
pub mod profiling;
pub mod registry;
pub mod yaml;
