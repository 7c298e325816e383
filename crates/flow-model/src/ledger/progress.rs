//! What the four control words tell about the epoch closed last.

use crate::page::{Pages, control, control_word};

/// Which steps remain of the last drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// None.
    AtRest,
    /// Everything from the grace period on.
    Closing,
    /// The redo log is complete; it must be applied.
    Journalled,
    /// The epoch is in the ledger; its maps must be emptied.
    Committed,
    /// The words contradict each other: something else wrote them.
    Impossible,
}

impl Progress {
    /// Reads the control words.
    pub fn read(pages: &impl Pages) -> Self {
        let word = |number| control_word(pages, number);
        Self::of(
            word(control::EPOCH),
            word(control::JOURNAL),
            word(control::COMMIT),
            word(control::CLEARED),
        )
    }

    const fn of(epoch: u64, journal: u64, commit: u64, cleared: u64) -> Self {
        // The first epoch is 1, and no node lives to close the last.
        let (Some(closed), Some(_)) = (epoch.checked_sub(1), epoch.checked_add(1)) else {
            return Self::Impossible;
        };
        let previous = closed.wrapping_sub(1);
        if cleared == closed && commit == closed && journal == closed {
            return Self::AtRest;
        }
        if closed == 0 || cleared != previous {
            return Self::Impossible;
        }
        match (journal == closed, commit == closed) {
            (true, true) => Self::Committed,
            (true, false) if commit == previous => Self::Journalled,
            (false, false) if journal == previous && commit == previous => Self::Closing,
            _ => Self::Impossible,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn each_step_of_a_drain_is_told_from_the_others() {
        assert_eq!(Progress::of(8, 7, 7, 7), Progress::AtRest);
        assert_eq!(Progress::of(8, 6, 6, 6), Progress::Closing);
        assert_eq!(Progress::of(8, 7, 6, 6), Progress::Journalled);
        assert_eq!(Progress::of(8, 7, 7, 6), Progress::Committed);
    }

    #[test]
    fn a_new_ledger_is_at_rest() {
        assert_eq!(Progress::of(1, 0, 0, 0), Progress::AtRest);
    }

    #[test]
    fn every_other_combination_is_impossible() {
        let possible = [(8, 7, 7, 7), (8, 6, 6, 6), (8, 7, 6, 6), (8, 7, 7, 6)];
        for word in 0..10_u64.pow(3) {
            let words = (8, word / 100, word / 10 % 10, word % 10);
            let read = Progress::of(words.0, words.1, words.2, words.3);
            assert_eq!(read == Progress::Impossible, !possible.contains(&words), "{words:?}");
        }
        for word in [0, 1, u64::MAX] {
            assert_eq!(Progress::of(0, word, word, word), Progress::Impossible);
            let last = Progress::of(u64::MAX, u64::MAX - 1, u64::MAX - 1, u64::MAX - 1);
            assert_eq!(last, Progress::Impossible);
        }
    }
}
