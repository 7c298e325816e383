//! What a reflector makes of the extensions: in place, same length, flags anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::control::{self, Asked, Copies};
use super::rate::Volume;
use super::{Arrival, Clock, Place, Policy, Refusal, is_host};
use crate::auth::{HMAC_LEN, Key};
use crate::tlv::{
    self, ClassOfService, DirectMeasurement, Flags, FollowUp, HEADER_LEN, Kind, MicroSession,
    TimestampInformation,
};

/// What is known when the extensions are read.
pub(super) struct Context<'a> {
    pub(super) policy: &'a Policy,
    pub(super) arrival: &'a Arrival<'a>,
    pub(super) clock: &'a Clock,
    /// In the session by which the reply is numbered, where there is one.
    pub(super) place: Option<Place>,
    /// Of the reply.
    pub(super) sequence: u32,
    pub(super) key: Option<&'a Key>,
    pub(super) asked: Asked,
}

/// What becomes of the answer while its extensions are read.
pub(super) struct Draft<'a> {
    pub(super) wanted: Wanted,
    pub(super) copies: Copies,
    /// Octets it is to have, where that is not what the request has.
    pub(super) len: Option<usize>,
    pub(super) volume: &'a mut Volume,
}

impl<'a> Draft<'a> {
    /// One answer, the way the request came.
    pub(super) fn back_to(arrival: &Arrival<'_>, volume: &'a mut Volume) -> Self {
        Self { wanted: Wanted::back_to(arrival), copies: Copies::ONE, len: None, volume }
    }
}

/// What the packet that carries a reply is to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    /// Where it goes.
    pub destination: SocketAddr,
    /// The address it comes from.
    pub source: IpAddr,
    /// DSCP and ECN it carries.
    pub traffic_class: u8,
    /// True when it is to leave by the device the request came on.
    pub same_link: bool,
}

impl Wanted {
    /// The way the request came: same DSCP, no ECN, from the address it was sent to.
    fn back_to(arrival: &Arrival<'_>) -> Self {
        Self {
            destination: arrival.source,
            source: arrival.destination.ip(),
            traffic_class: arrival.traffic_class & !ECN,
            same_link: false,
        }
    }
}

/// Answers the extensions of `payload`, the octets behind its base packet.
///
/// With a key they must be signed, unless there is nothing but padding; where they are
/// not, they go back as they came with flag I on each. RFC 8972 §4.8.
pub(super) fn reflect(
    payload: &mut Vec<u8>,
    base_len: usize,
    context: &Context<'_>,
    draft: &mut Draft<'_>,
) -> Result<(), Refusal> {
    let area = &mut payload[base_len..];
    if context.key.is_some_and(|key| signature(area, key, context).is_err()) {
        flag_all(area, Flags::INTEGRITY_FAILED);
        return Ok(());
    }
    fill(area, context, draft)?;
    if let Some(len) = draft.len {
        control::resize(payload, base_len, len);
    }
    if let Some(key) = context.key {
        sign(&mut payload[base_len..], key, context.sequence);
    }
    Ok(())
}

/// Signs the extensions of an answer with this number, where they have room for that.
pub(super) fn sign(area: &mut [u8], key: &Key, sequence: u32) {
    let is_room = |tlv: &tlv::Tlv<'_>| tlv.kind == Kind::Hmac && tlv.value.len() == HMAC_LEN;
    let Some(at) = tlv::walk(area).map_while(Result::ok).find(is_room).map(|tlv| tlv.offset) else {
        return;
    };
    let signed = key.tlv_hmac(sequence.to_be_bytes(), &area[..at]);
    area[at + HEADER_LEN..at + HEADER_LEN + HMAC_LEN].copy_from_slice(&signed);
}

/// Answers one extension behind the other, up to one whose length is impossible; what is
/// behind that goes back as it came.
fn fill(area: &mut [u8], context: &Context<'_>, draft: &mut Draft<'_>) -> Result<(), Refusal> {
    if area.iter().all(|&octet| octet == 0) {
        return Ok(());
    }
    let mut at = 0;
    let mut once = Vec::new();
    while let Some(header) = area.get(at..).and_then(|rest| rest.first_chunk::<HEADER_LEN>()) {
        let kind = Kind::from_code(header[1]);
        let end = at + HEADER_LEN + usize::from(u16::from_be_bytes([header[2], header[3]]));
        let Some(value) =
            area.get_mut(at + HEADER_LEN..end).filter(|value| kind.accepts(value.len()))
        else {
            malformed(&mut area[at..], kind, end - at);
            return Ok(());
        };
        let flags = if once.contains(&kind) {
            Flags::UNRECOGNIZED
        } else {
            answer(kind, value, context, draft)?
        };
        if matches!(kind, Kind::ReturnPath | Kind::ReflectedTestPacketControl) {
            once.push(kind);
        }
        area[at] = flags.bits();
        at = end;
    }
    Ok(())
}

/// Flags the extension at the front of `rest`. A Follow-Up must not come back with what
/// the sender put into it. RFC 8972 §4.7.
fn malformed(rest: &mut [u8], kind: Kind, len: usize) {
    rest[0] = Flags::MALFORMED.bits();
    if kind == Kind::FollowUpTelemetry
        && let Some(value) = rest.get_mut(HEADER_LEN..len)
    {
        value.fill(0);
    }
}

/// Extensions that are not what the sender signed.
struct Unsigned;

/// Looks whether the extensions are signed, or nothing needs that.
fn signature(area: &[u8], key: &Key, context: &Context<'_>) -> Result<(), Unsigned> {
    let Some(sequence) = context.arrival.payload.first_chunk::<4>() else { return Err(Unsigned) };
    let mut found = false;
    let mut only_padding = true;
    for tlv in tlv::walk(area) {
        let Ok(tlv) = tlv else { return Err(Unsigned) };
        match tlv.kind {
            Kind::ExtraPadding => {}
            Kind::Hmac if !found && tlv.value.len() == HMAC_LEN => {
                let computed = key.tlv_hmac(*sequence, &area[..tlv.offset]);
                found = Key::matches(&computed, tlv.value);
                if !found {
                    return Err(Unsigned);
                }
            }
            _ if found => return Err(Unsigned),
            _ => only_padding = false,
        }
    }
    if found || only_padding { Ok(()) } else { Err(Unsigned) }
}

fn flag_all(area: &mut [u8], flags: Flags) {
    let offsets: Vec<usize> = tlv::walk(area)
        .map(|tlv| match tlv {
            Ok(tlv) => tlv.offset,
            Err(cut) => cut.offset,
        })
        .collect();
    for at in offsets {
        area[at] = flags.bits();
    }
}

/// Fills in one value and says which flags it goes back with.
fn answer(
    kind: Kind,
    value: &mut [u8],
    context: &Context<'_>,
    draft: &mut Draft<'_>,
) -> Result<Flags, Refusal> {
    let wanted = &mut draft.wanted;
    let understood = match kind {
        Kind::ExtraPadding => true,
        Kind::Location => {
            location(value, context);
            true
        }
        Kind::TimestampInformation => {
            let source = context.clock.source as u8;
            let [method_in, method_out] = context.clock.methods;
            let told =
                TimestampInformation { sync_in: source, method_in, sync_out: source, method_out };
            value.copy_from_slice(&told.emit());
            true
        }
        Kind::ClassOfService => class_of_service(value, context, wanted),
        Kind::DirectMeasurement => direct_measurement(value, context),
        Kind::AccessReport => matches!(value[0] >> 4, 1 | 2),
        Kind::FollowUpTelemetry => {
            follow_up(value, context);
            true
        }
        Kind::Hmac => context.key.is_some(),
        Kind::DestinationNodeAddress => destination_node(value, context, wanted),
        Kind::ReturnPath => return return_path(value, context, wanted),
        Kind::MicroSessionId => return micro_session(value, context),
        Kind::ReflectedTestPacketControl => return control::answer(value, context, draft),
        Kind::Other(_) => false,
    };
    Ok(if understood { Flags::NONE } else { Flags::UNRECOGNIZED })
}

/// The marks with which the request came, and the ones that the reply will carry.
fn class_of_service(value: &mut [u8], context: &Context<'_>, wanted: &mut Wanted) -> bool {
    let Some(asked) = ClassOfService::parse(value) else { return false };
    let arrived = context.arrival.traffic_class;
    let allowed = context.policy.allowed_dscp >> asked.dscp1 & 1 == 1;
    let dscp = if allowed { asked.dscp1 } else { arrived >> 2 };
    let told = ClassOfService {
        dscp2: arrived >> 2,
        ec2: arrived & ECN,
        rp: u8::from(!allowed),
        rpe: ECN_AS_ASKED,
        ..asked
    };
    wanted.traffic_class = dscp << 2 | asked.ec1;
    value.copy_from_slice(&told.emit());
    true
}

fn direct_measurement(value: &mut [u8], context: &Context<'_>) -> bool {
    let (Some(counters), Some(place)) = (DirectMeasurement::parse(value), context.place) else {
        return false;
    };
    let told = DirectMeasurement {
        reflector_rx: place.received as u32,
        reflector_tx: place.number.wrapping_add(1),
        ..counters
    };
    value.copy_from_slice(&told.emit());
    true
}

fn follow_up(value: &mut [u8], context: &Context<'_>) {
    let told = context.place.and_then(|place| place.last_reply);
    let [_, method] = context.clock.methods;
    let octets = told
        .map_or([0; 16], |(sequence, timestamp)| FollowUp { sequence, timestamp, method }.emit());
    value.copy_from_slice(&octets);
}

fn destination_node(value: &[u8], context: &Context<'_>, wanted: &mut Wanted) -> bool {
    let Some(address) = address(value) else { return false };
    let ours = context.policy.own_addresses.contains(&address)
        || address == context.arrival.destination.ip();
    if ours {
        wanted.source = address;
    }
    ours
}

/// A non-zero number of the reflector's member must be that of the link it came on.
fn micro_session(value: &mut [u8], context: &Context<'_>) -> Result<Flags, Refusal> {
    let (Some(asked), Some(own)) = (MicroSession::parse(value), context.arrival.member) else {
        return Ok(Flags::UNRECOGNIZED);
    };
    if asked.reflector != 0 && asked.reflector != own {
        return Err(Refusal::MicroSession);
    }
    value.copy_from_slice(&MicroSession { reflector: own, ..asked }.emit());
    Ok(Flags::NONE)
}

/// Obeys the control code, and sends to another address where that is permitted; a way
/// back through labels or segments is refused.
fn return_path(value: &[u8], context: &Context<'_>, wanted: &mut Wanted) -> Result<Flags, Refusal> {
    let mut flags = Flags::NONE;
    let mut controlled = false;
    let mut destination = None;
    for sub in tlv::walk(value) {
        let Ok(sub) = sub else { return Ok(Flags::MALFORMED) };
        let control = <[u8; 4]>::try_from(sub.value).ok().map(u32::from_be_bytes);
        match (sub.kind.code(), control) {
            (CONTROL_CODE, None) => return Ok(Flags::MALFORMED),
            (CONTROL_CODE, Some(_)) if controlled => {}
            (CONTROL_CODE, Some(code)) => {
                controlled = true;
                wanted.same_link = code & SAME_LINK != 0;
                if !wanted.same_link && !context.asked.control {
                    return Err(Refusal::NoReplyRequested);
                }
                // With a control of replies that makes no sense. RFC 10052 §4.3.
                flags = if wanted.same_link { flags } else { Flags::UNRECOGNIZED };
            }
            (RETURN_ADDRESS, _) if destination.is_some() => {}
            (RETURN_ADDRESS, _) => {
                destination = elsewhere(sub.value, context);
                flags = if destination.is_some() { flags } else { Flags::UNRECOGNIZED };
            }
            _ => flags = Flags::UNRECOGNIZED,
        }
    }
    if let (Some(destination), Flags::NONE) = (destination, flags) {
        wanted.destination = destination;
    }
    Ok(flags)
}

/// True when the first control code of a Return Path asks for no reply.
pub(super) fn asks_for_no_reply(value: &[u8]) -> bool {
    let mut subs = tlv::walk(value).map_while(Result::ok);
    let control = subs.find(|sub| sub.kind.code() == CONTROL_CODE);
    let code = control.and_then(|sub| <[u8; 4]>::try_from(sub.value).ok());
    code.is_some_and(|code| u32::from_be_bytes(code) & SAME_LINK == 0)
}

/// Another address to answer to: one of the same family that would be answered if it
/// asked by itself.
fn elsewhere(value: &[u8], context: &Context<'_>) -> Option<SocketAddr> {
    let mut destination = context.arrival.source;
    let address = address(value)?;
    let permitted = context.policy.return_address
        && address.is_ipv4() == destination.ip().to_canonical().is_ipv4()
        && is_host(address)
        && !address.is_loopback()
        && context.policy.allows(address);
    destination.set_ip(address);
    permitted.then_some(destination)
}

/// Fills in ports and addresses as they were, as far as they may be told.
fn location(value: &mut [u8], context: &Context<'_>) {
    let disclose = context.policy.disclose;
    let (ports, subs) = value.split_at_mut(4);
    ports.fill(0);
    if disclose.ports {
        ports[..2].copy_from_slice(&context.arrival.destination.port().to_be_bytes());
        ports[2..].copy_from_slice(&context.arrival.source.port().to_be_bytes());
    }
    let mut at = 0;
    while let Some(header) = subs.get(at..).and_then(|rest| rest.first_chunk::<HEADER_LEN>()) {
        let (code, len) = (header[1], usize::from(u16::from_be_bytes([header[2], header[3]])));
        let Some(sub) = subs.get_mut(at..at + HEADER_LEN + len) else { return };
        let (header, value) = sub.split_at_mut(HEADER_LEN);
        let told = match code {
            SOURCE_MAC if len == 8 => mac(value, context, disclose.mac),
            DESTINATION_ADDRESS if len == 16 => {
                ip(value, context.arrival.destination.ip(), DESTINATION_IPV4, disclose.addresses)
            }
            SOURCE_ADDRESS if len == 16 => {
                ip(value, context.arrival.source.ip(), SOURCE_IPV4, disclose.addresses)
            }
            _ => code,
        };
        header[1] = told;
        at += HEADER_LEN + len;
    }
}

/// Tells the hardware address of the sender, or says by its type that there is none.
fn mac(value: &mut [u8], context: &Context<'_>, disclosed: bool) -> u8 {
    value.fill(0);
    let Some(mac) = context.arrival.source_mac else { return EUI_64 };
    if disclosed {
        value[..6].copy_from_slice(&mac);
    }
    EUI_48
}

/// Tells an address by the type of its family: `v4`, or the one above it for IPv6.
fn ip(value: &mut [u8], address: IpAddr, v4: u8, disclosed: bool) -> u8 {
    value.fill(0);
    match address.to_canonical() {
        IpAddr::V4(address) => {
            if disclosed {
                value[..4].copy_from_slice(&address.octets());
            }
            v4
        }
        IpAddr::V6(address) => {
            if disclosed {
                value.copy_from_slice(&address.octets());
            }
            v4 + 1
        }
    }
}

fn address(value: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(value).map(|octets| Ipv4Addr::from(octets).into());
    v4.or_else(|_| <[u8; 16]>::try_from(value).map(|octets| Ipv6Addr::from(octets).into())).ok()
}

/// The two lower bits of a traffic class.
const ECN: u8 = 3;

/// The reply carries the ECN that was asked for.
const ECN_AS_ASKED: u8 = 3;

/// Sub-types of Return Path. RFC 9503 §4.1.
const CONTROL_CODE: u8 = 1;
const RETURN_ADDRESS: u8 = 2;
const SAME_LINK: u32 = 1;

/// Sub-types of Location, asked and answered. RFC 8972 §4.2.1.
const SOURCE_MAC: u8 = 1;
const EUI_48: u8 = 2;
const EUI_64: u8 = 3;
const DESTINATION_ADDRESS: u8 = 4;
const DESTINATION_IPV4: u8 = 5;
const SOURCE_ADDRESS: u8 = 7;
const SOURCE_IPV4: u8 = 8;
