//! The readers of test packets beside slow readings of the same, and the laws that hold
//! for whatever they are given.

pub mod text;

use std::time::Duration;

use stamp::decode::{Protection, Role, decode};
use stamp_proto::auth::Key;
use stamp_proto::clock::{MonoTime, WallTime};
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::packet::{Mode, Reply, Request, Shape, Truncated};
use stamp_proto::reflector::{
    Arrival, Clock, Control, KeyPair, Keys, Policy, Prefixes, Reflector, Refusal,
};
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv::{self, AddressGroup, HEADER_LEN, Kind, PacketControl, SyncSource, Tlv};

/// Holds octets of any kind to every law of packets.
///
/// # Panics
///
/// When one is broken: that is what a fuzzer looks for.
pub fn packet(octets: &[u8]) {
    for mode in [Mode::Open, Mode::Authenticated] {
        base_is_read_and_built(mode, octets);
        assert_eq!(Shape::of(mode, octets), shape_slowly(mode, octets));
        extensions_are_walked(octets.get(mode.base_len()..).unwrap_or(&[]));
        is_decoded(mode, octets);
    }
    extensions_are_walked(octets);
    is_reflected(octets);
}

/// Holds 16 bits and a time to the laws of Error Estimates and timestamps.
///
/// # Panics
///
/// As [`packet`].
pub fn estimate(bits: u16, time: u64, near_ns: i64) {
    let estimate = ErrorEstimate::from_bits(bits);
    let [high, multiplier] = bits.to_be_bytes();
    let (scale, exact) = (high % 64, f64::from(multiplier) * 2_f64.powi(i32::from(high % 64) - 32));
    assert_eq!((estimate.scale(), estimate.multiplier()), (scale, multiplier));
    assert_eq!(estimate.synchronized(), high >= 128);
    assert_eq!(estimate.format() == Format::Ptp, high & 64 != 0);
    let told = estimate.error_ns();
    assert_eq!(told, (multiplier > 0).then_some(exact * 1e9));
    assert_eq!(estimate.error_ns_ceil().is_some(), told.is_some());
    is_claimed_again(estimate);
    is_a_time(estimate.format(), time, near_ns);
}

/// What an estimate claims is claimed again by the smallest estimate of the same error.
fn is_claimed_again(estimate: ErrorEstimate) {
    let unit_ps = 1_000_000_000_000_u128 << estimate.scale();
    let error_ps = (u128::from(estimate.multiplier()) * unit_ps) >> 32;
    let again = ErrorEstimate::new(estimate.synchronized(), estimate.format(), error_ps);
    assert!(again.is_valid() && again.format() == estimate.format());
    let (Some(claimed), Some(again)) = (estimate.error_ns(), again.error_ns()) else { return };
    // The picoseconds were cut off.
    assert!(again >= claimed - 0.001 && again <= claimed * (1.0 + 1.0 / 127.0) + 0.24);
}

/// A time that can be read is written as it was, as finely as it can be.
fn is_a_time(format: Format, bits: u64, near_ns: i64) {
    let (timestamp, near) = (Timestamp::from_bits(bits), WallTime::from_ns(near_ns));
    let Some(time) = timestamp.decode(format, near) else {
        let fraction_is_none = format == Format::Ptp && bits as u32 >= 1_000_000_000;
        assert!(fraction_is_none || near_ns.unsigned_abs() > 1 << 62);
        return;
    };
    let again = Timestamp::encode(format, time).decode(format, near);
    assert!(again.is_some_and(|again| again == time), "{again:?} instead of {time:?}");
    // Half of an era is 2³¹ s.
    assert!(time.since(near).unsigned_abs() <= (1 << 31) * 1_000_000_000 + 1_000_000_000);
}

/// Where the fields of a base packet are: of a request, then of a reply besides.
const fn fields(mode: Mode) -> [&'static [(usize, usize)]; 2] {
    match mode {
        Mode::Open => {
            [&[(0, 4), (4, 8), (12, 2), (14, 2)], &[(16, 8), (24, 4), (28, 8), (36, 2), (40, 1)]]
        }
        Mode::Authenticated => {
            [&[(0, 4), (16, 8), (24, 2), (26, 2)], &[(32, 8), (48, 4), (64, 8), (72, 2), (80, 1)]]
        }
    }
}

/// The octets of some fields in front of `octets`, and zeros elsewhere.
fn only(octets: &[u8], len: usize, fields: &[&[(usize, usize)]]) -> Vec<u8> {
    let mut kept = vec![0; len];
    for &(at, width) in fields.iter().copied().flatten() {
        kept[at..at + width].copy_from_slice(&octets[at..at + width]);
    }
    kept
}

fn base_is_read_and_built(mode: Mode, octets: &[u8]) {
    let len = mode.base_len();
    let [shortest_request, shortest_reply] = match mode {
        Mode::Open => [14, 38],
        Mode::Authenticated => [112, 112],
    };
    let [of_request, of_reply] = fields(mode);
    let request = Request::parse(mode, octets);
    assert_eq!(request.err(), too_short(shortest_request, octets));
    let reply = Reply::parse(mode, octets);
    assert_eq!(reply.err(), too_short(shortest_reply, octets));
    if let (Ok(request), Ok(reply), true) = (request, reply, octets.len() >= len) {
        let mut built = vec![0xa5; len];
        request.emit(mode, &mut built);
        assert_eq!(built, only(octets, len, &[of_request]));
        built.fill(0xa5);
        reply.emit(mode, &mut built);
        assert_eq!(built, only(octets, len, &[of_request, of_reply]));
    }
}

fn too_short(need: usize, octets: &[u8]) -> Option<Truncated> {
    let have = octets.len();
    (have < need).then_some(Truncated { need, have })
}

fn shape_slowly(mode: Mode, octets: &[u8]) -> Shape {
    let (arrival, zeros) = match mode {
        Mode::Open => (16..24, 16..44),
        Mode::Authenticated => (32..40, 28..96),
    };
    let set = |range: &std::ops::Range<usize>| {
        octets.iter().enumerate().any(|(at, &octet)| octet != 0 && range.contains(&at))
    };
    match (set(&arrival), set(&zeros)) {
        (true, _) => Shape::Reply,
        (false, true) => Shape::Neither,
        (false, false) => Shape::Request,
    }
}

/// The walk covers the area, and what it found makes the same area.
fn extensions_are_walked(area: &[u8]) {
    let mut built = Vec::new();
    let mut is_cut = false;
    for tlv in tlv::walk(area) {
        assert!(!is_cut, "nothing is walked behind what is cut off");
        match tlv {
            Ok(tlv) => {
                assert_eq!(tlv.offset, built.len());
                build(&mut built, &tlv);
                value_is_read(tlv.kind, tlv.value);
            }
            Err(cut) => {
                assert_eq!((cut.offset, cut.have), (built.len(), area.len() - built.len() - 4));
                assert!(usize::from(cut.told) > cut.have);
                is_cut = true;
            }
        }
    }
    assert_eq!(built, area[..built.len()]);
    let is_padding = area.iter().all(|&octet| octet == 0);
    assert!(is_cut || is_padding || area.len() - built.len() < HEADER_LEN);
}

fn build(area: &mut Vec<u8>, tlv: &Tlv<'_>) {
    let at = area.len();
    tlv::append(area, tlv.kind, tlv.value);
    area[at] = tlv.flags.bits();
}

/// A value of a length that its kind can have is read, and built again as far as it means
/// something.
fn value_is_read(kind: Kind, value: &[u8]) {
    let read = match kind {
        Kind::TimestampInformation => {
            tlv::TimestampInformation::parse(value).map(|read| read.emit().to_vec())
        }
        Kind::DirectMeasurement => {
            tlv::DirectMeasurement::parse(value).map(|read| read.emit().to_vec())
        }
        Kind::MicroSessionId => tlv::MicroSession::parse(value).map(|read| read.emit().to_vec()),
        Kind::ClassOfService => {
            let read = tlv::ClassOfService::parse(value);
            let kept = |read: tlv::ClassOfService| [&read.emit()[..3], &value[3..]].concat();
            let reserved = |octets: Vec<u8>| only_bits(octets, value, 2, 0x0f);
            read.map(kept).map(reserved)
        }
        Kind::ReflectedTestPacketControl => {
            groups_are_read(value);
            return;
        }
        _ => return,
    };
    assert_eq!(read.is_some(), kind.accepts(value.len()));
    assert!(read.is_none_or(|read| read == value));
}

/// `octets`, but for some bits of one, which are those of `value`.
fn only_bits(mut octets: Vec<u8>, value: &[u8], at: usize, bits: u8) -> Vec<u8> {
    octets[at] |= value[at] & bits;
    octets
}

fn groups_are_read(value: &[u8]) {
    let read = PacketControl::parse(value);
    assert_eq!(read.is_some(), value.len() >= 12);
    let Some((control, area)) = read else { return };
    let Ok(groups) = AddressGroup::walk(area).collect::<Result<Vec<_>, _>>() else { return };
    let built = control.emit(&groups);
    let Some((again, area)) = PacketControl::parse(&built) else { panic!("{built:?} is read") };
    assert_eq!(again, control);
    assert_eq!(AddressGroup::walk(area).collect::<Result<Vec<_>, _>>(), Ok(groups));
}

fn is_decoded(mode: Mode, octets: &[u8]) {
    let (protection, key) = match mode {
        Mode::Open => (Protection::Open, None),
        Mode::Authenticated => (Protection::Auth, Some(key())),
    };
    for (protection, role) in
        [(protection, Role::Request), (protection, Role::Reply), (Protection::Auto, Role::Auto)]
    {
        let decoded = decode(octets, protection, role, key.as_ref(), Duration::from_secs(NOW_S));
        let Ok(decoded) = decoded else {
            assert!(octets.len() < 112, "{} octets are enough", octets.len());
            continue;
        };
        assert!(decoded.to_string().lines().count() > 1);
        let document = serde_json::to_value(&decoded).expect("a document of plain values");
        assert_eq!(document["length"], octets.len());
    }
}

/// Whatever is answered is answered in its length, and its answer by nobody.
fn is_reflected(octets: &[u8]) {
    let mut signed = octets.to_vec();
    if octets.len() >= Mode::Authenticated.base_len() {
        key().sign(&mut signed);
    }
    for (policy, octets) in [
        (Policy::default(), octets),
        (authenticated(), &signed),
        (light(), octets),
        (generous(), octets),
    ] {
        let mode = policy.mode();
        let is_light = policy.twamp_light != Prefixes::default();
        let most = if policy.control.is_on() { 1_472 } else { 0 };
        let Ok(reply) = reflected(&mut Reflector::new(policy), octets) else { continue };
        let expected = octets.len().max(if is_light { 44 } else { 0 });
        assert!(reply.len() == expected || reply.len() <= most);
        assert_eq!(Shape::of(mode, &reply), Shape::Reply);
        for policy in [Policy::default(), authenticated(), light()] {
            let again = reflected(&mut Reflector::new(policy), &reply);
            assert!(matches!(again, Err(Refusal::LoopGuard | Refusal::Short)), "{again:?}");
        }
    }
}

fn reflected(reflector: &mut Reflector, payload: &[u8]) -> Result<Vec<u8>, Refusal> {
    let now = WallTime::from_ns(NOW_S as i64 * 1_000_000_000);
    let arrival = Arrival {
        payload,
        source: ([10, 0, 0, 2], 1_001).into(),
        destination: ([10, 0, 0, 1], 862).into(),
        now: MonoTime::from_ns(5_000_000_000),
        received: now,
        ttl: Some(250),
        traffic_class: 0,
        member: Some(3),
        source_mac: None,
    };
    let clock = Clock {
        format: Format::Ntp,
        tai_offset_s: 37,
        error_estimate: ErrorEstimate::from_bits(0x8ad2),
        source: SyncSource::Ntp,
        methods: [2, 2],
    };
    let mut answer = reflector.handle(&arrival, &clock)?;
    reflector.stamp(&mut answer, clock.encode(now.shifted(20_000)));
    Ok(answer.payload)
}

fn key() -> Key {
    Key::new(b"a key for packets of any kind")
}

fn authenticated() -> Policy {
    let default = Some(KeyPair { current: key(), previous: None });
    Policy { keys: Keys { default, ..Keys::default() }, ..Policy::default() }
}

fn light() -> Policy {
    Policy { twamp_light: Prefixes::all(), ..Policy::default() }
}

fn generous() -> Policy {
    let control = Control { max_count: 100, max_rate: 1 << 40, max_bytes: 1 << 20, mtu: 1_500 };
    Policy { control, return_address: true, ..Policy::default() }
}

/// In the year 2026.
const NOW_S: u64 = 1_795_217_500;
