//! What the kernel and foreign programs say about traffic, independently of the code under test.
//!
//! Interface counters by iproute2, frames by tcpdump and tshark, drops by tc, bytes of
//! connections by conntrack, pages of metrics by promtool. Readings are exact or an error: a
//! capture that lost a frame does not yield sums.

mod capture;
mod conntrack;
mod counters;
mod frames;
mod promtool;
mod qdisc;

use std::ops::AddAssign;

use serde::Deserialize;

pub use capture::{Capture, CaptureOptions, Heard, Recording};
pub use conntrack::{Connection, Conntrack, Way};
pub use counters::{Counters, Side};
pub use frames::{FlowKey, Frames, OtherKey, Seen};
pub use promtool::promtool_complaints;
pub use qdisc::Qdisc;

use crate::namespace::NamespaceError;
use crate::proc::{Late, ProcessError};

/// Why there is no truth.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TruthError {
    /// A command failed.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The namespace refused.
    #[error(transparent)]
    Namespace(#[from] NamespaceError),
    /// A condition did not come true.
    #[error(transparent)]
    Late(#[from] Late),
    /// A counter fell between two readings.
    #[error("counters of {device} fell between two readings; was it made anew in between?")]
    Reset {
        /// The device.
        device: String,
    },
    /// A program answered in a form that is not known.
    #[error("{program} wrote `{line}`, which is not understood; is its version supported?")]
    Form {
        /// The program.
        program: &'static str,
        /// The line or item.
        line: String,
    },
    /// The capture is incomplete.
    #[error("{lost} frames were not captured; shorten the snap length or lower the rate")]
    Incomplete {
        /// Frames that the kernel had no room for.
        lost: u64,
    },
}

/// Packets and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, PartialOrd, Ord, Deserialize)]
pub struct Amount {
    /// Packets.
    pub packets: u64,
    /// Bytes of these packets.
    pub bytes: u64,
}

impl Amount {
    /// An amount of so many packets and bytes.
    pub const fn new(packets: u64, bytes: u64) -> Self {
        Self { packets, bytes }
    }

    /// The difference to an `earlier` amount, nothing if either part fell.
    pub const fn since(self, earlier: Self) -> Option<Self> {
        match (self.packets.checked_sub(earlier.packets), self.bytes.checked_sub(earlier.bytes)) {
            (Some(packets), Some(bytes)) => Some(Self { packets, bytes }),
            _ => None,
        }
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
    }
}

impl std::iter::Sum for Amount {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::default(), |mut sum, amount| {
            sum += amount;
            sum
        })
    }
}
