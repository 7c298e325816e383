use super::{DecodeError, Protection, Role, decode, unhex};
use proptest::prelude::{prop_assert, proptest};
use serde_json::Value;
use stamp_proto::auth::Key;
use std::time::Duration;

const NEAR: Duration = Duration::from_nanos(1_795_217_500_000_000_000);

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../stamp-proto/testdata/vectors.json")).unwrap()
}

fn key() -> Key {
    Key::new(&unhex(vectors()["key"].as_str().unwrap()).unwrap())
}

#[test]
fn foreign_packets_are_told_field_by_field() {
    for vector in vectors()["vectors"].as_array().unwrap() {
        let payload = unhex(vector["hex"].as_str().unwrap()).unwrap();
        let decoded = decode(&payload, Protection::Auto, Role::Auto, Some(&key()), NEAR).unwrap();
        let told = serde_json::to_value(&decoded).unwrap();
        assert_eq!(told["fields"], vector["fields"], "{}", vector["id"]);
        assert_eq!(told["role"], vector["direction"]);
        assert_eq!(told["length"], vector["length"]);
        let mode = if vector["mode"] == "auth" { "auth" } else { "open" };
        assert_eq!(told["mode"], mode);
    }
}

fn told(id: &str, change: impl FnOnce(&mut Vec<u8>), key: Option<&Key>) -> Value {
    let all = vectors();
    let vector =
        all["vectors"].as_array().unwrap().iter().find(|vector| vector["id"] == id).unwrap();
    let mut payload = unhex(vector["hex"].as_str().unwrap()).unwrap();
    change(&mut payload);
    let decoded = decode(&payload, Protection::Auto, Role::Auto, key, NEAR).unwrap();
    serde_json::to_value(&decoded).unwrap()
}

#[test]
fn what_is_odd_is_found() {
    let findings =
        |id, change: fn(&mut Vec<u8>)| told(id, change, Some(&key()))["findings"].clone();
    assert_eq!(findings("V1", |_| {}), serde_json::json!([]));
    assert_eq!(findings("V13", |_| {}), serde_json::json!(["invalid_error_estimate"]));
    assert_eq!(findings("V2", |payload| payload[19] -= 37), serde_json::json!(["timescale"]));
    assert_eq!(findings("V1", |payload| payload[40] = 1), serde_json::json!(["mbz_not_zero"]));
    assert_eq!(findings("V5", |payload| payload[100] ^= 1), serde_json::json!(["hmac_invalid"]));
    assert_eq!(
        findings("V7", |payload| payload[120] ^= 1),
        serde_json::json!(["tlv_hmac_invalid"])
    );
    assert_eq!(
        findings("V7", |payload| payload.truncate(140)),
        serde_json::json!(["tlv_malformed"])
    );
    let no_time = |payload: &mut Vec<u8>| payload[20..24].fill(0xff);
    assert!(findings("V7", no_time).as_array().unwrap().contains(&"invalid_timestamp".into()));
}

#[test]
fn without_a_key_nothing_is_said_of_signatures() {
    let fields = told("V7", |_| {}, None)["fields"].clone();
    assert!(fields.get("hmac_valid").is_none() && fields.get("tlv_hmac_valid").is_none());
    assert!(fields.get("hmac").is_some());
}

#[test]
fn hexadecimal_digits_may_be_grouped() {
    assert_eq!(unhex("00 01:fF\n0a").unwrap(), [0, 1, 0xff, 10]);
    assert_eq!(unhex("0x0a0b").unwrap(), [10, 11]);
    for wrong in ["", "0", "0g", "00 0", "+1", "zz"] {
        assert_eq!(unhex(wrong), Err(DecodeError::NotHex), "{wrong}");
    }
}

#[test]
fn what_is_too_short_says_how_much_is_missing() {
    let error = decode(&[0; 13], Protection::Auto, Role::Auto, None, NEAR).unwrap_err();
    assert!(error.to_string().contains("13 octets") && error.to_string().contains("14"), "{error}");
}

#[test]
fn people_read_the_same_fields() {
    let decoded = decode(
        &unhex(vectors()["vectors"][1]["hex"].as_str().unwrap()).unwrap(),
        Protection::Auto,
        Role::Auto,
        None,
        NEAR,
    );
    let text = decoded.unwrap().to_string();
    assert!(text.starts_with("open reply, 44 octets\n"), "{text}");
    assert!(text.contains("derived.t2_minus_t1_ns") && text.contains("147321"), "{text}");
}

proptest! {
    #[test]
    fn any_octets_are_told_or_refused(payload: Vec<u8>) {
        let decoded = decode(&payload, Protection::Auto, Role::Auto, Some(&key()), NEAR);
        prop_assert!(decoded.is_err() == (payload.len() < 14));
        let text = decoded.map(|decoded| decoded.to_string()).unwrap_or_default();
        prop_assert!(payload.len() < 14 || !text.is_empty());
    }
}
