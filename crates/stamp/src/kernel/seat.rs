//! The place of one session of ours in the kernel.

use std::net::SocketAddr;
use std::sync::Arc;

use stamp_bpf::{Peer, Slot, Tables, Window};
use stamp_proto::sender::Discard;

/// A session that the programs know.
#[derive(Debug)]
pub(crate) struct Seat {
    tables: Arc<Tables>,
    index: u32,
    ends: (SocketAddr, SocketAddr),
    ssid: u16,
    window: Window,
}

impl Seat {
    pub(super) const fn new(tables: Arc<Tables>, index: u32, peer: &Peer, window: Window) -> Self {
        let (ends, ssid) = ((peer.local, peer.remote), peer.ssid);
        Self { tables, index, ends, ssid, window }
    }

    /// Whether it is the place of a session with these ends and this number.
    pub(crate) fn is_of(&self, peer: &Peer) -> bool {
        self.ends == (peer.local, peer.remote) && self.ssid == peer.ssid
    }

    /// Our address and port, and those of the reflector.
    pub(crate) const fn ends(&self) -> (SocketAddr, SocketAddr) {
        self.ends
    }

    pub(super) const fn index(&self) -> u32 {
        self.index
    }

    /// A request as it left, if it left through the programs, and its reply if there is one.
    pub(crate) fn slot(&self, sequence: u32) -> Option<Slot> {
        told(self.window.slot(sequence))
    }

    /// The same where a bell has rung for the reply.
    pub(crate) fn rung_slot(&self, sequence: u32) -> Option<Slot> {
        told(self.window.rung_slot(sequence))
    }

    /// Replies whose checksum was wrong: the only ones that no socket sees.
    pub(crate) fn bad_checksums(&self) -> u64 {
        self.tables.discarded(self.index, Discard::Checksum).unwrap_or(0)
    }
}

fn told(slot: Result<Option<Slot>, stamp_bpf::Error>) -> Option<Slot> {
    slot.inspect_err(|error| tracing::debug!(event = "stamp.slot", %error, "A slot can't be read"))
        .ok()
        .flatten()
}
