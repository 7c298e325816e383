//! A sender and a reflector joined in memory, with every delay, loss and clock their own.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use std::collections::BTreeMap;

use stamp_proto::auth::Key;
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::loss::{Counts, Reflector as Kind};
use stamp_proto::offset::Estimator;
use stamp_proto::reflector::{
    Arrival as Request, Clock, KeyPair, Keys, Policy, Reflector, Refusal,
};
use stamp_proto::sender::{Arrival as Reply, Moment, Sender, Settings, Timescale};
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv::{Kind as Extension, SyncSource};

const US: i64 = 1_000;
const MS: i64 = 1_000_000;
const S: i64 = 1_000_000_000;
const START_NS: i64 = 1_795_217_500 * S;

/// Numbers that repeat for a seed.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn one_in(&mut self, n: u64) -> bool {
        n > 0 && self.below(n) == 0
    }
}

/// What happens to packets on the way, as one in so many; 0 is never.
#[derive(Debug, Clone, Copy, Default)]
struct Way {
    lose: u64,
    double: u64,
    delay_ns: i64,
    spread_ns: i64,
}

impl Way {
    /// Delays of the copies that arrive.
    fn copies(&self, random: &mut Random) -> Vec<i64> {
        if random.one_in(self.lose) {
            return Vec::new();
        }
        let copies = if random.one_in(self.double) { 2 } else { 1 };
        (0..copies)
            .map(|_| self.delay_ns + random.below(self.spread_ns as u64 + 1) as i64)
            .collect()
    }
}

/// What goes on between the two, in the order of time.
enum Event {
    Send,
    ToReflector(Vec<u8>),
    ToSender(Vec<u8>),
    StepOwnClock(i64),
    RestartReflector,
}

struct Pair {
    random: Random,
    sender: Sender,
    reflector: Reflector,
    policy: Policy,
    ways: [Way; 2],
    format: Format,
    own_ahead_ns: i64,
    own_epoch: u32,
    /// The reflector's clock against true time.
    offset_ns: i64,
    skew_ppb: i64,
    estimator: Estimator,
    events: BTreeMap<(i64, u64), Event>,
    order: u64,
    truth: Truth,
}

/// What was really done to the packets.
#[derive(Debug, Default)]
struct Truth {
    lost_forward: u64,
    lost_reverse: u64,
    doubled: u64,
    samples: u64,
}

impl Pair {
    fn new(seed: u64, ways: [Way; 2], key: Option<Key>) -> Self {
        let keys = key.map(|current| KeyPair { current, previous: None });
        let settings = Settings {
            keys,
            ssid: 300,
            format: Format::Ntp,
            timescale: Timescale::UTC,
            timeout_ns: S,
            min_ttl: 0,
            zero_ssid_is_fatal: true,
            window: 2_048,
            reflector: Kind::Stateful,
            extensions: vec![
                (Extension::TimestampInformation, vec![0; 4]),
                (Extension::ExtraPadding, vec![0; 9]),
            ],
        };
        let policy =
            Policy { keys: Keys { default: keys, ..Keys::default() }, ..Policy::default() };
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            sender: Sender::new(settings),
            reflector: Reflector::new(policy.clone()),
            policy,
            ways,
            format: Format::Ntp,
            own_ahead_ns: 0,
            own_epoch: 0,
            offset_ns: 0,
            skew_ppb: 0,
            estimator: Estimator::new(60 * S),
            events: BTreeMap::new(),
            order: 0,
            truth: Truth::default(),
        }
    }

    fn at(&mut self, now: i64, event: Event) {
        self.order += 1;
        self.events.insert((now, self.order), event);
    }

    /// Sends `count` packets `interval` apart and plays everything to its end.
    fn play(&mut self, count: i64, interval: i64) {
        (0..count).for_each(|n| self.at(n * interval, Event::Send));
        let mut last = 0;
        while let Some(((now, _), event)) = self.events.pop_first() {
            last = now;
            self.sender.handle_timeout(MonoTime::from_ns(now));
            match event {
                Event::Send => self.send(now),
                Event::ToReflector(payload) => self.reflect(now, &payload),
                Event::ToSender(payload) => self.take(now, &payload),
                Event::StepOwnClock(ns) => self.step(now, ns),
                Event::RestartReflector => self.reflector = Reflector::new(self.policy.clone()),
            }
            let counts = self.sender.ledger().counts();
            assert_eq!(counts.sent, counts.received + counts.lost.total() + counts.pending());
        }
        self.sender.handle_timeout(MonoTime::from_ns(last + 2 * S));
        self.sender.finish();
    }

    fn send(&mut self, now: i64) {
        let mut payload = Vec::new();
        let moment = self.moment(now);
        self.sender.request(moment, 0, ErrorEstimate::new(true, Format::Ntp, 1_000), &mut payload);
        let copies = self.ways[0].copies(&mut self.random);
        self.truth.lost_forward += u64::from(copies.is_empty());
        self.truth.doubled += copies.len().saturating_sub(1) as u64;
        copies
            .into_iter()
            .for_each(|delay| self.at(now + delay, Event::ToReflector(payload.clone())));
    }

    fn reflect(&mut self, now: i64, payload: &[u8]) {
        let Ok(reply) = self.answered(now, payload) else { return };
        let copies = self.ways[1].copies(&mut self.random);
        self.truth.lost_reverse += u64::from(copies.is_empty());
        self.truth.doubled += copies.len().saturating_sub(1) as u64;
        let inside = 3 * US;
        copies
            .into_iter()
            .for_each(|delay| self.at(now + inside + delay, Event::ToSender(reply.clone())));
    }

    fn answered(&mut self, now: i64, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
        let clock = Clock {
            format: self.format,
            tai_offset_s: 0,
            error_estimate: ErrorEstimate::new(true, self.format, 1_000),
            source: SyncSource::Ntp,
            methods: [2, 2],
        };
        let came = Request {
            payload,
            source: "10.0.0.2:862".parse().unwrap(),
            destination: "10.0.0.1:862".parse().unwrap(),
            now: MonoTime::from_ns(now),
            received: self.other_clock(now),
            ttl: Some(255),
            traffic_class: 0,
            member: None,
            source_mac: None,
        };
        let mut answer = self.reflector.handle(&came, &clock)?;
        let sent = Timestamp::encode(self.format, self.other_clock(now + 3 * US));
        self.reflector.stamp(&mut answer, sent);
        assert_eq!(
            self.reflector
                .handle(&Request { payload: &answer.payload, ..came }, &clock)
                .unwrap_err(),
            Refusal::LoopGuard
        );
        Ok(answer.payload)
    }

    fn take(&mut self, now: i64, payload: &[u8]) {
        let came = Reply { at: self.moment(now), ttl: Some(255), traffic_class: 0 };
        let sample = self.sender.handle_reply(payload, &came).unwrap();
        self.truth.samples += 1;
        assert!((0..20 * S).contains(&sample.roundtrip_gross_ns));
        assert!(sample.residence_ns.is_none_or(|residence| (residence - 3 * US).abs() <= 2));
        let (Some(near), Some(far)) = (sample.near_raw_ns(), sample.far_raw_ns()) else { return };
        // A time in a packet is cut to a quarter of a nanosecond, and there are two in each.
        self.estimator.record(sample.t1.mono, -far - 2, near + 2, 20_000);
        let (low, high) = self.estimator.estimate(came.at.mono).unwrap().interval();
        let truth = self.other_clock(now).since(came.at.wall);
        assert!((low..=high).contains(&truth), "{truth} outside of {low}..={high}");
    }

    fn step(&mut self, now: i64, ns: i64) {
        self.own_ahead_ns += ns;
        self.own_epoch += 1;
        self.estimator.handle_local_step(ns, 10, MonoTime::from_ns(now));
    }

    fn moment(&self, now: i64) -> Moment {
        let wall = WallTime::from_ns(START_NS + now + self.own_ahead_ns);
        Moment { wall, mono: MonoTime::from_ns(now), epoch: self.own_epoch }
    }

    fn other_clock(&self, now: i64) -> WallTime {
        let drifted = i128::from(now) * i128::from(self.skew_ppb) / i128::from(S);
        WallTime::from_ns(START_NS + now + self.offset_ns + drifted as i64)
    }

    fn counts(&self) -> Counts {
        *self.sender.ledger().counts()
    }
}

fn plain() -> Way {
    Way { delay_ns: 80 * US, ..Way::default() }
}

fn key(seed: u64) -> Option<Key> {
    seed.is_multiple_of(2).then(|| Key::new(b"a key of both ends"))
}

#[test]
fn losses_are_told_by_direction_whatever_the_pattern() {
    for seed in 0..200 {
        let lossy = |lose| Way { lose, ..plain() };
        let mut pair = Pair::new(seed, [lossy(2 + seed % 9), lossy(2 + seed % 7)], key(seed));
        pair.play(100, 10 * MS);
        let counts = pair.counts();
        assert_eq!(
            counts.lost.total(),
            pair.truth.lost_forward + pair.truth.lost_reverse,
            "seed {seed}"
        );
        // Behind the last answer nothing tells, and nothing else is unknown.
        assert!(
            counts.lost.forward <= pair.truth.lost_forward
                && counts.lost.reverse <= pair.truth.lost_reverse
        );
        assert_eq!(counts.received + counts.lost.total(), 100);
        assert_eq!(counts.restarts, 0);
    }
}

#[test]
fn a_quiet_way_with_delay_and_reordering_loses_nothing() {
    for seed in 0..200 {
        let spread = Way { spread_ns: 40 * MS, ..plain() };
        let mut pair = Pair::new(seed, [spread, spread], key(seed));
        pair.play(100, 10 * MS);
        let counts = pair.counts();
        // A window of 64 numbers is what signed requests may be out of order by.
        assert_eq!((counts.received, counts.lost.total()), (100, 0), "seed {seed}");
        assert!(counts.reordered.forward > 0 && counts.reordered.reverse > 0);
    }
}

#[test]
fn doubled_packets_are_no_samples_of_another_request() {
    for seed in 0..200 {
        let doubling = Way { double: 3, ..plain() };
        let mut pair = Pair::new(seed | 1, [doubling, doubling], None);
        pair.play(100, 10 * MS);
        let counts = pair.counts();
        assert_eq!((counts.received, counts.lost.total()), (100, 0));
        assert_eq!(counts.duplicate.total(), pair.truth.samples - 100);
        assert!(counts.duplicate.forward > 0 && counts.duplicate.reverse > 0);
    }
}

#[test]
fn signed_requests_that_were_doubled_are_answered_once() {
    let doubling = Way { double: 2, ..plain() };
    let mut pair = Pair::new(4, [doubling, plain()], key(4));
    pair.play(100, 10 * MS);
    assert!(pair.truth.doubled > 0);
    assert_eq!((pair.counts().received, pair.counts().duplicate.total()), (100, 0));
}

#[test]
fn the_offset_stays_inside_its_bounds_over_offset_skew_and_steps() {
    for seed in 0..200 {
        let spread = Way { lose: 20, spread_ns: 300 * US, ..plain() };
        let mut pair = Pair::new(seed, [spread, spread], None);
        pair.offset_ns = [5 * MS, -250 * US, 37 * S, -3_600 * S][seed as usize % 4];
        pair.skew_ppb = seed as i64 % 40_000 - 19_000;
        pair.format = if seed % 3 == 0 { Format::Ptp } else { Format::Ntp };
        pair.at(450 * MS, Event::StepOwnClock(5 * S));
        pair.at(805 * MS, Event::StepOwnClock(-5 * S));
        pair.play(100, 10 * MS);
        assert_eq!(pair.estimator.steps(), 0, "seed {seed}");
        assert!(pair.counts().received > 50);
    }
}

#[test]
fn a_reflector_that_restarts_is_no_loss() {
    for seed in 0..50 {
        let mut pair = Pair::new(seed, [plain(), plain()], None);
        pair.at(500 * MS, Event::RestartReflector);
        pair.play(100, 10 * MS);
        let counts = pair.counts();
        assert_eq!((counts.received, counts.lost.total(), counts.restarts), (100, 0, 1));
    }
}
