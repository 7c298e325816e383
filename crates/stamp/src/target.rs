//! One target: its session, and what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use stamp_proto::clock::MonoTime;
use stamp_proto::loss::Outcome;
use stamp_proto::sender::{Arrival, Discard, LocalClock, OneWay, Sample, Sender};

use crate::tally::Tally;

/// Why a target does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// The way there said so.
    IcmpUnreachable,
    /// Nothing came within the time.
    NoReply,
    /// A packet could not be sent.
    SendError,
    /// What came was not signed as it must be.
    AuthFailure,
    /// There is no way there.
    NoRoute,
}

impl Cause {
    /// Value of the `cause` label.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::IcmpUnreachable => "icmp_unreachable",
            Self::NoReply => "no_reply",
            Self::SendError => "send_error",
            Self::AuthFailure => "auth_failure",
            Self::NoRoute => "no_route",
        }
    }
}

/// A target.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    pub(crate) sender: Sender,
    pub(crate) tally: Tally,
    pub(crate) discarded: BTreeMap<&'static str, u64>,
    pub(crate) send_errors: BTreeMap<&'static str, u64>,
    /// Slots of the schedule that were missed.
    pub(crate) overruns: u64,
    /// Replies whose request has no time of sending from the kernel.
    pub(crate) unstamped: u64,
    /// Absent before the first verdict.
    pub(crate) up: Option<bool>,
    pub(crate) cause: Option<Cause>,
    heard: Option<MonoTime>,
    began: Option<MonoTime>,
}

impl Target {
    /// A target to which nothing was sent.
    pub(crate) const fn new(
        name: String,
        address: SocketAddr,
        sender: Sender,
        tally: Tally,
    ) -> Self {
        Self {
            name,
            address,
            sender,
            tally,
            discarded: BTreeMap::new(),
            send_errors: BTreeMap::new(),
            overruns: 0,
            unstamped: 0,
            up: None,
            cause: None,
            heard: None,
            began: None,
        }
    }

    /// Takes a packet that came from the target.
    pub(crate) fn handle_reply(
        &mut self,
        payload: &[u8],
        arrival: &Arrival,
        local: LocalClock,
    ) -> Result<(Sample, [OneWay; 2]), Discard> {
        let sample =
            self.sender.handle_reply(payload, arrival).inspect_err(|&why| self.discard(why))?;
        let one_ways = self.tally.record(&sample, local);
        if sample.outcome == Outcome::First {
            self.unstamped += u64::from(!sample.stamped);
            self.heard = Some(sample.t4.mono);
            self.tell(true, None);
        }
        Ok((sample, one_ways))
    }

    /// Counts a packet that could not be sent.
    pub(crate) fn handle_send_error(&mut self, error: i32) {
        let (reason, cause) = reason(error);
        *self.send_errors.entry(reason).or_default() += 1;
        self.cause = Some(cause);
    }

    /// Counts a packet that came back.
    pub(crate) fn handle_refusal(&mut self) {
        *self.send_errors.entry("icmp_unreachable").or_default() += 1;
        self.cause = Some(Cause::IcmpUnreachable);
    }

    /// Notes that packets go to the target from now on.
    pub(crate) fn begin(&mut self, now: MonoTime) {
        self.began.get_or_insert(now);
    }

    /// Decides whether the target answers: it must have within `patience_ns`.
    pub(crate) fn judge(&mut self, now: MonoTime, patience_ns: i64) {
        let Some(since) = self.heard.or(self.began) else { return };
        if now.since(since) > patience_ns {
            self.tell(false, Some(self.cause.unwrap_or(Cause::NoReply)));
        }
    }

    fn discard(&mut self, why: Discard) {
        *self.discarded.entry(why.reason()).or_default() += 1;
        if why == Discard::Hmac {
            self.cause = Some(Cause::AuthFailure);
        }
    }

    fn tell(&mut self, up: bool, cause: Option<Cause>) {
        self.cause = cause;
        if self.up.replace(up) == Some(up) {
            return;
        }
        match cause {
            None => tracing::info!(event = "target.up", name = self.name, "A target answers"),
            Some(cause) => {
                tracing::warn!(
                    event = "target.down",
                    name = self.name,
                    cause = cause.as_str(),
                    "A target does not answer"
                );
            }
        }
    }
}

/// How an error of sending is counted, and what it says of the target.
fn reason(error: i32) -> (&'static str, Cause) {
    use nix::errno::Errno;
    match Errno::from_raw(error) {
        Errno::ENETUNREACH | Errno::EHOSTUNREACH => ("unreachable", Cause::NoRoute),
        Errno::ECONNREFUSED => ("icmp_unreachable", Cause::IcmpUnreachable),
        Errno::EMSGSIZE => ("message_size", Cause::SendError),
        Errno::ENOBUFS | Errno::EAGAIN | Errno::ENOMEM => ("no_buffer", Cause::SendError),
        Errno::EPERM | Errno::EACCES => ("permission", Cause::SendError),
        _ => ("other", Cause::SendError),
    }
}

/// Every reason for which a packet could not be sent.
pub(crate) const SEND_ERRORS: [&str; 6] =
    ["unreachable", "icmp_unreachable", "message_size", "no_buffer", "permission", "other"];
