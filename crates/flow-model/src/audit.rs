//! The laws that tie the numbers together, with both sides of each equation.
//!
//! | law | equation |
//! |---|---|
//! | flow | totals of a slot, parity and direction = committed flows + folded |
//! | ledger | Σ edges + departed edges = what drains have added up |
//! | series | Σ exposed + other + ignored + retired + unnamed = node |
//!
//! The flow law is checked on the parity just closed, which has no writer. Its left
//! side comes from the kernel's per-packet counters, its right side from flow entries
//! that went through reading, aggregation, redo log and pages.

use crate::edge::EdgeId;
use crate::flow::{Counts, Direction, Parity, Slot};

/// All checks of one commit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Laws {
    /// The flow law of each occupied slot, in both directions.
    pub flow: Vec<FlowCheck>,
    /// The ledger law, by direction.
    pub ledger: [LedgerCheck; 2],
    /// The series law of each family and direction.
    pub series: Vec<SeriesCheck>,
}

/// Which equation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Law {
    /// Per slot.
    Flow,
    /// Over all edges.
    Ledger,
    /// Per family of series.
    Series,
}

impl Law {
    /// Every law that this crate can check.
    pub const ALL: [Self; 3] = [Self::Flow, Self::Ledger, Self::Series];

    /// Value of the `law` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Flow => "flow",
            Self::Ledger => "ledger",
            Self::Series => "series",
        }
    }
}

/// The flow law of one slot, parity and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FlowCheck {
    /// The edge in the slot.
    pub edge: EdgeId,
    /// The slot.
    pub slot: Slot,
    /// The parity that was just closed.
    pub parity: Parity,
    /// The direction.
    pub direction: Direction,
    /// Left side: every packet that passed the hook.
    pub totals: Counts,
    /// Right side: flows committed.
    pub committed: Counts,
    /// Right side: amounts without flow detail.
    pub folded: Counts,
}

impl FlowCheck {
    /// How far the sides lie apart; zero when the law holds.
    pub fn drift(&self) -> Counts {
        self.totals.abs_diff(self.committed + self.folded)
    }
}

/// The ledger law of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LedgerCheck {
    /// Left side: what the edge book says, departed edges included.
    pub book: Counts,
    /// Right side: what this process found at its start and has drained since.
    pub node: Counts,
}

impl LedgerCheck {
    /// How far the sides lie apart; zero when the law holds.
    pub const fn drift(&self) -> Counts {
        self.book.abs_diff(self.node)
    }
}

/// A group of series with a common limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// Address pairs.
    Pair,
    /// Pods.
    Pod,
}

impl Family {
    /// Every family of this crate.
    pub const ALL: [Self; 2] = [Self::Pair, Self::Pod];

    /// Value of the `family` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pair => "pair",
            Self::Pod => "pod",
        }
    }
}

/// The series law of one family and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SeriesCheck {
    /// The family.
    pub family: Family,
    /// The direction.
    pub direction: Direction,
    /// Left side: sum of the exposed series.
    pub exposed: Counts,
    /// Left side: the reserved series `other`.
    pub other: Counts,
    /// Left side: the reserved series `ignored`.
    pub ignored: Counts,
    /// Left side: final amounts of former series.
    pub retired: Counts,
    /// Left side: amounts held back until their pod is known.
    pub unnamed: Counts,
    /// Right side: the node counter.
    pub base: Counts,
}

impl SeriesCheck {
    /// How far the sides lie apart; zero when the law holds.
    pub fn drift(&self) -> Counts {
        let left = self.exposed + self.other + self.ignored + self.retired + self.unnamed;
        left.abs_diff(self.base)
    }
}

impl Laws {
    /// The drift of one law over all its checks; zero when it holds everywhere.
    pub fn drift(&self, law: Law) -> Counts {
        match law {
            Law::Flow => self.flow.iter().map(FlowCheck::drift).sum(),
            Law::Ledger => self.ledger.iter().map(LedgerCheck::drift).sum(),
            Law::Series => self.series.iter().map(SeriesCheck::drift).sum(),
        }
    }

    /// Whether every law holds.
    pub fn hold(&self) -> bool {
        Law::ALL.iter().all(|law| self.drift(*law).is_zero())
    }
}
