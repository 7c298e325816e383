//! Interface counters.

use crate::netlink::ParseError;
use crate::netlink::wire::u64_at;

/// `struct rtnl_link_stats64`: what the device and its driver counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters64 {
    /// Packets received.
    pub rx_packets: u64,
    /// Packets sent.
    pub tx_packets: u64,
    /// Bytes received, link header included.
    pub rx_bytes: u64,
    /// Bytes sent, link header included.
    pub tx_bytes: u64,
    /// Packets received with any error.
    pub rx_errors: u64,
    /// Packets that could not be sent for any error.
    pub tx_errors: u64,
    /// Good packets received and thrown away.
    pub rx_dropped: u64,
    /// Packets thrown away on the way out.
    pub tx_dropped: u64,
    /// Multicast packets received.
    pub multicast: u64,
    /// Collisions.
    pub collisions: u64,
    /// Received with an impossible length.
    pub rx_length_errors: u64,
    /// Receiver overflow events.
    pub rx_over_errors: u64,
    /// Received with a wrong checksum.
    pub rx_crc_errors: u64,
    /// Received with a framing error.
    pub rx_frame_errors: u64,
    /// Receive FIFO errors.
    pub rx_fifo_errors: u64,
    /// Missed because the host was too slow.
    pub rx_missed_errors: u64,
    /// Send FIFO errors.
    pub tx_fifo_errors: u64,
    /// Lost for want of a carrier.
    pub tx_carrier_errors: u64,
    /// Dropped because the device was down or nobody takes the protocol.
    pub rx_nohandler: u64,
    /// Dropped for another host's link address; kernels before 5.19 do not tell.
    pub rx_otherhost_dropped: Option<u64>,
}

impl Counters64 {
    /// Reads the kernel's array of numbers, which grew over time and may grow further.
    pub(super) fn parse(payload: &[u8]) -> Result<Self, ParseError> {
        let truncated = ParseError::Truncated {
            what: "link statistics",
            need: (position::RX_NOHANDLER + 1) * 8,
            have: payload.len(),
        };
        let at = |position: usize| u64_at(payload, position * 8).ok_or(truncated);
        Ok(Self {
            rx_packets: at(0)?,
            tx_packets: at(1)?,
            rx_bytes: at(2)?,
            tx_bytes: at(3)?,
            rx_errors: at(4)?,
            tx_errors: at(5)?,
            rx_dropped: at(6)?,
            tx_dropped: at(7)?,
            multicast: at(8)?,
            collisions: at(9)?,
            rx_length_errors: at(10)?,
            rx_over_errors: at(11)?,
            rx_crc_errors: at(12)?,
            rx_frame_errors: at(13)?,
            rx_fifo_errors: at(14)?,
            rx_missed_errors: at(15)?,
            tx_carrier_errors: at(position::TX_CARRIER_ERRORS)?,
            tx_fifo_errors: at(position::TX_FIFO_ERRORS)?,
            rx_nohandler: at(position::RX_NOHANDLER)?,
            rx_otherhost_dropped: at(position::RX_OTHERHOST_DROPPED).ok(),
        })
    }
}

/// Positions behind the fields that are left out.
mod position {
    pub(super) const TX_CARRIER_ERRORS: usize = 17;
    pub(super) const TX_FIFO_ERRORS: usize = 18;
    pub(super) const RX_NOHANDLER: usize = 23;
    pub(super) const RX_OTHERHOST_DROPPED: usize = 24;
}
