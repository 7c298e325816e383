//! Answers that are to be sent more than once, because their requests asked for it.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use stamp_proto::clock::MonoTime;
use stamp_proto::reflector::Answer;

use crate::socket::Leave;

/// An answer that is to be sent again.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) due: MonoTime,
    /// How often it is still to be sent.
    pub(super) left: u16,
    /// The socket it leaves by, as the service counts them.
    pub(super) socket: usize,
    /// Whether its session is that of the programs in the kernel.
    pub(super) is_left: bool,
    pub(super) leave: Leave,
    pub(super) answer: Answer,
}

/// All of them, the soonest first.
#[derive(Debug, Default)]
pub(super) struct Copies(BinaryHeap<Reverse<Copy>>);

impl Copies {
    /// Puts the next copy in line, if there is to be one and there is room.
    pub(super) fn plan(&mut self, copy: Copy) {
        if copy.left > 0 && self.0.len() < MOST {
            let due = copy.due.after(i64::from(copy.answer.copies.interval_ns));
            self.0.push(Reverse(Copy { due, ..copy }));
        }
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Option<MonoTime> {
        self.0.peek().map(|Reverse(copy)| copy.due)
    }

    /// One that is due.
    pub(super) fn take(&mut self, now: MonoTime) -> Option<Copy> {
        self.next().filter(|&due| due <= now)?;
        self.0.pop().map(|Reverse(copy)| copy)
    }
}

impl PartialEq for Copy {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Copy {}

impl PartialOrd for Copy {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Copy {
    fn cmp(&self, other: &Self) -> Ordering {
        self.due.cmp(&other.due)
    }
}

/// More answers than this do not wait; each of them may stand for many packets.
const MOST: usize = 1_024;
