//! Real traffic between namespaces, with an exact account of both sides.
//!
//! The built-in generators are plain sockets on threads inside the namespaces: bounded in time
//! and, if wanted, in rate and amount; they end when their guard is dropped. [`Iperf`] runs the
//! real iperf3 for tests.

mod flood;
mod generator;
mod iperf;
mod pace;
mod tally;
mod tcp;
mod udp;

use std::net::SocketAddr;
use std::time::Duration;

pub use flood::Flood;
pub use generator::{Generator, TrafficError};
pub use iperf::{Iperf, IperfReport, IperfSum, RunningIperf};
pub use tally::{Report, Tally};

use crate::namespace::Place;

/// What is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Load {
    /// One TCP connection, one direction.
    Bulk {
        /// Bytes a second; as fast as possible without it.
        rate: Option<u64>,
        /// Bytes after which it ends.
        limit: Option<u64>,
    },
    /// Many short TCP connections, one question and one answer each.
    Requests {
        /// Bytes of a question.
        question: usize,
        /// Bytes of an answer.
        answer: usize,
        /// Connections a second; as fast as possible without it.
        rate: Option<u64>,
        /// Connections after which it ends.
        limit: Option<u64>,
    },
    /// Datagrams in one direction.
    Datagrams {
        /// Payload sizes, used in turn.
        sizes: Vec<usize>,
        /// Datagrams a second; as fast as possible without it.
        rate: Option<u64>,
        /// Datagrams after which it ends.
        limit: Option<u64>,
    },
}

/// Between whom, and for how long at most.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// Where the client runs.
    pub client: Place,
    /// Where the server runs.
    pub server: Place,
    /// Address of the server; port 0 lets the kernel choose one.
    pub target: SocketAddr,
    /// The end of it in any case.
    pub lifetime: Duration,
}
