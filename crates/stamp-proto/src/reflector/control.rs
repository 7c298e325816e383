//! More replies than one, or of another length: what is asked for, and what is granted.
//! RFC 10052.

use super::extensions::{self, Context, Draft};
use super::rate::Volume;
use super::{Policy, Refusal};
use crate::tlv::{self, AddressGroup, Flags, HEADER_LEN, Kind, PacketControl};

/// What senders may ask for by a Reflected Test Packet Control. It is off while any of
/// the first three is 0: whoever asks is answered once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Control {
    /// Replies to one request.
    pub max_count: u16,
    /// Octets of payload a second, to one sender and to all together.
    pub max_rate: u64,
    /// Octets of payload that one request may cause, and all at once.
    pub max_bytes: u64,
    /// Octets that an IP packet may have.
    pub mtu: u16,
}

impl Control {
    /// True when more than one reply may be had at all.
    pub const fn is_on(&self) -> bool {
        self.max_count > 0 && self.max_rate > 0 && self.max_bytes > 0
    }

    /// True when `bytes` in `count` replies `interval_ns` apart are not too many of one.
    fn grants(&self, count: u16, len: usize, interval_ns: u32) -> bool {
        let bytes = len as u64 * u64::from(count);
        let within_a_second = len as u128 * 1_000_000_000;
        let slow =
            count <= 1 || within_a_second <= u128::from(interval_ns) * u128::from(self.max_rate);
        count <= self.max_count && bytes <= self.max_bytes && slow
    }
}

impl Default for Control {
    fn default() -> Self {
        Self { max_count: 0, max_rate: 0, max_bytes: 0, mtu: 1_500 }
    }
}

/// How often an answer is to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copies {
    /// How many there are to be, the first included.
    pub count: u16,
    /// Nanoseconds between two of them.
    pub interval_ns: u32,
}

impl Copies {
    /// Just the answer.
    pub const ONE: Self = Self { count: 1, interval_ns: 0 };
}

/// What has to be known of all extensions before the first of them is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// A control is there that this reflector would obey.
    pub(super) control: bool,
    /// The way back is none at all. Together with a control that makes no sense, and both
    /// are refused: RFC 10052 §4.3.
    pub(super) no_reply: bool,
    /// Octets of the payload without padding.
    unpadded_len: usize,
}

impl Asked {
    /// Looks through the extensions of a request.
    pub(super) fn of(payload: &[u8], base_len: usize, policy: &Policy) -> Self {
        let area = payload.get(base_len..).unwrap_or(&[]);
        let sound = || {
            let whole = tlv::walk(area).map_while(Result::ok);
            whole.take_while(|tlv| tlv.kind.accepts(tlv.value.len()))
        };
        let first = |kind| sound().find(|tlv| tlv.kind == kind);
        let no_reply =
            first(Kind::ReturnPath).is_some_and(|tlv| extensions::asks_for_no_reply(tlv.value));
        let unpadded = sound().filter(|tlv| tlv.kind != Kind::ExtraPadding);
        Self {
            control: policy.control.is_on() && first(Kind::ReflectedTestPacketControl).is_some(),
            no_reply,
            unpadded_len: base_len
                + unpadded.map(|tlv| HEADER_LEN + tlv.value.len()).sum::<usize>(),
        }
    }
}

/// Answers a control: by flags where it is refused, else by what is drafted.
pub(super) fn answer(
    value: &[u8],
    context: &Context<'_>,
    draft: &mut Draft<'_>,
) -> Result<Flags, Refusal> {
    let Some((asked, groups)) = PacketControl::parse(value) else { return Ok(Flags::MALFORMED) };
    if !context.asked.control {
        return Ok(Flags::UNRECOGNIZED);
    }
    for group in AddressGroup::walk(groups) {
        match group {
            Ok(group) if is_of(&group, context) => {}
            Ok(_) => return Err(Refusal::NoReplyRequested),
            Err(flags) => return Ok(flags),
        }
    }
    // A packet that was recorded has a number of before. RFC 10052 §5.
    let is_new = context.place.is_some_and(|place| place.ahead);
    if context.asked.no_reply || !is_new {
        return Ok(Flags::UNRECOGNIZED);
    }
    if asked.count == 0 {
        return Err(Refusal::NoReplyRequested);
    }
    Ok(grant(asked, context, draft))
}

/// Drafts what is asked for, as far as the limits let it.
fn grant(asked: PacketControl, context: &Context<'_>, draft: &mut Draft<'_>) -> Flags {
    let PacketControl { reply_len, count, interval_ns } = asked;
    let control = &context.policy.control;
    let len = context.asked.unpadded_len.max(usize::from(reply_len).next_multiple_of(4));
    let longest = longest(control, context);
    if len > longest {
        draft.len = reserve(control, 1, longest, 0, context, draft.volume).then_some(longest);
        return Flags::CONSTRAINED;
    }
    if !reserve(control, count, len, interval_ns, context, draft.volume) {
        return Flags::CONSTRAINED;
    }
    draft.copies = Copies { count, interval_ns };
    draft.len = Some(len);
    Flags::NONE
}

fn reserve(
    control: &Control,
    count: u16,
    len: usize,
    interval_ns: u32,
    context: &Context<'_>,
    volume: &mut Volume,
) -> bool {
    let bytes = len as u64 * u64::from(count);
    control.grants(count, len, interval_ns) && volume.take(control, bytes, context.arrival.now)
}

/// Octets of payload that fit into one packet back.
fn longest(control: &Control, context: &Context<'_>) -> usize {
    let is_v4 = context.arrival.source.ip().to_canonical().is_ipv4();
    let headers = if is_v4 { 20 + 8 } else { 40 + 8 };
    usize::from(control.mtu).saturating_sub(headers)
}

fn is_of(group: &AddressGroup<'_>, context: &Context<'_>) -> bool {
    let Policy { own_addresses, own_macs, .. } = context.policy;
    own_macs.iter().any(|mac| group.has_hardware(mac))
        || own_addresses.iter().any(|&address| group.has_address(address))
        || group.has_address(context.arrival.destination.ip())
}

/// Brings `payload` to `len` octets by leaving out its padding and adding another one
/// behind everything else. RFC 10052 §3.
pub(super) fn resize(payload: &mut Vec<u8>, base_len: usize, len: usize) {
    let area = payload.split_off(base_len);
    let kept = tlv::walk(&area).map_while(Result::ok).filter(|tlv| tlv.kind != Kind::ExtraPadding);
    kept.for_each(|tlv| payload.extend(&area[tlv.offset..tlv.end()]));
    let missing = len.saturating_sub(payload.len());
    if let Some(padding) = missing.checked_sub(HEADER_LEN).and_then(|len| u16::try_from(len).ok()) {
        payload.extend([Flags::NONE.bits(), Kind::ExtraPadding.code()]);
        payload.extend(padding.to_be_bytes());
    }
    payload.resize(payload.len().max(len), 0);
}
