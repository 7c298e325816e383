//! Where the fields of a base packet are, by mode. RFC 8762 §4.2, §4.3; RFC 8972 §3.

use std::ops::Range;

use super::Mode;

/// First octets of the fields. A request and a reply share what both have.
pub(super) struct Layout {
    pub(super) len: usize,
    pub(super) sequence: usize,
    pub(super) timestamp: usize,
    pub(super) error_estimate: usize,
    pub(super) ssid: usize,
    pub(super) receive_timestamp: usize,
    pub(super) sender_sequence: usize,
    pub(super) sender_timestamp: usize,
    pub(super) sender_error_estimate: usize,
    pub(super) sender_ttl: usize,
    /// Where the HMAC starts in authenticated mode, else the end of the base packet.
    pub(super) protected: usize,
}

impl Layout {
    /// From behind the SSID, the last field of a request, to the HMAC or the end.
    pub(super) const fn must_be_zero(&self) -> Range<usize> {
        self.ssid + 2..self.protected
    }
}

impl Mode {
    pub(super) const fn layout(self) -> &'static Layout {
        match self {
            Self::Open => &OPEN,
            Self::Authenticated => &AUTHENTICATED,
        }
    }
}

const OPEN: Layout = Layout {
    len: 44,
    sequence: 0,
    timestamp: 4,
    error_estimate: 12,
    ssid: 14,
    receive_timestamp: 16,
    sender_sequence: 24,
    sender_timestamp: 28,
    sender_error_estimate: 36,
    sender_ttl: 40,
    protected: 44,
};

const AUTHENTICATED: Layout = Layout {
    len: 112,
    sequence: 0,
    timestamp: 16,
    error_estimate: 24,
    ssid: 26,
    receive_timestamp: 32,
    sender_sequence: 48,
    sender_timestamp: 64,
    sender_error_estimate: 72,
    sender_ttl: 80,
    protected: 96,
};
