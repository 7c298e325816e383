//! What one process has done: counts that start at zero with it.

use std::time::Duration;

use flow_model::flow::Counts;
use telemetry::metric::Histogram;

/// A step that can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Opening a new epoch.
    Flip,
    /// Reading maps.
    Read,
    /// The redo log.
    Journal,
    /// Emptying maps.
    Clear,
    /// Hooking an edge.
    Attach,
    /// Listing devices.
    Netlink,
    /// The pod index.
    Kube,
    /// Writing a dump.
    Dump,
    /// Pushing metrics.
    Otlp,
    /// Reading notices.
    Ring,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 10] = [
        Self::Flip,
        Self::Read,
        Self::Journal,
        Self::Clear,
        Self::Attach,
        Self::Netlink,
        Self::Kube,
        Self::Dump,
        Self::Otlp,
        Self::Ring,
    ];

    /// Value of the `type` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Flip => "flip",
            Self::Read => "read",
            Self::Journal => "journal",
            Self::Clear => "clear",
            Self::Attach => "attach",
            Self::Netlink => "netlink",
            Self::Kube => "kube",
            Self::Dump => "dump",
            Self::Otlp => "otlp",
            Self::Ring => "ring",
        }
    }
}

/// Why an epoch was closed ahead of its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A table filled.
    Fill,
    /// Somebody asked.
    Fresh,
    /// The kernel side changed hands.
    Takeover,
}

impl Cause {
    /// All of them.
    pub(crate) const ALL: [Self; 3] = [Self::Fill, Self::Fresh, Self::Takeover];

    /// Value of the `cause` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Fill => "fill",
            Self::Fresh => "fresh",
            Self::Takeover => "takeover",
        }
    }
}

/// Values of the `reason` label of a failed attach.
pub(crate) const ATTACH_REASONS: [&str; 6] =
    ["edge_limit", "no_netns", "no_capability", "device_gone", "foreign_filter", "kernel"];

/// Counts since the process started.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    faults: [u64; Fault::ALL.len()],
    early: [u64; Cause::ALL.len()],
    attach: [u64; ATTACH_REASONS.len()],
    /// Loads of the program.
    pub(crate) loads: u64,
    /// Whether the last one worked.
    pub(crate) loaded: bool,
    /// How long it took.
    pub(crate) load_took: Duration,
    /// Drains longer than the interval.
    pub(crate) overruns: u64,
    /// Flip to cleared.
    pub(crate) collection: Histogram,
    /// Flip to grace.
    pub(crate) grace: Histogram,
    /// Message to hooked.
    pub(crate) attach_lag: Histogram,
    /// What passed interfaces before their hooks, by direction.
    pub(crate) missed: [Counts; 2],
    /// What went around host-side receive hooks.
    pub(crate) bypassed: Counts,
    /// Dumps written.
    pub(crate) dumped: u64,
}

const COLLECTION_SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const GRACE_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0];
const LAG_SECONDS: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

impl Default for Tally {
    fn default() -> Self {
        let empty = |bounds: &'static [f64]| Histogram::new(bounds).expect("the bounds above rise");
        Self {
            faults: Default::default(),
            early: Default::default(),
            attach: Default::default(),
            loads: 0,
            loaded: false,
            load_took: Duration::ZERO,
            overruns: 0,
            collection: empty(COLLECTION_SECONDS),
            grace: empty(GRACE_SECONDS),
            attach_lag: empty(LAG_SECONDS),
            missed: Default::default(),
            bypassed: Counts::ZERO,
            dumped: 0,
        }
    }
}

impl Tally {
    /// The program was loaded.
    pub(crate) const fn load(&mut self, took: Duration) {
        self.loads += 1;
        self.loaded = true;
        self.load_took = took;
    }

    /// A step failed.
    pub(crate) const fn fault(&mut self, fault: Fault) {
        self.faults[fault as usize] += 1;
    }

    /// Dumps that were written since, and those that were not.
    pub(crate) const fn dumps(&mut self, written: u64, failed: u64) {
        self.dumped += written;
        self.faults[Fault::Dump as usize] += failed;
    }

    /// How often a step failed.
    pub(crate) const fn faults(&self, fault: Fault) -> u64 {
        self.faults[fault as usize]
    }

    /// An epoch was closed early.
    pub(crate) const fn early(&mut self, cause: Cause) {
        self.early[cause as usize] += 1;
    }

    /// How often an epoch was closed early.
    pub(crate) const fn earlies(&self, cause: Cause) -> u64 {
        self.early[cause as usize]
    }

    /// An edge could not be hooked.
    pub(crate) fn attach_failed(&mut self, reason: &str) {
        // Every reason that an error can give stands in the list; "kernel" is its last.
        let at = ATTACH_REASONS.iter().position(|known| *known == reason);
        self.attach[at.unwrap_or(ATTACH_REASONS.len() - 1)] += 1;
    }

    /// Failed attaches, by reason.
    pub(crate) fn attach_failures(&self) -> impl Iterator<Item = (&'static str, u64)> {
        ATTACH_REASONS.into_iter().zip(self.attach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_attach_counts_under_its_reason_and_an_unknown_one_under_kernel() {
        let mut tally = Tally::default();
        for reason in ["no_netns", "no_netns", "edge_limit", "never heard of"] {
            tally.attach_failed(reason);
        }
        let counted: Vec<_> = tally.attach_failures().filter(|(_, count)| *count > 0).collect();
        assert_eq!(counted, [("edge_limit", 1), ("no_netns", 2), ("kernel", 1)]);
    }

    #[test]
    fn a_dump_that_failed_is_a_fault() {
        let mut tally = Tally::default();
        tally.dumps(3, 2);
        tally.dumps(1, 1);
        assert_eq!((tally.dumped, tally.faults(Fault::Dump)), (4, 3));
    }

    #[test]
    fn every_fault_and_cause_has_a_cell_and_a_label_of_its_own() {
        let mut tally = Tally::default();
        for fault in Fault::ALL {
            tally.fault(fault);
        }
        for cause in Cause::ALL {
            tally.early(cause);
        }
        assert!(Fault::ALL.into_iter().all(|fault| tally.faults(fault) == 1));
        assert!(Cause::ALL.into_iter().all(|cause| tally.earlies(cause) == 1));
        let labels: std::collections::BTreeSet<_> = Fault::ALL.map(Fault::as_str).into();
        assert_eq!(labels.len(), Fault::ALL.len());
    }
}
