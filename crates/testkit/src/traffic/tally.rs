//! What a generator sent and received, counted where the bytes pass.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The account of one generator at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Address that the server listened on.
    pub target: SocketAddr,
    /// TCP connections that were established, absent for datagrams.
    pub connections: Option<u64>,
    /// The client's account.
    pub client: Tally,
    /// The server's account.
    pub server: Tally,
}

/// The account of one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Tally {
    /// Application bytes handed to the kernel.
    pub sent_bytes: u64,
    /// Datagrams, questions or answers handed over whole; a bulk stream is one.
    pub sent_messages: u64,
    /// Application bytes taken from the kernel.
    pub received_bytes: u64,
    /// Datagrams, questions or answers received whole; a bulk stream is one.
    pub received_messages: u64,
}

impl Report {
    /// Whether everything sent arrived at the other side.
    pub const fn is_lossless(&self) -> bool {
        self.client.arrived_at(&self.server) && self.server.arrived_at(&self.client)
    }
}

impl Tally {
    const fn arrived_at(&self, other: &Self) -> bool {
        self.sent_bytes == other.received_bytes && self.sent_messages == other.received_messages
    }
}

/// A tally that another thread may read while it grows.
#[derive(Debug, Default)]
pub(super) struct Account {
    sent_bytes: AtomicU64,
    sent_messages: AtomicU64,
    received_bytes: AtomicU64,
    received_messages: AtomicU64,
}

impl Account {
    pub(super) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
    }

    pub(super) fn sent_batch(&self, messages: usize, each: usize) {
        self.sent(messages * each);
        self.sent_messages.fetch_add(messages as u64, Ordering::AcqRel);
    }

    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::AcqRel);
    }

    pub(super) fn sent_whole(&self) {
        self.sent_messages.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn received_whole(&self) {
        self.received_messages.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn read(&self) -> Tally {
        Tally {
            sent_bytes: self.sent_bytes.load(Ordering::Acquire),
            sent_messages: self.sent_messages.load(Ordering::Acquire),
            received_bytes: self.received_bytes.load(Ordering::Acquire),
            received_messages: self.received_messages.load(Ordering::Acquire),
        }
    }
}
