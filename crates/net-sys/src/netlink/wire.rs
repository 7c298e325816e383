//! Netlink framing (RFC 3549 §2.3): building requests, taking replies apart.
//!
//! No reader here indexes unchecked input, and none allocates more than it was given.

use std::borrow::Cow;

use thiserror::Error;

/// A message or attribute that contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ParseError {
    /// Fewer bytes than the structure has.
    #[error("{what} needs {need} bytes and has {have}")]
    Truncated {
        /// The structure.
        what: &'static str,
        /// Its least size.
        need: usize,
        /// What was left.
        have: usize,
    },
    /// A length field that is smaller than its header or larger than what encloses it.
    #[error("{what} claims a length of {claimed} bytes where {have} are left")]
    Length {
        /// The structure.
        what: &'static str,
        /// The value of the length field.
        claimed: usize,
        /// What was left.
        have: usize,
    },
    /// A value outside the range that the field can have.
    #[error("{what} has an impossible value")]
    Value {
        /// The field.
        what: &'static str,
    },
    /// Something that every such message carries is missing.
    #[error("{what} is missing")]
    Missing {
        /// The field.
        what: &'static str,
    },
}

/// A request under construction.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    bytes: Vec<u8>,
}

impl Request {
    /// Starts a request of this type with its fixed header.
    pub(crate) fn new(kind: u16, header: &[u8]) -> Self {
        let mut bytes = vec![0; HEADER];
        put(&mut bytes, field::KIND, &kind.to_ne_bytes());
        put(&mut bytes, field::FLAGS, &(libc::NLM_F_REQUEST as u16).to_ne_bytes());
        bytes.extend_from_slice(header);
        pad(&mut bytes);
        Self { bytes }
    }

    /// Adds header flags.
    pub(crate) fn with_flags(mut self, flags: u16) -> Self {
        let flags = self.flags() | flags;
        put(&mut self.bytes, field::FLAGS, &flags.to_ne_bytes());
        self
    }

    /// Appends an attribute.
    pub(crate) fn with(mut self, kind: u16, payload: &[u8]) -> Self {
        debug_assert!(payload.len() <= MAX_PAYLOAD, "an attribute has a 16-bit length");
        let length = (ATTRIBUTE_HEADER + payload.len()) as u16;
        self.bytes.extend_from_slice(&length.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(payload);
        pad(&mut self.bytes);
        self
    }

    /// Appends a NUL-terminated text attribute.
    pub(crate) fn with_text(self, kind: u16, text: &str) -> Self {
        let mut payload = text.as_bytes().to_vec();
        payload.push(0);
        self.with(kind, &payload)
    }

    /// Appends the attributes of `inner` as one nested attribute.
    pub(crate) fn with_nested(self, kind: u16, inner: Nested) -> Self {
        self.with(kind | libc::NLA_F_NESTED as u16, &inner.0.bytes)
    }

    /// Writes length and sequence number and hands the bytes over.
    pub(crate) fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = self.bytes.len() as u32;
        put(&mut self.bytes, field::LENGTH, &length.to_ne_bytes());
        put(&mut self.bytes, field::SEQUENCE, &sequence.to_ne_bytes());
        self.bytes
    }

    fn flags(&self) -> u16 {
        u16_at(&self.bytes, field::FLAGS.start).unwrap_or(0)
    }
}

/// The attributes inside another attribute.
#[derive(Clone, Debug)]
pub(crate) struct Nested(Request);

impl Nested {
    /// An empty list.
    pub(crate) const fn new() -> Self {
        Self(Request { bytes: Vec::new() })
    }

    /// Appends an attribute.
    pub(crate) fn with(self, kind: u16, payload: &[u8]) -> Self {
        Self(self.0.with(kind, payload))
    }

    /// Appends a NUL-terminated text attribute.
    pub(crate) fn with_text(self, kind: u16, text: &str) -> Self {
        Self(self.0.with_text(kind, text))
    }
}

/// One message of a datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Message type, such as `RTM_NEWLINK`.
    pub(crate) kind: u16,
    /// Header flags.
    pub(crate) flags: u16,
    /// Sequence number of the request it answers; 0 for events.
    pub(crate) sequence: u32,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

/// How the kernel closed an exchange.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Success.
    Done,
    /// Failure, with the kernel's own words where it has some.
    Refused { errno: i32, detail: Option<Box<str>> },
}

impl Message<'_> {
    /// Whether the kernel says that the dump lost consistency.
    pub(crate) const fn interrupted(&self) -> bool {
        self.flags & libc::NLM_F_DUMP_INTR as u16 != 0
    }

    /// The verdict, when this message closes the exchange.
    pub(crate) fn verdict(&self) -> Result<Option<Verdict>, ParseError> {
        // Behind the number of an error message stands the header of the request.
        let details_at = match i32::from(self.kind) {
            libc::NLMSG_ERROR => 4 + HEADER,
            libc::NLMSG_DONE => 4,
            _ => return Ok(None),
        };
        // A dump may end without a number on kernels before 5.0.
        let number = u32_at(self.body, 0).unwrap_or(0).cast_signed();
        if number >= 0 {
            return Ok(Some(Verdict::Done));
        }
        let errno = number.checked_neg().ok_or(ParseError::Value { what: "error number" })?;
        Ok(Some(Verdict::Refused { errno, detail: self.detail(details_at) }))
    }

    /// An unreadable explanation must not hide the error that it explains.
    fn detail(&self, at: usize) -> Option<Box<str>> {
        if self.flags & libc::NLM_F_ACK_TLVS as u16 == 0 {
            return None;
        }
        Attributes::new(self.body.get(at..)?)
            .map_while(Result::ok)
            .find(|attribute| attribute.kind == NLMSGERR_ATTR_MSG)
            .map(|attribute| printable(&attribute.text()))
    }
}

/// The messages of a datagram.
#[derive(Debug)]
pub(crate) struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Reads from the front of `datagram`.
    pub(crate) const fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    fn take(&mut self) -> Result<Message<'a>, ParseError> {
        const WHAT: &str = "message header";
        let have = self.rest.len();
        let truncated = ParseError::Truncated { what: WHAT, need: HEADER, have };
        let claimed = u32_at(self.rest, field::LENGTH.start).ok_or(truncated)? as usize;
        let whole = self.rest.get(..claimed).filter(|whole| whole.len() >= HEADER);
        let whole = whole.ok_or(ParseError::Length { what: "message", claimed, have })?;
        self.rest = self.rest.get(aligned(claimed)..).unwrap_or_default();
        Ok(Message {
            kind: u16_at(whole, field::KIND.start).ok_or(truncated)?,
            flags: u16_at(whole, field::FLAGS.start).ok_or(truncated)?,
            sequence: u32_at(whole, field::SEQUENCE.start).ok_or(truncated)?,
            body: whole.get(HEADER..).unwrap_or_default(),
        })
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rest = &[];
        }
        Some(taken)
    }
}

/// One attribute of a message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Attribute<'a> {
    /// Attribute type without its flag bits.
    pub(crate) kind: u16,
    /// Its value.
    pub(crate) payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The value as a 32-bit number in host order.
    pub(crate) fn u32(&self, what: &'static str) -> Result<u32, ParseError> {
        let have = self.payload.len();
        u32_at(self.payload, 0).ok_or(ParseError::Truncated { what, need: 4, have })
    }

    /// The value as a signed 32-bit number in host order.
    pub(crate) fn i32(&self, what: &'static str) -> Result<i32, ParseError> {
        self.u32(what).map(u32::cast_signed)
    }

    /// The value up to its first NUL; octets that are no UTF-8 are replaced.
    pub(crate) fn text(&self) -> Cow<'a, str> {
        let end = self.payload.iter().position(|&octet| octet == 0);
        let bytes = self.payload.get(..end.unwrap_or(self.payload.len()));
        String::from_utf8_lossy(bytes.unwrap_or_default())
    }

    /// The attributes inside this one.
    pub(crate) const fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.payload)
    }
}

/// The attributes behind a fixed header.
#[derive(Debug)]
pub(crate) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads from the front of `bytes`.
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Splits a message body into its fixed header of `N` bytes and its attributes.
    pub(crate) fn behind<const N: usize>(
        body: &'a [u8],
        what: &'static str,
    ) -> Result<(&'a [u8; N], Self), ParseError> {
        let have = body.len();
        let split = body.split_first_chunk::<N>();
        let (header, _) = split.ok_or(ParseError::Truncated { what, need: N, have })?;
        Ok((header, Self::new(body.get(aligned(N)..).unwrap_or_default())))
    }

    fn take(&mut self) -> Result<Attribute<'a>, ParseError> {
        let have = self.rest.len();
        let truncated =
            ParseError::Truncated { what: "attribute header", need: ATTRIBUTE_HEADER, have };
        let claimed = usize::from(u16_at(self.rest, 0).ok_or(truncated)?);
        let kind = u16_at(self.rest, 2).ok_or(truncated)?;
        let payload = self.rest.get(ATTRIBUTE_HEADER..claimed);
        let payload = payload.ok_or(ParseError::Length { what: "attribute", claimed, have })?;
        self.rest = self.rest.get(aligned(claimed)..).unwrap_or_default();
        Ok(Attribute { kind: kind & libc::NLA_TYPE_MASK as u16, payload })
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<Attribute<'a>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let taken = self.take();
        if taken.is_err() {
            self.rest = &[];
        }
        Some(taken)
    }
}

/// Reads a 16-bit number in host order.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u16::from_ne_bytes(*octets))
}

/// Reads a 32-bit number in host order.
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_ne_bytes(*octets))
}

/// Reads a 64-bit number in host order.
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let octets = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_ne_bytes(*octets))
}

/// Copies `value` over a field of a request header, which every request has.
fn put(bytes: &mut [u8], range: std::ops::Range<usize>, value: &[u8]) {
    bytes[range].copy_from_slice(value);
}

const fn aligned(length: usize) -> usize {
    length.next_multiple_of(ALIGNMENT)
}

fn pad(bytes: &mut Vec<u8>) {
    bytes.resize(aligned(bytes.len()), 0);
}

fn printable(text: &str) -> Box<str> {
    text.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()
}

/// Places of the fields of `struct nlmsghdr`.
mod field {
    use std::ops::Range;

    pub(super) const LENGTH: Range<usize> = 0..4;
    pub(super) const KIND: Range<usize> = 4..6;
    pub(super) const FLAGS: Range<usize> = 6..8;
    pub(super) const SEQUENCE: Range<usize> = 8..12;
}

/// Length of `struct nlmsghdr`.
pub(crate) const HEADER: usize = 16;
const ATTRIBUTE_HEADER: usize = 4;
const MAX_PAYLOAD: usize = u16::MAX as usize - ATTRIBUTE_HEADER;
const ALIGNMENT: usize = 4;
const NLMSGERR_ATTR_MSG: u16 = 1;
const MAX_DETAIL: usize = 256;
