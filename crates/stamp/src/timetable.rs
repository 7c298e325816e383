//! When the next packet goes to which target.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::hash::{BuildHasher, Hasher, RandomState};

use stamp_proto::clock::MonoTime;

use crate::settings::Schedule;

/// Who is due next.
#[derive(Debug)]
pub(crate) struct Timetable {
    schedule: Schedule,
    interval_ns: i64,
    due: BinaryHeap<Reverse<(MonoTime, usize)>>,
    random: Random,
}

impl Timetable {
    /// `targets` targets, the first of which is due at `start` and the others spread over
    /// one interval, so that they do not all send at once.
    pub(crate) fn new(
        targets: usize,
        schedule: Schedule,
        interval_ns: i64,
        start: MonoTime,
        seed: u64,
    ) -> Self {
        let phase = |target: usize| interval_ns / targets.max(1) as i64 * target as i64;
        let due =
            (0..targets).map(|target| Reverse((start.after(phase(target)), target))).collect();
        Self { schedule, interval_ns, due, random: Random(seed | 1) }
    }

    /// When the next packet is due.
    pub(crate) fn next(&self) -> Option<MonoTime> {
        self.due.peek().map(|Reverse((due, _))| *due)
    }

    /// The target whose packet is due at `now`, and how many of its packets were missed
    /// before: these are not made up for.
    pub(crate) fn take(&mut self, now: MonoTime) -> Option<(usize, u64)> {
        let Reverse((due, target)) = *self.due.peek().filter(|Reverse((due, _))| *due <= now)?;
        self.due.pop();
        let missed = match self.schedule {
            Schedule::Periodic => now.since(due) / self.interval_ns.max(1),
            Schedule::Poisson => 0,
        };
        let slot = due.after(missed * self.interval_ns);
        let next = slot.after(self.distance());
        self.due.push(Reverse((next, target)));
        Some((target, missed as u64))
    }

    /// Sends nothing more to a target.
    pub(crate) fn remove(&mut self, target: usize) {
        self.due.retain(|Reverse((_, other))| *other != target);
    }

    fn distance(&mut self) -> i64 {
        match self.schedule {
            Schedule::Periodic => self.interval_ns,
            // Distances of a Poisson process are exponential. RFC 2330 §11.1.1.
            Schedule::Poisson => (-self.random.fraction().ln() * self.interval_ns as f64) as i64,
        }
    }
}

/// A number that is another one at each call.
pub(crate) fn seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Numbers that nobody has to be kept from guessing.
#[derive(Debug)]
struct Random(u64);

impl Random {
    /// Above 0, and 1 at most.
    fn fraction(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::Timetable;
    use crate::settings::Schedule;
    use stamp_proto::clock::MonoTime;

    fn at(ns: i64) -> MonoTime {
        MonoTime::from_ns(ns)
    }

    #[test]
    fn targets_are_spread_over_one_interval() {
        let mut timetable = Timetable::new(4, Schedule::Periodic, 1_000, at(0), 1);
        let mut seen = Vec::new();
        for now in (0..2_000).step_by(250) {
            assert_eq!(timetable.next(), Some(at(now)));
            seen.push(timetable.take(at(now)).unwrap());
            assert_eq!(timetable.take(at(now)), None);
        }
        assert_eq!(seen, [(0, 0), (1, 0), (2, 0), (3, 0), (0, 0), (1, 0), (2, 0), (3, 0)]);
    }

    #[test]
    fn what_was_missed_is_counted_and_not_made_up_for() {
        let mut timetable = Timetable::new(1, Schedule::Periodic, 1_000, at(0), 1);
        assert_eq!(timetable.take(at(3_500)), Some((0, 3)));
        assert_eq!(timetable.next(), Some(at(4_000)));
    }

    #[test]
    fn random_distances_have_the_interval_as_their_mean() {
        let mut timetable = Timetable::new(1, Schedule::Poisson, 1_000_000, at(0), 7);
        let mut now = at(0);
        for _ in 0..10_000 {
            timetable.take(now).unwrap();
            now = timetable.next().unwrap();
        }
        let mean = now.as_ns() / 10_000;
        assert!((950_000..1_050_000).contains(&mean), "{mean}");
    }

    #[test]
    fn a_target_that_is_done_is_never_due_again() {
        let mut timetable = Timetable::new(2, Schedule::Periodic, 1_000, at(0), 1);
        timetable.remove(0);
        assert_eq!(timetable.take(at(10_000)).map(|(target, _)| target), Some(1));
        timetable.remove(1);
        assert_eq!(timetable.next(), None);
    }
}
