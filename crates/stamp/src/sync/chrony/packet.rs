//! Packets of chronyd's command protocol, version 6, as far as its tracking goes.
//!
//! Numbers are in network order. A request is padded to the length of its answer, so that
//! the port amplifies nothing.

use std::ops::Range;

use crate::sync::exchange::{Unheard, take};

/// What it follows, and how well.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Tracking {
    reference: [u8; 4],
    /// Whether that stands for an address.
    has_address: bool,
    stratum: u16,
    leap: u16,
    /// What it has yet to correct, in seconds.
    correction: f64,
    root_delay: f64,
    root_dispersion: f64,
}

/// What a reference is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// Its own clock.
    Itself,
    /// A server.
    Server,
    /// A clock of this machine, with this name.
    Clock([u8; 4]),
}

/// The request with this number.
pub(super) fn request(sequence: u32) -> [u8; LEN] {
    let words = [VERSION_AND_REQUEST, u32::from(COMMAND) << 16, sequence].map(u32::to_be_bytes);
    let mut packet = [0; LEN];
    for (to, from) in packet.iter_mut().zip(words.as_flattened()) {
        *to = *from;
    }
    packet
}

/// The answer to the request with this number; nothing when `packet` is another one.
pub(super) fn tracking(sequence: u32, packet: &[u8]) -> Option<Result<Tracking, Unheard>> {
    let mut left = packet;
    let head: [u8; 4] = take(&mut left)?;
    let command = u16::from_be_bytes(take(&mut left)?);
    let kind = u16::from_be_bytes(take(&mut left)?);
    let status = u16::from_be_bytes(take(&mut left)?);
    let _padding: [u8; 6] = take(&mut left)?;
    let echoed = u32::from_be_bytes(take(&mut left)?);
    let _padding: [u8; 8] = take(&mut left)?;
    let is_ours = (head, command, echoed) == (VERSION_AND_REPLY, COMMAND, sequence);
    is_ours.then(|| match (status, kind) {
        (0, TRACKING) => Tracking::parse(left).ok_or(Unheard::Malformed),
        (0, _) => Err(Unheard::Malformed),
        (code, _) => Err(Unheard::Refused { code }),
    })
}

impl Tracking {
    /// Takes a body apart; `None` when it is short or no daemon would say that.
    fn parse(mut body: &[u8]) -> Option<Self> {
        let left = &mut body;
        let reference = take(left)?;
        let _address: [u8; 16] = take(left)?;
        let has_address = u16::from_be_bytes(take(left)?) != NO_FAMILY;
        let _padding: [u8; 2] = take(left)?;
        let stratum = u16::from_be_bytes(take(left)?);
        let leap = u16::from_be_bytes(take(left)?);
        let _time_of_reference: [u8; 12] = take(left)?;
        let correction = take_float(left)?;
        // Last and mean offset; frequency, what is left of it, skew.
        let _: [u8; 20] = take(left)?;
        let root_delay = take_float(left)?;
        let root_dispersion = take_float(left)?;
        let _interval = take_float(left)?;
        let parsed =
            Self { reference, has_address, stratum, leap, correction, root_delay, root_dispersion };
        (root_delay >= 0.0 && root_dispersion >= 0.0).then_some(parsed)
    }

    /// Whether it follows anything.
    pub(super) fn is_synchronised(&self) -> bool {
        self.leap <= LAST_LEAP && STRATA.contains(&self.stratum) && self.reference != [0; 4]
    }

    /// How wrong its clock may be: the root distance of RFC 5905, and what is known to be wrong.
    pub(super) fn error_ns(&self) -> u64 {
        let seconds = self.root_dispersion + self.root_delay / 2.0 + self.correction.abs();
        // One more for what the floating point of the protocol rounds off.
        ((seconds * 1e9).ceil() as u64).saturating_add(1)
    }

    /// What the reference is. A server has an address, and a clock has a name alone.
    pub(super) fn origin(&self) -> Origin {
        match self.reference {
            _ if self.has_address => Origin::Server,
            LOCAL => Origin::Itself,
            name => Origin::Clock(name),
        }
    }
}

/// A number with seven bits of exponent and 25 of coefficient, both signed.
fn take_float(left: &mut &[u8]) -> Option<f64> {
    let word = i32::from_be_bytes(take(left)?);
    let exponent = word >> COEFFICIENT_BITS;
    let coefficient = (word << EXPONENT_BITS) >> EXPONENT_BITS;
    Some(f64::from(coefficient) * 2f64.powi(exponent - COEFFICIENT_BITS))
}

/// Of a request and of its answer.
const LEN: usize = 104;

const VERSION_AND_REQUEST: u32 = 0x0601_0000;

const VERSION_AND_REPLY: [u8; 4] = [6, 2, 0, 0];

const COMMAND: u16 = 33;

/// The kind of body that answers it.
const TRACKING: u16 = 5;

const NO_FAMILY: u16 = 0;

const COEFFICIENT_BITS: i32 = 25;

const EXPONENT_BITS: i32 = 7;

/// 0 is none, 1 one second more, 2 one less, 3 not synchronised.
const LAST_LEAP: u16 = 2;

/// 0 and 16 are not synchronised.
const STRATA: Range<u16> = 1..16;

/// 127.127.1.1, which no server has.
const LOCAL: [u8; 4] = [127, 127, 1, 1];

#[cfg(test)]
pub(super) mod tests;
