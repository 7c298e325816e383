//! Test packets by their octets, as RFC 8762 §4 lays them out.

use std::net::UdpSocket;
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Octets of a packet without protection and without extensions.
pub const OPEN: usize = 44;
/// Octets of a packet with a signature and without extensions.
pub const SIGNED: usize = 112;

/// The key of all signed packets here, as it stands in a file.
pub const KEY: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// An NTP time of now, by a clock that is ahead of this one.
pub fn now(ahead: Duration) -> u64 {
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default() + ahead;
    let fraction = (u64::from(unix.subsec_nanos()) << 32) / 1_000_000_000;
    ((unix.as_secs() + SINCE_1900) << 32) | fraction
}

/// A request of session `ssid`.
pub fn request(sequence: u32, ssid: u16) -> Vec<u8> {
    let mut packet = vec![0; OPEN];
    put(&mut packet, 0, &sequence.to_be_bytes());
    put(&mut packet, 4, &now(Duration::ZERO).to_be_bytes());
    put(&mut packet, 12, &ESTIMATE);
    put(&mut packet, 14, &ssid.to_be_bytes());
    packet
}

/// The same with a signature.
pub fn signed_request(sequence: u32, ssid: u16) -> Vec<u8> {
    let mut packet = vec![0; SIGNED];
    put(&mut packet, 0, &sequence.to_be_bytes());
    put(&mut packet, 16, &now(Duration::ZERO).to_be_bytes());
    put(&mut packet, 24, &ESTIMATE);
    put(&mut packet, 26, &ssid.to_be_bytes());
    let signature = signature(&packet);
    put(&mut packet, SIGNATURE.start, &signature);
    packet
}

/// Adds padding (RFC 8972 §4.1) of so many octets of value.
#[must_use]
pub fn padded(mut packet: Vec<u8>, value: u8) -> Vec<u8> {
    packet.extend([0x80, 1, 0, value]);
    packet.resize(packet.len() + usize::from(value), 0xa5);
    packet
}

/// The request's number that a reply carries.
pub fn answered(reply: &[u8], is_signed: bool) -> u32 {
    let at = if is_signed { 48 } else { 24 };
    let octets = reply.get(at..at + 4).and_then(|octets| octets.try_into().ok());
    octets.map_or(u32::MAX, u32::from_be_bytes)
}

/// Whether the signature of a packet is that of its octets.
pub fn is_signed(packet: &[u8]) -> bool {
    packet.get(SIGNATURE).is_some_and(|found| found == signature(packet))
}

/// The reply to one packet, if it comes in time.
///
/// # Panics
///
/// If the packet can't be sent.
pub fn ask(client: &UdpSocket, packet: &[u8]) -> Option<Vec<u8>> {
    let sent = client.send(packet);
    sent.unwrap_or_else(|error| panic!("client: {error}"));
    receive(client)
}

/// The next packet that comes to a socket in time.
pub fn receive(client: &UdpSocket) -> Option<Vec<u8>> {
    let mut reply = [0; 2048];
    let len = client.recv(&mut reply).ok()?;
    reply.get(..len).map(<[u8]>::to_vec)
}

/// Writes octets at a place of a packet that has them.
pub fn put(packet: &mut [u8], at: usize, octets: &[u8]) {
    packet[at..at + octets.len()].copy_from_slice(octets);
}

/// The first half of HMAC-SHA-256 over all that stands before it (RFC 8762 §4.4).
fn signature(packet: &[u8]) -> [u8; 16] {
    let key: [u8; 32] = std::array::from_fn(|at| at as u8);
    let mac = Hmac::<Sha256>::new_from_slice(&key);
    let mut mac = mac.unwrap_or_else(|error| panic!("key: {error}"));
    mac.update(packet.get(..SIGNATURE.start).unwrap_or_default());
    let whole = mac.finalize().into_bytes();
    std::array::from_fn(|at| whole[at])
}

const SIGNATURE: Range<usize> = 96..112;
/// A clock that follows UTC to about a millisecond.
const ESTIMATE: [u8; 2] = [0x8f, 0x83];
const SINCE_1900: u64 = 2_208_988_800;
