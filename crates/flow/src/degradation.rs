//! Ways in which an edge is counted, but not as it should be.

/// Why an edge is degraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Degradation {
    /// There is no way into the pod's namespace: what it receives is counted as it leaves
    /// the host side, and what goes around that is not.
    HostEgress,
    /// Somebody else's filter runs first and may keep packets from ours.
    BehindForeignFilter,
    /// Somebody removed our filter.
    Tampered,
}

impl Degradation {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::HostEgress, Self::BehindForeignFilter, Self::Tampered];

    /// Value of the `reason` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::HostEgress => "host_egress",
            Self::BehindForeignFilter => "behind_foreign_filter",
            Self::Tampered => "tampered",
        }
    }
}
