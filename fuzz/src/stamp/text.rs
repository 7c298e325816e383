//! Small languages of the settings of stamp, sign by sign.

use std::net::IpAddr;

use stamp::decode::unhex;
use stamp::parse::{Extension, Target, class_of_service, milliseconds, ssid, time};
use stamp_proto::reflector::{Prefix, Prefixes};
use stamp_proto::tlv;

/// Holds a text to the laws of every small language.
///
/// # Panics
///
/// When one is broken: that is what a fuzzer looks for.
pub fn text(text: &str) {
    hex(text);
    prefix(text);
    extension(text);
    assert_eq!(ssid(text).ok(), ssid_slowly(text));
    let class = class_of_service(text).map(|extension| extension.value.len());
    assert_eq!(class.ok(), class_slowly(text));
    if let Ok(Target::Address { address, device }) = text.parse() {
        assert!(text.contains(['.', ':']) && !address.to_string().is_empty());
        assert_eq!(device.is_some(), text.contains('%'));
    }
    assert!(milliseconds(text).ok().is_none_or(|ns| ns.is_finite() && ns >= 0.0));
    assert!(time(text).is_err() || text.contains(|sign: char| sign.is_ascii_digit()));
}

fn hex(text: &str) {
    let read = unhex(text).ok();
    assert_eq!(read, unhex_slowly(text));
    if let Some(octets) = read {
        let written: String = octets.iter().map(|octet| format!("{octet:02X}:")).collect();
        assert_eq!(unhex(&written).as_ref(), Ok(&octets));
    }
}

fn unhex_slowly(text: &str) -> Option<Vec<u8>> {
    let mut text = text.trim();
    while let Some(rest) = text.strip_prefix("0x") {
        text = rest;
    }
    let (mut octets, mut half) = (Vec::new(), None);
    for sign in text.chars().filter(|sign| !sign.is_ascii_whitespace() && *sign != ':') {
        let digit = sign.to_digit(16)? as u8;
        match half.take() {
            Some(high) => octets.push(high * 16 + digit),
            None => half = Some(digit),
        }
    }
    (half.is_none() && !octets.is_empty()).then_some(octets)
}

fn prefix(text: &str) {
    let read = text.parse::<Prefix>().ok();
    assert_eq!(read.map(|prefix| (prefix.address(), prefix.prefix_len())), prefix_slowly(text));
    if let Some(prefix) = read {
        assert_eq!(prefix.to_string().parse(), Ok(prefix));
        let set: Prefixes = [prefix].into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [prefix]);
        let mapped = prefix.address() != prefix.address().to_canonical();
        assert!(mapped || set.contains(prefix.address()));
    }
}

fn prefix_slowly(text: &str) -> Option<(IpAddr, u8)> {
    let (address, len) = match text.find('/') {
        Some(slash) => (text.get(..slash)?, Some(text.get(slash + 1..)?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let octets = match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let width = octets.len() * 8;
    let len = len.map_or(Some(width as u64), |len| number(len, width as u64))?;
    let is_set = |bit: &usize| octets[bit / 8] >> (7 - bit % 8) & 1 == 1;
    let is_network = !(len as usize..width).any(|bit| is_set(&bit));
    is_network.then_some((address, len as u8))
}

fn extension(text: &str) {
    let read = text.parse::<Extension>().ok();
    assert_eq!(read.as_ref().map(|read| read.value.len()), extension_slowly(text));
    let Some(Extension { kind, value }) = read else { return };
    assert!(kind.accepts(value.len()));
    let mut area = Vec::new();
    tlv::append(&mut area, kind, &value);
    let first = tlv::walk(&area).next();
    assert!(first.is_some_and(|tlv| tlv.is_ok_and(|tlv| (tlv.kind, tlv.value) == (kind, &value))));
}

/// How long a value is, if the text is an extension.
fn extension_slowly(text: &str) -> Option<usize> {
    let Some(equals) = text.find('=') else {
        return match text {
            "timestamp-info" => Some(4),
            "location" => Some(56),
            "direct-measurement" => Some(12),
            "follow-up" => Some(16),
            _ => None,
        };
    };
    let (name, argument) = (text.get(..equals)?, text.get(equals + 1..)?);
    match (name, argument) {
        ("return-path", "none" | "same-link") => Some(8),
        ("return-path", address) => Some(4 + width(address)?),
        ("dest-node", address) => width(address),
        ("padding", len) => {
            number(len.strip_suffix(":zero").unwrap_or(len), 65_535).map(|len| len as usize)
        }
        ("access-report", argument) => two(argument, None, [15, 255]).map(|_| 4),
        ("micro-session", argument) => {
            two(argument, Some(0), [65_535; 2]).filter(|&[own, _]| own > 0).map(|_| 4)
        }
        _ => None,
    }
}

/// Two numbers with a colon between, the second of which may be left out for another.
fn two(text: &str, otherwise: Option<u64>, [most, most_behind]: [u64; 2]) -> Option<[u64; 2]> {
    let Some(colon) = text.find(':') else { return Some([number(text, most)?, otherwise?]) };
    Some([number(text.get(..colon)?, most)?, number(text.get(colon + 1..)?, most_behind)?])
}

fn width(address: &str) -> Option<usize> {
    Some(if address.parse::<IpAddr>().ok()?.is_ipv4() { 4 } else { 16 })
}

fn ssid_slowly(text: &str) -> Option<Option<u16>> {
    match text {
        "auto" => Some(None),
        _ => number(text, 65_535).filter(|&ssid| ssid > 0).map(|ssid| Some(ssid as u16)),
    }
}

fn class_slowly(text: &str) -> Option<usize> {
    let (dscp, ecn) = match text.find(',') {
        Some(comma) => (text.get(..comma)?, text.get(comma + 1..)?),
        None => (text, "0"),
    };
    number(dscp, 63).zip(number(ecn, 3)).map(|_| 4)
}

/// Digits, with a plus in front if one likes.
fn number(text: &str, most: u64) -> Option<u64> {
    let digits = text.strip_prefix('+').unwrap_or(text);
    let mut value = 0_u64;
    for digit in digits.chars() {
        value = value.checked_mul(10)?.checked_add(u64::from(digit.to_digit(10)?))?;
    }
    (!digits.is_empty() && value <= most).then_some(value)
}
