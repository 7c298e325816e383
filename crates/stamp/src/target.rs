//! One target: its session, and what came of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use stamp_bpf::{Bell, Slot, SlotAnswer};
use stamp_proto::clock::MonoTime;
use stamp_proto::loss::Outcome;
use stamp_proto::packet::Reply;
use stamp_proto::sender::{Arrival, Discard, OneWay, Sample, Sender};
use stamp_proto::statistics::Series;

use crate::clock::Own;
use crate::kernel::Seat;
use crate::marks::Marks;
use crate::tally::Tally;
use crate::timetable::seed;
use telemetry::metric::Histogram;

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
    /// The device that leads there is gone or down.
    DeviceDown,
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
            Self::DeviceDown => "device_down",
        }
    }
}

/// A reply that counts, and what it says of both directions.
pub(crate) type Taken = (Sample, [OneWay; 2]);

/// A target.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) name: String,
    /// Node of its reflector, where that was told.
    pub(crate) node: Option<String>,
    pub(crate) address: SocketAddr,
    pub(crate) sender: Sender,
    pub(crate) tally: Tally,
    discarded: BTreeMap<&'static str, u64>,
    pub(crate) send_errors: BTreeMap<&'static str, u64>,
    /// Slots of the schedule that were missed.
    pub(crate) overruns: u64,
    /// Replies whose request has no time of sending from the kernel.
    pub(crate) unstamped: u64,
    /// Replies that were found in their slots before anything rang for them.
    pub(crate) recovered: u64,
    pub(crate) marks: Marks,
    /// From the building of requests to their T1, where programs in the kernel take that.
    pub(crate) send_stack: Histogram,
    /// Whether its session may have another number when it begins anew.
    pub(crate) has_chosen_ssid: bool,
    /// Whether the kernel knows of its session as it was before.
    pub(crate) is_new: bool,
    /// The last quarter of an hour.
    pub(crate) series: Series,
    /// Its session in the kernel, where the programs take its times.
    pub(crate) seat: Option<Seat>,
    /// Absent before the first verdict.
    pub(crate) up: Option<bool>,
    pub(crate) cause: Option<Cause>,
    heard: Option<MonoTime>,
    began: Option<MonoTime>,
}

impl Target {
    /// A target to which nothing was sent.
    pub(crate) fn new(
        name: String,
        address: SocketAddr,
        sender: Sender,
        tally: Tally,
        traffic_class: u8,
    ) -> Self {
        let marks = Marks::new(traffic_class, &sender.settings().extensions);
        Self {
            marks,
            send_stack: tally.roundtrip.buckets.clone(),
            has_chosen_ssid: false,
            is_new: false,
            series: Series::default(),
            name,
            node: None,
            address,
            sender,
            tally,
            discarded: BTreeMap::new(),
            send_errors: BTreeMap::new(),
            overruns: 0,
            unstamped: 0,
            recovered: 0,
            seat: None,
            up: None,
            cause: None,
            heard: None,
            began: None,
        }
    }

    /// Takes a packet that came from the target to our socket. Where the programs take the
    /// times, it came by a way that they are not on, or they would not have it.
    pub(crate) fn handle_reply(
        &mut self,
        payload: &[u8],
        arrival: &Arrival,
        own: Own,
    ) -> Result<Taken, Discard> {
        let mode = self.sender.settings().mode();
        if let (Some(seat), Ok(reply)) = (&self.seat, Reply::parse(mode, payload))
            && let Some(slot) = seat.slot(reply.sender_sequence)
        {
            self.stamp(&slot);
        }
        let sample = self.sender.handle_reply(payload, arrival);
        self.take(sample, payload.get(mode.base_len()..).unwrap_or(&[]), own)
    }

    /// Takes what rang in the kernel.
    pub(crate) fn handle_bell(&mut self, bell: &Bell, own: Own) -> Option<Taken> {
        // Its slot was read before the bell was heard.
        if !bell.duplicate && self.sender.ledger().is_answered(bell.sequence) {
            return None;
        }
        let slot = self.seat.as_ref()?.rung_slot(bell.sequence)?;
        let answer = SlotAnswer { sequence: bell.reflector_sequence, ..slot.answer? };
        self.handle_answer(&slot, &answer, &bell.extensions, own).ok()
    }

    /// Looks into the slots of requests whose time is over, before they are given up: the
    /// ring that should have told of their replies may have been full.
    pub(crate) fn recover(&mut self, now: MonoTime, own: Own) -> Vec<Taken> {
        let Some(seat) = &self.seat else { return Vec::new() };
        let slots: Vec<Slot> =
            self.sender.overdue(now).filter_map(|sequence| seat.slot(sequence)).collect();
        let mut found = Vec::new();
        for (slot, answer) in slots.iter().filter_map(|slot| Some((slot, slot.answer?))) {
            self.recovered += 1;
            found.extend(self.handle_answer(slot, &answer, &[], own).ok());
        }
        found
    }

    fn handle_answer(
        &mut self,
        slot: &Slot,
        answer: &SlotAnswer,
        area: &[u8],
        own: Own,
    ) -> Result<Taken, Discard> {
        self.stamp(slot);
        let reply = Reply {
            sequence: answer.sequence,
            timestamp: answer.timestamp,
            error_estimate: answer.error_estimate,
            ssid: answer.ssid,
            receive_timestamp: answer.receive_timestamp,
            sender_sequence: slot.sequence,
            sender_timestamp: slot.timestamp,
            sender_error_estimate: answer.error_estimate,
            sender_ttl: answer.ttl_forward,
        };
        let arrival = Arrival {
            at: answer.received,
            ttl: Some(answer.ttl_reverse),
            traffic_class: answer.traffic_class,
        };
        let sample = self.sender.handle_checked(&reply, &arrival);
        self.take(sample, area, own)
    }

    fn stamp(&mut self, slot: &Slot) {
        let took = self.sender.handle_stamped(slot.sequence, slot.timestamp, slot.sent);
        took.into_iter().for_each(|ns| self.send_stack.observe(ns as f64 * 1e-9));
    }

    fn take(
        &mut self,
        sample: Result<Sample, Discard>,
        area: &[u8],
        own: Own,
    ) -> Result<Taken, Discard> {
        let sample = sample.inspect_err(|&why| self.discard(why))?;
        let one_ways = self.tally.record(&sample, own);
        if sample.outcome == Outcome::First {
            self.unstamped += u64::from(!sample.stamped);
            self.marks.record(&sample, area);
            if let Some(ns) = sample.roundtrip_ns {
                let lower = one_ways.each_ref().map(|way| way.certain_ns.map(|(low, _)| low));
                self.series.record(sample.t4.mono, ns, lower);
            }
            self.heard = Some(sample.t4.mono);
            self.tell(true, None);
        }
        Ok((sample, one_ways))
    }

    /// Begins another session, with another number if that is ours to choose.
    pub(crate) fn begin_again(&mut self, ssid: u16) {
        let present = self.sender.settings().ssid;
        self.sender.begin_again(if self.has_chosen_ssid { ssid } else { present });
        self.tally.begin_again();
        self.is_new = true;
    }

    /// Replies that did not count, by reason.
    pub(crate) fn discarded(&self) -> BTreeMap<&'static str, u64> {
        let mut discarded = self.discarded.clone();
        let bad_sums = self.seat.as_ref().map_or(0, Seat::bad_checksums);
        if bad_sums > 0 {
            *discarded.entry(Discard::Checksum.reason()).or_default() += bad_sums;
        }
        discarded
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

    /// Notes that the device that leads to the target can't be sent by.
    pub(crate) const fn blame_device(&mut self) {
        self.cause = Some(Cause::DeviceDown);
    }

    /// Notes that packets go to the target from now on.
    pub(crate) fn begin(&mut self, now: MonoTime) {
        self.began.get_or_insert(now);
    }

    /// Decides whether the target answers: it must have within `patience_ns`.
    pub(crate) fn judge(&mut self, now: MonoTime, patience_ns: i64) {
        self.series.count(now, self.sender.ledger().counts());
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

/// A number for a session that has none.
pub(crate) fn chosen_ssid() -> u16 {
    (seed() % 65_535) as u16 + 1
}

/// How an error of sending is counted, and what it says of the target.
fn reason(error: i32) -> (&'static str, Cause) {
    use nix::errno::Errno;
    match Errno::from_raw(error) {
        Errno::ENODEV | Errno::ENXIO | Errno::ENETDOWN => ("unreachable", Cause::DeviceDown),
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
