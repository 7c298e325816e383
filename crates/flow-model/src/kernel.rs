//! What the ledger asks of the kernel side.

use crate::flow::{FlowEntry, Folded, Parity, Slot, Totals};

/// The maps that packets write to, and the means to wait for their writers.
///
/// Every call may be repeated: after a crash or an error the ledger starts the step
/// again. Buffers are lent by the ledger and indexed by slot.
pub trait Kernel {
    /// Why a call failed.
    type Error: std::error::Error;

    /// Returns once no program run that began before the call is still alive.
    fn grace(&mut self) -> Result<(), Self::Error>;

    /// Shows every flow of one parity, removing none. May end in an error after having
    /// shown some.
    fn read(&mut self, parity: Parity, sink: &mut dyn FnMut(&FlowEntry))
    -> Result<(), Self::Error>;

    /// Removes every flow of one parity and zeroes its fill counters, whether or not
    /// this process has read them.
    fn clear(&mut self, parity: Parity) -> Result<(), Self::Error>;

    /// Fills in what slots `0..out.len()` have counted in one parity, by direction;
    /// cumulative.
    fn totals(&mut self, parity: Parity, out: &mut [[Totals; 2]]) -> Result<(), Self::Error>;

    /// Fills in what slots `0..out.len()` counted without flow detail in one parity, by
    /// direction and class; cumulative.
    fn folded(&mut self, parity: Parity, out: &mut [Folded]) -> Result<(), Self::Error>;

    /// Zeroes the totals and folded cells of a slot in both parities. Only called for
    /// a slot that no hook uses.
    fn zero_slot(&mut self, slot: Slot) -> Result<(), Self::Error>;
}
