//! What a reflector makes of the extensions: in place, same length, flags anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Arrival, Clock, Policy, Refusal, Session};
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
    /// As it is before this reply is counted.
    pub(super) session: Option<Session>,
    /// Of the reply.
    pub(super) sequence: u32,
    pub(super) key: Option<&'a Key>,
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
    pub(super) fn back_to(arrival: &Arrival<'_>) -> Self {
        Self {
            destination: arrival.source,
            source: arrival.destination.ip(),
            traffic_class: arrival.traffic_class & !ECN,
            same_link: false,
        }
    }
}

/// Answers the extensions of `area`, the octets behind the base packet.
///
/// With a key they must be signed, unless there is nothing but padding; where they are
/// not, they go back as they came with flag I on each. RFC 8972 §4.8.
pub(super) fn reflect(area: &mut [u8], context: &Context<'_>) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted::back_to(context.arrival);
    let signature = match context.key {
        Some(key) => match signature(area, key, context) {
            Ok(signature) => signature,
            Err(Unsigned) => {
                flag_all(area, Flags::INTEGRITY_FAILED);
                return Ok(wanted);
            }
        },
        None => None,
    };
    fill(area, context, &mut wanted)?;
    if let (Some(key), Some(at)) = (context.key, signature) {
        let signed = key.tlv_hmac(context.sequence.to_be_bytes(), &area[..at]);
        area[at + HEADER_LEN..at + HEADER_LEN + HMAC_LEN].copy_from_slice(&signed);
    }
    Ok(wanted)
}

/// Answers one extension behind the other, up to one whose length is impossible; what is
/// behind that goes back as it came.
fn fill(area: &mut [u8], context: &Context<'_>, wanted: &mut Wanted) -> Result<(), Refusal> {
    if area.iter().all(|&octet| octet == 0) {
        return Ok(());
    }
    let mut at = 0;
    let mut returned = false;
    while let Some(header) = area.get(at..).and_then(|rest| rest.first_chunk::<HEADER_LEN>()) {
        let kind = Kind::from_code(header[1]);
        let end = at + HEADER_LEN + usize::from(u16::from_be_bytes([header[2], header[3]]));
        let Some(value) =
            area.get_mut(at + HEADER_LEN..end).filter(|value| kind.accepts(value.len()))
        else {
            malformed(&mut area[at..], kind, end - at);
            return Ok(());
        };
        let repeated = kind == Kind::ReturnPath && std::mem::replace(&mut returned, true);
        let flags =
            if repeated { Flags::UNRECOGNIZED } else { answer(kind, value, context, wanted)? };
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

/// Where the signature of the extensions is; none where nothing needs one.
fn signature(area: &[u8], key: &Key, context: &Context<'_>) -> Result<Option<usize>, Unsigned> {
    let Some(sequence) = context.arrival.payload.first_chunk::<4>() else { return Err(Unsigned) };
    let mut found = None;
    let mut only_padding = true;
    for tlv in tlv::walk(area) {
        let Ok(tlv) = tlv else { return Err(Unsigned) };
        match tlv.kind {
            Kind::ExtraPadding => {}
            Kind::Hmac if found.is_none() && tlv.value.len() == HMAC_LEN => {
                let computed = key.tlv_hmac(*sequence, &area[..tlv.offset]);
                if !Key::matches(&computed, tlv.value) {
                    return Err(Unsigned);
                }
                found = Some(tlv.offset);
                continue;
            }
            _ if found.is_some() => return Err(Unsigned),
            _ => only_padding = false,
        }
    }
    if found.is_some() || only_padding { Ok(found) } else { Err(Unsigned) }
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
    wanted: &mut Wanted,
) -> Result<Flags, Refusal> {
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
        Kind::ReturnPath => return return_path(value, wanted),
        Kind::MicroSessionId => return micro_session(value, context),
        Kind::ReflectedTestPacketControl | Kind::Other(_) => false,
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
    let (Some(counters), Some(session)) = (DirectMeasurement::parse(value), &context.session)
    else {
        return false;
    };
    let told = DirectMeasurement {
        reflector_rx: session.received as u32,
        reflector_tx: session.transmitted as u32 + 1,
        ..counters
    };
    value.copy_from_slice(&told.emit());
    true
}

fn follow_up(value: &mut [u8], context: &Context<'_>) {
    let told = context.session.as_ref().and_then(|session| session.last_reply);
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

/// Obeys the control code; a way back through addresses, labels or segments is refused.
fn return_path(value: &[u8], wanted: &mut Wanted) -> Result<Flags, Refusal> {
    let mut flags = Flags::NONE;
    let mut controlled = false;
    for sub in tlv::walk(value) {
        let Ok(sub) = sub else { return Ok(Flags::MALFORMED) };
        let control = <[u8; 4]>::try_from(sub.value).ok().map(u32::from_be_bytes);
        match (sub.kind.code(), control) {
            (CONTROL_CODE, Some(code)) if !controlled => {
                controlled = true;
                if code & SAME_LINK == 0 {
                    return Err(Refusal::NoReplyRequested);
                }
                wanted.same_link = true;
            }
            (CONTROL_CODE, None) => return Ok(Flags::MALFORMED),
            (CONTROL_CODE, Some(_)) => {}
            _ => flags = Flags::UNRECOGNIZED,
        }
    }
    Ok(flags)
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
const SAME_LINK: u32 = 1;

/// Sub-types of Location, asked and answered. RFC 8972 §4.2.1.
const SOURCE_MAC: u8 = 1;
const EUI_48: u8 = 2;
const EUI_64: u8 = 3;
const DESTINATION_ADDRESS: u8 = 4;
const DESTINATION_IPV4: u8 = 5;
const SOURCE_ADDRESS: u8 = 7;
const SOURCE_IPV4: u8 = 8;
