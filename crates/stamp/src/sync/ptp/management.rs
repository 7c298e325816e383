//! Management messages of PTP, IEEE 1588-2008 clauses 13.12 and 15, with linuxptp's additions.
//!
//! A question is a GET that may cross no boundary, so that it never leaves this machine. Other
//! PTP nodes can have messages passed on to our socket; an answer is therefore known by the
//! random identity that we ask under.

use std::process;

use crate::sync::Source;
use crate::sync::exchange::{Unheard, nonce, take};

/// Who asks, and how often it did.
#[derive(Debug)]
pub(super) struct Asker {
    /// The identity of our clock, and of its only port.
    identity: [u8; 10],
    sequence: u16,
}

/// One question of an [`Asker`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    identity: [u8; 10],
    sequence: u16,
    id: Id,
    /// The port it is put to.
    port: u16,
}

/// What can be asked for.
pub(super) trait Question: Sized {
    /// Its number.
    const ID: Id;

    /// Takes the answer apart; `None` when it is short.
    fn parse(body: &[u8]) -> Option<Self>;
}

/// Numbers of what can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum Id {
    DefaultDataSet = 0x2000,
    PortDataSet = 0x2004,
    TimeStatus = 0xc000,
    GrandmasterSettings = 0xc001,
}

/// What the clock is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DefaultDataSet {
    /// Its ports have the numbers from 1 to this one.
    pub(super) ports: u16,
}

/// One port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PortDataSet {
    /// What it does.
    pub(super) state: PortState,
}

/// What a port does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PortState {
    /// It gives its time to others.
    Master,
    /// It follows a master.
    Slave,
    /// Neither, or not yet.
    Other,
}

/// Where the clock stands against its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeStatus {
    /// How far it is ahead.
    pub(super) offset_ns: i64,
    /// When the master's last word arrived.
    pub(super) ingress: i64,
    /// Whether another clock than this one is the best of all.
    pub(super) has_grandmaster: bool,
}

/// What the clock says of itself when it is the best of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrandmasterSettings {
    /// How wrong it may be; absent when it does not know.
    pub(super) accuracy_ns: Option<u64>,
    /// Where it has its time from.
    pub(super) source: Source,
}

impl Asker {
    /// One that nobody else can answer.
    pub(super) fn new() -> Self {
        let [a, b, c, d, e, f, g, h] = nonce().to_be_bytes();
        let [i, j] = (process::id() as u16).to_be_bytes();
        Self { identity: [a, b, c, d, e, f, g, h, i, j], sequence: 0 }
    }

    /// The next question.
    pub(super) const fn next(&mut self, id: Id, port: u16) -> Asked {
        self.sequence = self.sequence.wrapping_add(1);
        Asked { identity: self.identity, sequence: self.sequence, id, port }
    }
}

impl Asked {
    /// The packet that asks in `domain`.
    pub(super) fn request(&self, domain: u8) -> Vec<u8> {
        let mut packet = Vec::with_capacity(usize::from(LEN));
        packet.extend([MANAGEMENT, VERSION]);
        packet.extend(LEN.to_be_bytes());
        packet.extend([domain, 0, 0, 0]);
        // Correction, and octets that are reserved.
        packet.extend([0; 12]);
        packet.extend(self.identity);
        packet.extend(self.sequence.to_be_bytes());
        packet.extend([CONTROL, NO_INTERVAL]);
        packet.extend(ANY_CLOCK);
        packet.extend(self.port.to_be_bytes());
        // No boundary to cross of none, and to get.
        packet.extend([0, 0, GET, 0]);
        packet.extend([TLV, 2, self.id as u16].map(u16::to_be_bytes).as_flattened());
        packet
    }

    /// Domain and body of the answer; nothing when `packet` is another one.
    pub(super) fn response<'a>(&self, packet: &'a [u8]) -> Option<(u8, Result<&'a [u8], Unheard>)> {
        let mut left = packet;
        let [kind, version]: [u8; 2] = take(&mut left)?;
        let len = u16::from_be_bytes(take(&mut left)?);
        let [domain]: [u8; 1] = take(&mut left)?;
        // Flags, correction, whose answer it is, and what is reserved.
        let _: [u8; 25] = take(&mut left)?;
        let sequence = u16::from_be_bytes(take(&mut left)?);
        let _: [u8; 2] = take(&mut left)?;
        let target: [u8; 10] = take(&mut left)?;
        let [_, _, action, _]: [u8; 4] = take(&mut left)?;
        let is_ours = kind & LOW == MANAGEMENT
            && version & LOW == VERSION
            && action & LOW == RESPONSE
            && (target, sequence) == (self.identity, self.sequence);
        // What is behind the message is no part of it.
        let tlv = packet.get(..usize::from(len))?.get(packet.len() - left.len()..)?;
        is_ours.then(|| (domain, self.body(tlv).unwrap_or(Err(Unheard::Malformed))))
    }

    /// What is in the first TLV; nothing when it is cut or another one.
    fn body<'a>(&self, mut tlv: &'a [u8]) -> Option<Result<&'a [u8], Unheard>> {
        let left = &mut tlv;
        let kind = u16::from_be_bytes(take(left)?);
        let len = u16::from_be_bytes(take(left)?);
        let mut value = left.get(..usize::from(len))?;
        let code = u16::from_be_bytes(take(&mut value)?);
        match kind {
            TLV if code == self.id as u16 => Some(Ok(value)),
            ERROR_TLV => Some(Err(Unheard::Refused { code })),
            _ => None,
        }
    }
}

impl Question for DefaultDataSet {
    const ID: Id = Id::DefaultDataSet;

    fn parse(mut body: &[u8]) -> Option<Self> {
        let _flags: [u8; 2] = take(&mut body)?;
        let ports = u16::from_be_bytes(take(&mut body)?);
        // Quality, priorities, identity, domain.
        let _: [u8; 16] = take(&mut body)?;
        Some(Self { ports })
    }
}

impl Question for PortDataSet {
    const ID: Id = Id::PortDataSet;

    fn parse(mut body: &[u8]) -> Option<Self> {
        let _identity: [u8; 10] = take(&mut body)?;
        let [state]: [u8; 1] = take(&mut body)?;
        // Intervals, delay, mechanism, version.
        let _: [u8; 15] = take(&mut body)?;
        Some(Self { state: PortState::of(state) })
    }
}

impl Question for TimeStatus {
    const ID: Id = Id::TimeStatus;

    fn parse(mut body: &[u8]) -> Option<Self> {
        let offset_ns = i64::from_be_bytes(take(&mut body)?);
        let ingress = i64::from_be_bytes(take(&mut body)?);
        // Rates and phases of the grandmaster.
        let _: [u8; 22] = take(&mut body)?;
        let has_grandmaster = take::<4>(&mut body)? != [0; 4];
        let _identity: [u8; 8] = take(&mut body)?;
        Some(Self { offset_ns, ingress, has_grandmaster })
    }
}

impl Question for GrandmasterSettings {
    const ID: Id = Id::GrandmasterSettings;

    fn parse(mut body: &[u8]) -> Option<Self> {
        let [_class, accuracy, _, _]: [u8; 4] = take(&mut body)?;
        let [_, _, _flags, source]: [u8; 4] = take(&mut body)?;
        Some(Self { accuracy_ns: accuracy_ns(accuracy), source: time_source(source) })
    }
}

impl PortState {
    /// IEEE 1588-2008 table 8; linuxptp tells masters that are the best of all apart.
    const fn of(code: u8) -> Self {
        match code {
            6 | 10 => Self::Master,
            9 => Self::Slave,
            _ => Self::Other,
        }
    }
}

/// IEEE 1588-2008 table 6; the finer steps of 2019 count as the first.
const fn accuracy_ns(code: u8) -> Option<u64> {
    Some(match code {
        0x17..=0x20 => 25,
        0x21 => 100,
        0x22 => 250,
        0x23 => 1_000,
        0x24 => 2_500,
        0x25 => 10_000,
        0x26 => 25_000,
        0x27 => 100_000,
        0x28 => 250_000,
        0x29 => 1_000_000,
        0x2a => 2_500_000,
        0x2b => 10_000_000,
        0x2c => 25_000_000,
        0x2d => 100_000_000,
        0x2e => 250_000_000,
        0x2f => 1_000_000_000,
        0x30 => 10_000_000_000,
        _ => return None,
    })
}

/// IEEE 1588-2008 table 7.
const fn time_source(code: u8) -> Source {
    match code {
        0x20 => Source::Gnss,
        0x40 => Source::Ptp,
        0x50 => Source::Ntp,
        _ => Source::Local,
    }
}

/// Header, target, and a TLV that holds a number alone.
const LEN: u16 = 54;

const MANAGEMENT: u8 = 0x0d;

const VERSION: u8 = 2;

/// For nodes of version 1.
const CONTROL: u8 = 4;

const NO_INTERVAL: u8 = 0x7f;

const ANY_CLOCK: [u8; 8] = [0xff; 8];

const GET: u8 = 0;

const RESPONSE: u8 = 2;

const TLV: u16 = 1;

const ERROR_TLV: u16 = 2;

/// The other half has another meaning.
const LOW: u8 = 0x0f;

#[cfg(test)]
pub(super) mod tests;
