//! The requests of a session by their number, and the cut up to which all is known.

use std::collections::VecDeque;

/// What has become of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Open,
    Answered,
    Lost,
    /// Lost, and answered afterwards.
    Late,
}

/// The last requests of a session: open ones, settled ones, and those whose segment is
/// decided. Numbers are not cut to 32 bits here.
#[derive(Debug)]
pub(super) struct Slots {
    ring: Box<[Slot]>,
    /// Answered requests in front of which nothing is open, still to be decided.
    anchors: VecDeque<Anchor>,
    undecided: u64,
    first_open: u64,
    next: u64,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    settled: Settled,
    /// The reflector's number of the first reply, where it is known.
    reply: Option<i64>,
    /// How many requests had been sent when that reply came.
    horizon: u64,
}

#[derive(Debug, Clone, Copy)]
struct Anchor {
    s: u64,
    horizon: u64,
}

/// Requests whose fate is known as far as it ever will be.
#[derive(Debug, Default)]
pub(super) struct Segment {
    pub(super) lost: u64,
    pub(super) late: u64,
    /// The highest number that the reflector gave to one of them.
    pub(super) last_reply: Option<i64>,
}

impl Slots {
    pub(super) fn new(window: usize) -> Self {
        let free = Slot { settled: Settled::Lost, reply: None, horizon: 0 };
        Self {
            ring: vec![free; window].into_boxed_slice(),
            anchors: VecDeque::new(),
            undecided: 0,
            first_open: 0,
            next: 0,
        }
    }

    /// Takes the next number into use, in a slot that must be decided.
    pub(super) fn open(&mut self) -> u64 {
        let s = self.next;
        *self.slot_mut(s) = Slot { settled: Settled::Open, reply: None, horizon: 0 };
        self.next += 1;
        s
    }

    /// The request whose slot the next one needs, unless it is decided.
    pub(super) fn oldest_when_full(&self) -> Option<u64> {
        (self.next - self.undecided == self.ring.len() as u64).then_some(self.undecided)
    }

    /// Settles request `s` by a reply with the reflector's number `r`.
    pub(super) fn answer(&mut self, s: u64, late: bool, r: i64) {
        let settled = if late { Settled::Late } else { Settled::Answered };
        let horizon = self.next;
        *self.slot_mut(s) = Slot { settled, reply: Some(r), horizon };
        self.advance();
    }

    /// Settles the oldest open request as lost.
    pub(super) fn give_up_first(&mut self) {
        let s = self.first_open;
        self.slot_mut(s).settled = Settled::Lost;
        self.advance();
    }

    /// Takes away the longest segment that can be decided.
    pub(super) fn take_segment(&mut self) -> Option<Segment> {
        let mut end = None;
        while let Some(anchor) =
            self.anchors.front().filter(|anchor| anchor.horizon <= self.first_open)
        {
            end = Some(anchor.s + 1);
            self.anchors.pop_front();
        }
        Some(self.take_through(end?))
    }

    /// Takes away what is settled in front of number `end`, whatever is known of it.
    pub(super) fn take_before(&mut self, end: u64) -> Segment {
        let end = end.min(self.first_open);
        while self.anchors.front().is_some_and(|anchor| anchor.s < end) {
            self.anchors.pop_front();
        }
        self.take_through(end)
    }

    /// The full number of `s`, if its slot still is its own.
    pub(super) fn remembered(&self, s: u32) -> Option<u64> {
        let back = u64::from((self.next as u32).wrapping_sub(s));
        let known = back >= 1 && back <= self.next.min(self.ring.len() as u64);
        known.then(|| self.next - back)
    }

    pub(super) fn settled(&self, s: u64) -> Settled {
        self.slot(s).settled
    }

    pub(super) const fn undecided(&self) -> u64 {
        self.undecided
    }

    pub(super) const fn first_open(&self) -> u64 {
        self.first_open
    }

    pub(super) const fn next(&self) -> u64 {
        self.next
    }

    #[cfg(test)]
    pub(super) fn start_at(&mut self, s: u64) {
        (self.undecided, self.first_open, self.next) = (s, s, s);
    }

    fn take_through(&mut self, end: u64) -> Segment {
        let mut segment = Segment::default();
        while self.undecided < end {
            let slot = self.slot(self.undecided);
            segment.lost += u64::from(slot.settled == Settled::Lost);
            segment.late += u64::from(slot.settled == Settled::Late);
            segment.last_reply = segment.last_reply.max(slot.reply);
            self.undecided += 1;
        }
        segment
    }

    fn advance(&mut self) {
        while self.first_open < self.next && self.slot(self.first_open).settled != Settled::Open {
            let Slot { settled, horizon, .. } = *self.slot(self.first_open);
            if settled == Settled::Answered {
                self.anchors.push_back(Anchor { s: self.first_open, horizon });
            }
            self.first_open += 1;
        }
    }

    fn slot(&self, s: u64) -> &Slot {
        &self.ring[s as usize & (self.ring.len() - 1)]
    }

    fn slot_mut(&mut self, s: u64) -> &mut Slot {
        &mut self.ring[s as usize & (self.ring.len() - 1)]
    }
}
