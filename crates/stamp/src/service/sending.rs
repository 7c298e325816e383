//! The role of Session-Sender.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::SocketAddr;

use stamp_proto::clock::MonoTime;
use stamp_proto::packet::Shape;
use stamp_proto::sender::{Arrival, LocalClock, Moment};
use stamp_proto::timestamp::Format;

use crate::clock::{HostClock, Step};
use crate::error::Error;
use crate::samples::Samples;
use crate::socket::{Leave, Notice, Socket};
use crate::target::Target;
use crate::timetable::Timetable;

/// All targets, and when they are due.
#[derive(Debug)]
pub(crate) struct Sending {
    pub(crate) targets: Vec<Target>,
    by_address: HashMap<SocketAddr, usize>,
    timetable: Timetable,
    /// By socket: packets of which the kernel has not said yet when they left.
    awaited: Vec<VecDeque<Awaited>>,
    samples: Option<Samples>,
    plan: Plan,
    payload: Vec<u8>,
}

/// What all targets have in common.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Packets to each; 0 is without end.
    pub(crate) count: u32,
    /// When to stop in any case.
    pub(crate) end: Option<MonoTime>,
    /// DSCP and ECN of requests.
    pub(crate) traffic_class: u8,
    /// Format of T1.
    pub(crate) format: Format,
    /// Time within which a target must have answered to be up.
    pub(crate) patience_ns: i64,
}

/// A packet that was sent.
#[derive(Debug, Clone, Copy)]
struct Awaited {
    count: u32,
    target: usize,
    sequence: u32,
    at: Moment,
}

impl Sending {
    /// Targets with their timetable, on `sockets` sockets.
    pub(crate) fn new(
        targets: Vec<Target>,
        timetable: Timetable,
        plan: Plan,
        sockets: usize,
        samples: Option<Samples>,
    ) -> Self {
        let by_address =
            targets.iter().enumerate().map(|(at, target)| (key(target.address), at)).collect();
        let awaited = vec![VecDeque::new(); sockets];
        Self { targets, by_address, timetable, awaited, samples, plan, payload: Vec::new() }
    }

    /// When something has to be done.
    pub(super) fn next(&self) -> Option<MonoTime> {
        let timeouts = self.targets.iter().filter_map(|target| target.sender.poll_timeout());
        timeouts.chain(self.timetable.next()).chain(self.plan.end).min()
    }

    /// True when nothing is left to send or to wait for.
    pub(super) fn is_over(&self, now: MonoTime) -> bool {
        let idle = || {
            self.timetable.next().is_none()
                && self.targets.iter().all(|target| target.sender.ledger().open().is_empty())
        };
        self.plan.end.is_some_and(|end| now >= end) || idle()
    }

    pub(super) fn send_due(
        &mut self,
        clock: &HostClock,
        sockets: &mut [Socket],
    ) -> Result<(), Error> {
        while let Some((target, missed)) = self.timetable.take(clock.now().mono) {
            self.targets[target].overruns += missed;
            self.send(target, clock, sockets);
            let sent = self.targets[target].sender.ledger().counts().sent;
            if self.plan.count > 0 && sent >= u64::from(self.plan.count) {
                self.timetable.remove(target);
            }
        }
        Ok(())
    }

    fn send(&mut self, at: usize, clock: &HostClock, sockets: &mut [Socket]) {
        let Self { targets, payload, plan, awaited, .. } = self;
        let target = &mut targets[at];
        let Some(socket_at) = sockets.iter().position(|socket| socket.serves(target.address.ip()))
        else {
            target.handle_send_error(nix::errno::Errno::ENETUNREACH as i32);
            return;
        };
        let leave = Leave {
            destination: target.address,
            source: None,
            ifindex: 0,
            traffic_class: plan.traffic_class,
        };
        let ahead_s = match plan.format {
            Format::Ntp => 0,
            Format::Ptp => clock.tai_offset_s().unwrap_or(0),
        };
        let now = clock.now();
        target.begin(now.mono);
        let sequence =
            target.sender.request(now, ahead_s, clock.error_estimate(plan.format), payload);
        match sockets[socket_at].send(payload, &leave) {
            Ok(count) => await_notice(
                &mut awaited[socket_at],
                Awaited { count, target: at, sequence, at: now },
            ),
            Err(error) => {
                target.handle_send_error(code(&error));
                awaited[socket_at].clear();
            }
        }
    }

    /// Takes over when a packet left, or that it came back.
    pub(super) fn handle_notice(&mut self, socket: usize, notice: Notice, now: Moment) {
        match notice {
            Notice::Sent { count, at } => {
                let queue = &mut self.awaited[socket];
                while queue
                    .front()
                    .is_some_and(|awaited| (awaited.count.wrapping_sub(count) as i32) < 0)
                {
                    queue.pop_front();
                }
                let Some(awaited) = queue.pop_front_if(|awaited| awaited.count == count) else {
                    return;
                };
                let left = HostClock::before(now, at);
                // A time that cannot be that of this packet is of another one.
                if (0..=now.mono.since(awaited.at.mono)).contains(&left.mono.since(awaited.at.mono))
                {
                    self.targets[awaited.target].sender.handle_sent(awaited.sequence, left);
                }
            }
            Notice::Refused { destination, .. } => {
                let known = destination.and_then(|address| self.by_address.get(&key(address)));
                if let Some(&at) = known {
                    self.targets[at].handle_refusal();
                }
            }
        }
    }

    /// Whether the packet was a reply to one of us, valid or not.
    pub(super) fn handle_reply(
        &mut self,
        _socket: usize,
        source: SocketAddr,
        payload: &[u8],
        arrival: &Arrival,
        local: LocalClock,
    ) -> bool {
        let Some(&at) = self.by_address.get(&source) else { return false };
        let target = &mut self.targets[at];
        if Shape::of(target.sender.settings().mode(), payload) == Shape::Request {
            return false;
        }
        if let Ok((sample, one_ways)) = target.handle_reply(payload, arrival, local)
            && let Some(samples) = &mut self.samples
        {
            samples.write(&target.name, &target.tally, &sample, &one_ways);
        }
        true
    }

    pub(super) fn handle_timeout(&mut self, now: MonoTime) {
        self.targets.iter_mut().for_each(|target| target.sender.handle_timeout(now));
    }

    pub(super) fn handle_local_step(&mut self, step: Step) {
        self.targets.iter_mut().for_each(|target| target.tally.handle_local_step(step));
    }

    pub(super) fn judge(&mut self, now: MonoTime) {
        let patience = self.plan.patience_ns;
        self.targets.iter_mut().for_each(|target| target.judge(now, patience));
    }

    pub(super) fn finish(&mut self) {
        self.targets.iter_mut().for_each(|target| target.sender.finish());
        if let Some(samples) = &mut self.samples {
            samples.flush();
        }
    }
}

fn await_notice(queue: &mut VecDeque<Awaited>, awaited: Awaited) {
    if queue.len() >= MOST_AWAITED {
        queue.pop_front();
    }
    queue.push_back(awaited);
}

/// The scope of a link-local address is not told with what comes from it.
fn key(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

fn code(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or_default()
}

/// Notices come within microseconds; more of them wait only where they never come.
const MOST_AWAITED: usize = 4_096;
