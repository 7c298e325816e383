//! What the pure parts of a measurement cost: one packet, one HMAC, one decision over losses.
#![expect(clippy::unwrap_used, reason = "a benchmark that can't go on shall stop")]

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use stamp_proto::auth::Key;
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::loss::{self, Ledger};
use stamp_proto::packet::{Mode, Reply, Request, Shape};
use stamp_proto::reflector::{Arrival, Clock, KeyPair, Keys, Policy, Reflector};
use stamp_proto::statistics::Distribution;
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv::{self, Kind, SyncSource};

const NOW: WallTime = WallTime::from_ns(1_795_217_506_536_719_279);
const MICROSECOND: i64 = 1_000;
/// Requests under way at a time, for the classifier.
const OPEN: u32 = 1024;

fn key() -> Key {
    Key::new(b"a key for what is measured here")
}

fn request(mode: Mode, sequence: u32) -> Vec<u8> {
    let mut payload = vec![0; mode.base_len()];
    let timestamp = Timestamp::encode(Format::Ntp, NOW.shifted(i64::from(sequence) * MICROSECOND));
    let error_estimate = ErrorEstimate::from_bits(0x0ad2);
    Request { sequence, timestamp, error_estimate, ssid: Some(77) }.emit(mode, &mut payload);
    payload
}

fn signed(sequence: u32) -> Vec<u8> {
    let mut payload = request(Mode::Authenticated, sequence);
    key().sign(&mut payload);
    payload
}

/// Four extensions, three of which the reflector fills.
fn extended(sequence: u32) -> Vec<u8> {
    let mut payload = request(Mode::Open, sequence);
    for (kind, length) in [
        (Kind::TimestampInformation, 4),
        (Kind::DirectMeasurement, 12),
        (Kind::FollowUpTelemetry, 16),
    ] {
        tlv::append(&mut payload, kind, &vec![0; length]);
    }
    tlv::append(&mut payload, Kind::ExtraPadding, &[0x5a; 32]);
    payload
}

fn policy(mode: Mode) -> Policy {
    let pair = KeyPair { current: key(), previous: None };
    let default = (mode == Mode::Authenticated).then_some(pair);
    let keys = Keys { default, ..Keys::default() };
    Policy { keys, rate: 0, global_rate: 0, ..Policy::default() }
}

const fn clock() -> Clock {
    Clock {
        format: Format::Ntp,
        tai_offset_s: 0,
        error_estimate: ErrorEstimate::from_bits(0x8ad2),
        source: SyncSource::Ntp,
        methods: [2, 2],
    }
}

fn reply(mode: Mode) -> Vec<u8> {
    let request = if mode == Mode::Open { request(mode, 7) } else { signed(7) };
    answer(&mut Reflector::new(policy(mode)), &request, 1)
}

fn answer(reflector: &mut Reflector, payload: &[u8], at: i64) -> Vec<u8> {
    let arrival = Arrival {
        payload,
        source: "10.0.0.2:1001".parse().unwrap(),
        destination: "10.0.0.1:862".parse().unwrap(),
        now: MonoTime::from_ns(at),
        received: NOW,
        ttl: Some(255),
        traffic_class: 0,
        member: None,
        source_mac: None,
    };
    let mut answer = reflector.handle(&arrival, &clock()).unwrap();
    reflector.stamp(&mut answer, Timestamp::encode(Format::Ntp, NOW.shifted(20 * MICROSECOND)));
    answer.payload
}

fn decode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stamp_decode");
    for mode in [Mode::Open, Mode::Authenticated] {
        let payload = reply(mode);
        group.throughput(Throughput::Elements(1)).bench_function(mode.as_str(), |bencher| {
            bencher.iter(|| {
                let payload = black_box(&payload[..]);
                let reply = Reply::parse(mode, payload).unwrap();
                let times = [reply.timestamp, reply.receive_timestamp, reply.sender_timestamp];
                (Shape::of(mode, payload), times.map(|time| time.decode(Format::Ntp, NOW)))
            });
        });
    }
    group.finish();
}

/// A request with this number.
type Make = fn(u32) -> Vec<u8>;

/// Each request is another one: a signed one that repeats itself is refused.
fn reflect(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stamp_reflect");
    let kinds: [(_, _, Make); 3] = [
        ("open", Mode::Open, |sequence| request(Mode::Open, sequence)),
        ("extensions", Mode::Open, extended),
        ("auth", Mode::Authenticated, signed),
    ];
    for (name, mode, make) in kinds {
        let (mut reflector, mut sequence) = (Reflector::new(policy(mode)), 0);
        group.throughput(Throughput::Elements(1)).bench_function(name, |bencher| {
            bencher.iter_batched(
                || {
                    sequence += 1;
                    (make(sequence), i64::from(sequence) * MICROSECOND)
                },
                |(payload, at)| answer(&mut reflector, black_box(&payload), at),
                criterion::BatchSize::SmallInput,
            );
        });
    }
    group.finish();
}

fn hmac(criterion: &mut Criterion) {
    let (key, payload) = (key(), signed(7));
    let mut group = criterion.benchmark_group("stamp_hmac");
    group.throughput(Throughput::Elements(1));
    group.bench_function("verify", |bencher| bencher.iter(|| key.verifies(black_box(&payload))));
    group.finish();
}

/// One request and one reply; one in seven gets none, and of five pairs one is swapped.
fn classify(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stamp_loss");
    group.throughput(Throughput::Elements(1)).bench_function("request_and_reply", |bencher| {
        let mut ledger = Ledger::new(4 * OPEN as usize, loss::Reflector::Stateful);
        for _ in 0..OPEN {
            ledger.send();
        }
        let mut replies = 0_u32;
        bencher.iter(|| {
            let sent = ledger.send();
            let due = (sent - OPEN) ^ u32::from((sent / 2).is_multiple_of(5));
            if due.is_multiple_of(7) {
                ledger.handle_timeout(due);
            } else {
                black_box(ledger.handle_reply(due, replies, true));
                replies += 1;
            }
        });
        assert_eq!(ledger.counts().crowded, 0, "each request is settled before its slot is due");
    });
    group.finish();
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("stamp_distribution");
    group.throughput(Throughput::Elements(1)).bench_function("record", |bencher| {
        let (mut distribution, mut ns) = (Distribution::default(), 1_i64);
        bencher.iter(|| {
            // From a microsecond to a second, in no order.
            ns = ns * 48_271 % 2_147_483_647;
            distribution.record(black_box(MICROSECOND + ns % 1_000_000_000));
        });
        black_box(distribution.count());
    });
    group.finish();
}

criterion_group!(benches, decode, reflect, hmac, classify, record);
criterion_main!(benches);
