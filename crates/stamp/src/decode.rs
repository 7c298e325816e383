//! One packet, taken apart for people and programs.

mod fields;

use std::fmt;
use std::time::Duration;

use serde::Serialize;
use stamp_proto::auth::{HMAC_LEN, Key};
use stamp_proto::clock::{WallTime, looks_like_tai};
use stamp_proto::packet::{Mode, Reply, Request, Shape};

pub(crate) use fields::hex;
use fields::{Derived, Estimate, Extension, Fields, Time};

/// Which kind of packet it is, where that is not to be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// What its structure says
    Auto,
    /// From a sender
    Request,
    /// From a reflector
    Reply,
}

/// How the packet is protected, where that is not to be guessed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Protection {
    /// What its structure says
    Auto,
    /// Not at all
    Open,
    /// By an HMAC
    Auth,
}

/// A packet, field by field.
#[derive(Debug, Serialize)]
pub struct Decoded {
    mode: &'static str,
    role: &'static str,
    length: usize,
    fields: Fields,
    findings: Vec<&'static str>,
}

/// Why there is nothing to show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Other characters than digits, white space and colons.
    #[error(
        "is not hexadecimal; give the UDP payload as pairs of digits, with white space or colons between if you like"
    )]
    NotHex,
    /// Too short for any packet.
    #[error(transparent)]
    Truncated(#[from] stamp_proto::packet::Truncated),
}

/// The octets that hexadecimal digits stand for.
///
/// # Errors
///
/// When there is anything else, or half an octet.
pub fn unhex(text: &str) -> Result<Vec<u8>, DecodeError> {
    let text = text.trim().trim_start_matches("0x");
    let digits: Vec<u8> =
        text.bytes().filter(|octet| !octet.is_ascii_whitespace() && *octet != b':').collect();
    let (pairs, rest) = digits.as_chunks::<2>();
    let octet = |pair: &[u8; 2]| {
        let both = pair.iter().all(u8::is_ascii_hexdigit);
        u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok().filter(|_| both)
    };
    let octets: Option<Vec<u8>> = pairs.iter().map(octet).collect();
    octets.filter(|octets| rest.is_empty() && !octets.is_empty()).ok_or(DecodeError::NotHex)
}

/// Takes a UDP payload apart. Times are those nearest to `now`, since 1970.
///
/// # Errors
///
/// When it is shorter than any packet of its mode.
pub fn decode(
    payload: &[u8],
    mode: Protection,
    role: Role,
    key: Option<&Key>,
    now: Duration,
) -> Result<Decoded, DecodeError> {
    let near = WallTime::from_ns(i64::try_from(now.as_nanos()).unwrap_or(i64::MAX));
    let mode = match mode {
        Protection::Open => Mode::Open,
        Protection::Auth => Mode::Authenticated,
        Protection::Auto => guess(payload),
    };
    let is_reply = match role {
        Role::Request => false,
        Role::Reply => true,
        Role::Auto => {
            payload.len() >= Reply::MIN_OPEN_LEN && Shape::of(mode, payload) == Shape::Reply
        }
    };
    let mut fields =
        if is_reply { reply(mode, payload, near)? } else { request(mode, payload, near)? };
    if !is_reply {
        fields.check_zeros(mode, payload);
    }
    fields.protect(mode, payload, key);
    fields.extend(mode, payload, key);
    let findings = findings(mode, payload, is_reply, &fields);
    let role = if is_reply { "reply" } else { "request" };
    Ok(Decoded { mode: mode.as_str(), role, length: payload.len(), fields, findings })
}

/// Signed packets have zeros where open ones have T1.
fn guess(payload: &[u8]) -> Mode {
    let zeros = payload.get(4..16).is_some_and(|octets| octets.iter().all(|&octet| octet == 0));
    if payload.len() >= Mode::Authenticated.base_len() && zeros {
        Mode::Authenticated
    } else {
        Mode::Open
    }
}

fn request(mode: Mode, payload: &[u8], near: WallTime) -> Result<Fields, DecodeError> {
    let request = Request::parse(mode, payload)?;
    Ok(Fields {
        sequence: request.sequence,
        timestamp: Time::of(request.timestamp, request.error_estimate, near),
        error_estimate: Estimate::of(request.error_estimate),
        ssid: request.ssid,
        ..Fields::default()
    })
}

fn reply(mode: Mode, payload: &[u8], near: WallTime) -> Result<Fields, DecodeError> {
    let reply = Reply::parse(mode, payload)?;
    let (own, sender) = (reply.error_estimate, reply.sender_error_estimate);
    Ok(Fields {
        sequence: reply.sequence,
        timestamp: Time::of(reply.timestamp, own, near),
        error_estimate: Estimate::of(own),
        ssid: reply.ssid,
        receive_timestamp: Some(Time::of(reply.receive_timestamp, own, near)),
        sender_sequence: Some(reply.sender_sequence),
        sender_timestamp: Some(Time::of(reply.sender_timestamp, sender, near)),
        sender_error_estimate: Some(Estimate::of(sender)),
        sender_ttl: reply.sender_ttl,
        derived: Some(Derived::of(&reply, near)),
        ..Fields::default()
    })
}

fn findings(mode: Mode, payload: &[u8], is_reply: bool, fields: &Fields) -> Vec<&'static str> {
    let estimates = [Some(&fields.error_estimate), fields.sender_error_estimate.as_ref()];
    let invalid = estimates.into_iter().flatten().any(|estimate| !estimate.valid);
    let apart = fields.derived.as_ref().and_then(|derived| derived.t2_minus_t1_ns);
    let times = [
        Some(&fields.timestamp),
        fields.receive_timestamp.as_ref(),
        fields.sender_timestamp.as_ref(),
    ];
    [
        (invalid, "invalid_error_estimate"),
        (times.into_iter().flatten().any(Time::is_none), "invalid_timestamp"),
        (apart.is_some_and(looks_like_tai), "timescale"),
        (!is_reply && Shape::of(mode, payload) != Shape::Request, "mbz_not_zero"),
        (fields.hmac_valid == Some(false), "hmac_invalid"),
        (fields.tlv_hmac_valid == Some(false), "tlv_hmac_invalid"),
        (fields.tlvs.iter().flatten().any(Extension::is_cut_off), "tlv_malformed"),
    ]
    .into_iter()
    .filter_map(|(found, name)| found.then_some(name))
    .collect()
}

impl fmt::Display for Decoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {}, {} octets", self.mode, self.role, self.length)?;
        // The document is the same for people and programs; only its form differs.
        let value = serde_json::to_value(&self.fields).map_err(|_| fmt::Error)?;
        show(f, "", &value)?;
        match self.findings.is_empty() {
            true => Ok(()),
            false => writeln!(f, "findings: {}", self.findings.join(", ")),
        }
    }
}

fn show(f: &mut fmt::Formatter<'_>, path: &str, value: &serde_json::Value) -> fmt::Result {
    use serde_json::Value;
    let below =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    match value {
        Value::Object(members) => {
            members.iter().try_for_each(|(name, value)| show(f, &below(name), value))
        }
        Value::Array(values) => values
            .iter()
            .enumerate()
            .try_for_each(|(n, value)| show(f, &below(&n.to_string()), value)),
        Value::String(text) => writeln!(f, "  {path:<40} {text}"),
        other => writeln!(f, "  {path:<40} {other}"),
    }
}

/// Where the HMAC of a signed base packet is.
const HMAC: std::ops::Range<usize> =
    Mode::Authenticated.base_len() - HMAC_LEN..Mode::Authenticated.base_len();

#[cfg(test)]
mod tests;
