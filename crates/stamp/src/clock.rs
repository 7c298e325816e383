//! This host's clocks: what they show, what keeps them right, and when one was set.

use std::time::Duration;

use net_sys::host::{ClockState, HostError, Leap, clock_state};
use rustix::time::{ClockId, clock_gettime};
use stamp_bpf::Publication;
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::offset::{OwnRate, Ppb};
use stamp_proto::sender::{LocalClock, Moment};
use stamp_proto::timestamp::Format;
use stamp_proto::tlv::SyncSource;

use crate::sync::Discipline;

/// The wall clock beside the one that is never set.
#[derive(Debug)]
pub(crate) struct HostClock {
    epoch: u32,
    difference: Difference,
    state: ClockState,
    steps: u64,
    rate: OwnRate,
    discipline: Option<Discipline>,
}

/// What is known of our clock when a sample is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Own {
    pub(crate) clock: LocalClock,
    /// By how much its rate was changed while samples count.
    pub(crate) rate_change: Ppb,
}

/// The wall clock was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Step {
    /// By how much it is ahead of where it would be.
    pub(crate) delta_ns: i64,
    /// By how much that may be wrong.
    pub(crate) error_ns: u64,
    /// When it surely was as before.
    pub(crate) known_good: MonoTime,
}

/// Wall clock minus monotonic clock, and when and how well that was read.
#[derive(Debug, Clone, Copy)]
struct Difference {
    ns: i64,
    error_ns: u64,
    at: MonoTime,
}

impl HostClock {
    /// Reads both clocks and what is known of them.
    pub(crate) fn read(window_ns: i64) -> Result<Self, HostError> {
        let (state, difference) = (clock_state()?, Difference::tightest());
        let mut rate = OwnRate::new(window_ns);
        rate.record(difference.at, state.rate_ppb);
        Ok(Self { epoch: 0, difference, state, steps: 0, rate, discipline: None })
    }

    /// Takes over what the time daemons say.
    pub(crate) const fn set_discipline(&mut self, discipline: Option<Discipline>) {
        self.discipline = discipline;
    }

    /// What keeps it right, where somebody told.
    pub(crate) const fn discipline(&self) -> Option<Discipline> {
        self.discipline
    }

    /// This moment by both clocks.
    pub(crate) fn now(&self) -> Moment {
        let Reading { wall, mono, .. } = Reading::take();
        Moment { wall, mono, epoch: self.epoch }
    }

    /// A moment shortly before `now` that the kernel took by the wall clock alone.
    pub(crate) const fn before(now: Moment, wall: WallTime) -> Moment {
        let ago = now.wall.since(wall);
        Moment { wall, mono: now.mono.after(-ago), epoch: now.epoch }
    }

    /// The moment at which the kernel received what has just been read, by the wall clock
    /// alone. If that was set in between, nothing tells how long ago it was: then it is now.
    pub(crate) fn received(&self, now: Moment, wall: WallTime) -> Moment {
        let moved = now.wall.as_ns() - now.mono.as_ns() - self.difference.ns;
        let ago = now.wall.since(wall);
        let was_set = moved.unsigned_abs() > NOISE_NS || !(-NOISE..=MOST_AGO_NS).contains(&ago);
        if was_set { now } else { Self::before(now, wall) }
    }

    /// Looks again; tells whether the wall clock was set since the last look.
    pub(crate) fn look(&mut self) -> Result<Option<Step>, HostError> {
        self.state = clock_state()?;
        let before = std::mem::replace(&mut self.difference, Difference::tightest());
        self.rate.record(self.difference.at, self.state.rate_ppb);
        let delta_ns = self.difference.ns - before.ns;
        if delta_ns.unsigned_abs() <= NOISE_NS {
            return Ok(None);
        }
        self.epoch = self.epoch.wrapping_add(1);
        self.steps += 1;
        let error_ns = before.error_ns + self.difference.error_ns;
        Ok(Some(Step { delta_ns, error_ns, known_good: before.at }))
    }

    /// How often it was set while we looked.
    pub(crate) const fn steps(&self) -> u64 {
        self.steps
    }

    /// What is known of it, for a sample of now.
    pub(crate) fn own(&self) -> Own {
        Own { clock: self.local(), rate_change: self.rate.change() }
    }

    /// What is known of its error: the smallest of what is told by whoever is alive.
    pub(crate) fn local(&self) -> LocalClock {
        let ClockState { synchronised, max_error, leap, .. } = self.state;
        let by_kernel = u64::try_from(max_error.as_nanos()).ok().filter(|&ns| ns > 0);
        let by_daemon = self.discipline.and_then(|told| told.error_ns);
        LocalClock {
            synchronized: synchronised,
            error_ns: [by_kernel, by_daemon].into_iter().flatten().min(),
            leaping: leap != Leap::None,
        }
    }

    /// What packets say of it.
    pub(crate) fn error_estimate(&self, format: Format) -> ErrorEstimate {
        let LocalClock { synchronized, error_ns, .. } = self.local();
        ErrorEstimate::new(synchronized, format, u128::from(error_ns.unwrap_or(UNKNOWN_NS)) * 1_000)
    }

    /// What keeps it right, as packets say it.
    pub(crate) fn source(&self) -> SyncSource {
        match self.discipline {
            Some(told) => told.source.into(),
            None if self.state.synchronised => SyncSource::Ntp,
            None => SyncSource::Local,
        }
    }

    /// What the kernel programs are told of it; without a word from us they stop after
    /// `lease`.
    pub(crate) fn publication(&self, lease: Duration) -> Publication {
        let published_ns = monotonic().as_ns().unsigned_abs();
        let lease_ns = u64::try_from(lease.as_nanos()).unwrap_or(u64::MAX);
        Publication {
            offset_ns: self.difference.ns,
            published_ns,
            lease_until_ns: published_ns.saturating_add(lease_ns),
            tai_offset_s: self.tai_offset_s().unwrap_or(0),
            epoch: self.epoch,
            error_estimate: self.error_estimate(Format::Ntp),
            source: self.source(),
        }
    }

    /// Seconds that TAI is ahead of UTC; absent when nobody told the kernel.
    pub(crate) fn tai_offset_s(&self) -> Option<i32> {
        Some(self.state.tai_offset_seconds).filter(|&seconds| seconds != 0)
    }
}

impl Difference {
    /// The reading that is bracketed most tightly of several.
    fn tightest() -> Self {
        let readings = std::iter::repeat_with(Reading::take).take(READINGS);
        let Reading { wall, mono, error_ns } =
            readings.min_by_key(|reading| reading.error_ns).unwrap_or_else(Reading::take);
        Self { ns: wall.as_ns() - mono.as_ns(), error_ns, at: mono }
    }
}

/// Both clocks at one moment, as nearly as it can be had.
struct Reading {
    wall: WallTime,
    mono: MonoTime,
    error_ns: u64,
}

impl Reading {
    fn take() -> Self {
        let before = monotonic();
        let wall = WallTime::from_ns(ns(ClockId::Realtime));
        let width = monotonic().since(before);
        Self { wall, mono: before.after(width / 2), error_ns: width.unsigned_abs() / 2 + 1 }
    }
}

/// The time by which durations are measured.
pub(crate) fn monotonic() -> MonoTime {
    MonoTime::from_ns(ns(ClockId::Monotonic))
}

fn ns(clock: ClockId) -> i64 {
    let time = clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Enough that one of them is not interrupted.
const READINGS: usize = 16;

/// An interrupt within the bracket of every reading is this long at most. Both clocks are
/// slewed alike, so their difference changes by a step alone.
const NOISE_NS: u64 = 50_000;

const NOISE: i64 = NOISE_NS as i64;

/// No packet waits for longer in a socket that is read all the time.
const MOST_AGO_NS: i64 = 1_000_000_000;

/// What the kernel itself takes for the error of a clock of which nothing is known.
const UNKNOWN_NS: u64 = 16_000_000_000;

#[cfg(test)]
mod tests {
    use super::HostClock;
    use stamp_proto::clock::WallTime;
    use stamp_proto::sender::Moment;
    use stamp_proto::timestamp::Format;

    #[test]
    fn both_clocks_go_on_together() {
        let mut clock = HostClock::read(1).unwrap();
        let (first, second) = (clock.now(), clock.now());
        assert!(second.mono >= first.mono && second.follows_evenly(&first));
        assert_eq!((clock.look().unwrap(), clock.steps()), (None, 0));
    }

    #[test]
    fn a_moment_of_the_wall_clock_has_its_place_on_the_other() {
        let now = HostClock::read(1).unwrap().now();
        let then = HostClock::before(now, WallTime::from_ns(now.wall.as_ns() - 1_500));
        assert_eq!(now.mono.since(then.mono), 1_500);
        assert!(now.follows_evenly(&then));
    }

    #[test]
    fn a_packet_that_came_before_the_clock_was_set_came_now() {
        let clock = HostClock::read(1).unwrap();
        let now = clock.now();
        let came = |ago: i64| clock.received(now, WallTime::from_ns(now.wall.as_ns() - ago));
        assert_eq!(now.mono.since(came(700_000).mono), 700_000);
        assert_eq!((came(5_000_000_000), came(-5_000_000_000)), (now, now));
        let set = Moment { wall: WallTime::from_ns(now.wall.as_ns() + 3_000_000), ..now };
        let wall = WallTime::from_ns(now.wall.as_ns() + 2_000_000);
        assert_eq!(clock.received(set, wall), set);
    }

    #[test]
    fn what_packets_say_is_what_the_kernel_says() {
        let clock = HostClock::read(1).unwrap();
        let estimate = clock.error_estimate(Format::Ptp);
        assert!(estimate.is_valid());
        assert_eq!(estimate.synchronized(), clock.local().synchronized);
        assert!(estimate.error_ns_ceil() >= clock.local().error_ns);
    }
}
