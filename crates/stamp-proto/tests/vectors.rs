//! Packets that other implementations sent, read field by field and built again.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on shall stop")]

use serde_json::Value;
use stamp_proto::auth::{HMAC_LEN, Key};
use stamp_proto::clock::WallTime;
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::packet::{Mode, Reply, Request, Shape};
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv;

struct Vector {
    about: Value,
    mode: Mode,
    octets: Vec<u8>,
}

fn unhex(text: &Value) -> Vec<u8> {
    let digits = text.as_str().unwrap().as_bytes();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}

fn document() -> Value {
    serde_json::from_str(include_str!("../testdata/vectors.json")).unwrap()
}

fn vectors(direction: &str) -> Vec<Vector> {
    let all = document()["vectors"].as_array().unwrap().clone();
    let wanted = all.into_iter().filter(|about| about["direction"] == direction);
    let vectors: Vec<_> = wanted
        .map(|about| Vector {
            mode: if about["mode"] == "auth" { Mode::Authenticated } else { Mode::Open },
            octets: unhex(&about["hex"]),
            about,
        })
        .collect();
    assert!(!vectors.is_empty());
    vectors
}

fn check_time(timestamp: Timestamp, estimate: ErrorEstimate, told: &Value) {
    assert_eq!(format!("{:016x}", timestamp.bits()), told["hex"]);
    assert_eq!(estimate.format().as_str(), told["format"]);
    assert_eq!(timestamp.seconds(), told["seconds"]);
    let part = if estimate.format() == Format::Ntp { "fraction" } else { "nanoseconds" };
    assert_eq!(timestamp.fraction(), told[part]);
    let near = WallTime::from_ns(1_795_217_500_000_000_000);
    let ns = timestamp.decode(estimate.format(), near).unwrap().as_ns();
    assert_eq!(ns.to_string(), told["unix_ns"]);
}

fn check_estimate(estimate: ErrorEstimate, told: &Value) {
    assert_eq!(format!("{:04x}", estimate.bits()), told["hex"]);
    assert_eq!(u8::from(estimate.synchronized()), told["s"]);
    assert_eq!(u8::from(estimate.format() == Format::Ptp), told["z"]);
    assert_eq!(estimate.scale(), told["scale"]);
    assert_eq!(estimate.multiplier(), told["multiplier"]);
    assert_eq!(estimate.is_valid(), told["valid"]);
    assert_eq!(estimate.error_ns(), told["error_ns"].as_f64());
}

fn check_extensions(vector: &Vector, key: &Key) {
    let fields = &vector.about["fields"];
    let base = vector.mode.base_len();
    let Some(area) = vector.octets.get(base..) else { return };
    let told = fields["tlvs"].as_array().cloned().unwrap_or_default();
    assert_eq!(tlv::walk(area).count(), told.len());
    for (seen, told) in tlv::walk(area).zip(told) {
        let seen = seen.unwrap();
        assert_eq!(seen.offset + base, told["offset"]);
        assert_eq!(seen.flags.bits(), told["flags"]);
        assert_eq!(seen.kind.code(), told["type"]);
        assert_eq!(seen.value.len(), told["length"]);
        assert_eq!(seen.value, unhex(&told["value"]));
        if seen.kind == tlv::Kind::Hmac {
            let computed =
                key.tlv_hmac(*vector.octets.first_chunk().unwrap(), &area[..seen.offset]);
            assert_eq!(computed == *seen.value, fields["tlv_hmac_valid"]);
        }
    }
}

fn check_hmac(vector: &Vector, key: &Key) {
    if vector.mode == Mode::Authenticated {
        assert_eq!(key.verifies(&vector.octets), vector.about["fields"]["hmac_valid"]);
    }
}

/// The packet with its HMAC, as a builder leaves it that was given dirty octets.
fn rebuilt(vector: &Vector, key: &Key, emit: impl FnOnce(&mut [u8])) -> Vec<u8> {
    let mut octets = vec![0xa5; vector.mode.base_len()];
    emit(&mut octets);
    if vector.mode == Mode::Authenticated {
        key.sign(&mut octets);
        assert_eq!(octets.len() - HMAC_LEN, 96);
    }
    octets.extend(vector.octets.get(vector.mode.base_len()..).unwrap_or(&[]));
    octets.truncate(vector.octets.len());
    octets
}

#[test]
fn foreign_requests_are_read_and_built_again() {
    let key = Key::new(&unhex(&document()["key"]));
    for vector in vectors("request") {
        let fields = &vector.about["fields"];
        let request = Request::parse(vector.mode, &vector.octets).unwrap();
        assert_eq!(request.sequence, fields["sequence"]);
        assert_eq!(request.ssid.map(u64::from), fields["ssid"].as_u64());
        check_time(request.timestamp, request.error_estimate, &fields["timestamp"]);
        check_estimate(request.error_estimate, &fields["error_estimate"]);
        check_hmac(&vector, &key);
        check_extensions(&vector, &key);
        assert_eq!(Shape::of(vector.mode, &vector.octets), Shape::Request);
        assert_eq!(
            rebuilt(&vector, &key, |octets| request.emit(vector.mode, octets)),
            vector.octets
        );
    }
}

#[test]
fn foreign_replies_are_read_and_built_again() {
    let key = Key::new(&unhex(&document()["key"]));
    for vector in vectors("reply") {
        let fields = &vector.about["fields"];
        let reply = Reply::parse(vector.mode, &vector.octets).unwrap();
        assert_eq!(reply.sequence, fields["sequence"]);
        assert_eq!(reply.sender_sequence, fields["sender_sequence"]);
        assert_eq!(reply.ssid.map(u64::from), fields["ssid"].as_u64());
        assert_eq!(reply.sender_ttl.map(u64::from), fields["sender_ttl"].as_u64());
        check_time(reply.timestamp, reply.error_estimate, &fields["timestamp"]);
        check_time(reply.receive_timestamp, reply.error_estimate, &fields["receive_timestamp"]);
        check_time(
            reply.sender_timestamp,
            reply.sender_error_estimate,
            &fields["sender_timestamp"],
        );
        check_estimate(reply.error_estimate, &fields["error_estimate"]);
        check_estimate(reply.sender_error_estimate, &fields["sender_error_estimate"]);
        check_hmac(&vector, &key);
        check_extensions(&vector, &key);
        assert_eq!(Shape::of(vector.mode, &vector.octets), Shape::Reply);
        assert_eq!(rebuilt(&vector, &key, |octets| reply.emit(vector.mode, octets)), vector.octets);
    }
}
