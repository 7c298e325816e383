//! What became of each request: answered, late, twice, out of order, or lost, and where.
//!
//! A reflector that keeps sessions numbers its replies by its own count, r, beside the
//! sender's number, s. Two streams of numbers tell two paths apart: a number r that
//! never arrives is a reply lost on the way back, and the other unanswered s were lost
//! on the way there. The ledger decides in segments: up to an answered s behind which
//! nothing is open any more, and for which every request that was under way when its
//! answer came has been settled too, so that no reordering moves a number across the
//! cut. A loss with no answer behind it tells nothing and stays open until it is
//! [flushed](Ledger::flush) as unknown. What has a label keeps it.

mod replies;
mod settle;

use std::ops::Range;

use replies::{Copy, Replies};
use settle::{Settled, Slots};

/// Which way a packet goes between the two ends of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the Session-Sender to the Session-Reflector: near-end.
    Forward,
    /// From the Session-Reflector to the Session-Sender: far-end.
    Reverse,
}

impl Direction {
    /// Both directions, in the order in which a packet takes them.
    pub const ALL: [Self; 2] = [Self::Forward, Self::Reverse];

    /// Value of the `direction` label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Reverse => "reverse",
        }
    }
}

/// Whether the reflector numbers its replies by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reflector {
    /// Nothing has told yet: every reply had the number of its request.
    Unknown,
    /// It counts its replies per session. RFC 8762 §4.
    Stateful,
    /// It copies the number of the request.
    Stateless,
}

/// An amount by the path on which it came about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Directed {
    /// On the way to the reflector.
    pub forward: u64,
    /// On the way back.
    pub reverse: u64,
    /// On a way that nothing tells.
    pub unknown: u64,
}

impl Directed {
    /// All three together.
    pub const fn total(&self) -> u64 {
        self.forward + self.reverse + self.unknown
    }

    fn add(&mut self, way: Option<Direction>) {
        match way {
            Some(Direction::Forward) => self.forward += 1,
            Some(Direction::Reverse) => self.reverse += 1,
            None => self.unknown += 1,
        }
    }
}

/// What has been counted since the session began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Requests sent.
    pub sent: u64,
    /// First replies within the timeout.
    pub received: u64,
    /// Requests without a reply within the timeout.
    pub lost: Directed,
    /// First replies after the timeout; their requests stay lost.
    pub late: u64,
    /// Further replies to one request, by where it was doubled.
    pub duplicate: Directed,
    /// First copies that arrived behind a later one, by where it overtook them.
    pub reordered: Directed,
    /// Times the reflector began to count anew.
    pub restarts: u64,
    /// Requests given up before their timeout, because their slot was needed.
    pub crowded: u64,
}

impl Counts {
    /// Requests that are neither answered nor lost yet.
    pub const fn pending(&self) -> u64 {
        self.sent - self.received - self.lost.total()
    }
}

/// What a reply was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The first, in time.
    First,
    /// The first, but its request had been given up.
    Late,
    /// One more to a request that was answered before.
    Duplicate,
}

/// The numbers of one session: which are open, and what became of the others.
#[derive(Debug)]
pub struct Ledger {
    slots: Slots,
    replies: Replies,
    reflector: Reflector,
    counts: Counts,
    /// Highest number that has been answered, for reordering that no r explains.
    highest: Option<u64>,
    /// Losses called unknown since the last segment was decided.
    flushed: u64,
}

impl Ledger {
    /// A ledger that can tell the last `window` requests apart.
    ///
    /// # Panics
    ///
    /// When `window` is no power of two.
    pub fn new(window: usize, reflector: Reflector) -> Self {
        assert!(window.is_power_of_two(), "slots are found by the lower bits of a number");
        Self {
            slots: Slots::new(window),
            replies: Replies::new(window),
            reflector,
            counts: Counts::default(),
            highest: None,
            flushed: 0,
        }
    }

    /// Takes the next number into use.
    pub fn send(&mut self) -> u32 {
        if let Some(oldest) = self.slots.oldest_when_full() {
            self.counts.crowded += u64::from(self.slots.settled(oldest) == Settled::Open);
            self.give_up(oldest);
            self.flush_before(oldest + 1);
        }
        self.counts.sent += 1;
        self.slots.open() as u32
    }

    /// Accounts for a reply with the reflector's number `r` to request `s`, which came
    /// `in_time` by its own times, whenever it is looked at. Only a loss that is decided
    /// already stays one.
    ///
    /// `None` when no such request is remembered.
    pub fn handle_reply(&mut self, s: u32, r: u32, in_time: bool) -> Option<Outcome> {
        let s = self.slots.remembered(s)?;
        if self.reflector == Reflector::Unknown && r != s as u32 {
            self.reflector = Reflector::Stateful;
        }
        let before = self.slots.settled(s);
        let first = matches!(before, Settled::Open | Settled::Lost);
        let (r, copy) = self.number(r, s, first);
        if first {
            self.count_order(s, copy);
            let late = !in_time || s < self.slots.undecided();
            return Some(self.settle(s, r, late));
        }
        let way = if copy == Copy::Again { Direction::Reverse } else { Direction::Forward };
        self.counts.duplicate.add(Some(way).filter(|_| self.stateful()));
        Some(Outcome::Duplicate)
    }

    /// Gives up request `s` and all before it that are still open: their timeout is over.
    pub fn handle_timeout(&mut self, s: u32) {
        if let Some(s) = self.slots.remembered(s) {
            self.give_up(s);
            self.decide();
        }
    }

    /// Calls every loss up to request `s` unknown that nothing has explained until now.
    pub fn flush(&mut self, s: u32) {
        if let Some(s) = self.slots.remembered(s) {
            self.flush_before(s + 1);
        }
    }

    /// The number of the oldest request that is still open, and of the one behind the newest.
    pub fn open(&self) -> Range<u32> {
        self.slots.first_open() as u32..self.slots.next() as u32
    }

    /// Settled requests, the oldest first, that wait for an answer behind them which
    /// would tell where the lost ones were lost.
    pub fn undecided(&self) -> Range<u32> {
        self.slots.undecided() as u32..self.slots.first_open() as u32
    }

    /// True while request `s` waits for its reply.
    pub fn is_open(&self, s: u32) -> bool {
        self.settled(s) == Some(Settled::Open)
    }

    /// True when a reply to request `s` has been accounted for, in time or late.
    pub fn is_answered(&self, s: u32) -> bool {
        matches!(self.settled(s), Some(Settled::Answered | Settled::Late))
    }

    /// Forgets all requests, and what is known of the reflector; numbers begin with 0 again.
    pub fn begin_again(&mut self, window: usize, reflector: Reflector) {
        *self = Self { counts: self.counts, ..Self::new(window, reflector) };
    }

    /// True when request `s` is remembered.
    pub fn remembers(&self, s: u32) -> bool {
        self.slots.remembered(s).is_some()
    }

    /// What has been counted until now.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// What is known of the reflector's numbering.
    pub const fn reflector(&self) -> Reflector {
        self.reflector
    }

    /// Begins with another number than 0, to come near the end of all numbers.
    #[cfg(test)]
    fn start_at(&mut self, s: u64) {
        self.slots.start_at(s);
    }

    fn settled(&self, s: u32) -> Option<Settled> {
        self.slots.remembered(s).map(|s| self.slots.settled(s))
    }

    fn stateful(&self) -> bool {
        self.reflector == Reflector::Stateful
    }

    /// Notes the reflector's number; where it starts over, nothing before it is comparable.
    fn number(&mut self, r: u32, s: u64, first: bool) -> (i64, Copy) {
        let (number, copy) = self.replies.insert(r, s, first, self.slots.next());
        if copy != Copy::Restarted || !self.stateful() {
            return (number, copy);
        }
        self.counts.restarts += 1;
        self.flush_before(s);
        self.flushed = 0;
        (self.replies.begin_again(r, s, first), Copy::Ahead)
    }

    fn settle(&mut self, s: u64, r: i64, late: bool) -> Outcome {
        self.slots.answer(s, late, r);
        self.counts.late += u64::from(late);
        self.counts.received += u64::from(!late);
        self.decide();
        if late { Outcome::Late } else { Outcome::First }
    }

    /// Reordering on the way back shows in the order of r; what shows only in the order
    /// of s happened somewhere.
    fn count_order(&mut self, s: u64, copy: Copy) {
        let behind = self.highest.is_some_and(|highest| s < highest);
        self.highest = self.highest.max(Some(s));
        if self.stateful() {
            self.counts.reordered.reverse += u64::from(copy == Copy::Behind);
        } else {
            self.counts.reordered.unknown += u64::from(behind);
        }
    }

    fn give_up(&mut self, through: u64) {
        while self.slots.first_open() <= through {
            self.slots.give_up_first();
        }
    }

    fn decide(&mut self) {
        let Some(segment) = self.slots.take_segment() else { return };
        self.counts.lost.unknown += segment.late;
        let crossed = segment.last_reply.map(|r| self.replies.pass(r)).filter(|_| self.stateful());
        self.counts.reordered.forward += crossed.as_ref().map_or(0, |crossed| crossed.overtaken);
        match crossed.and_then(|crossed| crossed.missing) {
            None => self.counts.lost.unknown += segment.lost,
            Some(missing) => self.label(segment.lost, missing),
        }
        self.flushed = 0;
    }

    /// Each missing number is a reply that was lost, of these requests or of those that
    /// were called unknown before; what remains of these never reached the reflector.
    fn label(&mut self, lost: u64, missing: u64) {
        let missing = missing.min(lost + self.flushed);
        let reverse = missing.saturating_sub(self.flushed);
        let forward = lost.saturating_sub(missing);
        self.counts.lost.reverse += reverse;
        self.counts.lost.forward += forward;
        self.counts.lost.unknown += lost - reverse - forward;
    }

    fn flush_before(&mut self, end: u64) {
        let segment = self.slots.take_before(end);
        self.counts.lost.unknown += segment.lost + segment.late;
        self.flushed += segment.lost;
    }
}

#[cfg(test)]
mod tests;
