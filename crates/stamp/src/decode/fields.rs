//! The fields of a packet as a document has them.

use serde::Serialize;
use stamp_proto::auth::Key;
use stamp_proto::clock::WallTime;
use stamp_proto::estimate::ErrorEstimate;
use stamp_proto::packet::{Mode, Reply};
use stamp_proto::timestamp::{Format, Timestamp};
use stamp_proto::tlv::{self, CutOff, Flags, Kind, Tlv};

use super::HMAC;

/// All fields that the packet has; the others are left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Fields {
    pub(super) sequence: u32,
    pub(super) timestamp: Time,
    pub(super) error_estimate: Estimate,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ssid: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) receive_timestamp: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender_sequence: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender_timestamp: Option<Time>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender_error_estimate: Option<Estimate>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) sender_ttl: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mbz_28_96_all_zero: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) mbz_16_44_all_zero: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hmac: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hmac_valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tlvs: Option<Vec<Extension>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tlv_hmac_covers: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tlv_hmac_valid: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) derived: Option<Derived>,
}

/// A time as it stands, and what it means.
#[derive(Debug, Default, Serialize)]
pub(super) struct Time {
    hex: String,
    format: &'static str,
    seconds: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    fraction: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    nanoseconds: Option<u32>,
    unix_ns: Option<String>,
}

impl Time {
    pub(super) fn of(timestamp: Timestamp, estimate: ErrorEstimate, near: WallTime) -> Self {
        let format = estimate.format();
        let part = |wanted| (format == wanted).then_some(timestamp.fraction());
        Self {
            hex: format!("{:016x}", timestamp.bits()),
            format: format.as_str(),
            seconds: timestamp.seconds(),
            fraction: part(Format::Ntp),
            nanoseconds: part(Format::Ptp),
            unix_ns: timestamp.decode(format, near).map(|time| time.as_ns().to_string()),
        }
    }

    /// True when the bits are no time.
    pub(super) const fn is_none(&self) -> bool {
        self.unix_ns.is_none()
    }
}

/// An Error Estimate.
#[derive(Debug, Default, Serialize)]
pub(super) struct Estimate {
    hex: String,
    s: u8,
    z: u8,
    scale: u8,
    multiplier: u8,
    pub(super) valid: bool,
    error_ns: Option<f64>,
}

impl Estimate {
    pub(super) fn of(estimate: ErrorEstimate) -> Self {
        Self {
            hex: format!("{:04x}", estimate.bits()),
            s: estimate.synchronized().into(),
            z: (estimate.format() == Format::Ptp).into(),
            scale: estimate.scale(),
            multiplier: estimate.multiplier(),
            valid: estimate.is_valid(),
            error_ns: estimate.error_ns(),
        }
    }
}

/// What follows from several fields; a difference with a clock that says nothing of
/// itself is left out.
#[derive(Debug, Default, Serialize)]
pub(super) struct Derived {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) t2_minus_t1_ns: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    t3_minus_t2_ns: Option<i64>,
}

impl Derived {
    pub(super) fn of(reply: &Reply, near: WallTime) -> Self {
        let (own, sender) = (reply.error_estimate, reply.sender_error_estimate);
        let t1 = reply.sender_timestamp.decode(sender.format(), near);
        let t2 = reply.receive_timestamp.decode(own.format(), near);
        let t3 = reply.timestamp.decode(own.format(), near);
        let comparable = own.is_valid() && sender.is_valid();
        Self {
            t2_minus_t1_ns: t2.zip(t1).filter(|_| comparable).map(|(t2, t1)| t2.since(t1)),
            t3_minus_t2_ns: t3.zip(t2).map(|(t3, t2)| t3.since(t2)),
        }
    }
}

/// An extension, with its place in the payload.
#[derive(Debug, Serialize)]
pub(super) struct Extension {
    offset: usize,
    flags: u8,
    u: u8,
    m: u8,
    i: u8,
    c: u8,
    r#type: u8,
    length: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

impl Extension {
    /// True when the packet ends before it does.
    pub(super) const fn is_cut_off(&self) -> bool {
        self.value.is_none()
    }

    fn of(tlv: Result<Tlv<'_>, CutOff>, base: usize) -> Self {
        let (offset, flags, kind, length, value) = match tlv {
            Ok(tlv) => (tlv.offset, tlv.flags, tlv.kind, tlv.value.len(), Some(hex(tlv.value))),
            Err(cut) => (cut.offset, cut.flags, cut.kind, usize::from(cut.told), None),
        };
        let has = |flag| u8::from(flags.contains(flag));
        Self {
            offset: base + offset,
            flags: flags.bits(),
            u: has(Flags::UNRECOGNIZED),
            m: has(Flags::MALFORMED),
            i: has(Flags::INTEGRITY_FAILED),
            c: has(Flags::CONSTRAINED),
            r#type: kind.code(),
            length,
            value,
        }
    }
}

impl Fields {
    /// Adds whether a request has zeros where only a reply has something.
    pub(super) fn check_zeros(&mut self, mode: Mode, payload: &[u8]) {
        let zero = |octets: &[u8]| octets.iter().all(|&octet| octet == 0);
        let zeros = payload.get(mode.must_be_zero()).map(zero);
        match mode {
            Mode::Open => self.mbz_16_44_all_zero = zeros,
            Mode::Authenticated => self.mbz_28_96_all_zero = zeros,
        }
    }

    /// Adds what protects the base packet.
    pub(super) fn protect(&mut self, mode: Mode, payload: &[u8], key: Option<&Key>) {
        let Some(hmac) = payload.get(HMAC).filter(|_| mode == Mode::Authenticated) else { return };
        self.hmac = Some(hex(hmac));
        self.hmac_valid = key.map(|key| key.verifies(payload));
    }

    /// Adds the extensions behind the base packet, and what protects them.
    pub(super) fn extend(&mut self, mode: Mode, payload: &[u8], key: Option<&Key>) {
        let base = mode.base_len();
        let Some(area) = payload.get(base..).filter(|area| !area.is_empty()) else { return };
        self.tlvs = Some(tlv::walk(area).map(|tlv| Extension::of(tlv, base)).collect());
        let signature = tlv::walk(area).map_while(Result::ok).find(|tlv| tlv.kind == Kind::Hmac);
        let (Some(signature), Some(sequence)) = (signature, payload.first_chunk::<4>()) else {
            return;
        };
        self.tlv_hmac_covers =
            Some(format!("octets 0..4 then octets {base}..{}", base + signature.offset));
        self.tlv_hmac_valid = key.map(|key| {
            let computed = key.tlv_hmac(*sequence, &area[..signature.offset]);
            Key::matches(&computed, signature.value)
        });
    }
}

/// Octets as digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}
