//! The closed set of reasons for which a packet is not answered.

/// Why a packet was not answered. The set is closed: it is the values of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// It was sent to an address that is not ours.
    NotLocal,
    /// No answer can be sent to where it says it comes from.
    SourceInvalid,
    /// A prefix forbids it, or none allows it.
    Denied,
    /// It belongs to no session that was provisioned.
    NotProvisioned,
    /// It ends before its headers say.
    Truncated,
    /// It is too short for a request.
    Short,
    /// It is a fragment.
    Fragment,
    /// It is several packets in one buffer.
    Gso,
    /// Its checksum is wrong.
    Checksum,
    /// It came from farther away than is allowed.
    MinTtl,
    /// It is a reply, or something that a reply may become.
    LoopGuard,
    /// Its sender sends too much.
    RateSource,
    /// All senders together send too much.
    RateGlobal,
    /// Its signature is not ours.
    Hmac,
    /// There is no key for it.
    NoKey,
    /// It has been here before.
    Replay,
    /// It was meant for another member link.
    MicroSession,
    /// Its sender wants no reply.
    NoReplyRequested,
    /// There is no route back.
    NoRoute,
    /// The time is not known.
    ClockUnset,
    /// Too many packets wait for the slow path.
    SlowFull,
    /// A fault of our own.
    Internal,
}

impl Refusal {
    /// Every reason, in the order in which they are looked for.
    pub const ALL: [Self; 22] = [
        Self::NotLocal,
        Self::SourceInvalid,
        Self::Denied,
        Self::NotProvisioned,
        Self::Truncated,
        Self::Short,
        Self::Fragment,
        Self::Gso,
        Self::Checksum,
        Self::MinTtl,
        Self::LoopGuard,
        Self::RateSource,
        Self::RateGlobal,
        Self::Hmac,
        Self::NoKey,
        Self::Replay,
        Self::MicroSession,
        Self::NoReplyRequested,
        Self::NoRoute,
        Self::ClockUnset,
        Self::SlowFull,
        Self::Internal,
    ];

    /// Value of the `reason` label.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::NotLocal => "not_local",
            Self::SourceInvalid => "source_invalid",
            Self::Denied => "denied",
            Self::NotProvisioned => "not_provisioned",
            Self::Truncated => "truncated",
            Self::Short => "short",
            Self::Fragment => "fragment",
            Self::Gso => "gso",
            Self::Checksum => "checksum",
            Self::MinTtl => "min_ttl",
            Self::LoopGuard => "loop_guard",
            Self::RateSource => "rate_source",
            Self::RateGlobal => "rate_global",
            Self::Hmac => "hmac",
            Self::NoKey => "no_key",
            Self::Replay => "replay",
            Self::MicroSession => "micro_session",
            Self::NoReplyRequested => "no_reply_requested",
            Self::NoRoute => "no_route",
            Self::ClockUnset => "clock_unset",
            Self::SlowFull => "slow_full",
            Self::Internal => "internal",
        }
    }
}
