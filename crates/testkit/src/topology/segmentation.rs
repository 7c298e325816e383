//! Whether the kernel hands large buffers to a device or single frames.

use super::Device;
use crate::namespace::COMMAND_DEADLINE;
use crate::proc::ProcessError;

/// Segmentation and receive offload of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Segmentation {
    /// Buffers of up to 64 KiB, as a veth has it by default.
    #[default]
    On,
    /// One frame a buffer, from the socket to the device.
    ///
    /// Takes effect on connections made afterwards: a socket remembers what its route offered.
    Off,
}

impl Device {
    /// Switches segmentation and receive offload.
    pub fn segmentation(&self, setting: Segmentation) -> Result<(), ProcessError> {
        let (segment, receive, buffers) = match setting {
            // A veth does not merge on receive by default: that would turn its NAPI mode on.
            Segmentation::On => ("on", "off", MOST_SEGMENTS),
            Segmentation::Off => ("off", "off", "1"),
        };
        let features = ["tso", segment, "gso", segment, "gro", receive];
        let ethtool = self.place().command("ethtool").args(["-K", self.name()]).args(features);
        ethtool.succeed(COMMAND_DEADLINE)?;
        // With ethtool alone TCP still builds large buffers, which are cut behind an egress hook.
        self.set(["gso_max_segs", buffers])
    }
}

/// What a new device has (kernel GSO_MAX_SEGS).
const MOST_SEGMENTS: &str = "65535";
