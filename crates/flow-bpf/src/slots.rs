//! Which device of the host side has which slot.

use flow_model::flow::Slot;

use crate::layout::RawSlotCell;

/// Cells of the table that the shared programs look devices up in.
pub(crate) const CELLS: u32 = 16_384;

/// How the frames of a device start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkLayer {
    /// With an Ethernet header.
    Ethernet,
    /// With the IP header, as on a tun device.
    Ip,
    /// With something this program does not parse; counted without flows.
    Opaque,
}

impl LinkLayer {
    /// From the hardware type that netlink reports (`ARPHRD_*`).
    pub const fn from_arphrd(hardware: u16) -> Self {
        match hardware {
            // ETHER, LOOPBACK
            1 | 772 => Self::Ethernet,
            // PPP, TUNNEL, TUNNEL6, SIT, IPGRE, IP6GRE, RAWIP, NONE
            512 | 768 | 769 | 776 | 778 | 823 | 519 | 0xfffe => Self::Ip,
            _ => Self::Opaque,
        }
    }

    pub(crate) const fn flags(self) -> u16 {
        match self {
            Self::Ethernet => 0,
            Self::Ip => 0x01,
            Self::Opaque => 0x02,
        }
    }
}

/// A device's entry in the shared table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotCell {
    /// The device.
    pub ifindex: u32,
    /// Its slot.
    pub slot: Slot,
    /// How its frames start.
    pub link_layer: LinkLayer,
}

impl SlotCell {
    pub(crate) const fn index(ifindex: u32) -> u32 {
        ifindex & (CELLS - 1)
    }

    pub(crate) const fn raw(self) -> RawSlotCell {
        RawSlotCell { ifindex: self.ifindex, slot: self.slot.0, flags: self.link_layer.flags() }
    }
}
